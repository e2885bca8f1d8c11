"""PURE. Which trials and soups meet the constraints of a search: a function of the study file and the rows alone.

`config.constraints` reads a constraint; the search, its samplers, `hybridtune status` and the report ask here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hybridtune.config.constraints import Constraint, parse_constraint
from hybridtune.config.study import Study
from hybridtune.metrics.names import is_distance
from hybridtune.storage.soup_rows import SoupRow
from hybridtune.storage.trial_rows import Row, TrialRow, best_row


@dataclass(frozen=True)
class Limit:
    """A constraint with the number that it asks for; None: no trial of its contestant has come to its end yet."""

    constraint: Constraint
    bound: float | None

    def shortfall(self, metrics: Mapping[str, float]) -> float:
        """Return by how much a trial's metrics miss the bound, as a share of its size; 0 or less: they meet it.

        Shares, since Optuna adds up what a trial misses, and ranks are hundreds where AP is less than 1. A bound that
        is not known is met, and a metric that the trial does not have misses it by infinity.
        """
        if self.bound is None:
            return 0.0
        value = metrics.get(self.constraint.metric)
        if value is None or math.isnan(value):
            return math.inf
        gap = self.bound - value if self.constraint.at_least else value - self.bound
        return gap / (abs(self.bound) or 1.0)


def limits(study: Study, rows: Sequence[TrialRow]) -> list[Limit]:
    """Return a study's constraints with the bounds that its trials so far give them.

    A contestant's metric is that of the best trial of its arm, by the first objective and whether it meets any
    constraint or not, among those of the search that have come to their end. So a bound moves while the search runs,
    and is the same again for the same rows.
    """
    constraints = [parse_constraint(text) for text in study.search.constraints]
    return [Limit(one, _bound(one, study, rows)) for one in constraints]


def _bound(constraint: Constraint, study: Study, rows: Sequence[TrialRow]) -> float | None:
    if constraint.contestant is None:
        return constraint.number
    goal = study.search.objective[0]
    ended = [
        row
        for row in rows
        if (row.arm, row.status) == (constraint.contestant, "done") and row.proposed != "rerun"
        if goal in row.metrics and constraint.metric in row.metrics
    ]
    if not ended:
        return None
    return best_row(ended, {goal: "min" if is_distance(goal) else "max"}).metrics[constraint.metric] + constraint.number


def missed(found: Sequence[Limit], row: TrialRow | SoupRow) -> float:
    """Return the sum of the shares by which a trial or a soup misses bounds; 0: it meets all constraints."""
    return sum(max(0.0, limit.shortfall(row.metrics)) for limit in found)


def eligible(found: Sequence[Limit], rows: Sequence[Row]) -> list[Row]:
    """Return the trials among which the best is chosen: those that meet all constraints; where none does, the nearest.

    Nearest is the one that misses least, the first of equals. Without constraints it is all.
    """
    meet = [row for row in rows if not missed(found, row)]
    return meet or ([min(rows, key=lambda row: missed(found, row))] if rows else [])


def best_soup(study: Study, trials: Sequence[TrialRow], soups: Sequence[SoupRow]) -> SoupRow | None:
    """Return the best soup on the first objective of those that miss the constraints least, the first of equals."""
    found, goal = limits(study, trials), study.search.objective[0]
    scored = [soup for soup in soups if goal in soup.metrics]
    return max(scored, key=lambda soup: _worth(found, goal, soup), default=None)


def soup_wins(study: Study, trials: Sequence[TrialRow], soup: SoupRow, best: TrialRow) -> bool:
    """Return whether a soup is above the best trial: it misses the constraints less, or as much and has more."""
    found, goal = limits(study, trials), study.search.objective[0]
    return _worth(found, goal, soup) > _worth(found, goal, best)


def _worth(found: Sequence[Limit], goal: str, row: TrialRow | SoupRow) -> tuple[float, float]:
    return -missed(found, row), row.metrics[goal] * (-1 if is_distance(goal) else 1)


def constraint_marks(study: Study, rows: Sequence[TrialRow]) -> dict[str, str]:
    """Return ``yes`` or ``no`` by trial id: whether it meets all constraints; only of trials that came to their end.

    A trial on its way has had less training than what it is compared with. Without constraints it is empty.
    """
    found = limits(study, rows)
    if not found:
        return {}
    return {row.id: "no" if missed(found, row) else "yes" for row in rows if row.status == "done"}


def constraint_metrics(study: Study) -> list[str]:
    """Return the metrics that a study's constraints are about, each once."""
    return list(dict.fromkeys(parse_constraint(text).metric for text in study.search.constraints))


def constraint_line(study: Study, rows: Sequence[TrialRow], best: TrialRow) -> str:
    """Return one line on whether the chosen trial meets the constraints; empty without any.

    Where it does not, it is the nearest of all, and the line says what it misses.
    """
    found = limits(study, rows)
    if not found:
        return ""
    words = "; ".join(_words(limit, best) for limit in found)
    if not missed(found, best):
        return f"{best.label} meets search.constraints: {words}"
    return f"no trial meets search.constraints; {best.label} comes nearest: {words}"


def _words(limit: Limit, row: TrialRow) -> str:
    """Return ``mono/AP 0.4812, asked >= 0.4950 (half-half - 0.005): missed``."""
    constraint, value = limit.constraint, row.metrics.get(limit.constraint.metric)
    if limit.bound is None:
        return f"{constraint}: not compared, no trial of {constraint.contestant} has come to its end"
    digits = 1 if is_distance(constraint.metric) else 4
    asked = f"{'>=' if constraint.at_least else '<='} {limit.bound:.{digits}f}"
    if constraint.contestant is not None:
        asked += f" ({str(constraint).split(maxsplit=2)[2]})"
    shown = "not scored" if value is None else f"{value:.{digits}f}"
    return f"{constraint.metric} {shown}, asked {asked}" + ("" if limit.shortfall(row.metrics) <= 0 else ": missed")
