"""Alignment files: lines of ids that translate each other, as CSV, TSV or JSON lines."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pyarrow.fs import LocalFileSystem

from hybridtune.data.digests import digests_of, first_seen
from hybridtune.data.readers.files import Source, text_lines
from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Int32
from hybridtune.prepare.rows import Rows

_SUFFIXES = (".csv", ".tsv", ".jsonl")


def read_alignment(file: Path, rows: Rows) -> tuple[tuple[Int32, Int32], str | None]:
    """Read which ids translate each other, as numbers [E] and [E], and a notice on lines that join nothing.

    An id that no row has is passed over: alignments are often those of a whole collection. A first line of CSV or TSV
    of which no id is known is the header.

    Raises:
        InputError: the file cannot be read, a line has fewer than two ids, or no line has two that are known.
    """
    lines = list(_lines(file))
    ids = [name for _, names in lines for name in names]
    known = len(rows.id_digests)
    numbers = first_seen(np.concatenate([rows.id_digests, digests_of(name.encode() for name in ids)]))
    largest = int(rows.ids.max())
    found = numbers[known:].tolist()
    ones, others, idle, unknown, at = [], [], [], 0, 0
    for line, (where, names) in enumerate(lines):
        here = [number for number in found[at : at + len(names)] if number <= largest]
        at += len(names)
        if line == 0 and not here and len(lines) > 1 and not file.name.removesuffix(".gz").endswith(".jsonl"):
            continue  # the header
        unknown += len(names) - len(here)
        if len(here) < 2:
            idle.append(where)
        ones += here[:1] * (len(here) - 1)
        others += here[1:]
    if not ones:
        raise InputError(
            f"--alignment {file}: no line has two ids that the data has; its ids are those of the id column, like "
            f"{rows.spool.read(0).group_id!r}"
        )
    notice = None
    if unknown:
        notice = f"{file}: {unknown:,} ids are not in the data, and {len(idle):,} lines join nothing"
        notice += f" (the first is {idle[0]})" if idle else ""
    return (np.array(ones, np.int32), np.array(others, np.int32)), notice


def _lines(file: Path) -> Iterator[tuple[str, Sequence[str]]]:
    """Read the ids of every line, each with its ``file:line``."""
    kind = next((suffix for suffix in _SUFFIXES if file.name.removesuffix(".gz").endswith(suffix)), None)
    if kind is None:
        raise InputError(f"--alignment {file}: give a file of {', '.join(_SUFFIXES)} (or .gz): ids of a line translate")
    for where, line in text_lines(Source(str(file), str(file.absolute()), LocalFileSystem())):
        names = _of_json(line, where) if kind == ".jsonl" else _cells(line, "\t" if kind == ".tsv" else ",")
        if len(names) < 2:
            raise InputError(f"{where}: a line has two or more ids that translate each other (got {line[:60]!r})")
        yield where, names


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter)) if cell.strip()]


def _of_json(line: str, where: str) -> list[str]:
    """Return the ids of a list, or the values of an object like ``{"en": "17", "de": "a9"}``."""
    try:
        found = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: broken JSON: {error}") from None
    values = list(found.values()) if isinstance(found, dict) else found
    if not isinstance(values, list) or not all(isinstance(value, str | int) for value in values):
        raise InputError(f"{where}: a line is a list of ids, or an object of them (got {line[:60]!r})")
    return [str(value) for value in values]
