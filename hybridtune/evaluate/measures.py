"""The retrieval measures, by their ir_measures names, of many ranked lists at once.

A list is known by the ranks of its relevant passages alone; that is all these measures read.
"""

import re
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridtune.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MEASURES = ("AP", "RR", "nDCG@10", "R@1", "R@10", "R@100")
UNRETRIEVED = 2**62  # the rank of a relevant passage that a truncated list lacks: below every depth there is
_MEASURE = re.compile(r"(?:(AP|RR|nDCG)(?:@([1-9]\d*))?|(R|Success)@([1-9]\d*))")


def is_measure(name: str) -> bool:
    """Whether ``parse_measure`` takes the name."""
    return _MEASURE.fullmatch(name) is not None


def parse_measure(measure: str) -> tuple[str, int | None]:
    """Splits an ir_measures name: "nDCG@10" -> ("nDCG", 10), "AP" -> ("AP", None).

    Raises:
        InputError: not one of AP, RR, nDCG (cutoff optional), R@k, Success@k with k >= 1.
    """
    found = _MEASURE.fullmatch(measure)
    if found is None:
        raise InputError(f"unknown measure {measure!r}; known: AP, RR, nDCG (or with @k), R@k, Success@k")
    cutoff = found[2] or found[4]
    return found[1] or found[3], int(cutoff) if cutoff else None


class Lists:
    """Ranked lists end to end, each as the ranks of its relevant passages.

    Args:
        ranks: int64 [N], >= 1, ascending within a list; UNRETRIEVED where the list lacks the passage.
        gains: float64 [N], > 0, the grade of the passage.
        starts: int64 [n], first entry of each list; no list is empty.

    Attributes:
        sizes: int64 [n], relevant passages of each list, retrieved or not.
        owner: int64 [N], the list of each entry.
        place: int64 [N], 1 for the best ranked relevant passage of a list, 2 for the next.
        first: int64 [n], the best rank of a list. last: int64 [n], the worst.
    """

    def __init__(self, ranks: Ints, gains: Floats, starts: Ints) -> None:
        self.ranks, self.gains, self.starts = ranks, gains, starts
        self.sizes = np.diff(starts, append=len(ranks))
        self.owner = np.repeat(np.arange(len(starts)), self.sizes)
        self.place = np.arange(len(ranks)) - starts[self.owner] + 1
        self.first, self.last = ranks[starts], ranks[starts + self.sizes - 1]

    def sums(self, values: NDArray[Any]) -> Floats:
        """Sum of one value per entry over each list: [N] -> float64 [n]."""
        return np.bincount(self.owner, values, minlength=len(self.starts)).astype(np.float64)

    def values(self, name: str, cutoff: int | None) -> Floats:
        """A measure of each list, float64 [n].

        The denominators are over all relevant passages, whatever the cutoff and whether retrieved or not: the
        relevant passages themselves (AP, R), their gains in the best order and cut off alike (nDCG).

        Args:
            name: AP, RR, nDCG, R or Success.
            cutoff: ranks below it count for nothing; None: full depth.

        Source: trec_eval's map, map_cut, recip_rank, recall, success and ndcg, ndcg_cut (gain = grade, discount
        log2(rank + 1)), which ir_measures' AP, AP@k, RR, R@k, Success@k, nDCG, nDCG@k call.
        """
        depth = UNRETRIEVED - 1 if cutoff is None else min(cutoff, UNRETRIEVED - 1)
        within = self.ranks <= depth
        if name == "AP":
            return self.sums(within * self.place / self.ranks) / self.sizes
        if name == "R":
            return self.sums(within) / self.sizes
        if name == "nDCG":
            ideal = self.sums((self.place <= depth) * self._best_first / np.log2(self.place + 1))
            return self.sums(within * self.gains / np.log2(self.ranks + 1)) / ideal
        return (self.first <= depth) / (self.first if name == "RR" else 1)

    @cached_property
    def _best_first(self) -> Floats:
        """The gains of each list in descending order: what the best ranking would show."""
        if (self.gains == self.gains[:1]).all():
            return self.gains
        return self.gains[np.lexsort((-self.gains, self.owner))]
