"""Which language pair and which group the next row of a batch gets: seeded, even, and no more memory than the data."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hybridtune.data.queues import Queues, earlier_equals

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

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
