"""Leaks: texts of a benchmark that stand in the training texts, which makes its scores say nothing.

`LeakSearch` is given the benchmarks' texts and then the training groups, one by one, and keeps nothing of the groups
but where a text was found. A text is found where its key is the same (`fingerprints`), or where one training text holds
nearly all of its pieces; `docs/data.md` has the rule and what it does not find.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np

from hybridtune.data.fingerprints import fingerprints
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.records import Text
from hybridtune.data.text_index import TextIndexBuilder
from hybridtune.metrics.arrays import Bool, Int64

RULES = 1  # of what counts as found: raise it with any change, so that no earlier report is read
SHORT = 5  # words; shorter texts are found whole alone
SHORT_SHARE = 0.01  # of a benchmark's texts; as many short ones, and no more, are found by chance
SHARED = 0.7  # of a text's pieces, by which it is found in another text
FEW = 10  # pieces; of a text with fewer all have to be there

_AT_ONCE = 4096  # training texts that are looked at in one go
_MOST_PIECES = 1 << 25  # of the benchmarks that are kept: 512 MiB
_WORST = 5  # documents, languages and files that a message names

Kind = Literal["exact", "near", "short"]
Side = Literal["queries", "passages"]


class ScoredTexts(NamedTuple):
    """The texts of one benchmark, under the name that messages give it."""

    name: str
    queries: Sequence[Text]
    passages: Sequence[Text]


class Leak(NamedTuple):
    """A text of a benchmark, and the first training text that it was found in; whole ones come before parts."""

    benchmark: str
    side: Side
    language: str
    text_id: str
    kind: Kind  # short: whole, and of fewer than `SHORT` words
    file: str = ""  # empty: the training files are not known
    document: str = ""  # of the training group: its document_id, or where it has none its group_id
    group_id: str = ""


@dataclass(frozen=True)
class LeakReport:
    """The texts of all benchmarks that were found in the training groups.

    Attributes:
        sizes: benchmark -> ``queries`` and ``passages`` -> number of texts.
        leaks: every text that was found, short ones among them.
        groups: ids of the training groups that hold a text which counts, sorted.
        searched: number of training groups.
    """

    sizes: Mapping[str, Mapping[Side, int]]
    leaks: Sequence[Leak] = ()
    groups: Sequence[str] = ()
    searched: int = 0

    def counted(self, benchmark: str | None = None) -> list[Leak]:
        """Return the leaks that count, of one benchmark or of all: short texts only where they are too many."""
        many = {name for name in self.sizes if self._short_count(name)}
        return [
            leak
            for leak in self.leaks
            if (leak.kind != "short" or leak.benchmark in many) and benchmark in (None, leak.benchmark)
        ]

    def _short_count(self, name: str) -> bool:
        short = sum(leak.benchmark == name and leak.kind == "short" for leak in self.leaks)
        return short > SHORT_SHARE * sum(self.sizes[name].values())

    def describe(self) -> str:
        """Return what was found in one line, without a full stop: counts, and file, documents and an example."""
        counted = self.counted()
        parts = "; ".join(self._describe_benchmark(name) for name in self.sizes if self.counted(name))
        kinds = Counter("nearly whole" if leak.kind == "near" else "whole" for leak in counted)
        parts += f" ({' and '.join(f'{count:,} {kind}' for kind, count in sorted(kinds.items(), reverse=True))})"
        first = counted[0]
        if not first.file:
            return f"{parts}; the first is {first.text_id!r}"
        files = Counter(leak.file for leak in counted).most_common()
        more = f" and {len(files) - 1} more files" if len(files) > 1 else ""
        documents = _most_common(leak.document for leak in counted)
        example = f"the first is {first.text_id!r}, in group {first.group_id!r}"
        return f"{files[0][0]}{more}: {parts}; documents with most: {documents}; {example}"

    def _describe_benchmark(self, name: str) -> str:
        found = self.counted(name)
        sides = Counter(leak.side for leak in found)
        counts = [f"{sides[side]:,} of {of:,} {side}" for side, of in self.sizes[name].items() if sides[side]]
        return f"{name}: {' and '.join(counts)} ({_most_common(leak.language for leak in found)})"

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values that `from_json` reads."""
        leaks = [list(leak) for leak in self.leaks]
        return {"sizes": self.sizes, "searched": self.searched, "groups": list(self.groups), "leaks": leaks}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "LeakReport":
        """Read what `to_json` returned."""
        leaks = [Leak(*row) for row in content["leaks"]]
        return cls(content["sizes"], leaks, content["groups"], content["searched"])


def _most_common(values: Iterable[str]) -> str:
    counts = Counter(values).most_common()
    more = f" and {len(counts) - _WORST} more" if len(counts) > _WORST else ""
    return ", ".join(f"{value} {count:,}" for value, count in counts[:_WORST]) + more


def is_near(common: Int64, pieces: Int64, step: int = 1) -> Bool:
    """Return which texts are nearly in another one.

    Args:
        common: [n] pieces that both have.
        pieces: [n] pieces of the text.
        step: of the pieces one in so many was kept; by few of them nothing is told.
    """
    least = 2 if step == 1 else 6
    found: Bool = ((common == pieces) & (pieces >= least)) | ((common >= SHARED * pieces) & (pieces >= FEW))
    return found


@dataclass
class LeakSearch:
    """Looks for the texts of benchmarks in training groups, which `add` takes one after the other.

    Example:
        >>> search = LeakSearch([ScoredTexts("test", [Text("q1", "en", "Who won the 2010 final in Spain?")], [])])
        >>> search.add(Group("g7", "", {"en": "who won the 2010 FINAL in Spain"}, {}), "train.jsonl")
        >>> [(leak.text_id, leak.kind, leak.group_id) for leak in search.finish().leaks]
        [('q1', 'exact', 'g7')]
    """

    benchmarks: Sequence[ScoredTexts]
    searched: int = 0
    _waiting: dict[str, list[int]] = field(default_factory=dict)  # text -> the groups of `_groups` that have it
    _groups: list[tuple[Group, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._texts = [
            (benchmark.name, side, text)
            for benchmark in self.benchmarks
            for side, texts in _sides(benchmark)
            for text in texts
        ]
        builder, lengths = TextIndexBuilder(len(self._texts), _MOST_PIECES), []
        for start in range(0, len(self._texts), _AT_ONCE):
            prints = fingerprints([text.text for _, _, text in self._texts[start : start + _AT_ONCE]])
            builder.add(prints)
            lengths.append(prints.lengths)
        self._index = builder.finish()
        self._pieces = self._index.piece_counts()
        self._short = np.concatenate([*lengths, np.zeros(0)]) < SHORT
        self._found: dict[int, Leak] = {}  # by the number of the text
        self._long_groups: set[str] = set()
        self._short_groups: dict[str, set[str]] = {benchmark.name: set() for benchmark in self.benchmarks}

    def add(self, group: Group, file: str) -> None:
        """Take the next group, and the name of its file; its hard negatives are training texts too."""
        self.searched += 1
        self._groups.append((group, file))
        texts = chain(group.queries.values(), group.passages.values(), *group.negatives.values())
        for text in dict.fromkeys(texts):
            self._waiting.setdefault(text, []).append(len(self._groups) - 1)
        if len(self._waiting) >= _AT_ONCE:
            self._look()

    def finish(self) -> LeakReport:
        """Return what was found."""
        self._look()
        sizes = {one.name: {side: len(texts) for side, texts in _sides(one)} for one in self.benchmarks}
        leaks = [self._found[number] for number in sorted(self._found)]
        report = LeakReport(sizes, leaks, (), self.searched)
        short = {leak.benchmark for leak in report.counted() if leak.kind == "short"}
        groups = self._long_groups.union(*(self._short_groups[name] for name in short))
        return LeakReport(sizes, leaks, sorted(groups), self.searched)

    def _look(self) -> None:
        if not self._waiting:
            return
        holders = list(self._waiting.values())
        prints = fingerprints(list(self._waiting))
        for text, number in zip(*map(np.ndarray.tolist, self._index.same(prints)), strict=True):
            self._note(number, holders[text], "short" if self._short[number] else "exact")
        theirs, ours, common = self._index.shared(prints)
        near = is_near(common, self._pieces[ours], self._index.piece_step) & ~self._short[ours]
        for text, number in zip(theirs[near].tolist(), ours[near].tolist(), strict=True):
            self._note(number, holders[text], "near")
        self._waiting, self._groups = {}, []

    def _note(self, number: int, holders: Sequence[int], kind: Kind) -> None:
        """Note that a text of a benchmark is in the groups of some numbers."""
        benchmark, side, text = self._texts[number]
        groups = self._short_groups[benchmark] if kind == "short" else self._long_groups
        groups.update(self._groups[holder][0].group_id for holder in holders)
        known = self._found.get(number)
        if known is not None and (known.kind != "near" or kind == "near"):
            return
        group, file = self._groups[holders[0]]
        place = (file, group.document_id or group.group_id, group.group_id)
        self._found[number] = Leak(benchmark, side, text.language, text.text_id, kind, *place)


def dev_in_test(dev: ScoredTexts, test: ScoredTexts) -> dict[Side, int]:
    """Count the queries and passages of a test benchmark that the dev benchmark has too, by their keys."""
    keys = {side: _keys(texts) for side, texts in _sides(dev)}
    return {side: int(np.isin(_keys(texts), keys[side][keys[side] > 0]).sum()) for side, texts in _sides(test)}


def _keys(texts: Sequence[Text]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return fingerprints([text.text for text in texts]).keys


def _sides(benchmark: ScoredTexts) -> Iterator[tuple[Side, Sequence[Text]]]:
    yield "queries", benchmark.queries
    yield "passages", benchmark.passages
