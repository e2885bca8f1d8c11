"""PURE. Is B better than A? The difference of two models' means, its interval, and how easily chance gives it.

Rankings are paired, and what is drawn at random is the *topic*: the translations of one question rise and fall
together, so they are flipped and resampled together. Counting them one by one would find differences in noise.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Float64, Int64
from hybridtune.metrics.metrics import SETTINGS, direction
from hybridtune.metrics.per_query import PerQuery, align

ALPHA = 0.05  # Holm p below it is a verdict
DRAWS = 10_000
EXACT_TOPICS = 14  # 2**14 sign assignments are all looked at
B_BETTER, A_BETTER, NOT_SHOWN = "B better", "A better", "no difference shown"
_ELEMENTS = 1 << 20  # of one float64 block: 8 MiB
_TAILS = (100 * ALPHA / 2, 100 - 100 * ALPHA / 2)


@dataclass(frozen=True)
class Difference:
    """One measure in one setting, over the rankings that both models have and that define it in both.

    Attributes:
        measure: ir_measures name, or one of ``metrics.BIAS``.
        setting: mono, cross or multi.
        better: whether more ("max") or less ("min") of the measure is better.
        verdict: "B better", "A better", "no difference shown", or why there is none.
        rankings: that the means are over.
        topics: that these rankings belong to.
        undefined: rankings that both have and that either does not define the measure for.
        only_a: rankings of the setting that B does not have; in no figure here.
        only_b: that A does not have.
        a: mean of A, as ``metrics.score`` takes it. None, like all below it, where nothing is in common.
        b: mean of B.
        difference: b - a.
        low: lower end of the 95 % bootstrap interval of the difference; None with fewer than 2 topics.
        high: its upper end.
        p: two-sided, sign-flip permutation over topics; None with fewer than 2 topics.
        p_holm: p corrected for the settings of the measure.
        exact: all sign assignments were enumerated, so p has no sampling error.
    """

    measure: str
    setting: str
    better: Literal["max", "min"]
    verdict: str
    rankings: int
    topics: int
    undefined: int
    only_a: int
    only_b: int
    a: float | None = None
    b: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    exact: bool = False


@dataclass(frozen=True)
class Comparison:
    """All differences asked for, and what they are a function of; ``dataclasses.asdict`` of it is JSON."""

    a: Mapping[str, str]
    b: Mapping[str, str]
    seed: int
    draws: int
    differences: list[Difference]


def compare(a: PerQuery, b: PerQuery, measures: Sequence[str], *, seed: int = 0, draws: int = DRAWS) -> Comparison:
    """Compares B, the newer, with A: a difference above 0 means that B has more of the measure.

    Args:
        a: per-query values of A.
        b: of B, on the same benchmark.
        measures: of both. Holm corrects over the settings of each, not over the measures: name few, beforehand.
        seed: >= 0; of the signs and of the resamples.
        draws: >= 1, sign assignments (where there are too many to enumerate) and resamples.

    Returns:
        Per measure, the settings that define it in A or B; a function of the arguments alone.

    Raises:
        InputError: other benchmarks, no ranking in common, a measure that one side does not have.

    Source: Smucker, Allan and Carterette, CIKM 2007: for a difference of means, the randomization test.
    """
    if draws < 1 or seed < 0:
        raise InputError(f"draws {draws}, seed {seed}: draws is at least 1 and seed at least 0")
    known = [measure for measure in a.measures if measure in b.measures]
    missing = [measure for measure in measures if measure not in known]
    if missing:
        raise InputError(f"A and B do not both have {', '.join(missing)}; both have: {', '.join(known)}")
    rows_a, rows_b = align(a, b)
    differences: list[Difference] = []
    for measure in dict.fromkeys(measures):
        found = (_difference(a, b, rows_a, rows_b, measure, one, seed, draws) for one in SETTINGS)
        differences += _judged([one for one in found if one is not None])
    if not differences:
        raise InputError(f"no ranking of A or B defines {', '.join(measures)}")
    return Comparison(dict(a.about), dict(b.about), seed, draws, differences)


def permutation_p(contributions: Float64, draws: int, seed: int) -> tuple[float, bool]:
    """Chance of a sum as far from 0 as the one seen, had each topic's two models been named by a coin.

    Args:
        contributions: float64 [T], what each topic adds to the difference.
        draws: sign assignments drawn where T > 14 topics contribute; the one seen counts as one more, so p > 0.
        seed: of the draws.

    Returns:
        p in (0, 1], two-sided, and whether all 2**T assignments were looked at.

    Source: Smucker, Allan and Carterette, CIKM 2007; Phipson and Smyth, SAGMB 2010, for the + 1.
    """
    flipped = contributions[contributions != 0]  # the sign of a 0 changes nothing: fewer to enumerate
    # Assignments that tie by arithmetic differ in their last bits; they are as extreme.
    least = abs(flipped.sum()) - 1e-10 * np.abs(flipped).sum()
    topics = len(flipped)
    if topics <= EXACT_TOPICS:
        ups = (np.arange(2**topics)[:, None] >> np.arange(topics)) & 1  # [2**T, T]
        return float(np.mean(np.abs((2 * ups - 1) @ flipped) >= least)), True
    random, extreme = np.random.default_rng([seed, 0]), 0
    step = max(1, _ELEMENTS // topics)
    for start in range(0, draws, step):
        ups = random.integers(2, size=(min(step, draws - start), topics), dtype=np.int8)
        extreme += int(np.sum(np.abs((2 * ups - 1) @ flipped) >= least))
    return (1 + extreme) / (1 + draws), False


def bootstrap_interval(values: Float64, topic: Int64, cell: Int64, draws: int, seed: int) -> tuple[float, float]:
    """95 % percentile interval of the mean over cells of the means of their values, topics resampled.

    A cell that no drawn topic has is left out of that draw's outer mean. With few topics (under 20, say) the interval
    is known to be too narrow.

    Args:
        values: float64 [N], paired differences.
        topic: int64 [N], numbered 0 to T - 1 without a gap.
        cell: int64 [N], 0 to C - 1 without a gap: query language, or ordered pair of languages.
        draws: resamples.
        seed: of the resamples.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    topics, cells = int(topic.max()) + 1, int(cell.max()) + 1
    totals, present = np.zeros(draws), np.zeros(draws)
    width, step = max(1, _ELEMENTS // topics), max(1, _ELEMENTS // max(topics, min(cells, _ELEMENTS // topics)))
    for first in range(0, cells, width):
        last = min(cells, first + width)
        here = (cell >= first) & (cell < last)
        place, shape = topic[here] * (last - first) + cell[here] - first, (topics, last - first)
        sums = np.bincount(place, values[here], minlength=shape[0] * shape[1]).reshape(shape)
        sizes = np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
        random = np.random.default_rng([seed, 1])  # the same resamples for every block of cells
        for start in range(0, draws, step):
            times = _resamples(random, min(step, draws - start), topics)  # [n, T]
            counts = times @ sizes  # [n, C]
            means = (times @ sums) / np.maximum(counts, 1)
            totals[start : start + step] += means.sum(1)  # an empty cell adds 0
            present[start : start + step] += (counts > 0).sum(1)
    low, high = np.percentile(totals / present, _TAILS)
    return float(low), float(high)


def holm(p: Sequence[float]) -> list[float]:
    """Step-down corrected p of each of m tests: the i-th smallest times m - i + 1, none below a smaller one's.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 1979.
    """
    corrected, highest = [0.0] * len(p), 0.0
    for done, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        highest = max(highest, min(1.0, (len(p) - done) * p[place]))
        corrected[place] = highest
    return corrected


def _resamples(random: np.random.Generator, draws: int, topics: int) -> Float64:
    """[draws, T]: how often each topic is drawn in T draws with replacement (a multinomial, but faster)."""
    drawn = random.integers(topics, size=(draws, topics)) + np.arange(0, draws * topics, topics)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * topics).reshape(draws, topics).astype(np.float64)


def _difference(
    a: PerQuery, b: PerQuery, rows_a: Int64, rows_b: Int64, measure: str, setting: str, seed: int, draws: int
) -> Difference | None:
    """One row without its correction and verdict; None where no ranking of the setting defines the measure."""
    in_a, in_b = a.setting == setting, b.setting == setting
    values_a, values_b = a.measures[measure], b.measures[measure]
    if np.isnan(values_a[in_a]).all() and np.isnan(values_b[in_b]).all():
        return None
    both = in_a[rows_a]
    rows_a, rows_b = rows_a[both], rows_b[both]
    x, y = values_a[rows_a], values_b[rows_b]
    defined = ~(np.isnan(x) | np.isnan(y))
    x, y, rows = x[defined], y[defined], rows_a[defined]
    topics, topic = np.unique(a.topic[rows], return_inverse=True)
    found = Difference(
        measure=measure,
        setting=setting,
        better=direction(f"{setting}/{measure}"),
        verdict="nothing in common" if not len(rows) else "only one topic",
        rankings=len(rows),
        topics=len(topics),
        undefined=int(np.sum(~defined)),
        only_a=int(in_a.sum()) - len(rows_a),
        only_b=int(in_b.sum()) - len(rows_b),
    )
    if not len(rows):
        return found
    names = np.strings.add(np.strings.add(a.query_language[rows], ">"), a.pool_language[rows])
    cell = np.unique(names, return_inverse=True)[1]
    sizes = np.bincount(cell)
    weights = 1 / (len(sizes) * sizes[cell])  # so that sum(weights * values) is the mean over cells of the means
    mean_a, mean_b = float(weights @ x), float(weights @ y)
    found = dataclasses.replace(found, a=mean_a, b=mean_b, difference=mean_b - mean_a)
    if len(topics) < 2:
        return found
    p, exact = permutation_p(np.bincount(topic, weights * (y - x)).astype(np.float64), draws, seed)
    low, high = bootstrap_interval(y - x, topic, cell, draws, seed)
    return dataclasses.replace(found, low=low, high=high, p=p, exact=exact)


def _judged(settings: list[Difference]) -> list[Difference]:
    """The settings of one measure with their corrected p and verdict."""
    tested = [one for one in settings if one.p is not None]
    corrected = dict(zip([one.setting for one in tested], holm([one.p or 0.0 for one in tested]), strict=True))
    judged = []
    for one in settings:
        if one.p is not None and one.difference is not None:
            p = corrected[one.setting]
            wanted = one.difference > 0 if one.better == "max" else one.difference < 0
            verdict = NOT_SHOWN if p >= ALPHA else B_BETTER if wanted else A_BETTER
            one = dataclasses.replace(one, p_holm=p, verdict=verdict)
        judged.append(one)
    return judged


SIGNS = 10_000  # assignments drawn where there are too many to enumerate


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

    def difference(ups: NDArray[np.integer[Any]]) -> Float64:
        moved = (2.0 * ups - 1) @ change  # [n, settings]
        values: Float64 = _mean((total + moved) / 2) - _mean((total - moved) / 2)
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


def _by_topic(a: PerQuery, b: PerQuery, measure: str, settings: Sequence[str]) -> tuple[int, Float64, Float64] | None:
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


def _mean(values: Float64) -> Float64:
    """[n]: the harmonic mean over settings; of one, itself."""
    if values.shape[1] == 1:
        return values[:, 0]
    positive = np.maximum(values, 1e-300)  # a setting of 0 makes the mean 0
    mean: Float64 = values.shape[1] / np.sum(1 / positive, axis=1)
    return mean
