"""Which texts there are, in which languages: all that the plan needs to know of the data.

A text's number is its place among the distinct texts of its side, in the order of the files; the token store has one
row a text, by the same number.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hybridtune.data.formats import Group
from hybridtune.errors import InputError

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Corpus:
    """The texts of G groups in L languages.

    Attributes:
        languages: the L language codes, sorted.
        queries: [G, L] text number of the group's query in the language, -1 where there is none.
        passages: [G, L] text number of its passage, -1 where there is none.
        clusters: [G] groups that share a passage text, in any language, have one cluster: they answer each
            other's queries, so they are never negatives of each other.
    """

    languages: tuple[str, ...]
    queries: Int32
    passages: Int32
    clusters: Int32

    def pair_counts(self) -> npt.NDArray[np.int64]:
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
    numbers: dict[tuple[bool, str], int] = {}  # (is_query, text) -> text number
    first_group: list[int] = []  # of each text
    cells: list[tuple[int, int, int, int]] = []  # group, column, query, passage
    seen: dict[str, int] = dict.fromkeys(limits, 0)
    names: set[str] = set()
    clusters = _Clusters()
    for group in groups:
        if group.group_id in names:
            raise InputError(f"group_id {group.group_id!r} stands twice: one line holds a whole group")
        names.add(group.group_id)
        row = clusters.add()
        for language in sorted({*group.queries, *group.passages}):
            if language in seen:
                seen[language] += 1
                if seen[language] > limits[language]:
                    continue
            cell = [row, columns.setdefault(language, len(columns)), -1, -1]
            for side, texts in enumerate((group.queries, group.passages)):
                if language not in texts:
                    continue
                key = (side == 0, texts[language])
                number = cell[2 + side] = numbers.setdefault(key, len(numbers))
                if number == len(first_group):
                    first_group.append(row)
                    on_text(*key)
                elif side == 1:
                    clusters.join(first_group[number], row)
            cells.append((cell[0], cell[1], cell[2], cell[3]))
    if not cells:
        raise InputError("the training data holds no text: every language is limited to 0")
    return _tables(cells, columns, clusters)


def _tables(cells: list[tuple[int, int, int, int]], columns: dict[str, int], clusters: "_Clusters") -> Corpus:
    languages = tuple(sorted(columns))
    place = np.argsort(np.argsort(list(columns)))  # the column of a language -> its place among the sorted ones
    table = np.array(cells, np.int32)
    shape = (len(clusters.parents), len(languages))
    queries, passages = np.full(shape, -1, np.int32), np.full(shape, -1, np.int32)
    queries[table[:, 0], place[table[:, 1]]] = table[:, 2]
    passages[table[:, 0], place[table[:, 1]]] = table[:, 3]
    return Corpus(languages, queries, passages, clusters.roots())


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
