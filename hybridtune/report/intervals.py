"""PURE. How far the means of one model could lie off: bootstrap intervals over topics, of every setting and of all."""

from collections.abc import Sequence

import numpy as np

from hybridtune.metrics.arrays import Float64, Int64
from hybridtune.metrics.metrics import SETTINGS
from hybridtune.metrics.per_query import PerQuery

DRAWS = 2_000
BALANCED = "balanced/AP"
_TAILS = (2.5, 97.5)
_ELEMENTS = 1 << 20  # of one float64 block: 8 MiB

Interval = tuple[float, float]


def intervals(values: PerQuery, metrics: Sequence[str], *, seed: int = 0, draws: int = DRAWS) -> dict[str, Interval]:
    """95 % percentile intervals of a model's means, taken as ``metrics.score`` takes them; topics are resampled.

    The translations of a question are one topic: they rise and fall together. The three settings of ``balanced/AP``
    are resampled together too. With few topics (under 20, say) such intervals are known to be too narrow.

    Args:
        values: per-query values of one model.
        metrics: names such as ``multi/AP``; those without a defined value, or over fewer than 2 topics, are left out.
        seed: >= 0, of the resamples.
        draws: >= 1, resamples.

    Returns:
        metric -> (low, high); a function of the arguments alone.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    return {name: _interval(means) for name, means in _drawn(values, metrics, seed, draws).items()}


def difference_intervals(
    a: PerQuery, b: PerQuery, metrics: Sequence[str], *, seed: int = 0, draws: int = DRAWS
) -> dict[str, Interval]:
    """The same of b - a, both resampled together.

    Args:
        a: per-query values of one model.
        b: of another, on the same benchmark; of files that do not hold the same rankings there is nothing to pair.
        metrics: names; those that either does not define are left out.
        seed: >= 0, of the resamples.
        draws: >= 1, resamples.
    """
    same = a.about.get("benchmark_digest") == b.about.get("benchmark_digest")
    if not same or not np.array_equal(a.topic, b.topic) or not np.array_equal(a.query_id, b.query_id):
        return {}
    ours, theirs = _drawn(b, metrics, seed, draws), _drawn(a, metrics, seed, draws)
    return {name: _interval(ours[name] - theirs[name]) for name in ours if name in theirs}


def _interval(means: Float64) -> Interval:
    low, high = np.percentile(means, _TAILS)
    return float(low), float(high)


def _drawn(values: PerQuery, metrics: Sequence[str], seed: int, draws: int) -> dict[str, Float64]:
    """float64 [draws] a metric, where it is defined."""
    parts = [f"{setting}/AP" for setting in SETTINGS] if BALANCED in metrics else []
    means = {
        name: _draw_means(values, name, seed, draws) for name in dict.fromkeys([*metrics, *parts]) if name != BALANCED
    }
    found = {name: drawn for name, drawn in means.items() if drawn is not None}
    if parts and all(part in found for part in parts):
        found[BALANCED] = _harmonic(np.array([found[part] for part in parts]))
    return {name: found[name] for name in metrics if name in found}


def topics(values: PerQuery, metric: str) -> int:
    """Topics whose rankings define a metric; of ``balanced/AP``, those of multi."""
    return len(np.unique(values.topic[_defined(values, "multi/AP" if metric == BALANCED else metric)]))


def _defined(values: PerQuery, metric: str) -> Int64:
    setting, _, measure = metric.partition("/")
    if measure not in values.measures:
        return np.empty(0, np.int64)
    return np.flatnonzero((values.setting == setting) & ~np.isnan(values.measures[measure]))


def _draw_means(values: PerQuery, metric: str, seed: int, draws: int) -> Float64 | None:
    """float64 [draws]: the metric in each resample of the topics; None where it is not defined for 2 topics."""
    rows = _defined(values, metric)
    topic = np.unique(values.topic[rows], return_inverse=True)[1]
    if not len(rows) or topic.max() < 1:
        return None
    names = np.strings.add(np.strings.add(values.query_language[rows], ">"), values.pool_language[rows])
    cell = np.unique(names, return_inverse=True)[1]
    size, cells = int(topic.max()) + 1, int(cell.max()) + 1
    place = topic * cells + cell
    sums = np.bincount(place, values.measures[metric.partition("/")[2]][rows], minlength=size * cells)
    counts = np.bincount(place, minlength=size * cells).astype(np.float64)
    both = np.concatenate([sums.reshape(size, cells), counts.reshape(size, cells)], 1)  # [T, 2 C]
    random = np.random.default_rng([seed, 1])  # by setting the same topics: the same resamples
    step, means = max(1, _ELEMENTS // max(size, 2 * cells)), []
    for start in range(0, draws, step):
        totals = _resamples(random, min(step, draws - start), size) @ both  # [n, 2 C]
        present = totals[:, cells:] > 0
        of_cells = np.where(present, totals[:, :cells] / np.maximum(totals[:, cells:], 1), 0.0)
        means.append(of_cells.sum(1) / present.sum(1))  # a cell that no drawn topic has is left out
    return np.concatenate(means)


def _resamples(random: np.random.Generator, draws: int, size: int) -> Float64:
    """[draws, T]: how often each topic is drawn in T draws with replacement."""
    picked = random.integers(size, size=(draws, size)) + np.arange(0, draws * size, size)[:, None]
    return np.bincount(picked.ravel(), minlength=draws * size).reshape(draws, size).astype(np.float64)


def _harmonic(parts: Float64) -> Float64:
    """Harmonic mean over the settings, [3, draws] -> [draws]; 0 where one is 0."""
    with np.errstate(divide="ignore"):
        means: Float64 = len(parts) / (1 / parts).sum(0)
    return means
