"""The joining of rows of training data into groups of translations: by ids, by texts, or by pairs from a file.

A way returns [R] the set that every row belongs to, named by its first row: its queries ask the same, and its passages
answer them. `into_groups` makes groups of sets; a group has one text a language and side, a set may have several.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from hybridtune.data.answer_sets import answer_sets
from hybridtune.metrics.arrays import Bool, Int32, Int64
from hybridtune.prepare.rows import Rows, runs

Edges = tuple[Int32, Int32]  # [E] ones, [E] others

_EXAMPLES = 3


@dataclass(frozen=True)
class Sets:
    """The set of every row, and what was not joined though it might belong together."""

    of: Int32  # [R] the first row of the set
    unclear: int = 0  # passages of queries of several languages, of which it is not known which translate each other
    examples: tuple[int, ...] = ()  # rows that hold the first of these passages


class Borrowed(NamedTuple):
    """A text that is taken from another row."""

    is_query: bool
    column: int
    row: int


@dataclass(frozen=True)
class Groups:
    """The groups that rows become, in the order of their first rows."""

    of: Int32  # [R] the group of every row
    count: int
    added: Sequence[tuple[int, Borrowed]]  # texts that a group gets from its set beyond those of its own rows
    split: int  # sets that became several groups: they have several texts of one language on a side
    examples: tuple[int, ...]  # the first rows of the first of these


def by_id(rows: Rows) -> Sets:
    """Join rows of equal id."""
    _, first = np.unique(rows.ids, return_index=True)
    return Sets(first.astype(np.int32)[rows.ids])


def by_pairs_of_ids(rows: Rows, pairs: Edges) -> Sets:
    """Join rows of equal id, and those of ids that translate each other; ids by their numbers."""
    _, first = np.unique(rows.ids, return_index=True)
    first = first.astype(np.int32)
    ones = np.concatenate([np.arange(len(rows), dtype=np.int32), first[pairs[0]]])
    others = np.concatenate([first[rows.ids], first[pairs[1]]])
    return Sets(answer_sets(len(rows), ones, others))


def by_text(rows: Rows) -> Sets:
    """Join rows of equal query, and rows of queries of several languages that share a passage, where that is clear.

    It is clear on a passage that has at most one query in each language, and where no query would come together with
    another one of its language. Rows without a query stay as they are.
    """
    queries = _Queries.of(rows)
    within = queries.of_rows()
    passage, query = _incidence(rows, queries)
    clear, unclear = _shared(passage, query, queries, answer_sets(len(queries.column), *within))
    labels, refused = _without_contradiction(queries.column, within, (query[clear.ones], query[clear.others]))
    unclear = np.unique(np.concatenate([unclear, passage[clear.ones[refused]]]))
    of = np.arange(len(rows), dtype=np.int32)
    with_query, first = np.unique(queries.row, return_index=True)
    label = labels[queries.node[first]]
    named, smallest = np.unique(label, return_index=True)
    of[with_query] = with_query[smallest][np.searchsorted(named, label)]
    is_passage = np.flatnonzero(~rows.is_query)
    texts, at = np.unique(rows.text[is_passage], return_index=True)
    examples = rows.row[is_passage[at[np.searchsorted(texts, unclear[:_EXAMPLES])]]]
    return Sets(of, len(unclear), tuple(examples.tolist()))


@dataclass(frozen=True)
class _Queries:
    """The cells of rows that hold a query, and the distinct queries among them, the nodes."""

    row: Int32  # [n] ascending
    node: Int32  # [n]
    column: Int32  # of the N nodes: the language

    @classmethod
    def of(cls, rows: Rows) -> "_Queries":
        cells = rows.is_query
        _, first, node = np.unique(rows.text[cells], return_index=True, return_inverse=True)
        return cls(rows.row[cells], node.astype(np.int32), rows.column[cells][first])

    def of_rows(self) -> Edges:
        """Return edges between the queries of each row."""
        _, first, back = np.unique(self.row, return_index=True, return_inverse=True)
        return self.node[first[back]], self.node


def _incidence(rows: Rows, queries: _Queries) -> Edges:
    """Return the distinct passages and queries that some row has together, sorted: [n] passages, [n] queries."""
    cells = np.flatnonzero(~rows.is_query)
    start = np.searchsorted(queries.row, rows.row[cells])
    count = np.searchsorted(queries.row, rows.row[cells], "right") - start
    nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    node = queries.node[np.repeat(start, count) + nth]
    width = max(1, len(queries.column))
    keys = np.unique(np.repeat(rows.text[cells].astype(np.int64), count) * width + node)
    return (keys // width).astype(np.int32), (keys % width).astype(np.int32)


@dataclass(frozen=True)
class _Clear:
    """Edges between positions of the incidence."""

    ones: Int64
    others: Int64


def _shared(passage: Int32, query: Int32, queries: _Queries, known: Int32) -> tuple[_Clear, Int32]:
    """Find the passages of queries in several languages: edges where these are clear, and the passages where not.

    ``known`` [N] says which queries translate each other anyway.
    """
    ones: list[int] = []
    others: list[int] = []
    unclear: list[int] = []
    column = queries.column[query]
    edges = np.flatnonzero(np.diff(passage, prepend=-1, append=-1))  # numbers of texts are not negative
    starts = edges[:-1][np.diff(edges) > 1]  # of the passages with several queries
    ends = edges[1:][np.diff(edges) > 1]
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        languages = column[start:end].tolist()
        if len(set(languages)) == len(languages):
            ones += [start] * (end - start - 1)
            others += range(start + 1, end)
        elif _may_be_joined(languages, known[query[start:end]].tolist()):
            unclear.append(int(passage[start]))
    return _Clear(np.array(ones, np.int64), np.array(others, np.int64)), np.array(unclear, np.int32)


def _may_be_joined(languages: Sequence[int], known: Sequence[int]) -> bool:
    """Return whether two of the questions on a passage could be one: no language has a query of both."""
    asked: dict[int, set[int]] = {}
    for language, question in zip(languages, known, strict=True):
        asked.setdefault(question, set()).add(language)
    distinct = list({frozenset(found) for found in asked.values()})
    return any(one.isdisjoint(other) for n, one in enumerate(distinct) for other in distinct[:n])


def _without_contradiction(column: Int32, sure: Edges, wanted: Edges) -> tuple[Int32, Int64]:
    """Join nodes along edges such that no two nodes of one language come together: the sure edges first, in order.

    Return [N] the set of every node, and which of the wanted edges were refused.
    """
    ones, others = (np.concatenate(both) for both in zip(sure, wanted, strict=True))
    labels = answer_sets(len(column), ones, others)
    wrong = _with_two(labels, column)
    if not len(wrong):
        return labels, np.zeros(0, np.int64)
    within = np.flatnonzero(np.isin(labels[ones], wrong))
    nodes = np.flatnonzero(np.isin(labels, wrong))
    joined = OneALanguage(dict(zip(nodes.tolist(), column[nodes].tolist(), strict=True)))
    refused = [edge for edge in within.tolist() if not joined.join(int(ones[edge]), int(others[edge]))]
    labels = labels.copy()
    labels[nodes] = [joined.find(node) for node in nodes.tolist()]
    return labels, np.array([edge - len(sure[0]) for edge in refused if edge >= len(sure[0])], np.int64)


def _with_two(labels: Int32, column: Int32) -> Int32:
    """Return the sets that hold two nodes of one language."""
    order = np.lexsort((column, labels))
    same = (labels[order][1:] == labels[order][:-1]) & (column[order][1:] == column[order][:-1])
    wrong: Int32 = np.unique(labels[order][1:][same])
    return wrong


class OneALanguage:
    """Sets of nodes that are joined one by one, none with two nodes of a language; named by their smallest node."""

    def __init__(self, languages: Mapping[int, int]) -> None:
        self._parent = {node: node for node in languages}
        self._held = {node: {language: node} for node, language in languages.items()}

    def find(self, node: int) -> int:
        """Return the name of the set of a node."""
        while self._parent[node] != node:
            self._parent[node] = self._parent[self._parent[node]]
            node = self._parent[node]
        return node

    def join(self, one: int, other: int) -> bool:
        """Join the sets of two nodes; return whether they are one now."""
        one, other = sorted((self.find(one), self.find(other)))
        if one == other:
            return True
        if self._held[one].keys() & self._held[other].keys():
            return False
        self._parent[other] = one
        self._held[one] |= self._held.pop(other)
        return True


def into_groups(rows: Rows, sets: Int32) -> Groups:
    """Make groups of sets [R]: of several texts of one language on a side, the further ones go to further groups.

    A row goes into the first group of its set that it contradicts in no language. Such a group gets the texts of the
    other ones too, in languages that it lacks, where the set has one text of the language and the pair is new.
    """
    contradicting = _contradicting(rows, sets)
    first = sets.copy()  # [R] the first row of the group of every row
    added: list[tuple[int, Borrowed]] = []
    cells = np.searchsorted(rows.row, np.arange(len(rows) + 1))
    members = np.flatnonzero(np.isin(sets, contradicting))
    members = members[np.argsort(sets[members], kind="stable")]
    for start, end in runs(sets[members]):
        split = _Split(rows, cells)
        for row in members[start:end].tolist():
            first[row] = split.add(row)
        added += split.complete()
    names, of = np.unique(first, return_inverse=True)
    numbered = [(int(np.searchsorted(names, group)), text) for group, text in added]
    return Groups(of.astype(np.int32), len(names), numbered, len(contradicting), tuple(contradicting[:3].tolist()))


def _contradicting(rows: Rows, sets: Int32) -> Int32:
    """Return the sets that have two texts of one language on a side."""
    of = sets[rows.row]
    place = (of.astype(np.int64) * 2 + rows.is_query) * len(rows.languages) + rows.column
    order = np.lexsort((rows.text, place))
    place, text = place[order], rows.text[order]
    wrong: Bool = (place[1:] == place[:-1]) & (text[1:] != text[:-1])
    found: Int32 = np.unique(of[order][1:][wrong])
    return found


Place = tuple[bool, int]  # whether it is the side of the queries, column of the language


@dataclass
class _Split:
    """The groups of one set, to which its rows are added in order."""

    rows: Rows
    cells: Int64  # [R + 1] where the cells of each row begin
    groups: list[dict[Place, int]] = field(default_factory=list)  # the text at each place
    names: list[int] = field(default_factory=list)  # the first row of each group
    origins: dict[tuple[Place, int], int] = field(default_factory=dict)  # the row that holds a text at a place
    _with_text: dict[tuple[Place, int], list[int]] = field(default_factory=dict)  # the groups that have it there
    _filled: dict[Place, int] = field(default_factory=dict)  # so many first groups have some text there

    def add(self, row: int) -> int:
        """Put a row into the first group that it does not contradict; return the first row of that."""
        start, end = int(self.cells[row]), int(self.cells[row + 1])
        given = zip(*(values[start:end].tolist() for values in self._columns()), strict=True)
        texts = {(side, column): (text, origin) for side, column, text, origin in given}
        for place, (text, origin) in texts.items():
            self.origins.setdefault((place, text), origin)
        found = next((group for group in self._candidates(texts) if self._fits(group, texts)), len(self.groups))
        if found == len(self.groups):
            self.groups.append({})
            self.names.append(row)
        for place, (text, _) in texts.items():
            if place not in self.groups[found]:
                self.groups[found][place] = text
                self._with_text.setdefault((place, text), []).append(found)
        return self.names[found]

    def _columns(self) -> Sequence[Int32 | Bool]:
        return self.rows.is_query, self.rows.column, self.rows.text, self.rows.origin

    def _fits(self, group: int, texts: Mapping[Place, tuple[int, int]]) -> bool:
        held = self.groups[group]
        return all(held.get(place, text) == text for place, (text, _) in texts.items())

    def _candidates(self, texts: Mapping[Place, tuple[int, int]]) -> Iterable[int]:
        """Return groups, ascending, that the row may fit: by the place of it at which the fewest groups do."""
        fewest: tuple[int, list[int], int] | None = None
        for place, (text, _) in texts.items():
            filled = self._filled.get(place, 0)
            while filled < len(self.groups) and place in self.groups[filled]:
                filled += 1
            self._filled[place] = filled
            held = self._with_text.get((place, text), [])
            size = len(held) + len(self.groups) - filled
            if fewest is None or size < fewest[0]:
                fewest = size, held, filled
        assert fewest is not None
        _, held, filled = fewest
        return sorted({*held, *range(filled, len(self.groups))})

    def complete(self) -> list[tuple[int, Borrowed]]:
        """Give groups the texts that others of the set have; return these, each with the first row of its group."""
        found: dict[Place, set[int]] = {}
        for place, text in self.origins:
            found.setdefault(place, set()).add(text)
        single = {place: next(iter(texts)) for place, texts in found.items() if len(texts) == 1}
        pairs = {pair for held in self.groups for pair in _pairs_of(held)}
        added = []
        for name, held in zip(self.names, self.groups, strict=True):
            for place, text in sorted(single.items(), reverse=True):  # queries first
                is_query, column = place
                new = set(_pairs_with(held, is_query, text)) if place not in held else set()
                if new and not new & pairs:
                    held[place] = text
                    pairs |= new
                    added.append((name, Borrowed(is_query, column, self.origins[place, text])))
        return added


def _pairs_of(held: Mapping[Place, int]) -> Iterable[tuple[int, int]]:
    return ((q, p) for (is_query, _), q in held.items() if is_query for (other, _), p in held.items() if not other)


def _pairs_with(held: Mapping[Place, int], is_query: bool, text: int) -> Iterable[tuple[int, int]]:
    """Return the pairs that a text would make with the texts of the other side."""
    for (side, _), other in held.items():
        if side != is_query:
            yield (text, other) if is_query else (other, text)
