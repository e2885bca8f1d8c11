"""Which language pairs a corpus has, which groups have them, and how often each is to be drawn."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hybridtune.data.corpus import Corpus
from hybridtune.data.queues import Queues, earlier_equals
from hybridtune.errors import InputError, nearest
from hybridtune.metrics.arrays import Float64, Int32, Int64

Pair = tuple[int, int]  # columns of two languages: the query's and the passage's, or the teacher's and the other


def question_pairs(corpus: Corpus) -> list[Pair]:
    """The pairs of which some group has a query in the first and a passage in the second language."""
    return [(x, y) for x, y in np.argwhere(corpus.pair_counts()).tolist()]


def translations(corpus: Corpus, align_from: Sequence[str]) -> list[Pair]:
    """The pairs of which some group has passages in both languages; the first is the one that the teacher reads.

    Args:
        corpus: the texts there are.
        align_from: languages the teacher reads. Of two, the one with more mono pairs counts (of equals, the first in
            the alphabet), as it does where none is given.

    Raises:
        InputError: a language that the corpus has not.
    """
    for language in align_from:
        if language not in corpus.languages:
            raise InputError(
                f"mix.align_from: the training data has no text in {language!r}{nearest(language, corpus.languages)}"
            )
    mono = corpus.pair_counts().diagonal()
    order = sorted(range(len(mono)), key=lambda x: (-mono[x], x))
    readers = [x for x in order if not align_from or corpus.languages[x] in align_from]
    others = [*readers, *sorted(set(order) - set(readers))]
    pairs = sorted((x, y) for place, x in enumerate(readers) for y in others[place + 1 :])
    return [pair for pair in pairs if len(groups_of(corpus, pair, aligned=True))]


def groups_of(corpus: Corpus, pair: Sequence[int], *, aligned: bool, data_set: int = -1) -> Int32:
    """The groups that have a pair, ascending.

    Args:
        corpus: the texts there are.
        pair: columns of two languages.
        aligned: whether both texts are passages; else the first is a query.
        data_set: of this data set alone; -1: of all.
    """
    first = corpus.passages if aligned else corpus.queries
    has = (first[:, pair[0]] >= 0) & (corpus.passages[:, pair[1]] >= 0)
    if data_set >= 0:
        has &= corpus.sources == data_set
    return np.flatnonzero(has).astype(np.int32)


def distinct_answer_sets(corpus: Corpus, groups: Iterable[Int32]) -> int:
    """How many answer sets the groups of some lists have together: so many rows a batch of them can have."""
    found = np.zeros(len(corpus.answer_sets), bool)
    for some in groups:
        found[corpus.answer_sets[some]] = True
    return int(np.count_nonzero(found))


def pair_name(languages: Sequence[str], pair: Sequence[int]) -> str:
    """A pair as people write it: ``en-de``."""
    return f"{languages[pair[0]]}-{languages[pair[1]]}"


def pair_weights(languages: Sequence[str], weights: Mapping[str, float]) -> dict[Pair, float]:
    """The weights of a study by the columns of the languages.

    Args:
        languages: codes of the corpus; a code may itself hold a hyphen (``zh-Hant``).
        weights: factor by language (``de``: its mono pair) or ordered pair (``en-de``: query language first).

    Raises:
        InputError: a name that is no language and no pair of the corpus, or a pair that stands twice.
    """
    known = {pair_name(languages, (x, y)): (x, y) for x in range(len(languages)) for y in range(len(languages))}
    known |= {language: (x, x) for x, language in enumerate(languages)}  # a language's own name comes first
    # A pair like zh-tw-en cannot be cut without the corpus, so its case is overlooked here and not in the study file.
    written = {name.lower(): name for name in known}
    found: dict[Pair, float] = {}
    for given, weight in weights.items():
        name = given if given in known else written.get(given.lower(), given)
        if name not in known:
            hint = nearest(name, known if "-" in name else languages)
            raise InputError(f"mix.weights: the training data has no language or language pair {name!r}{hint}")
        if known[name] in found:
            raise InputError(f"mix.weights: {name} is given twice; give the weight of one language or pair once")
        found[known[name]] = weight
    return found


def make_cells(
    corpus: Corpus,
    pairs: Sequence[Pair],
    *,
    aligned: bool,
    exponent: float,
    weights: Mapping[Pair, float],
    data_weights: Sequence[float],
) -> "Cells":
    """What one kind of batch draws from.

    A data set of weight w counts as if it stood there w times: the size of a pair is the sum of w * groups over the
    data sets, the pair is drawn with probability ~ size^s * weight, and each of its data sets ~ w * groups.

    Args:
        corpus: the texts there are.
        pairs: those that some group has.
        aligned: whether both texts of a pair are passages.
        exponent: s.
        weights: factors of pairs; 1 where none is given.
        data_weights: w of every data set of the corpus; where all are equal, a pair's groups are one cell.
    """
    data_sets = range(len(data_weights)) if len(set(data_weights)) > 1 else [-1]
    found: list[tuple[int, int, int]] = []  # place of the pair, data set, groups
    for place, pair in enumerate(pairs):
        for data_set in data_sets:
            size = len(groups_of(corpus, pair, aligned=aligned, data_set=data_set))
            if size:
                found.append((place, data_set, size))
    pair_of, sources, sizes = np.array(found, np.int64).reshape(-1, 3).T  # [C] each
    parts = sizes * (np.array(data_weights)[sources] if len(data_sets) > 1 else 1.0)
    totals = np.bincount(pair_of, parts, minlength=len(pairs))  # [P]
    factors = np.array([weights.get(pair, 1.0) for pair in pairs], np.float64)
    columns = np.array(pairs, np.int32).reshape(-1, 2)
    return Cells(aligned, columns, totals**exponent * factors, pair_of, sources, sizes, parts)


def cell_members(corpus: Corpus, cells: "Cells", cell: int) -> Int32:
    """The groups of a cell, ascending."""
    pair = cells.pairs[cells.pair_of[cell]].tolist()
    return groups_of(corpus, pair, aligned=cells.aligned, data_set=int(cells.sources[cell]))


Kind = Literal["mono", "cross", "align"]


@dataclass(frozen=True)
class Demand:
    """What is asked of the data.

    Attributes:
        batch_size: B, distinct answer sets that a batch needs.
        ratios: the shares of mono batches that occur, by the field of the study that asks: ``mixing_ratio`` and, where
            there is a schedule, ``final_ratio``.
        single_pair: whether all rows of a cross batch have one language pair.
        align_share: share of align batches.
        align_from: languages that the teacher of align batches reads.
    """

    batch_size: int
    ratios: Mapping[str, float]
    single_pair: bool
    align_share: float
    align_from: Sequence[str]


def usable_pairs(corpus: Corpus, demand: Demand) -> tuple[dict[Kind, list[Pair]], list[Pair]]:
    """The pairs that every kind of batch draws from.

    Returns:
        them, and the mono and cross pairs that are too small for a batch of their own and left out.

    Raises:
        InputError: a kind that is asked for and cannot be made.
    """
    pairs = question_pairs(corpus)
    if not pairs:
        raise InputError(
            "the training data has no question-passage pair: no group has both a query and a passage; add such groups "
            "(translations alone fill align batches, and those are never all batches)"
        )
    sizes = {pair: distinct_answer_sets(corpus, [groups_of(corpus, pair, aligned=False)]) for pair in pairs}
    mono = [pair for pair in pairs if pair[0] == pair[1]]
    cross = [pair for pair in pairs if pair[0] != pair[1]]
    alone = [*mono, *(cross if demand.single_pair else [])]  # pairs that must fill a batch by themselves
    left_out = [pair for pair in alone if sizes[pair] < demand.batch_size]
    _check(demand, "mono", max((sizes[pair] for pair in mono), default=0), "groups in the largest language")
    if demand.single_pair:
        _check(demand, "cross", max((sizes[pair] for pair in cross), default=0), "groups in the largest language pair")
    else:
        _check(
            demand,
            "cross",
            distinct_answer_sets(corpus, (groups_of(corpus, p, aligned=False) for p in cross)),
            "cross groups",
        )
    aligned: list[Pair] = []
    if demand.align_share > 0:
        aligned = translations(corpus, demand.align_from)
        _check_align(demand, distinct_answer_sets(corpus, (groups_of(corpus, p, aligned=True) for p in aligned)))
    usable: dict[Kind, list[Pair]] = {
        "mono": [pair for pair in mono if pair not in left_out],
        "cross": [pair for pair in cross if pair not in left_out],
        "align": aligned,
    }
    return usable, left_out


def _check(demand: Demand, kind: Kind, most: int, unit: str) -> None:
    """Refuse mono or cross batches that are asked for where at most ``most`` rows can stand in one."""
    none = 0 if kind == "mono" else 1  # the ratio that asks for no such batch
    asking = {name: ratio for name, ratio in demand.ratios.items() if ratio != none}
    if not asking or most >= demand.batch_size:
        return
    asked = " and ".join(f"{name} {ratio}" for name, ratio in asking.items())
    one = len(asking) == 1
    if not most:
        raise InputError(
            f"the training data has no {kind} pair, and {asked} {'asks' if one else 'ask'} for {kind} batches: set "
            f"{' and '.join(f'mix.{name}' for name in asking)} to {none} or add such pairs"
        )
    raise InputError(
        f"train.batch_size {demand.batch_size} is larger than the {most} distinct {unit}: no {kind} batch can be made "
        f"and {' and '.join(f'{name} is {ratio}' for name, ratio in asking.items())}; use a batch of at most {most}"
    )


def _check_align(demand: Demand, most: int) -> None:
    if not most:
        one = f" with one of them in mix.align_from ({', '.join(demand.align_from)})" if demand.align_from else ""
        raise InputError(
            f"the training data has no group with passages in two languages{one}, and align_share "
            f"{demand.align_share} asks for align batches: set mix.align_share to 0 or add translations"
        )
    if most < demand.batch_size:
        raise InputError(
            f"train.batch_size {demand.batch_size} is larger than the {most} distinct groups of translations: no align "
            f"batch can be made and align_share is {demand.align_share}; use a batch of at most {most}"
        )


_GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, fill [0, 1) as evenly as any sequence can


@dataclass(frozen=True)
class Cells:
    """The C cells that one kind of batch draws from: a cell is a language pair, or one data set's part of it.

    Attributes:
        aligned: whether both texts of a pair are passages; else the first is a query.
        pairs: [P, 2] columns of the two languages of every pair.
        weights: [P] how often a pair is drawn, up to a factor.
        pair_of: [C] the cell's pair, as a row of ``pairs``; ascending.
        sources: [C] the cell's data set, -1 where a cell holds those of all data sets.
        sizes: [C] groups of the cell, at least one.
        parts: [C] how often a cell is drawn within its pair, up to a factor.
    """

    aligned: bool
    pairs: Int32
    weights: Float64
    pair_of: Int64
    sources: Int64
    sizes: Int64
    parts: Float64


def even(phase: float | Float64, n: Int64) -> Float64:
    """The n-th numbers, n from 0, of a sequence that fills [0, 1) evenly from every place on."""
    places: Float64 = np.mod(phase + n * _GOLDEN, 1.0)
    return places


class Shares:
    """Draws places of a list with probability ~ weight, as evenly as possible: the n-th draw is a function of n."""

    def __init__(self, weights: Float64, phase: float) -> None:
        self._ends = np.cumsum(weights) / max(weights.sum(), 1e-300)
        self._phase = phase

    def draw(self, n: Int64) -> Int64:
        """The draws of the numbers n from 0 (any shape): places in the list, of the same shape."""
        drawn: Int64 = np.minimum(np.searchsorted(self._ends, even(self._phase, n), "right"), len(self._ends) - 1)
        return drawn


class Draws:
    """The rows of one kind of batch, one batch after the other.

    Args:
        cells: what is drawn from.
        members: finds the groups of a cell, ascending.
        answer_sets: [G] no batch holds two groups of one answer set.
        phase: where the draws of pairs begin, in [0, 1).
        seed: of the queues; the cell's languages, data set (if it has one) and epoch go with it.
    """

    def __init__(
        self,
        cells: Cells,
        members: Callable[[int], Int32],
        answer_sets: Int32,
        phase: float,
        seed: tuple[int, ...],
    ) -> None:
        self.cells = cells
        self._shares = Shares(cells.weights, phase)
        ends = np.searchsorted(cells.pair_of, np.arange(len(cells.pairs) + 1))  # [P + 1]
        self._firsts, self._counts = ends[:-1], np.diff(ends)  # [P] the first cell of every pair, and how many it has
        pairs = cells.pairs[cells.pair_of].tolist()
        data_sets = [[source] if source >= 0 else [] for source in cells.sources.tolist()]
        seeds = [(*seed, *pair, *data_set) for pair, data_set in zip(pairs, data_sets, strict=True)]
        self._part_ends = np.full((len(cells.pairs), int(self._counts.max(initial=1))), np.inf)
        for pair, (first, after) in enumerate(itertools.pairwise(ends)):
            self._part_ends[pair, : after - first] = (
                np.cumsum(cells.parts[first:after]) / cells.parts[first:after].sum()
            )
        self._part_phases = np.array([np.random.default_rng((*seed, *pair)).random() for pair in cells.pairs.tolist()])
        self._drawn = np.zeros(len(cells.pairs), np.int64)  # rows that every pair has been drawn for
        self.queues = Queues(members, cells.sizes, cells.pair_of, answer_sets, seeds)

    def batch(self, first: int, size: int, *, mixed: bool) -> tuple[Int32, Int64]:
        """The next batch.

        Args:
            first: number of the draw of its (first) pair, from 0.
            size: B rows.
            mixed: whether every row has a pair of its own, with numbers from ``first`` on; else one pair has them all.

        Returns:
            [B] groups and [B] the cells that they were taken from.
        """
        pairs = self._shares.draw(first + np.arange(size if mixed else 1))
        if not mixed:
            pairs = np.repeat(pairs, size)  # [B]
        wanted = self._firsts[pairs]
        return self.queues.take(wanted + self._parts(pairs) if self._part_ends.shape[1] > 1 else wanted)

    def _parts(self, pairs: Int64) -> Int64:
        """[B] which of its pair's cells every row gets, evenly over the rows of the pair."""
        places = even(self._part_phases[pairs], self._drawn[pairs] + earlier_equals(pairs))  # [B]
        self._drawn += np.bincount(pairs, minlength=len(self._drawn))
        parts = (self._part_ends[pairs] <= places[:, None]).sum(axis=1)  # [B]
        within: Int64 = np.minimum(parts, self._counts[pairs] - 1)
        return within
