"""The search for translations among texts of two languages, by the margin of their similarity over that of others.

The score of x and y is cos(x, y) over the mean of their cosines with their k nearest neighbours in the other language
(ratio margin; Artetxe and Schwenk 2019, arXiv 1811.01136). A pair is a candidate where each is the best for the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hybridtune.evaluate.blocks import Block
from hybridtune.evaluate.top_k import shard_top_k
from hybridtune.metrics.arrays import Float32, Float64, Int64

NEIGHBOURS = 4  # k
LEAST = 1.03  # margin that a chosen threshold is not below
FALSE = 0.05  # share of false pairs among those kept that a chosen threshold allows for


@dataclass(frozen=True)
class Neighbours:
    """The nearest texts of the other language, nearest first: [n, c] cosines, [n, c] the numbers of the texts."""

    cosines: Float32
    numbers: Int64

    def without_nearest(self) -> "Neighbours":
        """Return them as if the nearest one were not there."""
        return Neighbours(self.cosines[:, 1:], self.numbers[:, 1:])

    def first(self, count: int) -> "Neighbours":
        """Return the nearest ones."""
        return Neighbours(self.cosines[:, :count], self.numbers[:, :count])


@dataclass(frozen=True)
class Candidates:
    """Pairs of texts of which each is the best for the other: [n] and [n] their numbers, [n] margins, best first."""

    ones: Int64
    others: Int64
    margins: Float64


def neighbours(vectors: Float32, blocks: Sequence[Block], numbers: dict[str, int], count: int) -> Neighbours:
    """Find the exact nearest texts of blocks to each vector [n, D], unit length as those of the blocks."""
    found = shard_top_k(vectors, blocks, min(count, sum(map(len, blocks))))
    return Neighbours(found.scores, found.numbers(blocks, numbers))


def candidates(ones: Neighbours, others: Neighbours) -> Candidates:
    """Return the pairs of which each is the best of the other's neighbours by margin; ``numbers`` are positions."""
    near, there = ones.cosines.mean(axis=1, dtype=np.float64), others.cosines.mean(axis=1, dtype=np.float64)
    best = _best(ones, near, there)
    back, _ = _best(others, there, near)
    chosen, margins = best
    mutual = np.flatnonzero(back[chosen] == np.arange(len(chosen)))
    order = mutual[np.lexsort((chosen[mutual], mutual, -margins[mutual]))]
    return Candidates(order, chosen[order], margins[order])


def _best(side: Neighbours, near: Float64, there: Float64) -> tuple[Int64, Float64]:
    """Return the neighbour of the largest margin [n], of equal ones the nearest, and the margin [n]."""
    margins = side.cosines / ((near[:, None] + there[side.numbers]) / 2)
    best = margins.argmax(axis=1)
    rows = np.arange(len(best))
    return side.numbers[rows, best], margins[rows, best]


def choose_threshold(ones: Neighbours, others: Neighbours) -> float:
    """Return the least margin, `LEAST` or more, from which on about one pair in 20 is false, as far as can be told.

    How false pairs score is seen by leaving out the nearest text of each, which is its translation if there is one:
    what is then found is false. Of the candidates from the threshold on there are 20 times as many as of those. Where
    few texts have a translation, false pairs score more than that, and `LEAST` keeps most of them out.
    ``ones`` and ``others`` have one neighbour more than a margin is made of.
    """
    if min(ones.numbers.shape[1], others.numbers.shape[1]) < 2:
        return LEAST  # of one text there is no other to compare with
    found = candidates(ones.first(NEIGHBOURS), others.first(NEIGHBOURS)).margins  # descending
    false = np.sort(candidates(ones.without_nearest(), others.without_nearest()).margins)
    above = len(false) - np.searchsorted(false, found)  # of false ones at each candidate's margin or over it
    allowed = np.flatnonzero(above <= FALSE * np.arange(1, len(found) + 1))
    return max(LEAST, float(found[allowed[-1]])) if len(allowed) else float("inf")
