"""Alignment files: lines of ids that translate each other, in any kind of file that pairs may be in."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pyarrow.fs import LocalFileSystem

from hybridtune.data.digests import digests_of, first_seen
from hybridtune.data.readers.csv_text import csv_rows
from hybridtune.data.readers.files import Source, kind_of
from hybridtune.data.readers.finding import KNOWN_SUFFIXES
from hybridtune.data.readers.rows import read_rows
from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Int32
from hybridtune.prepare.rows import Rows


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
        if line == 0 and not here and len(lines) > 1 and kind_of(str(file)) in ("csv", "tsv"):
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
    kind = kind_of(str(file))
    if kind is None or not file.is_file():
        why = "does not exist" if kind is not None else f"give a file of {KNOWN_SUFFIXES}: ids of a line translate"
        raise InputError(f"--alignment {file}: {why}")
    source = Source(str(file), str(file.absolute()), LocalFileSystem())
    tables = kind in ("csv", "tsv")
    for where, row in csv_rows(source, kind == "tsv", numbered=True) if tables else read_rows(source):
        values = list(row.values()) if isinstance(row, dict) else row
        if not isinstance(values, list) or not all(isinstance(one, str | int | None) for one in values):
            raise InputError(f"{where}: a line is a list of ids, or an object of them (got {str(row)[:60]!r})")
        names = [str(one).strip() for one in values if one is not None and str(one).strip()]
        if len(names) < 2:
            raise InputError(f"{where}: a line has two or more ids that translate each other (got {names})")
        yield where, names
