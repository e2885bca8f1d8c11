"""PURE. The gain that further trials of a search may bring, and the noise under which no gain can be told from chance.

Optuna's own terminators are deprecated, and model the objective anew by a Gaussian process over 20 trials or more; here
the values of the trials alone are asked, whatever proposed them.
"""

import math
from collections.abc import Sequence

import numpy as np

from hybridtune.metrics.racing import Shares
from hybridtune.metrics.significance import harmonic_mean

LEAST = 4  # values from which a tail can be read
_DRAWS = 2_000


def expected_gain(values: Sequence[float], ahead: int) -> float:
    """Return by how much the best of some values is expected to rise with ``ahead`` further ones like them.

    The excesses of the upper half of the values over the next below are taken for exponential; then the best of n
    values rises with m more by their mean times 1/(n + 1) + ... + 1/(n + m). Scores that have an upper bound have a
    lighter tail, so that this is rather too much than too little. It takes the values for draws of one kind: give those
    of the later trials, where a sampler has learned.

    Args:
        values: at least 4, more is better.
        ahead: further values, at least 1.

    """
    ranked = sorted(values, reverse=True)
    count, upper = len(ranked), len(ranked) // 2
    excess = sum(ranked[:upper]) / upper - ranked[upper]
    return excess * sum(1 / (count + further) for further in range(1, ahead + 1))


def paired_noise(one: Shares, other: Shares, seed: int) -> float:
    """Return the standard deviation, over resampled units, of the difference of two models in a metric.

    Args:
        one: shares of a model's units, see `racing.unit_shares`. other: of another on the same benchmark.
        seed: of the resamples.
    """
    units = len(one)
    times = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=_DRAWS).astype(np.float64)
    apart = harmonic_mean(times @ one.astype(np.float64)) - harmonic_mean(times @ other.astype(np.float64))
    return float(apart.std(ddof=1))


def seed_noise(spreads: Sequence[float]) -> float:
    """Return the standard deviation of the difference of two trainings, of the spreads over seeds of several."""
    return math.sqrt(2 * sum(spread**2 for spread in spreads) / len(spreads))
