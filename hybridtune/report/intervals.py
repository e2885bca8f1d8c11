"""PURE. How far the means of one model could lie off: bootstrap intervals over topics or documents.

Per-query values go in, 95 % intervals by metric come out for `tables`; the draws are those of `metrics.resampling`.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from hybridtune.metrics.arrays import Float64, Int64
from hybridtune.metrics.metrics import SETTINGS
from hybridtune.metrics.names import parse_metric
from hybridtune.metrics.per_query import PerQuery
from hybridtune.metrics.resampling import bootstrap_means, cell_weights, cells, interval
from hybridtune.metrics.selection import group_rule, rankings_of
from hybridtune.metrics.significance import harmonic_mean
from hybridtune.metrics.units import Unit, unit_numbers

DRAWS = 2_000

Interval = tuple[float, float]


def intervals(
    values: PerQuery, metrics: Sequence[str], unit: Unit, *, seed: int = 0, draws: int = DRAWS
) -> dict[str, Interval]:
    """Return 95 % percentile intervals of a model's means, taken as ``metrics.score`` takes them; units are resampled.

    The unit is that of `metrics.units.choose_unit` for all values that are shown together. The three settings of
    ``balanced/AP`` are resampled together, as the translations of a question are.

    Metrics without a defined value, or over fewer than 2 units, are left out; the draws are a function of the
    arguments alone.
    """
    return {name: interval(means) for name, means in _drawn(values, metrics, unit, seed, draws).items()}


def difference_intervals(
    a: PerQuery, b: PerQuery, metrics: Sequence[str], unit: Unit, *, seed: int = 0, draws: int = DRAWS
) -> dict[str, Interval]:
    """Return the intervals of b - a, both resampled together, of the metrics that both define.

    It is empty where the two do not hold the same rankings.
    """
    same = a.about.get("benchmark_digest") == b.about.get("benchmark_digest")
    if not same or not np.array_equal(a.topic, b.topic) or not np.array_equal(a.query_id, b.query_id):
        return {}
    of_b, of_a = _drawn(b, metrics, unit, seed, draws), _drawn(a, metrics, unit, seed, draws)
    return {name: interval(of_b[name] - of_a[name]) for name in of_b if name in of_a}


def mean(values: PerQuery, metric: str) -> float:
    """Return a model's mean in a metric that it defines, as ``metrics.score`` takes it."""
    settings = SETTINGS if metric.startswith("balanced/") else ("balanced",)
    means = []
    for name in (metric.replace("balanced", setting, 1) for setting in settings):
        rows = _defined(values, name)
        means.append(cell_weights(cells(values, rows)) @ values.measures[parse_metric(name).measure][rows])
    return float(harmonic_mean(np.array([means]))[0])


def count_units(values: PerQuery, metric: str, unit: Unit) -> int:
    """Return how many units define a metric; of ``balanced/AP``, those of multi."""
    return len(np.unique(unit_numbers(values, unit)[_defined(values, metric.replace("balanced/", "multi/", 1))]))


def _drawn(values: PerQuery, metrics: Sequence[str], unit: Unit, seed: int, draws: int) -> dict[str, Float64]:
    """Return float64 [draws] a metric, where it is defined for two units."""
    parts = {
        name: [name.replace("balanced", setting, 1) for setting in SETTINGS]
        for name in metrics
        if name.startswith("balanced/")
    }
    numbers = unit_numbers(values, unit)
    found: dict[str, Float64] = {}
    for name in dict.fromkeys([*metrics, *itertools.chain(*parts.values())]):
        rows = _defined(values, name)
        number = np.unique(numbers[rows], return_inverse=True)[1]
        if number.max(initial=0) > 0:
            measured = values.measures[parse_metric(name).measure][rows]
            found[name] = bootstrap_means(measured, number, cells(values, rows), draws, seed)
    for name, settings in parts.items():
        if all(part in found for part in settings):
            found[name] = harmonic_mean(np.stack([found[part] for part in settings], 1))
    return {name: found[name] for name in metrics if name in found}


def _defined(values: PerQuery, metric: str) -> Int64:
    """Return the rows of the rankings that define a metric of one setting."""
    setting, measure, group = parse_metric(metric)
    if measure not in values.measures:
        return np.empty(0, np.int64)
    return np.flatnonzero(
        rankings_of(values, setting, group_rule([values], group)) & ~np.isnan(values.measures[measure])
    )
