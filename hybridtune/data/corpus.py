"""Which texts there are, in which languages: all that the plan needs to know of the data.

A text's number is its place among the distinct texts, in the order of the files: a query and a passage of the same
words are two texts, and so are queries of two languages; a passage and a hard negative are one. Texts are one if their
`text_key` is: the first spelling stands for all. The token store has one row a text, by the same number.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from hybridtune.data.arrays import CHUNK, forget, map_array
from hybridtune.data.numbering import Numbering
from hybridtune.data.readers.native import Group, find_sources, parse_group, read_groups
from hybridtune.metrics.arrays import Float64, Int32, Int64


@dataclass(frozen=True)
class Corpus:
    """The texts of G groups in L languages.

    Attributes:
        languages: the L language codes, sorted.
        queries: [G, L] text number of the group's query in the language, -1 where there is none.
        passages: [G, L] text number of its passage, -1 where there is none.
        answer_sets: [G] groups that share a passage text, in any language, or a query text in one language have one
            answer set, and so have those that a chain of such groups connects: they answer each other's queries, so
            they are never negatives of each other.
        negative_cells: [N] where each hard negative belongs, ``group * L + column of the language``, ascending. Only
            cells with a passage have any: those of the other cells would never be used.
        negative_texts: [N] its text number.
        negative_answer_sets: [N] answer set of the groups that have its text as a passage, -1 if none has. It is
            never that of its own group: such a text answers the group's queries and is left out.
        sources: [G] the entry of ``data.train`` that the group came from, from 0.
    """

    languages: tuple[str, ...]
    queries: Int32
    passages: Int32
    answer_sets: Int32
    negative_cells: Int64
    negative_texts: Int32
    negative_answer_sets: Int32
    sources: Int32

    @classmethod
    def from_groups(
        cls, groups: str | Path | Iterable[Group | Mapping[str, Any]], language_limits: Mapping[str, int] | None = None
    ) -> Self:
        """Number the texts of groups and join the groups that share one.

        Args:
            groups: rows of the native format (``{"group_id", "queries": {language: text}, "passages": {...}}``), or the
                path of a file, folder or glob of such rows.
            language_limits: most groups a language may have; what is over it is left out in the order of the groups.

        Raises:
            InputError: a row that is no group, a group_id that stands twice, or no text at all.

        Example:
            >>> corpus = Corpus.from_groups(
            ...     [{"group_id": "1", "queries": {"en": "Who?"}, "passages": {"en": "She.", "de": "Sie."}}]
            ... )
            >>> corpus.languages, corpus.pair_counts().tolist()
            (('de', 'en'), [[0, 0], [1, 1]])
        """
        with tempfile.TemporaryDirectory() as folder:
            numbering = Numbering(Path(folder), language_limits or {})
            for group in parse_groups(groups):
                numbering.add(group)
            numbering.finish()
            return cls.open(Path(folder))

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map what a `Numbering` wrote into memory; the files may be deleted under it."""
        tables: dict[str, Any] = {field.name: map_array(folder / f"{field.name}.npy") for field in fields(cls)}
        return cls(**tables | {"languages": tuple(tables["languages"].tolist())})

    def forget(self) -> None:
        """Take what was read so far out of this process' memory; it is read again where it is needed."""
        for field in fields(self):
            if field.name != "languages":
                forget(getattr(self, field.name))

    def most_negatives(self) -> int:
        """Hard negatives in the cell that has most of them; 0 if there is none at all."""
        most, cells = 0, self.negative_cells
        while (cells[most:] == cells[: len(cells) - most]).any():
            most += 1
        return most

    def draw_negatives(self, groups: Int32, columns: Int32, draws: Float64, most: int) -> Int64:
        """Choose among the hard negatives of some cells.

        Args:
            groups: [B] rows of the corpus.
            columns: [B] languages of the passages.
            draws: [B] numbers in [0, 1): where in a cell's list to start; from there in turn, around the end.
            most: n, negatives of one cell.

        Returns:
            [B, n] places in ``negative_texts``, all different within a row; -1 where the cell has fewer than n.
        """
        cells = groups.astype(np.int64) * len(self.languages) + columns  # [B]
        first = np.searchsorted(self.negative_cells, cells)
        count = np.searchsorted(self.negative_cells, cells, "right") - first
        turn = (draws * count).astype(np.int64)[:, None] + np.arange(most)  # [B, n]
        places = first[:, None] + turn % np.maximum(count, 1)[:, None]
        return np.where(np.arange(most) < count[:, None], places, -1)

    def pair_counts(self) -> Int64:
        """[L, L] pairs by language of the query and of the passage."""
        counts = np.zeros((len(self.languages),) * 2, np.int64)
        for start in range(0, len(self.answer_sets), CHUNK):
            rows = slice(start, start + CHUNK)
            counts += (self.queries[rows] >= 0).T.astype(np.int64) @ (self.passages[rows] >= 0).astype(np.int64)
        return counts


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
