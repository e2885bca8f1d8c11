"""PURE. Resampling over units: bootstrap means and sign-flip p values, for `significance` and for the report.

Per-query values of one model or of two go in. What is drawn is a *unit* (a topic or a document, see `units`), never a
ranking: the translations of one question rise and fall together, and counting them one by one would find differences in
noise.
"""

from collections.abc import Callable, Sequence

import numpy as np

from hybridtune.metrics.arrays import Float64, Int64
from hybridtune.metrics.per_query import PerQuery

EXACT_UNITS = 14  # 2**14 sign assignments are all looked at
_ELEMENTS = 1 << 20  # of one float64 block: 8 MiB


def cells(values: PerQuery, rows: Int64) -> Int64:
    """Return the cell of each ranking, numbered from 0: its query and pool language. Means are over cells of means."""
    names = np.strings.add(np.strings.add(values.query_language[rows], ">"), values.pool_language[rows])
    return np.unique(names, return_inverse=True)[1]


def cell_weights(cell: Int64) -> Float64:
    """Return weights [N] with which a sum over rankings is the mean over cells of their means."""
    sizes = np.bincount(cell)
    weights: Float64 = 1 / (len(sizes) * sizes[cell])
    return weights


def sign_flip_p(
    statistic: Callable[[Float64], Float64], contributions: Float64, draws: int, seed: int | Sequence[int]
) -> float:
    """Return how easily chance gives a statistic as far from 0, had each unit's two models been named by a coin.

    Args:
        statistic: of sums [n, S] over units of signed contributions, in n assignments of signs; float64 [n].
        contributions: float64 [U, S], what each unit adds to a difference in each of S means.
        draws: sign assignments drawn where more than 14 units contribute; the one seen counts as one more, so p > 0.
        seed: of the draws.

    Returns:
        p in (0, 1], two-sided; of up to 14 units all assignments are enumerated, and it has no sampling error.

    Source: Smucker, Allan and Carterette, CIKM 2007; Phipson and Smyth, SAGMB 2010, for the + 1.
    """
    flipped = contributions[contributions.any(axis=1)]  # the sign of a 0 changes nothing: fewer to enumerate
    units = len(flipped)
    # Assignments that tie by arithmetic differ in their last bits; they are as extreme.
    seen = abs(float(statistic(flipped.sum(0, keepdims=True))[0]))
    least = seen - 1e-10 * float(np.abs(flipped).sum())
    if units <= EXACT_UNITS:
        ups = (np.arange(2**units)[:, None] >> np.arange(units)) & 1  # [2**U, U]
        return float(np.mean(np.abs(statistic((2.0 * ups - 1) @ flipped)) >= least))
    random, extreme = np.random.default_rng(seed), 0
    step = max(1, _ELEMENTS // units)
    for start in range(0, draws, step):
        ups = random.integers(2, size=(min(step, draws - start), units), dtype=np.int8)
        extreme += int(np.sum(np.abs(statistic((2.0 * ups - 1) @ flipped)) >= least))
    return (1 + extreme) / (1 + draws)


def bootstrap_means(values: Float64, unit: Int64, cell: Int64, draws: int, seed: int) -> Float64:
    """Return the mean over cells of the means of their values in each of many resamples of the units, float64 [draws].

    A cell that no drawn unit has is left out of that draw's outer mean. Values of the same units are resampled
    alike, whatever their cells, so that means can be combined draw by draw. With few units intervals made from them are
    known to be too narrow, see `units.FEW`.

    Args:
        values: float64 [N], of one model or paired differences of two.
        unit: int64 [N], numbered 0 to U - 1 without a gap.
        cell: int64 [N], 0 to C - 1 without a gap, see `cells`.
        draws: resamples. seed: of them.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    units, count = int(unit.max()) + 1, int(cell.max()) + 1
    totals, present = np.zeros(draws), np.zeros(draws)
    width, step = max(1, _ELEMENTS // units), max(1, _ELEMENTS // max(units, min(count, _ELEMENTS // units)))
    for first in range(0, count, width):
        last = min(count, first + width)
        rows = (cell >= first) & (cell < last)
        index, shape = unit[rows] * (last - first) + cell[rows] - first, (units, last - first)
        sums = np.bincount(index, values[rows], minlength=shape[0] * shape[1]).reshape(shape)
        sizes = np.bincount(index, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
        random = np.random.default_rng([seed, 1])  # the same resamples for every block of cells
        for start in range(0, draws, step):
            # [n, U]: how often each unit is drawn in U draws with replacement
            size = min(step, draws - start)
            picked = random.integers(units, size=(size, units)) + np.arange(0, size * units, units)[:, None]
            times = np.bincount(picked.ravel(), minlength=size * units).reshape(size, units).astype(np.float64)
            counts = times @ sizes  # [n, C]
            means = (times @ sums) / np.maximum(counts, 1)
            totals[start : start + step] += means.sum(1)  # an empty cell adds 0
            present[start : start + step] += (counts > 0).sum(1)
    return totals / present


def interval(means: Float64) -> tuple[float, float]:
    """Return the 95 % percentile interval of resampled means."""
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
