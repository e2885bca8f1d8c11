"""Files, on this machine or at a URI that pyarrow opens: found by path, folder or glob, and read row by row.

Every row comes with its ``file:line``, which the readers of the formats put before what they find wrong.
"""

import fnmatch
import glob
import io
import json
import os.path
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from hybridtune.config.hooks import load_hook
from hybridtune.data.readers.foreign import HEAD_BYTES, foreign_file, foreign_folder, not_read
from hybridtune.errors import InputError

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
EMBEDDED = "newsroom:"
HELD_OUT = "holdout:"
_DEPTH = 3  # miracl/miracl-v1.0-sw/topics/<file>
_SIDES = ("queries", "passages", "negatives")  # columns that hold a value for each language
_BY_KEY = (*_SIDES, "translated", "translation")  # columns that may be maps
_FILES_LOOKED_AT = 1000  # in a folder of no known format


class Layout(NamedTuple):
    """What the user says of files that do not say it themselves, see `hybridtune.config.fields.DataSet`."""

    format: str | None = None
    columns: tuple[tuple[str, str], ...] = ()  # (what it holds, its name)
    language: str | None = None  # `en`, or `en-sw`
    split: str | None = None


class Source(NamedTuple):
    """One file; without a file system, a part of the embedded corpus or what ``reader`` reads."""

    name: str  # in messages
    path: str  # in the file system
    filesystem: fs.FileSystem | None
    data_set: int = 0  # the entry of ``data.train`` that named it
    reader: str | None = None  # the user's own, as ``package.module:function``
    layout: Layout = Layout()


def files_below(path: str) -> dict[str, Source]:
    """List the files of a folder and of the folders in it, ``{path inside the folder: file}``, sorted.

    The path is a local folder, or a URI that pyarrow opens (``s3://``, ``file://``, ...); anything else has no files.
    """
    try:
        if "://" in path:
            filesystem, root = fs.FileSystem.from_uri(path)
            name = root = root.rstrip("/")
        else:  # whole, for processes in other folders; messages name it as the user did
            home = os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser has a traceback for ~nobody
            filesystem, root, name = fs.LocalFileSystem(), str(Path(home).absolute()), path.rstrip("/")
        if "*" in path or filesystem.get_file_info(root).type != fs.FileType.Directory:
            return {}
        inside = ((file, file.removeprefix(root).lstrip("/")) for file in _walk(filesystem, root, _DEPTH))
        found = {tail: Source(f"{name}/{tail}", file, filesystem) for file, tail in inside}
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be opened: {one_line(error)}") from None
    return dict(sorted(found.items()))


def _walk(filesystem: fs.FileSystem, folder: str, depth: int) -> Iterator[str]:
    # .git and .cache are no part of a benchmark
    for entry in _list_folder(filesystem, folder, lambda name: not name.rsplit("/", 1)[-1].startswith(".")):
        if entry.type == fs.FileType.File:
            yield entry.path
        elif entry.type == fs.FileType.Directory and depth:
            yield from _walk(filesystem, entry.path, depth - 1)


def read_rows(file: Source, *, unique_keys: bool = False) -> Iterator[tuple[str, Any]]:
    """Read the rows of a JSON lines or Parquet file, each with its ``file:line``; streamed.

    With ``unique_keys``, a JSON object that has a key twice is refused.
    """
    if file.path.endswith(".parquet"):
        yield from _parquet_rows(file)
        return
    for where, line in text_lines(file):
        try:
            yield where, json.loads(line, object_pairs_hook=_each_key_once if unique_keys else None)
        except ValueError as error:  # a JSONDecodeError, or a key that occurs twice
            at = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            raise InputError(f"{where}: broken JSON: {at}") from None


def object_rows(file: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read rows as `read_rows` does, and refuse one that is no JSON object."""
    for where, row in read_rows(file):
        if not isinstance(row, dict):
            raise InputError(f"{where}: a row is a JSON object, not {type(row).__name__}")
        yield where, row


def text_lines(file: Source) -> Iterator[tuple[str, str]]:
    """Read the lines that are not blank, each with its ``file:line``; a ``.gz`` file is unpacked as it is read."""
    with _opened(file, "detect") as stream:
        for number, line in enumerate(io.BufferedReader(stream), 1):  # bytes: a bad character has a line too
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(f"{file.name}:{number}: not UTF-8: {error}") from None
            if text.strip():
                yield f"{file.name}:{number}", text


def read_bytes(file: Source) -> Iterator[bytes]:
    """Read a file as it is, in pieces."""
    with _opened(file, None) as stream:
        while piece := stream.read(1 << 20):
            yield piece


def read_head(file: Source) -> bytes:
    """Read the first bytes of a file, enough to recognise its format; none where it cannot be read."""
    try:
        with _opened(file, "detect") as stream:
            head: bytes = stream.read(HEAD_BYTES)
            return head
    except InputError:
        return b""


@contextmanager
def _opened(file: Source, compression: str | None) -> Iterator[Any]:
    assert file.filesystem is not None
    try:
        with file.filesystem.open_input_stream(file.path, compression=compression) as stream:
            yield stream
    except OSError as error:
        raise InputError(f"{file.name}: cannot be read: {one_line(error)}") from None


def one_line(error: Exception) -> str:
    """Return the message of an error in one line."""
    return " ".join(str(error).split())


def call_reader(source: Source) -> Any:
    """Call the user's own reader with the path."""
    assert source.reader is not None
    read = load_hook(source.reader, f"{source.name}: reader")
    with _reader_errors(source):
        found = read(source.path)
    return found


def reader_rows(source: Source, found: Any) -> Iterator[tuple[str, Any]]:
    """Number the rows that the user's own reader returned, each with its ``path:number``; streamed."""
    with _reader_errors(source):
        for number, row in enumerate(found, 1):
            yield f"{source.name}:{number}", row


@contextmanager
def _reader_errors(source: Source) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        failed = f"its reader {source.reader} failed: {type(error).__name__}: {one_line(error)}"
        raise InputError(f"{source.name}: {failed}") from error


def check_unicode(text: str, where: str) -> None:
    """Refuse text that UTF-8 cannot hold: JSON can write half a character (``"\\ud800"``), which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        at = error.start
        raise InputError(
            f"{where}: no valid Unicode: half a character, {text[at]!r}, in {text[max(0, at - 20) : at + 20]!r}"
        ) from None


def _list_folder(filesystem: fs.FileSystem, folder: str, wanted: Callable[[str], bool]) -> list[fs.FileInfo]:
    """Return the entries of a folder whose path is wanted; none if there is no such folder.

    Arrow leaves symbolic links to nowhere out of its listing without a word: a wanted one is refused.
    """
    entries = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    if isinstance(filesystem, fs.LocalFileSystem) and Path(folder).is_dir():
        for entry in sorted(Path(folder).iterdir()):
            if wanted(str(entry)) and entry.is_symlink() and not entry.exists():
                raise InputError(f"{entry}: {_broken_link(entry)}")
    return [entry for entry in entries if wanted(entry.path)]


def _broken_link(link: Path) -> str:
    return f"is a symbolic link to {link.readlink()}, which does not exist"


def nothing_at(path: str) -> str:
    """Explain why no file was found at a path."""
    if "://" not in path and not glob.has_magic(path):
        location = Path(path)
        if not location.exists():
            return _broken_link(location) if location.is_symlink() else "does not exist"
        if location.is_dir() and all(entry.name.startswith(".") for entry in location.iterdir()):
            return "the folder is empty"
        files = islice((file for file in location.rglob("*") if file.is_file()), _FILES_LOOKED_AT)
        names = [file.relative_to(location).as_posix() for file in files]
        local = fs.LocalFileSystem()
        foreign = foreign_folder(names, lambda name: read_head(Source(name, str(location / name), local)))
        if foreign is not None:
            return not_read(foreign)
    return f"no {', '.join(SUFFIXES)} file there"


def expand(path: str) -> Iterator[Source]:
    """Find the data files of a path, folder or glob, sorted; refuse a file of an unknown kind."""
    if path.startswith(EMBEDDED):
        embedded_part(path)
        yield Source(path, path, None)
        return
    if "://" in path:
        folder_uri, pattern = path.rsplit("/", 1) if "*" in path else (path, "")
        try:
            filesystem, inner = fs.FileSystem.from_uri(folder_uri)
            names = _remote_files(filesystem, f"{inner}/{pattern}" if pattern else inner)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: cannot be opened: {one_line(error)}") from None
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
        entries = _list_folder(filesystem, str(PurePosixPath(path).parent), lambda name: fnmatch.fnmatch(name, path))
        return sorted(entry.path for entry in entries)
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.Directory:
        return sorted(entry.path for entry in _list_folder(filesystem, path, lambda name: name.endswith(SUFFIXES)))
    return [path] if info.type == fs.FileType.File else []


def embedded_part(path: str) -> Any:
    """Return the part of the embedded corpus that a path names."""
    part = path.removeprefix(EMBEDDED)
    if part not in ("train", "dev", "test"):
        raise InputError(f"{path}: the embedded corpus has newsroom:train, newsroom:dev and newsroom:test")
    return part


def _each_key_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary of keys and values; a key that occurs twice, which would lose a value, is a ValueError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice!r} occurs twice in one object; keep one of the two")
    return found


def _parquet_rows(source: Source) -> Iterator[tuple[str, Any]]:
    number = 0
    try:
        with pq.ParquetFile(source.path, filesystem=source.filesystem) as file:
            for columns in (file.schema_arrow, *(field.type for field in file.schema_arrow if field.name in _SIDES)):
                if isinstance(columns, (pa.Schema, pa.StructType)):
                    _each_key_once([(column.name, column) for column in columns])
            for batch in file.iter_batches(1024):
                for row in batch.to_pylist():
                    number += 1
                    present = {field: _present(row[field]) for field in _BY_KEY if field in row}
                    if isinstance(present.get("translated"), dict):
                        present["translated"] = {side: _present(cell) for side, cell in present["translated"].items()}
                    if "translated" in row:
                        sides = _present(row["translated"])
                        present["translated"] = {side: _present(cell) for side, cell in sides.items()}
                    yield f"{source.name}:{number}", row | present
    except (OSError, ValueError, pa.ArrowException) as error:
        at = f":{number}" * (number > 0)
        raise InputError(f"{source.name}{at}: not a readable Parquet file: {one_line(error)}") from None


def _present(cell: Any) -> Any:
    """Return the languages of a cell: a struct column has a field for every language, a map is a list of pairs."""
    if cell is None or (isinstance(cell, list) and all(isinstance(pair, tuple) for pair in cell)):
        cell = _each_key_once(cell or [])
    return {language: text for language, text in cell.items() if text is not None} if isinstance(cell, dict) else cell
