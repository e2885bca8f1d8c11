"""PURE. Scores standardised per query and pool language, and what they do to ranks, exactly.

An encoder that keeps its languages apart scores all passages of one language higher than those of another. Taken off
the mean of a query's scores over a language's passages, and divided by their deviation, the scores of all languages can
be ranked together; the order inside a language, and so mono and cross, cannot change.

No score is computed for it: the mean and the deviation over a pool follow from the moments of its vectors, and what
they do to the ranking is a threshold for each relevant passage and language, which `RankCounter` counts against.
Moments are sums of whole numbers, exact in any partition, so that ranks do not depend on how the pool was cut.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Float32, Float64, Int64
from hybridtune.metrics.scores import from_order, join_keys, pair_scores, to_order, tree_sum

_BITS, _HALF = 24, 12  # of a number as a whole one: as many as float32 has
_LEAST_VARIANCE = 2.0**-40  # of the scores of one passage, or of equal ones, which are all rounding


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over passages of one language; they add up exactly, in any order.

    ``sums`` is [D], ``high``, ``mixed`` and ``low`` are [D, D], sums of products of the halves of the numbers.
    """

    count: int
    sums: Float64
    high: Float64
    mixed: Float64
    low: Float64

    @classmethod
    def of(cls, vectors: Float32) -> "Moments":
        """Return the moments of vectors [n, D] with numbers in [-1, 1], fewer than 2**28 of them.

        Raises:
            InputError: a number beyond 1: the vectors are not of unit length.
        """
        whole, high, low = _halves(vectors)
        return cls(len(vectors), whole.sum(0), high.T @ high, high.T @ low, low.T @ low)

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of the passages of both."""
        names = ("count", "sums", "high", "mixed", "low")
        return Moments(*(getattr(self, name) + getattr(other, name) for name in names))

    def mean(self) -> Float64:
        """Return the mean vector [D]."""
        return self.sums / max(self.count, 1) / 2.0**_BITS

    def covariance(self) -> Float64:
        """Return the covariance [D, D] over the passages."""
        products = self.high * 4.0**_HALF + (self.mixed + self.mixed.T) * 2.0**_HALF + self.low
        mean = self.mean()
        covariance: Float64 = products / max(self.count, 1) / 4.0**_BITS - mean[:, None] * mean
        return covariance


class Standard(NamedTuple):
    """The mean and the deviation of each query's scores over each language's passages, float64 [Q, L], the second > 0.

    Of a language without a passage they are 0 and the least there is.
    """

    mean: Float64
    deviation: Float64


class _Standardised(NamedTuple):
    """`Standard` as float64 tensors of the shape of the scores, or one that spreads to it."""

    mean: Tensor
    deviation: Tensor

    def of(self, scores: Tensor) -> Tensor:
        """Return float32 scores standardised, float64; it never falls as a score rises."""
        return (scores.double() - self.mean) / self.deviation


def standard_of(queries: Float32, pools: list[Moments]) -> Standard:
    """Return mean and deviation of the scores of queries [Q, D] over pools, one a language."""
    whole, high, low = _halves(queries)
    exact = queries.astype(np.float64)
    found = np.empty((2, len(queries), len(pools)))
    for column, pool in enumerate(pools):
        found[0, :, column] = _tree(exact * pool.mean())
        covariance = pool.covariance()
        scale = 2.0 ** (_BITS - np.ceil(np.log2(np.abs(covariance).max(initial=0.0) or 1.0)))
        numbers = np.rint(covariance * scale)  # whole: both products are then exact, whatever multiplies them
        spread = (high @ numbers) * 2.0**_HALF + low @ numbers  # [Q, D]
        variance = _tree(whole * spread) / scale / 4.0**_BITS
        found[1, :, column] = np.sqrt(np.maximum(variance, _LEAST_VARIANCE))
    return Standard(found[0], found[1])


def thresholds(standard: Standard, query_index: Int64, scores: Float32, order: Int64, language: Int64) -> Int64:
    """Return the keys that a passage of each language must be above to outrank each pair, int64 [R, L].

    A passage outranks another where its standardised score is greater; of equal ones the greater score wins, of equal
    scores the tie order. The standardised score is (score - mean) / deviation in float64, of the score in float32.

    Args:
        standard: of all queries. query_index: int64 [R], of each pair.
        scores: float32 [R], `pair_scores` of the pairs. order: int64 [R], the tie order of their passages.
        language: int64 [R], of their passages, in [0, L).
    """
    row = np.arange(len(scores))
    every = _Standardised(*(torch.from_numpy(of[query_index]) for of in standard))  # [R, L]
    own = _Standardised(every.mean[row, language][:, None], every.deviation[row, language][:, None])  # [R, 1]
    score = torch.from_numpy(scores)[:, None]
    place, wanted = to_order(score + 0.0), own.of(score)
    below, equal = _last(every, wanted, equal=False), _last(every, wanted, equal=True)  # [R, L]
    found = torch.minimum(torch.maximum(place, below), equal)
    tied = (below < place) & (place <= equal)
    keys: Int64 = join_keys(found, torch.where(tied, torch.from_numpy(order)[:, None], 0)).numpy()
    return keys


def thresholds_in_memory(
    queries: Float32,
    passages: Float32,
    query_index: Int64,
    passage_index: Int64,
    order: Int64,
    language: Int64,
    languages: int,
) -> Int64:
    """Return `thresholds` of vectors in memory; the arguments are those of `ranks.outranking`."""
    pools = [Moments.of(passages[language == code]) for code in range(languages)]
    tensors = map(torch.tensor, (queries, passages, query_index, passage_index))
    scores = pair_scores(*tensors).numpy()
    standard = standard_of(queries, pools)
    return thresholds(standard, query_index, scores, order[passage_index], language[passage_index])


def _last(standard: _Standardised, wanted: Tensor, equal: bool) -> Tensor:
    """Return the place of the last float32 whose standardised score is below what is wanted, or at most it."""
    low = to_order(torch.full_like(standard.mean, -torch.inf, dtype=torch.float32))  # it always holds
    high = to_order(torch.full_like(standard.mean, torch.inf, dtype=torch.float32))  # it never does
    while (high - low > 1).any():
        middle = (low + high) // 2
        found = standard.of(from_order(middle))
        holds = found <= wanted if equal else found < wanted
        low, high = torch.where(holds, middle, low), torch.where(holds, high, middle)
    return low


def _halves(vectors: Float32) -> tuple[Float64, Float64, Float64]:
    """Return vectors as whole numbers, float64, and these as ``high`` * 2**12 + ``low``."""
    largest = float(np.abs(vectors).max(initial=0.0))
    if not largest <= 1.0 + 1e-6:
        raise InputError(f"scores are standardised of vectors of unit length; one has the number {largest:g}")
    whole = np.rint(vectors.astype(np.float64) * 2.0**_BITS)
    high = np.floor(whole / 2.0**_HALF)
    return whole, high, whole - high * 2.0**_HALF


def _tree(terms: Float64) -> Float64:
    found: Float64 = tree_sum(torch.from_numpy(terms)).numpy()
    return found
