"""Language pairs: which a corpus has, which kinds of batch can be made of them, and how often each is drawn.

`usable_pairs` returns what a plan may draw from or refuses it, `make_cells` gives every pair its weight, and `Draws`
takes the rows of batches from `Queues` of the groups. `HybridPlan` puts the three kinds together.
"""

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from hybridtune.config.languages import readings
from hybridtune.data.corpus import Corpus
from hybridtune.data.queues import Queues, earlier_equals
from hybridtune.errors import InputError, nearest
from hybridtune.metrics.arrays import Float64, Int32, Int64

Kind = Literal["mono", "cross", "align"]
Pair = tuple[int, int]  # columns of two languages: the query's and the passage's, or the teacher's and the other

_GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, fill [0, 1) as evenly as any sequence can


def pair_name(languages: Sequence[str], pair: Sequence[int]) -> str:
    """Return a pair as people write it: ``en-de``."""
    return f"{languages[pair[0]]}-{languages[pair[1]]}"


def groups_of(corpus: Corpus, pair: Sequence[int], *, aligned: bool, data_set: int = -1) -> Int32:
    """Return the groups that have a pair, ascending; of one data set or, at -1, of all.

    Both texts are passages if ``aligned``, else the first is a query.
    """
    first = corpus.passages if aligned else corpus.queries
    has = (first[:, pair[0]] >= 0) & (corpus.passages[:, pair[1]] >= 0)
    if data_set >= 0:
        has &= corpus.sources == data_set
    return np.flatnonzero(has).astype(np.int32)


def translations(corpus: Corpus, align_from: Sequence[str]) -> list[Pair]:
    """Return the pairs of which some group has passages in both languages; the teacher reads the first.

    The teacher reads the languages of ``align_from``, else all. Of two, it reads the one with more mono pairs (of
    equals, the first in the alphabet).
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
    pairs = sorted((x, y) for rank, x in enumerate(readers) for y in others[rank + 1 :])
    return [pair for pair in pairs if len(groups_of(corpus, pair, aligned=True))]


def usable_pairs(
    corpus: Corpus,
    batch_size: int,
    ratios: Mapping[str, float],
    single_pair: bool,
    align_share: float,
    align_from: Sequence[str],
) -> tuple[dict[Kind, list[Pair]], list[Pair]]:
    """Find the pairs that each kind of batch draws from, and the mono and cross pairs too small for their own batch.

    A batch needs ``batch_size`` distinct answer sets. ``ratios`` are the shares of mono batches that occur, by the
    field that requests them: ``mixing_ratio`` and, with a schedule, ``final_ratio``. A kind that is requested and
    cannot be made is refused.
    """
    pairs: list[Pair] = [(x, y) for x, y in np.argwhere(corpus.pair_counts()).tolist()]
    if not pairs:
        raise InputError(
            "the training data has no question-passage pair: no group has both a query and a passage; add such groups "
            "(translations alone fill align batches, and those are never all batches)"
        )
    sizes = {pair: _answer_sets(corpus, [pair], aligned=False) for pair in pairs}
    mono, cross = ([pair for pair in pairs if (pair[0] == pair[1]) == same] for same in (True, False))
    alone = [*mono, *cross] if single_pair else mono  # pairs that must fill a batch by themselves
    left_out = [pair for pair in alone if sizes[pair] < batch_size]
    most = max((sizes[pair] for pair in mono), default=0)
    limits = [_Limit("mono", most, "groups in the largest language", ratios, ("mono pair", "such pairs"))]
    if single_pair:
        most, unit = max((sizes[pair] for pair in cross), default=0), "groups in the largest language pair"
    else:
        most, unit = _answer_sets(corpus, cross, aligned=False), "cross groups"
    limits.append(_Limit("cross", most, unit, ratios, ("cross pair", "such pairs")))
    aligned = translations(corpus, align_from) if align_share > 0 else []
    most = _answer_sets(corpus, aligned, aligned=True)
    one = f" with one of them in mix.align_from ({', '.join(align_from)})" if align_from else ""
    lacking = (f"group with passages in two languages{one}", "translations")
    limits.append(_Limit("align", most, "groups of translations", {"align_share": align_share}, lacking))
    _check_size(batch_size, limits)
    mono, cross = ([pair for pair in some if pair not in left_out] for some in (mono, cross))
    return {"mono": mono, "cross": cross, "align": aligned}, left_out


def _answer_sets(corpus: Corpus, pairs: Iterable[Pair], *, aligned: bool) -> int:
    """Count the distinct answer sets of the groups of some pairs: the largest batch that they can fill."""
    found = np.zeros(len(corpus.answer_sets), bool)
    for pair in pairs:
        found[corpus.answer_sets[groups_of(corpus, pair, aligned=aligned)]] = True
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


def pair_weights(languages: Sequence[str], weights: Mapping[str, float]) -> dict[Pair, float]:
    """Return the weights of a study by the columns of the languages.

    They are given by language (``de``: its mono pair) or ordered pair (``en-de``: query language first); a code may
    itself hold a hyphen (``zh-Hant``).
    """
    known = {pair_name(languages, (x, y)): (x, y) for x in range(len(languages)) for y in range(len(languages))}
    known |= {language: (x, x) for x, language in enumerate(languages)}  # a language's own name comes first
    found: dict[Pair, float] = {}
    for given, weight in weights.items():
        # Where a name like zh-tw-en is to be cut, the corpus decides, so it is read here and not in the study file.
        names = map("-".join, readings(given))
        name = given if given in known else next((name for name in names if name in known), given)
        if name not in known:
            hint = nearest(name, known if "-" in name else languages)
            raise InputError(f"mix.weights: the training data has no language or language pair {name!r}{hint}")
        if known[name] in found:
            raise InputError(f"mix.weights: {name} is given twice; give the weight of one language or pair once")
        found[known[name]] = weight
    return found


@dataclass(frozen=True)
class Cells:
    """The C cells that one kind of batch draws from: a cell is a language pair, or one data set's part of it."""

    aligned: bool  # whether both texts of a pair are passages; else the first is a query
    pairs: Int32  # [P, 2] columns of the two languages of every pair
    weights: Float64  # [P] how often a pair is drawn, up to a factor
    pair_of: Int64  # [C] the cell's pair, as a row of ``pairs``; ascending
    sources: Int64  # [C] the cell's data set, -1 where a cell holds those of all data sets
    sizes: Int64  # [C] groups of the cell, at least one
    parts: Float64  # [C] how often a cell is drawn within its pair, up to a factor

    def members(self, corpus: Corpus, cell: int) -> Int32:
        """Return the groups of a cell, ascending."""
        pair = self.pairs[self.pair_of[cell]].tolist()
        return groups_of(corpus, pair, aligned=self.aligned, data_set=int(self.sources[cell]))


def make_cells(
    corpus: Corpus,
    pairs: Sequence[Pair],
    aligned: bool,
    exponent: float,
    weights: Mapping[Pair, float],
    data_weights: Sequence[float],
) -> Cells:
    """Make the cells of one kind of batch.

    A data set of weight w counts as if it occurred w times: the size of a pair is the sum of w * groups over the
    data sets, the pair is drawn with probability ~ size^exponent * weight (1 where none is given), and each of its data
    sets ~ w * groups. Where all w are equal, a pair's groups are one cell.
    """
    data_sets = range(len(data_weights)) if len(set(data_weights)) > 1 else [-1]
    found: list[tuple[int, int, int]] = []  # row of the pair, data set, groups
    for row, pair in enumerate(pairs):
        for data_set in data_sets:
            size = len(groups_of(corpus, pair, aligned=aligned, data_set=data_set))
            if size:
                found.append((row, data_set, size))
    pair_of, sources, sizes = np.array(found, np.int64).reshape(-1, 3).T  # [C] each
    parts = sizes * (np.array(data_weights)[sources] if len(data_sets) > 1 else 1.0)
    totals = np.bincount(pair_of, parts, minlength=len(pairs))  # [P]
    factors = np.array([weights.get(pair, 1.0) for pair in pairs], np.float64)
    columns = np.array(pairs, np.int32).reshape(-1, 2)
    return Cells(aligned, columns, totals**exponent * factors, pair_of, sources, sizes, parts)


def evenly(phase: float | Float64, n: Int64) -> Float64:
    """Return the n-th numbers, n from 0, of a sequence that fills [0, 1) evenly from every index on."""
    values: Float64 = np.mod(phase + n * _GOLDEN, 1.0)
    return values


class Draws:
    """The rows of one kind of batch, one batch after the other; no batch holds two groups of one answer set.

    The n-th draw of a pair is a function of n: pairs come with probability ~ weight, as evenly as possible. ``phase``,
    in [0, 1), is where these draws begin. The seed of a queue also has the cell's languages, data set (if it has one)
    and epoch.
    """

    def __init__(self, corpus: Corpus, cells: Cells, phase: float, seed: tuple[int, ...]) -> None:
        self.cells = cells
        self._phase = phase
        self._pair_ends = np.cumsum(cells.weights) / max(cells.weights.sum(), 1e-300)
        ends = np.searchsorted(cells.pair_of, np.arange(len(cells.pairs) + 1))  # [P + 1]
        self._firsts, self._counts = ends[:-1], np.diff(ends)  # [P] the first cell of every pair, and how many it has
        self._part_ends = np.full((len(cells.pairs), int(self._counts.max(initial=1))), np.inf)
        for pair, (first, after) in enumerate(itertools.pairwise(ends)):
            parts = cells.parts[first:after]
            self._part_ends[pair, : after - first] = np.cumsum(parts) / parts.sum()
        self._part_phases = np.array([np.random.default_rng((*seed, *pair)).random() for pair in cells.pairs.tolist()])
        self._drawn = np.zeros(len(cells.pairs), np.int64)  # rows that every pair has been drawn for
        pairs = cells.pairs[cells.pair_of].tolist()
        data_sets = [[source] if source >= 0 else [] for source in cells.sources.tolist()]
        seeds = [(*seed, *pair, *data_set) for pair, data_set in zip(pairs, data_sets, strict=True)]
        members = functools.partial(cells.members, corpus)
        self.queues = Queues(members, cells.sizes, cells.pair_of, corpus.answer_sets, seeds)

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
