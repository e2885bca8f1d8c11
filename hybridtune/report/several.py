"""PURE. Three systems and more: each metric of each with its interval, and which systems are significantly worse.

Per-query values on the same rankings go in; `compare` and the leaderboard show what comes out.
"""

import itertools
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hybridtune.errors import InputError
from hybridtune.metrics.metrics import direction
from hybridtune.metrics.names import parse_metric
from hybridtune.metrics.per_query import PerQuery, align
from hybridtune.metrics.significance import ALPHA, holm, paired_by_unit
from hybridtune.metrics.units import Unit
from hybridtune.report.intervals import intervals, mean
from hybridtune.report.text import Cell, Table, format_end, format_metric

LETTERS = string.ascii_lowercase  # of the systems, in the order in which they are given
DAGGER = "†"  # in place of the letter a


@dataclass(frozen=True)
class Standing:
    """A system's mean in one metric, the ends of its 95 % interval, and who is significantly worse, by number."""

    value: float
    low: float | None
    high: float | None
    ahead_of: tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """Two systems by number: the sign-flip p of their difference, and p corrected by Holm over the metric's pairs."""

    a: int
    b: int
    p: float
    p_holm: float


@dataclass(frozen=True)
class Row:
    """One metric of all systems; ``pairs`` are those that two units or more define."""

    metric: str
    standings: Sequence[Standing]
    pairs: Sequence[Pair]

    @property
    def best(self) -> int:
        """The number of the best system, the first of equals."""
        sign = 1 if direction(self.metric) == "max" else -1
        return max(range(len(self.standings)), key=lambda n: sign * self.standings[n].value)

    @property
    def behind(self) -> frozenset[int]:
        """The systems that the best one is significantly ahead of."""
        return frozenset(self.standings[self.best].ahead_of)


def on_common_rankings(files: Sequence[PerQuery]) -> list[PerQuery]:
    """Return per-query values cut to the rankings that all have, in one order.

    Raises:
        InputError: other benchmarks, or no ranking in common.
    """
    first = files[0]
    for other in files[1:]:
        first = first.part(align(first, other)[0])
    cut = [first]
    for other in files[1:]:
        rows, others = align(first, other)
        cut.append(other.part(others[rows.argsort()]))
    return cut


def rows_of(files: Sequence[PerQuery], metrics: Sequence[str], unit: Unit, *, seed: int, draws: int) -> list[Row]:
    """Return the metrics that all systems define, with all pairs of systems compared.

    Args:
        files: per-query values of each system, on the same rankings (`on_common_rankings`).
        metrics: with their settings, like ``multi/AP``; or ``balanced/AP``.
        unit: that is resampled, and given a sign, as a whole.
        seed: of both. draws: of the resampling; the signs have `significance.DRAWS`.
    """
    rows = []
    found = [intervals(file, metrics, unit, seed=seed, draws=draws) for file in files]
    for metric in metrics:
        if not all(metric in of for of in found):
            continue
        values = [mean(file, metric) for file in files]
        sign = 1 if direction(metric) == "max" else -1
        numbers = list(itertools.combinations(range(len(files)), 2))
        tested = [(a, b, paired_by_unit(files[a], files[b], metric, unit, seed)) for a, b in numbers]
        known = [(a, b, test[0]) for a, b, test in tested if test is not None]
        corrected = holm([p for *_, p in known])
        pairs = [Pair(a, b, p, p_holm) for (a, b, p), p_holm in zip(known, corrected, strict=True)]
        ahead: list[list[int]] = [[] for _ in files]
        for pair in pairs:
            gain = sign * (values[pair.b] - values[pair.a])
            if pair.p_holm < ALPHA and gain:
                ahead[pair.b if gain > 0 else pair.a].append(pair.a if gain > 0 else pair.b)
        standings = [
            Standing(value, *of[metric], tuple(sorted(worse)))
            for value, of, worse in zip(values, found, ahead, strict=True)
        ]
        rows.append(Row(metric, standings, pairs))
    return rows


def metrics_of(files: Sequence[PerQuery], measures: Sequence[str]) -> list[str]:
    """Return the metrics that measures have in the settings of some file, in the order of the measures.

    Raises:
        InputError: a measure that one of the files does not have.
    """
    known = [name for name in files[0].measures if all(name in file.measures for file in files)]
    missing = [one for one in measures if parse_metric(f"multi/{one}").measure not in known]
    if missing:
        raise InputError(f"not all systems have {', '.join(missing)}; all have: {', '.join(known)}")
    settings = [one for one in ("mono", "cross", "multi") if any((file.setting == one).any() for file in files)]
    return [f"{setting}/{measure}" for measure in dict.fromkeys(measures) for setting in settings]


def marks(ahead_of: Sequence[int]) -> str:
    """Return the marks of a figure as papers print them: ``†`` for the first system, the letters of the others."""
    return "".join(DAGGER if number == 0 else LETTERS[number] for number in ahead_of)


def standing_cell(metric: str, standing: Standing) -> Cell:
    """Return a figure with its interval below it and its marks behind it."""
    ends = [] if standing.low is None or standing.high is None else [standing.low, standing.high]
    below = " to ".join(format_end(metric, end) for end in ends)
    return Cell(
        format_metric(metric, standing.value), standing.value, [below] if below else [], marks(standing.ahead_of)
    )


def comparison_table(rows: Sequence[Row], names: Sequence[str], about: Mapping[str, object]) -> Table:
    """Return metrics by system, which the note names; ``about`` has ``benchmark`` and ``unit``."""
    systems = "; ".join(f"{letter}: {name}" for letter, name in zip(LETTERS, names, strict=False))
    unit = about["unit"]
    note = (
        f"{systems}. Below each figure its 95 % interval, bootstrap over {unit}s. {DAGGER}: significantly better than "
        f"system a, a letter: than that system; sign-flip permutation over {unit}s, two-sided, p < .05 after Holm's "
        "correction over the pairs of systems of a metric."
    )
    return Table(
        f"Systems compared on {about['benchmark']}",
        ["metric", *(LETTERS[number] for number in range(len(names)))],
        [[row.metric, *(standing_cell(row.metric, one) for one in row.standings)] for row in rows],
        note,
    )
