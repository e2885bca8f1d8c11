"""PURE. How far is B from A? Differences of two models' means over topics or documents, and over seeds, with p values.

`PerQuery` values of two models go in (`per_query` reads them); `compare` is the test of `hybridtune compare`, the
functions of seeds are those of the seed check. What is drawn at random is in `resampling`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Bool, Float64, Int64
from hybridtune.metrics.metrics import SETTINGS, direction
from hybridtune.metrics.names import parse_metric, split_group
from hybridtune.metrics.per_query import PerQuery, align
from hybridtune.metrics.resampling import EXACT_UNITS, bootstrap_means, cell_weights, cells, interval, sign_flip_p
from hybridtune.metrics.selection import group_rule, rankings_of
from hybridtune.metrics.units import FEW, Unit, choose_unit, few_units, unit_numbers

ALPHA = 0.05  # Holm p below it is a verdict
DRAWS = 10_000  # sign assignments and resamples
B_AHEAD, A_AHEAD, NOT_SHOWN = "B ahead", "A ahead", "no difference shown"


@dataclass
class Difference:
    """One measure in one setting, over the rankings that both models have and that define it in both.

    ``verdict`` is one of the constants above, or why there is none. ``rankings`` of ``units`` (topics or documents) are
    compared; left out are those that either does not define (``undefined``) and those that one side does not have.
    ``difference`` is b - a, with its 95 % bootstrap interval (``low``, ``high``); None, like ``p`` (two-sided,
    sign-flip permutation over units) and ``p_holm`` (corrected for the settings of the measure), with fewer than 2
    units. ``exact``: all sign assignments were enumerated, so p has no sampling error.
    """

    measure: str
    setting: str
    better: Literal["max", "min"]
    verdict: str
    rankings: int
    units: int
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
    """All differences asked for, and what they are a function of; ``dataclasses.asdict`` of it is JSON.

    ``notes`` say what a reader should know of the unit, one line each.
    """

    a: Mapping[str, str]
    b: Mapping[str, str]
    seed: int
    draws: int
    unit: Unit
    differences: list[Difference]
    notes: list[str]


def compare(
    a: PerQuery, b: PerQuery, measures: Sequence[str], *, unit: Unit | None = None, seed: int = 0, draws: int = DRAWS
) -> Comparison:
    """Compare B, the newer, with A: a difference above 0 means that B has more of the measure.

    Args:
        a: per-query values of A. b: of B, on the same benchmark.
        measures: of both, or of a group of languages, like ``AP@low-resource``. Holm corrects over the settings of
            each, not over the measures: name few, beforehand.
        unit: what is given a sign and resampled as a whole; None: see `choose_unit`.
        seed: >= 0; of the signs and of the resamples.
        draws: >= 1, sign assignments (where there are too many to enumerate) and resamples.

    Returns:
        Per measure, the settings that define it in A or B; a function of the arguments alone.

    Raises:
        InputError: other benchmarks, no ranking in common, a measure that one side does not have, a group that
            there is not, documents that the benchmark does not name.

    Source: Smucker, Allan and Carterette, CIKM 2007: for a difference of means, the randomization test.
    """
    if draws < 1 or seed < 0:
        raise InputError(f"draws {draws}, seed {seed}: draws is at least 1 and seed at least 0")
    known = [measure for measure in a.measures if measure in b.measures]
    missing = [measure for measure in measures if split_group(measure)[0] not in known]
    if missing:
        raise InputError(f"A and B do not both have {', '.join(missing)}; both have: {', '.join(known)}")
    chosen, note = choose_unit([a, b], unit)
    pairs = _Pairs.of(a, b, chosen)
    differences: list[Difference] = []
    for measure in dict.fromkeys(measures):
        found = (_difference(pairs, measure, setting, seed, draws) for setting in SETTINGS)
        settings = [one for one in found if one is not None]
        _judge(settings)
        differences += settings
    if not differences:
        raise InputError(f"no ranking of A or B defines {', '.join(measures)}")
    few = few_units(chosen, min((one.units for one in differences if one.low is not None), default=FEW))
    return Comparison(dict(a.about), dict(b.about), seed, draws, chosen, differences, [*filter(None, (note, few))])


def holm(p: Sequence[float]) -> list[float]:
    """Return the corrected p of each of m tests, step-down: the i-th smallest times m - i + 1, and never falling.

    scipy corrects for the false discovery rate alone.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 1979.
    """
    order, corrected = np.argsort(p), np.empty(len(p))
    rising = np.maximum.accumulate(np.arange(len(p), 0, -1) * np.asarray(p, np.float64)[order])
    corrected[order] = np.minimum(1.0, rising)
    return [float(one) for one in corrected]


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The rankings that two models have both, by their rows, [N] each, and the unit of every ranking of A."""

    a: PerQuery
    b: PerQuery
    rows_a: Int64
    rows_b: Int64
    unit: Unit
    numbers: Int64

    @classmethod
    def of(cls, a: PerQuery, b: PerQuery, unit: Unit) -> "_Pairs":
        """Pair two models; raise InputError where they cannot be paired."""
        return cls(a, b, *align(a, b), unit, unit_numbers(a, unit))

    def chosen(self, values: PerQuery, setting: str, group: str) -> Bool:
        """Return which rankings of one of the two are of a setting and a group; raise InputError for an unknown one."""
        return rankings_of(values, setting, group_rule([self.a, self.b], group))

    def defined(self, measure: str, setting: str) -> tuple[Float64, Float64, Int64]:
        """Return the values of A and of B where both define the measure in a setting, and their rows of A."""
        name, group = split_group(measure)
        common = self.chosen(self.a, setting, group)[self.rows_a]
        rows_a, rows_b = self.rows_a[common], self.rows_b[common]
        x, y = self.a.measures[name][rows_a], self.b.measures[name][rows_b]
        defined = ~(np.isnan(x) | np.isnan(y))
        return x[defined], y[defined], rows_a[defined]


def _difference(pairs: _Pairs, measure: str, setting: str, seed: int, draws: int) -> Difference | None:
    """Return one row without its correction and verdict; None where no ranking of the setting defines the measure."""
    name, group = split_group(measure)
    in_a, in_b = (pairs.chosen(values, setting, group) for values in (pairs.a, pairs.b))
    values_a, values_b = pairs.a.measures[name], pairs.b.measures[name]
    if np.isnan(values_a[in_a]).all() and np.isnan(values_b[in_b]).all():
        return None
    x, y, rows = pairs.defined(measure, setting)
    common = int(in_a[pairs.rows_a].sum())
    units, unit = np.unique(pairs.numbers[rows], return_inverse=True)
    found = Difference(
        measure=measure,
        setting=setting,
        better=direction(f"{setting}/{measure}"),
        verdict="nothing in common" if not len(rows) else f"only one {pairs.unit}",
        rankings=len(rows),
        units=len(units),
        undefined=common - len(rows),
        only_a=int(in_a.sum()) - common,
        only_b=int(in_b.sum()) - common,
    )
    if not len(rows):
        return found
    cell = cells(pairs.a, rows)
    weights = cell_weights(cell)
    mean_a, mean_b = float(weights @ x), float(weights @ y)
    found.a, found.b, found.difference = mean_a, mean_b, mean_b - mean_a
    if len(units) < 2:
        return found
    changes = np.bincount(unit, weights * (y - x)).astype(np.float64)
    found.p = sign_flip_p(lambda sums: sums[:, 0], changes[:, None], draws, [seed, 0])
    found.low, found.high = interval(bootstrap_means(y - x, unit, cell, draws, seed))
    found.exact = bool(np.count_nonzero(changes) <= EXACT_UNITS)
    return found


def _judge(settings: list[Difference]) -> None:
    """Correct the p of the settings of one measure, and set their verdicts."""
    tested = [one for one in settings if one.p is not None]
    for one, p in zip(tested, holm([one.p or 0.0 for one in tested]), strict=True):
        gain = (one.difference or 0.0) * (1 if one.better == "max" else -1)
        one.p_holm, one.verdict = p, NOT_SHOWN if p >= ALPHA else B_AHEAD if gain > 0 else A_AHEAD


def welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float] | None:
    """Return the 95 % interval of mean(b) - mean(a), and its standard error; no equal spreads are assumed.

    ``a`` and ``b`` are values of one model each, one a seed; None where either has fewer than 2.
    """
    from scipy import stats

    if min(len(a), len(b)) < 2:
        return None
    parts = [float(np.var(one, ddof=1)) / len(one) for one in (a, b)]
    difference, error = float(np.mean(b) - np.mean(a)), math.sqrt(sum(parts))
    if error == 0:
        return difference, difference, 0.0
    # Welch and Satterthwaite's degrees of freedom, by shares: `ttest_ind` squares the variances, which underflow, and
    # warns of seeds that hardly differ.
    shares = [part / sum(parts) for part in parts]
    freedom = 1 / sum(share**2 / (len(one) - 1) for share, one in zip(shares, (a, b), strict=True))
    low, high = stats.t.interval(0.95, freedom, difference, error)
    return float(low), float(high), error


def paired_by_seed(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the sign-flip p of two models trained with the same seeds, two-sided; None of fewer than 2 seeds.

    It cannot be below 2 ** (1 - n) of n seeds.
    """
    if len(a) < 2:
        return None
    return sign_flip_p(lambda sums: sums[:, 0], np.subtract(b, a, dtype=np.float64)[:, None], DRAWS, [0, 0])


def averaged(files: Sequence[PerQuery]) -> PerQuery:
    """Return per-query values as means over seeds, of the rankings that all have.

    Raises:
        InputError: other benchmarks, or no ranking in common.
    """
    mean = files[0]
    for count, other in enumerate(files[1:], start=1):
        common, rows = align(mean, other)
        measures = {
            name: (values[common] * count + other.measures[name][rows]) / (count + 1)
            for name, values in mean.measures.items()
            if name in other.measures
        }
        mean = replace(mean.part(common), measures=measures)
    return mean


def paired_by_unit(a: PerQuery, b: PerQuery, metric: str, unit: Unit, seed: int = 0) -> tuple[float, int] | None:
    """Return how easily chance gives two models' difference in a metric: sign-flip p over units, and their number.

    The metric is computed anew for each assignment of signs, so balanced/AP, which is no mean over units, is tested
    like any other.

    Args:
        a: per-query values, of one run or averaged over seeds. b: of the other model.
        metric: with its setting, like ``multi/AP`` or ``cross/AP@en-sw``; or ``balanced/AP``.
        unit: topics or documents, of `choose_unit`.
        seed: of the signs, where there are too many to enumerate.

    Returns:
        p in (0, 1], two-sided; None where fewer than 2 units define the metric in both.
    """
    setting, name, _ = parse_metric(metric)
    if name not in a.measures or name not in b.measures:
        return None
    measure = metric.partition("/")[2]
    settings = SETTINGS if setting == "balanced" else (setting,)
    pairs = _Pairs.of(a, b, unit)
    units, tested = int(pairs.numbers.max()) + 1, 0
    # What each unit adds to the difference of the two means in each setting, and the sum of these means.
    change, total = np.zeros((units, len(settings))), np.zeros(len(settings))
    for column, one in enumerate(settings):
        x, y, rows = pairs.defined(measure, one)
        defined = len(np.unique(pairs.numbers[rows]))
        if defined < 2:
            return None
        tested = max(tested, defined)
        weights = cell_weights(cells(a, rows))
        change[:, column] = np.bincount(pairs.numbers[rows], weights * (y - x), minlength=units)
        total[column] = weights @ (x + y)

    return flip_p(change, total, DRAWS, seed), tested


def flip_p(change: Float64, total: Float64, draws: int, seed: int) -> float:
    """Return the sign-flip p of two models' difference in a harmonic mean over settings, see `sign_flip_p`.

    Args:
        change: float64 [U, S], what each unit adds to the difference of the two means in each setting.
        total: float64 [S], the sum of the two means.
        draws: sign assignments, where there are too many to enumerate. seed: of them.
    """

    def difference(sums: Float64) -> Float64:
        values: Float64 = harmonic_mean((total + sums) / 2) - harmonic_mean((total - sums) / 2)
        return values

    return sign_flip_p(difference, change, draws, seed)


def harmonic_mean(values: Float64) -> Float64:
    """Return the harmonic means over settings, [n, S] to [n]; 0 where one is 0, and of one setting its value."""
    if values.shape[1] == 1:
        return values[:, 0]
    with np.errstate(divide="ignore"):
        mean: Float64 = values.shape[1] / (1 / np.maximum(values, 0.0)).sum(1)
    return mean
