"""Files as the readers take them: where they are, what their names say, and their lines, unpacked and decoded.

Every line comes with its ``file:line``, which the readers of the formats put before what they find wrong.
"""

import io
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import fs

from hybridtune.errors import InputError, one_line

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")  # of groups that are written
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
KINDS = ("jsonl", "ndjson", "json", "csv", "tsv", "parquet", "arrow")
EMBEDDED = "newsroom:"
HELD_OUT = "holdout:"
_JUNK = ("__MACOSX", "_SUCCESS", "_metadata", "_common_metadata")  # of archives and of Spark


_HEAD = 65536  # bytes that show the format of a file
UNREADABLE = (OSError, ValueError, pa.ArrowException)  # what file systems raise


class Layout(NamedTuple):
    """The format, columns, language and split that the user gives for files; see `hybridtune.config.fields.DataSet`."""

    format: str | None = None
    columns: tuple[tuple[str, str], ...] = ()  # (what it holds, its name)
    language: str | None = None  # `en`, or `en-sw`
    split: str | None = None


class Source(NamedTuple):
    """One file, or files that are read together.

    Without a file system it is a part of the embedded corpus, a data set of the hub or what ``reader`` reads.
    """

    name: str  # in messages
    path: str  # in the file system
    filesystem: fs.FileSystem | None
    data_set: int = 0  # the entry of ``data.train`` that named it
    reader: str | None = None  # the user's own, as ``package.module:function``
    layout: Layout = Layout()
    kind: str = ""  # the format of `files`, or `hub`; empty: that of one file, which its name and first row say
    files: tuple["Source", ...] = ()  # that are read together, named below this one
    stem: str = ""  # of the ids of rows that have none; unique among the sources of a study

    def inside(self) -> dict[str, "Source"]:
        """Return the files by their path inside the folder."""
        return {file.name.removeprefix(f"{self.name}/"): file for file in self.files}


def kind_of(name: str) -> str | None:
    """Return the kind of a file of rows by its suffix, ``jsonl`` for ``a.jsonl.gz``; None for others."""
    base = name.lower()
    packed = next((suffix for suffix in COMPRESSED if base.endswith(suffix)), "")
    kind = base.removesuffix(packed).rpartition(".")[2]
    return None if kind not in KINDS or (packed and kind in ("parquet", "arrow")) else kind


def without_suffix(path: str) -> str:
    """Return a path without what says the kind of the file and its compression."""
    packed = next((suffix for suffix in COMPRESSED if path.endswith(suffix)), "")
    return path.removesuffix(packed).rpartition(".")[0] if kind_of(path) else path


def is_junk(name: str) -> bool:
    """Return whether the last part of a path is hidden, a resource fork, or what an archive or Spark adds."""
    base = name.rstrip("/").rpartition("/")[2]
    return base.startswith(".") or base in _JUNK


def decoded_lines(file: Source) -> Iterator[str]:
    """Read the lines as they are, with what ends them; a compressed file is unpacked as it is read."""
    with opened(file, "detect") as stream:
        for number, line in enumerate(io.BufferedReader(stream), 1):  # bytes: a bad character has a line too
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{file.name}:{number}: {not_utf8(file, line, error)}") from None
            if "\0" in text:
                raise InputError(f"{file.name}:{number}: {_holds_nul(file, line)}")
            yield text


def text_lines(file: Source) -> Iterator[tuple[str, str]]:
    """Read the lines that are not blank, each with its ``file:line``."""
    for number, line in enumerate(decoded_lines(file), 1):
        if line.strip():
            yield f"{file.name}:{number}", line.rstrip("\r\n")


def not_utf8(file: Source, found: bytes, error: UnicodeDecodeError) -> str:
    """Return what the encoding of some bytes seems to be, and how the file is converted."""
    if found.startswith((b"\xff\xfe", b"\xfe\xff")) or _is_utf16(found):
        return f"not UTF-8: it looks like UTF-16; convert it: {_convert(file, 'UTF-16')}"
    shown = f"byte 0x{found[error.start]:02x} after {found[max(0, error.start - 12) : error.start]!r}"
    return (
        f"not UTF-8: {shown}; it looks like Latin-1 (Windows-1252) or another encoding of one byte a character; "
        f"convert it: {_convert(file, 'WINDOWS-1252')}"
    )


def _holds_nul(file: Source, line: bytes) -> str:
    if _is_utf16(line):
        return f"not UTF-8: it looks like UTF-16; convert it: {_convert(file, 'UTF-16')}"
    return (
        f"a NUL byte after {line[: line.index(0)][-20:]!r}: the file is damaged, or no text; tr -d '\\000' removes them"
    )


def _is_utf16(line: bytes) -> bool:
    return 3 * line[:400].count(0) > len(line[:400])


def _convert(file: Source, encoding: str) -> str:
    return f"iconv -f {encoding} -t UTF-8 {PurePosixPath(file.path).name} > NEW"


def read_bytes(file: Source) -> Iterator[bytes]:
    """Read a file as it is, in pieces."""
    with opened(file, None) as stream:
        while piece := stream.read(1 << 20):
            yield piece


def read_head(file: Source) -> bytes:
    """Read the first bytes of a file, enough to recognise its format; none where it cannot be read."""
    try:
        with opened(file, "detect") as stream:
            head: bytes = stream.read(_HEAD)
            return head
    except InputError:
        return b""


@contextmanager
def opened(file: Source, compression: str | None) -> Iterator[Any]:
    """Open a file for reading from its start; with ``detect``, one that its suffix calls compressed is unpacked."""
    assert file.filesystem is not None
    is_xz = compression is not None and file.path.endswith(".xz")  # pyarrow has none
    try:
        with file.filesystem.open_input_stream(file.path, compression=None if is_xz else compression) as stream:
            yield lzma.LZMAFile(stream) if is_xz else stream  # noqa: SIM115 - the stream is what is closed
    except InputError:
        raise
    except (EOFError, lzma.LZMAError, *UNREADABLE) as error:
        raise InputError(f"{file.name}: cannot be read: {one_line(error)}") from None


def check_unicode(text: str, where: str) -> None:
    """Refuse text that UTF-8 cannot hold: JSON can write half a character (``"\\ud800"``), which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        at = error.start
        raise InputError(
            f"{where}: no valid Unicode: half a character, {text[at]!r}, in {text[max(0, at - 20) : at + 20]!r}"
        ) from None


def embedded_part(path: str) -> Any:
    """Return the part of the embedded corpus that a path names."""
    part = path.removeprefix(EMBEDDED)
    if part not in ("train", "dev", "test"):
        raise InputError(f"{path}: the embedded corpus has newsroom:train, newsroom:dev and newsroom:test")
    return part
