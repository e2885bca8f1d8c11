"""Which texts there are, in which languages: all that the plan needs to know of the data.

A text's number is its place among the distinct texts, in the order of the files: a query and a passage of the same
words are two texts, a passage and a hard negative are one. The token store has one row a text, by the same number.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hybridtune.data.formats import Group
from hybridtune.errors import InputError

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Corpus:
    """The texts of G groups in L languages.

    Attributes:
        languages: the L language codes, sorted.
        queries: [G, L] text number of the group's query in the language, -1 where there is none.
        passages: [G, L] text number of its passage, -1 where there is none.
        clusters: [G] groups that share a passage text, in any language, have one cluster: they answer each
            other's queries, so they are never negatives of each other.
        negative_cells: [N] where each hard negative belongs, ``group * L + column of the language``, ascending. Only
            cells with a passage have any: those of the other cells would never be used.
        negative_texts: [N] its text number.
        negative_clusters: [N] cluster of the groups that have its text as a passage, -1 if none has. It is never the
            cluster of its own group: such a text answers the group's queries and is left out.
    """

    languages: tuple[str, ...]
    queries: Int32
    passages: Int32
    clusters: Int32
    negative_cells: Int64
    negative_texts: Int32
    negative_clusters: Int32

    def most_negatives(self) -> int:
        """Hard negatives in the cell that has most of them; 0 if there is none at all."""
        return int(np.unique(self.negative_cells, return_counts=True)[1].max(initial=0))

    def draw_negatives(self, groups: Int32, columns: Int32, draws: npt.NDArray[np.float64], most: int) -> Int64:
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
        has_query, has_passage = self.queries >= 0, self.passages >= 0
        return has_query.T.astype(np.int64) @ has_passage.astype(np.int64)


def survey(
    groups: Iterable[Group],
    limits: Mapping[str, int],
    on_text: Callable[[bool, str], None] = lambda is_query, text: None,
) -> Corpus:
    """Read every group once, number its texts, and check that no group stands twice.

    Args:
        groups: the training groups, in order.
        limits: most groups a language may have; what is over the limit is left out in the order of the files.
        on_text: called as ``(is_query, text)`` for every new text, in the order of the text numbers.

    Raises:
        InputError: no pair at all, or a group_id that stands twice.
    """
    columns: dict[str, int] = {}
    cells: list[tuple[int, int, int, int]] = []  # group, column, query, passage
    negatives: list[tuple[int, int, int]] = []  # group, column, text
    seen: dict[str, int] = dict.fromkeys(limits, 0)
    names: set[str] = set()
    texts = _Texts(on_text)
    for group in groups:
        if group.group_id in names:
            raise InputError(f"group_id {group.group_id!r} stands twice: one line holds a whole group")
        names.add(group.group_id)
        row = texts.clusters.add()
        for language in sorted({*group.queries, *group.passages}):
            if language in seen:
                seen[language] += 1
                if seen[language] > limits[language]:
                    continue
            column = columns.setdefault(language, len(columns))
            query = passage = -1
            if language in group.queries:
                query = texts.number(True, group.queries[language])
            if language in group.passages:
                passage = texts.passage(group.passages[language], row)
                for text in dict.fromkeys(group.negatives.get(language, ())):
                    negatives.append((row, column, texts.number(False, text)))
            cells.append((row, column, query, passage))
    if not cells:
        raise InputError("the training data holds no text: every language is limited to 0")
    return _tables(cells, negatives, columns, texts)


def _tables(
    cells: list[tuple[int, int, int, int]],
    negatives: list[tuple[int, int, int]],
    columns: dict[str, int],
    texts: "_Texts",
) -> Corpus:
    languages = tuple(sorted(columns))
    place = np.argsort(np.argsort(list(columns)))  # the column of a language -> its place among the sorted ones
    table = np.array(cells, np.int32)
    clusters = texts.clusters.roots()
    queries, passages = np.full((2, len(clusters), len(languages)), -1, np.int32)  # [G, L] each
    queries[table[:, 0], place[table[:, 1]]] = table[:, 2]
    passages[table[:, 0], place[table[:, 1]]] = table[:, 3]
    hard = np.array(negatives, np.int32).reshape(-1, 3)  # [N, 3]
    holders = np.array(texts.holders, np.int32)[hard[:, 2]]
    hard_clusters = np.where(holders >= 0, clusters[holders], -1).astype(np.int32)
    hard_cells = hard[:, 0].astype(np.int64) * len(languages) + place[hard[:, 1]]
    order = np.argsort(hard_cells, kind="stable")  # those of one cell stay in the order of the file
    order = order[(hard_clusters != clusters[hard[:, 0]])[order]]
    return Corpus(languages, queries, passages, clusters, hard_cells[order], hard[order, 2], hard_clusters[order])


class _Texts:
    """Numbers texts as they come, and joins the groups that share a passage."""

    def __init__(self, on_text: Callable[[bool, str], None]) -> None:
        self.on_text = on_text
        self.clusters = _Clusters()
        self.holders: list[int] = []  # of each text: the first group that has it as a passage, -1 if none has
        self._numbers: dict[tuple[bool, str], int] = {}

    def number(self, is_query: bool, text: str) -> int:
        """The text's number; a new text is told."""
        number = self._numbers.setdefault((is_query, text), len(self._numbers))
        if number == len(self.holders):
            self.holders.append(-1)
            self.on_text(is_query, text)
        return number

    def passage(self, text: str, group: int) -> int:
        """The number of a group's passage."""
        number = self.number(False, text)
        if self.holders[number] < 0:
            self.holders[number] = group
        else:
            self.clusters.join(self.holders[number], group)
        return number


class _Clusters:
    """Union-find over groups, joined by the passage texts they share."""

    def __init__(self) -> None:
        self.parents: list[int] = []

    def add(self) -> int:
        """A new group, in a cluster of its own; its number."""
        self.parents.append(len(self.parents))
        return len(self.parents) - 1

    def root(self, group: int) -> int:
        """The group that stands for the cluster; paths are halved on the way."""
        while self.parents[group] != group:
            self.parents[group] = self.parents[self.parents[group]]
            group = self.parents[group]
        return group

    def join(self, one: int, other: int) -> None:
        """Make two groups one cluster, named by its smaller root."""
        low, high = sorted((self.root(one), self.root(other)))
        self.parents[high] = low

    def roots(self) -> Int32:
        """[G] the cluster of every group."""
        return np.array([self.root(group) for group in range(len(self.parents))], np.int32)
