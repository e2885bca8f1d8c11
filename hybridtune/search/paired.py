"""PURE. Two models trained with several seeds each: what seeds alone change, and what topics alone change."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridtune.evaluate.evidence import EXACT_TOPICS, permutation_p
from hybridtune.evaluate.metrics import SETTINGS
from hybridtune.evaluate.per_query import Floats, PerQuery, align

SIGNS = 10_000  # assignments drawn where there are too many to enumerate
_ELEMENTS = 1 << 20  # of one float64 block: 8 MiB


def welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float] | None:
    """The 95 % interval of mean(b) - mean(a), and its standard error; no equal spreads are assumed.

    Args:
        a: a value a seed.
        b: the same of the other; may be of other length.

    Returns:
        low, high, standard error; None where either has fewer than 2 values.
    """
    if min(len(a), len(b)) < 2:
        return None
    parts = [float(np.var(one, ddof=1)) / len(one) for one in (a, b)]
    difference, error = float(np.mean(b) - np.mean(a)), math.sqrt(sum(parts))
    if error == 0:
        return difference, difference, 0.0
    # Welch and Satterthwaite's degrees of freedom, by shares: the squares of tiny variances would be 0.
    shares = [part / sum(parts) for part in parts]
    freedom = 1 / sum(share**2 / (len(one) - 1) for share, one in zip(shares, (a, b), strict=True))
    half = t_quantile(freedom) * error
    return difference - half, difference + half, error


def t_quantile(freedom: float, inside: float = 0.95) -> float:
    """The t between whose negative and itself Student's distribution has a share ``inside``.

    Args:
        freedom: degrees of freedom, >= 1; need not be whole.
        inside: in (0, 1).
    """
    # With t = sqrt(freedom) tan(x) the density is cos(x)**(freedom - 1), up to a factor, on x in [0, pi/2).
    whole = math.sqrt(math.pi) / 2 * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))
    nodes, weights = np.polynomial.legendre.leggauss(200)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        x = middle / 2 * (nodes + 1)
        share = middle / 2 * float(weights @ np.cos(x) ** (freedom - 1)) / whole
        low, high = (middle, high) if share < inside else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def paired_by_seed(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Sign-flip permutation p of two models trained with the same seeds, two-sided; None of fewer than 2 seeds.

    It cannot be below 2 ** (1 - n) of n seeds.
    """
    if len(a) < 2:
        return None
    return permutation_p(np.subtract(b, a).astype(np.float64), SIGNS, 0)[0]


def averaged(files: Sequence[PerQuery]) -> PerQuery:
    """Per-query values as means over seeds, of the rankings that all have.

    Raises:
        InputError: other benchmarks, or no ranking in common.
    """
    mean = files[0]
    for count, other in enumerate(files[1:], start=1):
        kept, rows = align(mean, other)
        measures = {
            name: (values[kept] * count + other.measures[name][rows]) / (count + 1)
            for name, values in mean.measures.items()
            if name in other.measures
        }
        places = {
            name: getattr(mean, name)[kept]
            for name in ("setting", "query_id", "topic", "query_language", "pool_language")
        }
        mean = replace(mean, measures=measures, **places)
    return mean


def paired_by_topic(a: PerQuery, b: PerQuery, metric: str, seed: int = 0) -> tuple[float, int] | None:
    """How easily chance gives two models' difference in a metric, had each topic's two models been named by a coin.

    The metric is computed anew for each assignment of signs, so balanced/AP, which is no mean over topics, is tested
    like any other.

    Args:
        a: per-query values, of one run or averaged over seeds.
        b: of the other model.
        metric: with its setting, like ``multi/AP``; or ``balanced/AP``.
        seed: of the signs, where there are too many to enumerate.

    Returns:
        p in (0, 1], two-sided, and the number of topics; None where fewer than 2 define the metric in both.
    """
    setting, _, measure = metric.partition("/")
    settings = SETTINGS if setting == "balanced" else (setting,)
    found = _by_topic(a, b, measure, settings)
    if found is None:
        return None
    topics, total, change = found
    change = change[change.any(axis=1)]  # the sign of a 0 changes nothing: fewer to enumerate

    def difference(ups: NDArray[np.integer[Any]]) -> Floats:
        moved = (2.0 * ups - 1) @ change  # [n, settings]
        values: Floats = _mean((total + moved) / 2) - _mean((total - moved) / 2)
        return values

    seen = float(difference(np.ones((1, len(change)), np.int8))[0])
    least = abs(seen) - 1e-10 * float(np.abs(change).sum())  # assignments that tie by arithmetic are as extreme
    if len(change) <= EXACT_TOPICS:
        ups = (np.arange(2 ** len(change))[:, None] >> np.arange(len(change))) & 1  # [2**T, T]
        return float(np.mean(np.abs(difference(ups)) >= least)), topics
    random, extreme = np.random.default_rng(seed), 0
    step = max(1, _ELEMENTS // len(change))
    for start in range(0, SIGNS, step):
        ups = random.integers(2, size=(min(step, SIGNS - start), len(change)), dtype=np.int8)
        extreme += int(np.sum(np.abs(difference(ups)) >= least))
    return (1 + extreme) / (1 + SIGNS), topics


def _by_topic(a: PerQuery, b: PerQuery, measure: str, settings: Sequence[str]) -> tuple[int, Floats, Floats] | None:
    """What each topic adds to the metric's two means.

    Returns:
        the number of topics that define the measure in both; float64 [S], the sum of the two means in each setting;
        float64 [T, S], what each topic adds to their difference. None where a setting has fewer than 2 topics.
    """
    if measure not in a.measures or measure not in b.measures:
        return None
    rows_a, rows_b = align(a, b)
    topics = int(a.topic.max()) + 1
    change, sums, counted = np.zeros((topics, len(settings))), np.zeros(len(settings)), 0
    for place, setting in enumerate(settings):
        here = a.setting[rows_a] == setting
        x, y = a.measures[measure][rows_a[here]], b.measures[measure][rows_b[here]]
        defined = ~(np.isnan(x) | np.isnan(y))
        rows, x, y = rows_a[here][defined], x[defined], y[defined]
        if len(np.unique(a.topic[rows])) < 2:
            return None
        counted = max(counted, len(np.unique(a.topic[rows])))
        names = np.strings.add(np.strings.add(a.query_language[rows], ">"), a.pool_language[rows])
        cell = np.unique(names, return_inverse=True)[1]
        sizes = np.bincount(cell)
        weights = 1 / (len(sizes) * sizes[cell])  # a mean over cells of means, as `score` takes it
        change[:, place] = np.bincount(a.topic[rows], weights * (y - x), minlength=topics)
        sums[place] = weights @ (x + y)
    return counted, sums, change


def _mean(values: Floats) -> Floats:
    """[n]: the harmonic mean over settings; of one, itself."""
    if values.shape[1] == 1:
        return values[:, 0]
    positive = np.maximum(values, 1e-300)  # a setting of 0 makes the mean 0
    mean: Floats = values.shape[1] / np.sum(1 / positive, axis=1)
    return mean
