"""PURE. A paired test that is small enough to travel: what each unit adds to a metric, and who is behind whom by it.

A search that stops trials on their way compares them at every score. The per-query values lie with the checkpoints, on
any node or URL; the shares of their units, some kilobytes, come with the report.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hybridtune.metrics.metrics import SETTINGS, direction
from hybridtune.metrics.names import parse_metric
from hybridtune.metrics.per_query import PerQuery
from hybridtune.metrics.resampling import cell_weights, cells
from hybridtune.metrics.selection import group_rule, rankings_of
from hybridtune.metrics.significance import flip_p, harmonic_mean
from hybridtune.metrics.units import Unit, unit_numbers

Shares = NDArray[np.float32]  # [U, S]: what each unit adds to the mean of each setting
_FIRST_DRAWS = 1_000  # tell most trials that are not behind from the rest
_MOST_DRAWS = 200_000  # sign assignments; a level below 1 / 200,000 is never reached, and nothing is stopped by it
_DRAWS_AT_LEVEL = 20  # assignments as extreme that may be seen where p is the level


def unit_shares(values: PerQuery, metric: str, unit: Unit) -> Shares:
    """Return what each unit adds to a metric's mean in each of its settings, float32 [U, S].

    A column sums up to the mean of its setting: S is 1, or for ``balanced/AP`` 3, whose harmonic mean the metric is.
    Rankings that do not define the metric add nothing. Two models' shares may be subtracted where the same rankings
    define it in both, which is so of all measures that full rankings give.

    Args:
        values: per-query values of one model.
        metric: with its setting, like ``multi/AP`` or ``cross/AP@en-sw``; or ``balanced/AP``.
        unit: topics or documents, of `units.choose_unit`; the units of one benchmark have the same rows for all models.
    """
    setting, measure, group = parse_metric(metric)
    rule, numbers = group_rule([values], group), unit_numbers(values, unit)
    columns = []
    for one in SETTINGS if setting == "balanced" else (setting,):
        rows = np.flatnonzero(rankings_of(values, one, rule) & ~np.isnan(values.measures[measure]))
        weights = cell_weights(cells(values, rows)) * values.measures[measure][rows]
        columns.append(np.bincount(numbers[rows], weights, minlength=int(numbers.max(initial=-1)) + 1))
    return np.stack(columns, axis=1).astype(np.float32)


def shares_value(shares: Shares) -> float:
    """Return the metric that shares are of."""
    return float(harmonic_mean(shares.astype(np.float64).sum(0, keepdims=True))[0])


def leader(rivals: Mapping[str, Shares], metric: str) -> str:
    """Return the name of the rival that is best, the first by name of equals."""
    sign = 1 if direction(metric) == "max" else -1
    return max(sorted(rivals), key=lambda name: sign * shares_value(rivals[name]))


def is_behind(own: Shares, best: Shares, metric: str, level: float) -> bool:
    """Return whether a model is worse than another by the paired sign-flip test over units, p below ``level``.

    Few sign assignments are drawn where they show already that it is not, and more the smaller the level. The same
    shares give the same answer.

    Args:
        own: shares of the model. best: of the other, on the same benchmark.
        metric: that they are of.
        level: in (0, 1), of this one look; see `look_level`.
    """
    sign = 1 if direction(metric) == "max" else -1
    if sign * (shares_value(best) - shares_value(own)) <= 0:
        return False
    change, total = (best - own).astype(np.float64), (best + own).astype(np.float64).sum(0)
    if flip_p(change, total, _FIRST_DRAWS, 0) > max(0.02, 5 * level):
        return False
    return flip_p(change, total, min(_MOST_DRAWS, math.ceil(_DRAWS_AT_LEVEL / level)), 0) < level


def look_level(alpha: float, looks: int, rivals: int) -> float:
    """Return the level of one look of several at the best of several rivals: ``alpha`` in equal parts.

    By the union bound a trial that is as good as each of its rivals at every look is stopped with a chance of at most
    ``alpha``, whatever the dependence between looks and rivals.
    """
    return alpha / (max(1, looks) * max(1, rivals))
