"""Language pairs: which a corpus has, which kinds of batch can be made of them, and how often each is drawn.

`usable_pairs` returns what a plan may draw from by its `Weights` or refuses it, `make_cells` gives every pair its
weight, and `Draws` takes the rows of batches from `Queues` of the groups. `HybridPlan` puts the three kinds together.
"""

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybridtune.data.corpus import Corpus
from hybridtune.data.queues import Queues, earlier_equals
from hybridtune.data.weights import Pair, Part, Weights, drawable, groups_of
from hybridtune.errors import InputError, nearest
from hybridtune.metrics.arrays import Float64, Int32, Int64

Kind = Literal["mono", "cross", "align"]

_HELD_OUT = "but for those that weights of 0 or data.unseen_pairs hold out"
_PURPOSE = 9  # sets the seeded draws of second queries apart from all others
_GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, fill [0, 1) as evenly as any sequence can


def language_columns(corpus: Corpus, teacher_languages: Sequence[str]) -> list[int]:
    """Return the columns of the languages that a teacher reads, in the order given."""
    for language in teacher_languages:
        if language not in corpus.languages:
            raise InputError(
                f"train.teacher_languages: the training data has no text in {language!r}"
                f"{nearest(language, corpus.languages)}"
            )
    return [corpus.languages.index(language) for language in teacher_languages]


def translations(corpus: Corpus, teacher_languages: Sequence[str]) -> list[Pair]:
    """Return the pairs of which some group has passages in both languages; the teacher reads the first.

    The teacher reads the languages of ``teacher_languages``, else all. Of two, it reads the one with more mono pairs
    (of equals, the first in the alphabet).
    """
    columns = language_columns(corpus, teacher_languages)
    mono = corpus.pair_counts().diagonal()
    order = sorted(range(len(mono)), key=lambda x: (-mono[x], x))
    readers = [x for x in order if not columns or x in columns]
    others = [*readers, *sorted(set(order) - set(readers))]
    pairs = sorted((x, y) for rank, x in enumerate(readers) for y in others[rank + 1 :])
    return [pair for pair in pairs if len(groups_of(corpus, pair, aligned=True))]


class Usable(NamedTuple):
    """The pairs that each kind of batch draws from, and those that none does."""

    kinds: dict[Kind, list[Pair]]
    left_out: list[Pair]  # mono and cross pairs that are too small for a batch of their own
    held_out: list[Pair]  # pairs that the data has and that weights of 0 leave out


def usable_pairs(
    corpus: Corpus,
    batch_size: int,
    ratios: Mapping[str, float],
    single_pair: bool,
    align_share: float,
    teacher_languages: Sequence[str],
    weights: Weights,
) -> Usable:
    """Find the pairs that each kind of batch draws from, and those that none does.

    A batch needs ``batch_size`` distinct answer sets. ``ratios`` are the shares of mono batches that occur, by the
    field that requests them: ``mixing_ratio`` and, with a schedule, ``final_ratio``. A kind that is requested and
    cannot be made is refused.
    """
    every: list[Pair] = [(x, y) for x, y in np.argwhere(corpus.pair_counts()).tolist()]
    if not every:
        raise InputError(
            "the training data has no question-passage pair: no group has both a query and a passage; add such groups "
            "(translations alone fill align batches, and those are never all batches)"
        )
    sizes = {pair: _answer_sets(corpus, [pair], weights, aligned=False) for pair in every}
    pairs = [pair for pair in every if sizes[pair]]
    held_out = [pair for pair in every if not sizes[pair]]
    mono, cross = ([pair for pair in pairs if (pair[0] == pair[1]) == same] for same in (True, False))
    alone = [*mono, *cross] if single_pair else mono  # pairs that must fill a batch by themselves
    left_out = [pair for pair in alone if sizes[pair] < batch_size]
    most = max((sizes[pair] for pair in mono), default=0)
    limits = [_Limit("mono", most, "groups in the largest language", ratios, _lacking("mono", corpus, held_out))]
    if single_pair:
        most, unit = max((sizes[pair] for pair in cross), default=0), "groups in the largest language pair"
    else:
        most, unit = _answer_sets(corpus, cross, weights, aligned=False), "cross groups"
    limits.append(_Limit("cross", most, unit, ratios, _lacking("cross", corpus, held_out)))
    translated = translations(corpus, teacher_languages) if align_share > 0 else []
    aligned = [pair for pair in translated if len(drawable(corpus, pair, weights, aligned=True))]
    most = _answer_sets(corpus, aligned, weights, aligned=True)
    one = f" with one of them in train.teacher_languages ({', '.join(teacher_languages)})" if teacher_languages else ""
    if translated and not aligned:
        one += f" {_HELD_OUT}"
    lacking = (f"group with passages in two languages{one}", "translations")
    limits.append(_Limit("align", most, "groups of translations", {"align_share": align_share}, lacking))
    _check_size(batch_size, limits)
    mono, cross = ([pair for pair in some if pair not in left_out] for some in (mono, cross))
    held_out += [pair for pair in translated if pair not in aligned and pair not in held_out]
    return Usable({"mono": mono, "cross": cross, "align": aligned}, left_out, held_out)


def _lacking(kind: Kind, corpus: Corpus, held_out: Sequence[Pair]) -> tuple[str, str]:
    """Return what a corpus lacks that has no pair of a kind, and what to add."""
    held = any((x == y) == (kind == "mono") for x, y in held_out)
    return f"{kind} pair{f' {_HELD_OUT}' if held else ''}", "such pairs"


def _answer_sets(corpus: Corpus, pairs: Iterable[Pair], weights: Weights, *, aligned: bool) -> int:
    """Count the distinct answer sets of the groups of some pairs: the largest batch that they can fill."""
    found = np.zeros(len(corpus.answer_sets), bool)
    for pair in pairs:
        found[corpus.answer_sets[drawable(corpus, pair, weights, aligned=aligned)]] = True
    return int(np.count_nonzero(found))


class _Limit(NamedTuple):
    """The rows that a batch of one kind can have at most, and what asks for such batches."""

    kind: Kind
    most: int
    unit: str
    shares: Mapping[str, float]  # by the field that requests them
    lacking: tuple[str, str]  # what there is none of where ``most`` is 0, and what to add

    def asking(self) -> dict[str, float]:
        """Return the shares that ask for batches of the kind."""
        without = 1 if self.kind == "cross" else 0  # the share that asks for no such batch
        return {name: share for name, share in self.shares.items() if share != without}


def _check_size(batch_size: int, limits: Sequence[_Limit]) -> None:
    """Refuse a batch that is larger than a kind which is asked for can fill; name the largest that all can fill."""
    asked = [limit for limit in limits if limit.asking()]
    for limit in asked:
        asking = limit.asking()
        if not limit.most:
            named = " and ".join(f"{name} {share}" for name, share in asking.items())
            raise InputError(
                f"the training data has no {limit.lacking[0]}, and {named} {'asks' if len(asking) == 1 else 'ask'} for "
                f"{limit.kind} batches: set {' and '.join(f'mix.{name}' for name in asking)} to "
                f"{1 if limit.kind == 'cross' else 0} or add {limit.lacking[1]}"
            )
    for limit in asked:
        if limit.most < batch_size:
            shares = " and ".join(f"{name} is {share}" for name, share in limit.asking().items())
            raise InputError(
                f"train.batch_size {batch_size} is larger than the {limit.most} distinct {limit.unit}: no {limit.kind} "
                f"batch can be made and {shares}; use a batch of at most {min(one.most for one in asked)}"
            )


@dataclass(frozen=True)
class Cells:
    """The C cells that one kind of batch draws from: a cell is a language pair, or a part of it."""

    aligned: bool  # whether both texts of a pair are passages; else the first is a query
    pairs: Int32  # [P, 2] columns of the two languages of every pair
    weights: Float64  # [P] how often a pair is drawn, up to a factor
    pair_of: Int64  # [C] the cell's pair, as a row of ``pairs``; ascending
    parts_of: Sequence[Part]  # [C] the cell's part of its pair
    sizes: Int64  # [C] groups of the cell, at least one
    parts: Float64  # [C] how often a cell is drawn within its pair, up to a factor

    def members(self, corpus: Corpus, cell: int) -> Int32:
        """Return the groups of a cell, ascending."""
        pair = self.pairs[self.pair_of[cell]].tolist()
        return groups_of(corpus, pair, aligned=self.aligned, part=self.parts_of[cell])


def make_cells(corpus: Corpus, pairs: Sequence[Pair], aligned: bool, exponent: float, weights: Weights) -> Cells:
    """Make the cells of one kind of batch.

    A data set of weight w counts as if it occurred w times, and so do translated pairs and bitext: the size of a pair
    is the sum of w * groups over its parts, the pair is drawn with probability ~ size^exponent * weight, and each of
    its parts ~ w * groups. Where all w are equal, a pair's groups are one cell.
    """
    parts = weights.parts(aligned)
    found: list[tuple[int, Part, float]] = []  # row of the pair, part, w * groups
    sizes: list[int] = []
    for row, pair in enumerate(pairs):
        for part, factor in parts:
            size = len(groups_of(corpus, pair, aligned=aligned, part=part))
            if size:
                found.append((row, part, size * factor))
                sizes.append(size)
    rows, parts_of, drawn = zip(*found, strict=True) if found else ((), (), ())
    pair_of, shares = np.array(rows, np.int64), np.array(drawn, np.float64)  # [C] each
    totals = np.bincount(pair_of, shares, minlength=len(pairs))  # [P]
    factors = np.array([weights.pairs.get(pair, 1.0) for pair in pairs], np.float64)
    columns = np.array(pairs, np.int32).reshape(-1, 2)
    return Cells(aligned, columns, totals**exponent * factors, pair_of, parts_of, np.array(sizes, np.int64), shares)


def evenly(phase: float | Float64, n: Int64) -> Float64:
    """Return the n-th numbers, n from 0, of a sequence that fills [0, 1) evenly from every index on."""
    values: Float64 = np.mod(phase + n * _GOLDEN, 1.0)
    return values


class Draws:
    """The rows of one kind of batch, one batch after the other; no batch holds two groups of one answer set.

    The n-th draw of a pair is a function of n: pairs come with probability ~ weight, as evenly as possible. ``phase``,
    in [0, 1), is where these draws begin. The seed of a queue also has the cell's languages, data set and origin (if it
    has them; native pairs need none) and epoch.
    """

    def __init__(self, corpus: Corpus, cells: Cells, phase: float, seed: tuple[int, ...]) -> None:
        self.cells = cells
        self._phase = phase
        self.weigh(cells.weights)
        ends = np.searchsorted(cells.pair_of, np.arange(len(cells.pairs) + 1))  # [P + 1]
        self._firsts, self._counts = ends[:-1], np.diff(ends)  # [P] the first cell of every pair, and how many it has
        self._part_ends = np.full((len(cells.pairs), int(self._counts.max(initial=1))), np.inf)
        for pair, (first, after) in enumerate(itertools.pairwise(ends)):
            parts = cells.parts[first:after]
            self._part_ends[pair, : after - first] = np.cumsum(parts) / parts.sum()
        self._part_phases = np.array([np.random.default_rng((*seed, *pair)).random() for pair in cells.pairs.tolist()])
        self._drawn = np.zeros(len(cells.pairs), np.int64)  # rows that every pair has been drawn for
        pairs = cells.pairs[cells.pair_of].tolist()
        own = [(*[one] * (one >= 0), *[origin] * (origin > 0)) for one, origin in cells.parts_of]
        seeds = [(*seed, *pair, *part) for pair, part in zip(pairs, own, strict=True)]
        members = functools.partial(cells.members, corpus)
        self.queues = Queues(members, cells.sizes, cells.pair_of, corpus.answer_sets, seeds)

    def weigh(self, weights: Float64) -> None:
        """From the next draw on, draw pairs by other weights [P], up to a factor; those of 0 stay at 0."""
        self._pair_ends = np.cumsum(weights) / max(weights.sum(), 1e-300)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that the next batches follow from, beside the data, the seed and the weights."""
        return {"drawn": self._drawn, **self.queues.state()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `state`."""
        self._drawn = state["drawn"].copy()
        self.queues.restore(state)

    def pairs(self, n: Int64) -> Int64:
        """Return the pairs of the draws n from 0 (any shape), as rows of ``cells.pairs``."""
        drawn = np.searchsorted(self._pair_ends, evenly(self._phase, n), "right")
        pairs: Int64 = np.minimum(drawn, len(self._pair_ends) - 1)
        return pairs

    def batch(self, first: int, size: int, *, mixed: bool) -> tuple[Int32, Int64]:
        """Take the next batch of ``size`` rows: [B] groups, and [B] the cells that they were taken from.

        If ``mixed``, every row has a pair of its own, by the draws from ``first`` on; else all have that of ``first``.
        """
        pairs = self.pairs(first + np.arange(size if mixed else 1))
        if not mixed:
            pairs = np.repeat(pairs, size)  # [B]
        wanted = self._firsts[pairs]
        return self.queues.take(wanted + self._parts(pairs) if self._part_ends.shape[1] > 1 else wanted)

    def _parts(self, pairs: Int64) -> Int64:
        """Return [B] which of its pair's cells every row gets, evenly over the rows of the pair."""
        values = evenly(self._part_phases[pairs], self._drawn[pairs] + earlier_equals(pairs))  # [B]
        self._drawn += np.bincount(pairs, minlength=len(self._drawn))
        parts = (self._part_ends[pairs] <= values[:, None]).sum(axis=1)  # [B]
        within: Int64 = np.minimum(parts, self._counts[pairs] - 1)
        return within


class SecondQueries:
    """Draws a second language in which a query is asked too, by (seed, step, row) alone.

    Args:
        languages: the L codes of a corpus.
        weights: a pair of weight 0 is never made: not of the two queries' languages, in either order, and not of the
            second query and the passage.
        seed: of the plan.
    """

    def __init__(self, languages: Sequence[str], weights: Weights, seed: int) -> None:
        free = np.ones((len(languages),) * 2, bool)  # [L, L] by query and passage
        for pair, weight in weights.pairs.items():
            free[pair] = weight > 0
        apart = ~np.eye(len(languages), dtype=bool)
        self._of_queries, self._of_passages = free & free.T & apart, free.T  # by the first query, by the passage
        self._translated, self._seed = weights.translated > 0, seed

    def draw(self, corpus: Corpus, step: int, kind: Kind, groups: Int32, languages: Int32) -> Int32:
        """Return the columns [B] of the second queries of a batch, -1 for none; none of an align batch."""
        if kind == "align":
            return np.full(len(groups), -1, np.int32)
        possible = corpus.queries[groups] >= 0  # [B, L]
        possible &= self._of_queries[languages[:, 0]] & self._of_passages[languages[:, 1]]
        if not self._translated:
            possible &= ~corpus.translated_queries[groups]
        counts = possible.sum(axis=1)
        draws = np.random.default_rng((self._seed, _PURPOSE, step)).random(len(groups))
        wanted = (draws * counts).astype(np.int64)[:, None] + 1  # the first, the second, ... of those possible
        columns = (possible & (possible.cumsum(axis=1) == wanted)).argmax(axis=1)
        return np.where(counts > 0, columns, -1).astype(np.int32)
