"""The files of a benchmark's folder, on this machine or behind a URI: listed, and read by lines or as one JSON."""

import io
import json
import os.path
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from hybridtune.data.readers.native import Source, list_folder, read_rows
from hybridtune.errors import InputError

FOLDERS_DEEP = 3  # miracl/miracl-v1.0-sw/topics/<file>


def files_below(path: str) -> dict[str, Source]:
    """The files of a folder and of the folders in it, ``{path inside the folder: file}``, sorted.

    Args:
        path: of a folder here, or a URI that pyarrow opens (``s3://``, ``file://``, ...).

    Returns:
        Nothing where the path is no folder.

    Raises:
        InputError: the folder cannot be listed, or holds a link to nowhere.
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
        inside = ((file, file.removeprefix(root).lstrip("/")) for file in _walk(filesystem, root, FOLDERS_DEEP))
        found = {tail: Source(f"{name}/{tail}", file, filesystem) for file, tail in inside}
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be opened: {' '.join(str(error).split())}") from None
    return dict(sorted(found.items()))


def _walk(filesystem: fs.FileSystem, folder: str, deep: int) -> Iterator[str]:
    # .git, .cache are no part of a benchmark
    for entry in list_folder(filesystem, folder, lambda name: not name.rsplit("/", 1)[-1].startswith(".")):
        if entry.type == fs.FileType.File:
            yield entry.path
        elif entry.type == fs.FileType.Directory and deep:
            yield from _walk(filesystem, entry.path, deep - 1)


def text_lines(file: Source) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, each with its number from 1; a ``.gz`` file is unpacked as it is read.

    Raises:
        InputError: the file cannot be read, or a line is not UTF-8.
    """
    assert file.filesystem is not None
    try:
        with file.filesystem.open_input_stream(file.path, compression="detect") as stream:
            for number, line in enumerate(io.BufferedReader(stream), 1):  # bytes: a bad character has a line too
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise InputError(f"{file.name}:{number}: not UTF-8: {error}") from None
                if text.strip():
                    yield number, text
    except OSError as error:
        raise InputError(f"{file.name}: cannot be read: {' '.join(str(error).split())}") from None


def json_lines(file: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON lines file, each with its ``file:line``.

    Raises:
        InputError: a line that is no JSON object.
    """
    for number, line in text_lines(file):
        where = f"{file.name}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: broken JSON: {error.msg}, column {error.colno}") from None
        if not isinstance(row, dict):
            raise InputError(f"{where}: a row is a JSON object, not {type(row).__name__}")
        yield where, row


def file_rows(file: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON lines file, or the rows of a Parquet file, each with its ``file:line``.

    Raises:
        InputError: the file cannot be read, or a line is no JSON object.
    """
    if not file.path.endswith(".parquet"):
        return json_lines(file)
    return ((f"{file.name}:{number}", row) for number, row in read_rows(file))


def squad_articles(file: Source, what: str) -> list[Any]:
    """The ``data`` of a file of the SQuAD layout.

    Args:
        file: one JSON object.
        what: the kind of file, with its article, for the message.

    Raises:
        InputError: unreadable, or no JSON object with a list ``data``.
    """
    assert file.filesystem is not None
    try:
        with file.filesystem.open_input_stream(file.path) as stream:
            articles = json.loads(stream.read())["data"]
        if not isinstance(articles, list):
            raise TypeError(f"'data' is of type {type(articles).__name__}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file.name}: not {what} (a JSON object with 'data'): {reason}") from None
    return articles


def choose_split(asked: str | None, there: list[str], where: str) -> str:
    """The split asked for, else test, else dev, else the only one.

    Raises:
        InputError: there is no such split, or no telling which.
    """
    listed = f"there are: {', '.join(sorted(there)) or 'none'}"
    if asked is not None:
        if asked not in there:
            raise InputError(f"{where}: no split {asked!r}; {listed}")
        return asked
    for usual in ("test", "dev"):
        if usual in there:
            return usual
    if len(there) != 1:
        raise InputError(f"{where}: which split? {listed}; choose one with --set benchmark.split=...")
    return there[0]
