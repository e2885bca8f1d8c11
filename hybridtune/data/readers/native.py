"""Readers of training data: every file format becomes a stream of `Group` rows.

Paths are a file, a folder or a glob, on this machine or on any file system that pyarrow opens by URI (``s3://``,
``gs://``, ``file://``, ...).
"""

import fnmatch
import glob
import io
import json
import os.path
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from hybridtune.config.languages import language_code
from hybridtune.data.readers.foreign import HEAD_BYTES, foreign_file, foreign_folder, foreign_row, not_read
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError

_FILES_LOOKED_AT = 1000  # in a folder of no known format
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
EMBEDDED = "newsroom:"
_SIDES = ("queries", "passages")
_FIELDS = (*_SIDES, "negatives")  # what is told by language


class Source(NamedTuple):
    """One file: where it is and how to open it (``filesystem`` None: the embedded corpus)."""

    name: str
    path: str
    filesystem: fs.FileSystem | None
    data_set: int = 0  # the entry of ``data.train`` that named it


class Group(NamedTuple):
    """Texts that translate each other. Any query of a group is answered by any passage of it.

    A language is told by its canonical code.

    Attributes:
        group_id: unique over all files.
        document_id: the article; may be empty.
        queries: query by language; none at all in bitext, whose passages translate each other.
        passages: passage by language.
        negatives: hard negatives by language: passages that look as if they answered the queries and do not.
    """

    group_id: str
    document_id: str
    queries: Mapping[str, str]
    passages: Mapping[str, str]
    negatives: Mapping[str, Sequence[str]] = {}


def find_sources(paths: Sequence[str]) -> list[Source]:
    """The files behind paths, folders and globs, in a fixed order (as given, then by name).

    Raises:
        InputError: a path that matches no file, or a file of an unknown kind.
    """
    sources: list[Source] = []
    for data_set, path in enumerate(map(os.path.expanduser, paths)):
        found = [source._replace(data_set=data_set) for source in _expand(path)]
        if not found:
            raise InputError(f"{path}: {_nothing_at(path)}")
        sources.extend(found)
    return sources


def read_groups(source: Source) -> Iterator[Group]:
    """The groups of one file, streamed.

    Raises:
        InputError: naming the file and the line (row of a Parquet file) that is wrong.
    """
    for place, (number, row) in enumerate(read_rows(source)):
        where = f"{source.name}:{number}"
        foreign = foreign_row(row) if place == 0 else None
        if foreign is not None:
            raise InputError(f"{where}: {not_read(foreign)}")
        yield parse_group(row, where)


def read_rows(source: Source) -> Iterator[tuple[int, Any]]:
    """The rows of one file as they stand, unchecked, with their numbers from 1; streamed.

    Raises:
        InputError: the file cannot be read, or a line is no JSON.
    """
    if source.filesystem is None:
        from hybridtune.data import newsroom  # its word lists are read only where they are asked for

        return enumerate(newsroom.generate(_part(source.path)), 1)
    return _parquet_rows(source) if source.path.endswith(".parquet") else _json_lines(source)


def read_head(source: Source) -> bytes:
    """The first bytes of a file, as many as are looked at to recognise it; none where it cannot be read."""
    assert source.filesystem is not None
    try:
        with source.filesystem.open_input_stream(source.path, compression="detect") as stream:
            head: bytes = stream.read(HEAD_BYTES)
            return head
    except OSError:
        return b""


def check_unicode(text: str, where: str) -> None:
    """Let pass what UTF-8 can hold: JSON can say half a character (``"\\ud800"``), which no tokenizer takes.

    Raises:
        InputError: naming what ``where`` does.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        at = error.start
        raise InputError(
            f"{where}: no valid Unicode: half a character, {text[at]!r}, in {text[max(0, at - 20) : at + 20]!r}"
        ) from None


def list_folder(filesystem: fs.FileSystem, folder: str, wanted: Callable[[str], bool]) -> list[fs.FileInfo]:
    """Return the entries of a folder whose path is wanted; none if there is no such folder.

    Raises:
        InputError: a wanted entry is a symbolic link to nowhere. Arrow leaves these out of its listing without a word.
    """
    entries = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    if isinstance(filesystem, fs.LocalFileSystem) and Path(folder).is_dir():
        for entry in sorted(Path(folder).iterdir()):
            if wanted(str(entry)) and entry.is_symlink() and not entry.exists():
                raise InputError(f"{entry}: {_broken_link(entry)}")
    return [entry for entry in entries if wanted(entry.path)]


def _broken_link(link: Path) -> str:
    return f"is a symbolic link to {link.readlink()}, which does not exist"


def _nothing_at(path: str) -> str:
    """Why no file was found at a path."""
    if "://" not in path and not glob.has_magic(path):
        place = Path(path)
        if not place.exists():
            return _broken_link(place) if place.is_symlink() else "does not exist"
        if place.is_dir() and all(entry.name.startswith(".") for entry in place.iterdir()):
            return "the folder is empty"
        files = islice((file for file in place.rglob("*") if file.is_file()), _FILES_LOOKED_AT)
        names = [file.relative_to(place).as_posix() for file in files]
        local = fs.LocalFileSystem()
        foreign = foreign_folder(names, lambda name: read_head(Source(name, str(place / name), local)))
        if foreign is not None:
            return not_read(foreign)
    return f"no {', '.join(SUFFIXES)} file there"


def _expand(path: str) -> Iterator[Source]:
    if path.startswith(EMBEDDED):
        _part(path)
        yield Source(path, path, None)
        return
    if "://" in path:
        folder_uri, pattern = path.rsplit("/", 1) if "*" in path else (path, "")
        try:
            filesystem, inner = fs.FileSystem.from_uri(folder_uri)
            names = _remote_files(filesystem, f"{inner}/{pattern}" if pattern else inner)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: cannot be opened: {' '.join(str(error).split())}") from None
    else:
        filesystem = fs.LocalFileSystem()
        folder = Path(path)
        if folder.is_dir():
            names = sorted(str(entry) for entry in folder.iterdir() if entry.name.endswith(SUFFIXES))
        elif glob.has_magic(path):
            names = sorted(glob.glob(path))  # noqa: PTH207 - Path.glob takes no absolute pattern
        else:
            names = [path] * folder.is_file()
    for name in names:
        if not name.endswith(SUFFIXES):
            foreign = foreign_file(name, read_head(Source(name, name, filesystem)))
            kind = f"unknown kind of file; known: {', '.join(SUFFIXES)}" if foreign is None else not_read(foreign)
            raise InputError(f"{name}: {kind}")
        if "://" not in path and not Path(name).is_file():
            raise InputError(f"{name}: {_broken_link(Path(name)) if not Path(name).exists() else 'is not a file'}")
        yield Source(name, name, filesystem)


def _remote_files(filesystem: fs.FileSystem, path: str) -> list[str]:
    if "*" in path:
        entries = list_folder(filesystem, str(PurePosixPath(path).parent), lambda name: fnmatch.fnmatch(name, path))
        return sorted(entry.path for entry in entries)
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.Directory:
        return sorted(entry.path for entry in list_folder(filesystem, path, lambda name: name.endswith(SUFFIXES)))
    return [path] if info.type == fs.FileType.File else []


def _part(path: str) -> Any:
    part = path.removeprefix(EMBEDDED)
    if part not in ("train", "dev", "test"):
        raise InputError(f"{path}: the embedded corpus has newsroom:train, newsroom:dev and newsroom:test")
    return part


def _json_lines(source: Source) -> Iterator[tuple[int, Any]]:
    assert source.filesystem is not None
    try:
        with source.filesystem.open_input_stream(source.path, compression="detect") as stream:
            for number, line in enumerate(io.BufferedReader(stream), 1):  # bytes: a bad character has a line too
                if not line.strip():
                    continue
                try:
                    yield number, json.loads(line.rstrip(), object_pairs_hook=_each_key_once)
                except ValueError as error:  # a JSONDecodeError, bytes that are no UTF-8, or a key that stands twice
                    at = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
                    raise InputError(f"{source.name}:{number}: broken JSON: {at}") from None
    except OSError as error:
        raise InputError(f"{source.name}: cannot be read: {error}") from None


def _each_key_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary of keys and values.

    Raises:
        ValueError: a key stands twice; one of its values would be lost.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice!r} stands twice in one object; keep one of the two")
    return found


def _parquet_rows(source: Source) -> Iterator[tuple[int, Any]]:
    number = 0
    try:
        with pq.ParquetFile(source.path, filesystem=source.filesystem) as file:
            for columns in (file.schema_arrow, *(field.type for field in file.schema_arrow if field.name in _FIELDS)):
                if isinstance(columns, (pa.Schema, pa.StructType)):
                    _each_key_once([(column.name, column) for column in columns])
            for batch in file.iter_batches(1024):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row | {field: _present(row[field]) for field in _FIELDS if field in row}
    except (OSError, ValueError, pa.ArrowException) as error:
        at = f":{number}" * (number > 0)
        raise InputError(f"{source.name}{at}: not a readable Parquet file: {' '.join(str(error).split())}") from None


def _present(cell: Any) -> Any:
    """Return the languages of a cell: a struct column has a field for every language, a map is a list of pairs."""
    if cell is None or (isinstance(cell, list) and all(isinstance(pair, tuple) for pair in cell)):
        cell = _each_key_once(cell or [])
    return {language: text for language, text in cell.items() if text is not None} if isinstance(cell, dict) else cell


def parse_groups(groups: str | Path | Iterable[Group | Mapping[str, Any]]) -> Iterator[Group]:
    """Yield the checked groups of a file, folder or glob, or of rows of the native format.

    Raises:
        InputError: a row that is no group.
    """
    if isinstance(groups, str | Path):
        for source in find_sources([str(groups)]):
            yield from read_groups(source)
        return
    for number, row in enumerate(groups, 1):
        yield row if isinstance(row, Group) else parse_group(row, f"group {number}")


def parse_group(row: Any, where: str) -> Group:
    """Check a row of the native format.

    Args:
        row: ``{"group_id", "document_id", "queries": {language: text}, "passages": {...}, "negatives": {...: [...]}}``.
        where: names the row in messages.

    Raises:
        InputError: what is wrong with it.
    """
    if not isinstance(row, dict):
        raise InputError(f"{where}: a group is a JSON object, not {type(row).__name__}")
    group_id = row.get("group_id")
    if not isinstance(group_id, str) or not group_id:
        raise InputError(f"{where}: group_id must be a text that is not empty (got {group_id!r})")
    document_id = str(row.get("document_id") or "")
    check_unicode(group_id, f"{where}: group_id")
    check_unicode(document_id, f"{where}: document_id")
    if row.get("queries") is None and isinstance(row.get("passages"), dict) and len(row["passages"]) > 1:
        row = {**row, "queries": {}}  # bitext; one passage alone is a line whose queries have another name
    queries, passages = (_texts(row.get(side), f"{where}: {side}") for side in _SIDES)
    negatives = row.get("negatives")
    if negatives is None:
        negatives = {}
    return Group(group_id, document_id, queries, passages, _negatives(negatives, passages, where))


def _texts(texts: Any, where: str) -> dict[str, str]:
    """Check the queries or the passages of a group."""
    if not isinstance(texts, dict):
        raise InputError(f"{where} must be an object of language: text (got {texts!r})")
    found = _by_language(texts, where)
    for language, text in found.items():
        if not _is_text(text):
            raise InputError(f"{where}.{language} must be a text that is not empty (got {text!r})")
        check_unicode(text, f"{where}.{language}")
    return found


def _negatives(negatives: Any, passages: Mapping[str, str], where: str) -> dict[str, list[str]]:
    """Check the hard negatives of a group."""
    if not isinstance(negatives, dict):
        raise InputError(f"{where}: negatives must be an object of language: list of texts (got {negatives!r})")
    found = _by_language(negatives, f"{where}: negatives")
    language_of = {text_key(text): language for language, text in passages.items()} if found else {}
    for language, texts in found.items():
        if not isinstance(texts, list) or not all(_is_text(text) for text in texts):
            raise InputError(
                f"{where}: negatives.{language} must be a list of texts that are not empty (got {texts!r})"
            )
        for place, text in enumerate(texts):
            check_unicode(text, f"{where}: negatives.{language}[{place}]")
            answered = language_of.get(text_key(text))
            if answered is not None:  # it would be pushed from the queries that it answers
                raise InputError(
                    f"{where}: negatives.{language}[{place}] is also passages.{answered} of the group: "
                    "a passage that answers its queries is no negative"
                )
    return found


def _by_language(texts: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Put what a group tells by language under the canonical codes."""
    found: dict[str, Any] = {}
    written: dict[str, str] = {}
    for code, text in texts.items():
        language = language_code(code, where)
        if language in found:
            raise InputError(f"{where}: {written[language]!r} and {code!r} are one language; keep one of the two")
        found[language], written[language] = text, code
    return found


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
