"""PURE. All contestants of a study side by side: their scores with intervals, and how far the tuned one is from each.

Per-query values go in, plain figures come out, which `result.json` keeps as ``contestant_scores``; the terminal and
`contestant_charts` show them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hybridtune.config.names import TUNED
from hybridtune.metrics.per_query import PerQuery
from hybridtune.metrics.units import choose_unit, few_units
from hybridtune.report.intervals import Interval, count_units, difference_intervals, intervals

FOLDER = "contestants"  # in the study folder
SHOWN = ("mono/AP", "cross/AP", "multi/AP", "multi/rank_distance", "balanced/AP")


class Scored(NamedTuple):
    """A contestant that was scored; ``trial`` is None where it cost no training."""

    slug: str
    name: str
    trial: str | None
    metrics: Mapping[str, float]
    values: PerQuery


def compare_contestants(scored: Sequence[Scored], goals: Sequence[str]) -> dict[str, Any]:
    """Return the scores of all contestants, and the tuned model's less those of each other.

    Args:
        scored: one at least, all on one benchmark.
        goals: the objectives of the study, which come behind the usual metrics.

    Returns:
        ``{"metrics": [...], "unit", "units", "unit_notes": [...], "rows": [{"contestant", "name", "trial", "metrics":
        {metric: {"value", "low", "high"}}, "tuned_minus_it": {metric: {"difference", "low", "high"}}}]}``; intervals
        are 95 % bootstrap intervals over units, of a difference paired; None where they are not defined.
    """
    names = [name for name in dict.fromkeys([*SHOWN, *goals]) if any(name in one.metrics for one in scored)]
    unit, note = choose_unit([one.values for one in scored])
    units = max((count_units(scored[0].values, name, unit) for name in names), default=0)  # of all: one benchmark
    tuned = next((one for one in scored if one.slug == TUNED), None)
    rows = []
    for one in scored:
        found = intervals(one.values, names, unit)
        row: dict[str, Any] = {"contestant": one.slug, "name": one.name, "trial": one.trial}
        row["metrics"] = {
            name: {"value": one.metrics[name], **_ends(found.get(name))} for name in names if name in one.metrics
        }
        row["tuned_minus_it"] = {}
        if tuned is not None and one is not tuned:
            apart = difference_intervals(one.values, tuned.values, names, unit)
            row["tuned_minus_it"] = {
                name: {"difference": tuned.metrics[name] - one.metrics[name], **_ends(apart.get(name))}
                for name in names
                if name in one.metrics and name in tuned.metrics
            }
        rows.append(row)
    notes = [line for line in (note, few_units(unit, units)) if line]
    return {"metrics": names, "unit": unit, "units": units, "unit_notes": notes, "rows": rows}


def _ends(found: Interval | None) -> dict[str, float | None]:
    return {"low": found[0], "high": found[1]} if found is not None else {"low": None, "high": None}


def centring_words(centring: Mapping[str, Any]) -> str:
    """Say what a centred contestant is, in a sentence or two."""
    words = (
        f"Centred: the mean vectors of up to {centring['texts']:,} training queries and {centring['texts']:,} training "
        "passages of each language taken off the vectors, no further training. Centred together: one mean for both. "
        "Shifted: passages alone, to the mean over languages. Scores standardised: a query's over each language's "
        "passages, their mean taken off, over their deviation."
    )
    if centring["without_texts"]:
        words += (
            f" No training text in {', '.join(centring['without_texts'])}: the mean over the other languages there."
        )
    return words
