"""The rows of training data as numbers in memory, and their texts in a file, from which groups are put together again.

A row is a `Group` as a reader yields it, a flat pair mostly. `grouping` decides by the numbers which rows become one.
"""

import os
import pickle  # nosec B403 # in a temporary folder of this command, its user's alone
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from hybridtune.callbacks import Progress
from hybridtune.data.digests import Digests, digests_of, first_seen
from hybridtune.data.readers.native import Group
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Bool, Int32, Int64

_AT_ONCE = 8192  # rows whose digests are taken in one go
_MANY = 1 << 14  # rows between two reports of progress


class Spool:
    """Groups in a file, read again one by one by their numbers; cheap to send to other processes of the machine."""

    def __init__(self, file: Path, starts: Int64, sizes: Int64) -> None:
        self.file, self.starts, self.sizes = file, starts, sizes
        self._opened: IO[bytes] | None = None

    def __getstate__(self) -> tuple[Path, Int64, Int64]:
        return self.file, self.starts, self.sizes

    def __setstate__(self, state: tuple[Path, Int64, Int64]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self.starts)

    def part(self, rows: Int32) -> "Spool":
        """Return some of its groups, by their numbers."""
        return Spool(self.file, self.starts[rows], self.sizes[rows])

    def read(self, row: int) -> Group:
        """Read one group."""
        if self._opened is None:
            self._opened = self.file.open("rb", buffering=0)
        # Read, not mapped: the pages of a mapped file count as this process' memory.
        packed = os.pread(self._opened.fileno(), int(self.sizes[row]), int(self.starts[row]))
        return Group(*pickle.loads(packed))  # nosec B301 # this command has written it


@dataclass(frozen=True)
class Rows:
    """R rows in L languages, with C cells: a cell is one text of a row, on one side, in one language."""

    languages: tuple[str, ...]  # sorted
    ids: Int32  # [R] number of the row's id among the different ones
    id_digests: Digests  # [R, 2]
    row: Int32  # [C] ascending
    is_query: Bool  # [C]
    column: Int32  # [C] of the language
    text: Int32  # [C] number of the text: the same for equal queries of one language, and for equal passages of any
    origin: Int32  # [C] the row that holds the text: its own, or another one that gave it
    spool: Spool = field(repr=False)
    marked: frozenset[str] = frozenset()  # the ids that hold a "#"

    def __len__(self) -> int:
        return len(self.ids)

    def with_cells(self, row: Int32, is_query: Bool, column: Int32, text: Int32, origin: Int32) -> "Rows":
        """Return the rows with further cells, whose texts other rows hold."""
        order = np.argsort(np.concatenate([self.row, row]), kind="stable")
        return replace(
            self,
            row=np.concatenate([self.row, row])[order],
            is_query=np.concatenate([self.is_query, is_query])[order],
            column=np.concatenate([self.column, column])[order],
            text=np.concatenate([self.text, text])[order],
            origin=np.concatenate([self.origin, origin])[order],
        )


def count_pairs(group: Int32, is_query: Bool, column: Int32, languages: int) -> Int64:
    """Count the pairs [L, L] of groups by language of query and passage.

    ``group``, ``is_query`` and ``column`` [C] say of each text which group has it, on which side, in which language.
    """
    counts = np.zeros((languages, languages), np.int64)
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(0, int(group.max(initial=-1)) + 1 + _MANY, _MANY))
    for block, (start, end) in enumerate(pairwise(edges.tolist())):
        of = order[start:end]
        held = np.zeros((2, _MANY, languages), np.float32)
        held[is_query[of].astype(np.int8), group[of] - block * _MANY, column[of]] = 1
        counts += np.rint(held[1].T @ held[0]).astype(np.int64)
    return counts


def spool_rows(groups: Iterable[Group], folder: Path, progress: Progress = lambda done, total: None) -> Rows:
    """Read all groups once: their texts go to a file in the folder.

    Raises:
        InputError: there is none.
    """
    builder = _Builder()
    sizes = array("q")
    file = folder / "rows"
    progress(0, 1)  # how many there are is known at the end
    with file.open("wb") as sink:
        for group in groups:
            sizes.append(sink.write(pickle.dumps(tuple(group), pickle.HIGHEST_PROTOCOL)))
            builder.add(group)
            if builder.rows % _MANY == 0:
                progress(builder.rows, builder.rows)
    if not builder.rows:
        raise InputError("there is no pair in the data")
    progress(builder.rows, builder.rows)
    lengths = np.frombuffer(sizes, np.int64)
    return builder.finish(Spool(file, np.cumsum(lengths) - lengths, lengths))


class _Builder:
    """Numbers ids, languages and texts; of the texts it keeps digests alone."""

    def __init__(self) -> None:
        self.rows = 0
        self._columns: dict[str, int] = {}
        self._cells = array("i")  # row, whether it is a query, column
        self._ids: list[bytes] = []
        self._texts: list[bytes] = []
        self._digests: tuple[list[Digests], list[Digests]] = ([], [])
        self._marked: set[str] = set()

    def add(self, group: Group) -> None:
        self._ids.append(group.group_id.encode())
        if "#" in group.group_id:
            self._marked.add(group.group_id)
        for side, texts in (("q", group.queries), ("p", group.passages)):
            for language, text in texts.items():
                column = self._columns.setdefault(language, len(self._columns))
                self._cells.extend((self.rows, side == "q", column))
                name = f"q{language}" if side == "q" else "p"
                self._texts.append(f"{name}\0{text_key(text)}".encode())
        self.rows += 1
        if self.rows % _AT_ONCE == 0:
            self._digest()

    def _digest(self) -> None:
        for found, texts in zip(self._digests, (self._ids, self._texts), strict=True):
            found.append(digests_of(texts))
            texts.clear()

    def finish(self, spool: Spool) -> Rows:
        self._digest()
        digests, of_texts = (np.concatenate(found) for found in self._digests)
        ids, texts = first_seen(digests), first_seen(of_texts)
        row, is_query, column = np.frombuffer(self._cells, np.int32).reshape(-1, 3).T
        languages = sorted(self._columns)
        order = np.argsort(np.argsort(list(self._columns))).astype(np.int32)  # by the order of first sight
        cells = (row, is_query == 1, order[column], texts, row)
        return Rows(tuple(languages), ids, digests, *cells, spool, frozenset(self._marked))


def runs(values: npt.NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Yield where every run of equal values begins and ends."""
    edges = np.flatnonzero(np.diff(values)) + 1
    yield from pairwise([0, *edges.tolist(), len(values)]) if len(values) else ()
