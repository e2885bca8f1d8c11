"""Rows of CSV and TSV files, streamed: fields by the names in the first line, each row with its first line."""

import csv
import re
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice

from hybridtune.data.readers.files import Source, decoded_lines
from hybridtune.errors import InputError

_LARGEST = 1 << 24  # characters of a field: what is longer is a quotation mark that is not closed
_LINES = 100  # that a quoted field of a TSV file may hold
_NAMES = {"\t": "tab", ",": "comma", ";": "semicolon"}

Record = tuple[int, list[str]]  # the line where it begins, its fields


def csv_rows(file: Source, is_tsv: bool, numbered: bool = False) -> Iterator[tuple[str, dict[str, str]]]:
    """Read the rows of a file as RFC 4180 has it, separated by comma, semicolon or tab, as the first line shows.

    In a TSV file a quotation mark that opens no whole field is a character like others.

    Args:
        file: the file.
        is_tsv: separated by tabs.
        numbered: there is no line of names; fields are called ``1``, ``2``, ...

    Raises:
        InputError: another number of fields than names, a quotation mark that is not closed, or no row at all.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LARGEST))
    lines = decoded_lines(file)
    head: list[str] = []
    while not head or not head[-1].strip():
        if (line := next(lines, None)) is None:
            raise InputError(f"{file.name}: the file is empty")
        head.append(line)
    separator = "\t" if is_tsv else _separator(head[-1])
    lines = chain(head, lines)
    records = _tab_records(lines) if is_tsv else _quoted_records(file, lines, separator)
    names: list[str] = []
    row = 0
    for number, fields in records:
        where = f"{file.name}:{number}"
        if not names:
            names = [str(n) for n in range(1, len(fields) + 1)] if numbered else _header(fields, where)
            if not numbered:
                continue
        if len(fields) != len(names):
            raise InputError(f"{where}: {_wrong_count(fields, names, separator)}")
        row += 1
        yield where, dict(zip(names, fields, strict=True))
    if not row:
        raise InputError(f"{file.name}: the file has a line of names and no row")


def _separator(line: str) -> str:
    bare = re.sub(r'"[^"]*"', "", line)
    return max(",;\t", key=bare.count)


def _header(fields: list[str], where: str) -> list[str]:
    names = [field.strip() for field in fields]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{where}: two columns are called {name!r}; rename one of them")
    return names


def _wrong_count(fields: list[str], names: list[str], separator: str) -> str:
    more = f"; a field that holds a {_NAMES[separator]} is put in quotation marks" * (len(fields) > len(names))
    last = f" (the last one: {fields[-1][:40]!r})" if fields else ""
    return f"{len(fields)} fields{last} where the first line has {len(names)}, {', '.join(names[:8])}{more}"


def _quoted_records(file: Source, lines: Iterator[str], separator: str) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{file.name}:{start}: {_csv_mistake(str(error))}") from None
        if fields is None:
            return
        if fields and (len(fields) > 1 or fields[0].strip()):
            yield start, fields


def _csv_mistake(message: str) -> str:
    if "expected after" in message:
        return "text after a closing quotation mark; inside a quoted field a quotation mark is written twice"
    if "field limit" in message or "unexpected end of data" in message:
        return "a quotation mark opens a field that is never closed"
    if "new-line character" in message:
        return "a carriage return without a line feed; write line ends as LF or CRLF"
    return f"no CSV: {message}"


def _tab_records(lines: Iterator[str]) -> Iterator[Record]:
    """Split lines at tabs; a quoted field, which may hold tabs and line ends, only where it is whole."""
    waiting: deque[str] = deque()
    number, width = 0, 0
    while (line := waiting.popleft() if waiting else next(lines, None)) is not None:
        number += 1
        taken, fields = 1, line.rstrip("\r\n").split("\t")
        if any(field.startswith('"') for field in fields):
            taken, fields = _with_quotes(line, fields, width, waiting, lines)
        if len(fields) > 1 or fields[0].strip():
            width = width or len(fields)
            yield number, fields
        number += taken - 1


def _with_quotes(
    line: str, fields: list[str], width: int, waiting: deque[str], lines: Iterator[str]
) -> tuple[int, list[str]]:
    """Return how many lines a record takes, and its fields: quoted ones where the record is well quoted."""
    waiting.extend(islice(lines, max(0, _LINES - len(waiting))))
    # A line that is whole by itself, as the next one is, does not go on in it.
    is_whole = len(fields) == width and bool(waiting) and waiting[0].count("\t") + 1 == width
    held = [line] if is_whole else [line, *waiting]
    for taken in range(1, len(held) + 1):
        try:
            records = list(csv.reader(held[:taken], delimiter="\t", strict=True))
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                continue
            break
        if len(records) == 1 and (len(records[0]) == width or not width):
            for _ in range(taken - 1):
                waiting.popleft()
            return taken, records[0]
        break
    return 1, fields
