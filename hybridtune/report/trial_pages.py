"""A page of each listed trial in the report: its values, scores by step, batches, and the queries it ranks worst.

`page` shows one where its address ends in ``#trial-0007``; all are tables and one small figure, of bounded size.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hybridtune.errors import InputError
from hybridtune.metrics.metrics import SETTINGS
from hybridtune.metrics.names import parse_metric
from hybridtune.metrics.per_query import lowest_rankings
from hybridtune.report.chart import TEMPLATE, cell, rounded, safe
from hybridtune.report.colours import BLUE, GREY
from hybridtune.report.record import StudyRecord, TrialRecord
from hybridtune.report.render import page_key
from hybridtune.report.tables import shown_metrics
from hybridtune.report.text import Table, Value, capital, counted, format_duration, format_metric

MOST_ROWS = 20  # of a table: of 200 trials more would make a page too large to open
_WORST = 10  # queries
_PANEL = 170  # pixels of a curve's height


@dataclass(frozen=True)
class TrialPage:
    """The content of a trial's page."""

    key: str  # its id in the page
    title: str
    facts: Sequence[tuple[str, str]]
    reason: str  # why it failed; empty where it did not
    figure: dict[str, Any] | None  # its curves as Plotly takes them; None: no score yet
    tables: Sequence[Table]
    missing: str  # what is not there, and why

    @property
    def curves(self) -> str:
        """The id of its figure."""
        return f"{self.key}-curves"


def trial_pages(record: StudyRecord) -> list[TrialPage]:
    """Return the page of each trial that the report lists."""
    return [_page(record, trial) for trial in record.listed]


def _page(record: StudyRecord, trial: TrialRecord) -> TrialPage:
    title = capital(trial.label)
    names = [name for name in ("loss", *shown_metrics(record)) if any(name in entry for entry in trial.history)]
    found = [_values(record, trial, title), _scores(trial, title, names), _batches(trial, title)]
    worst = _worst(record, trial, title)
    gone = [
        "no score" if not trial.history else "",
        "no plan of its batches" if trial.plan is None else "",
        "no values by query: its checkpoint is gone, or not on this machine" if worst is None else "",
    ]
    missing = "; ".join(text for text in gone if text)
    return TrialPage(
        key=page_key(trial),
        title=title,
        facts=_facts(record, trial),
        reason=f"It failed: {trial.reason}" if trial.reason else "",
        figure=_curves(trial, list(dict.fromkeys(["loss", *record.goals]))),
        tables=[table for table in (*found, worst) if table is not None and table.rows],
        missing=f"This trial has {missing}." if missing else "",
    )


def _facts(record: StudyRecord, trial: TrialRecord) -> list[tuple[str, str]]:
    best = trial.metrics.get("best_step")
    facts = [
        ("state", trial.status),
        ("arm", trial.arm),
        ("proposed by", trial.proposed),
        ("seed", str(record.value(trial, "seed"))),
        *((name, format_metric(name, trial.metrics[name])) for name in record.goals if name in trial.metrics),
        ("best step", "" if best is None else f"{best:,.0f}"),
        ("time", format_duration(trial.seconds)),
    ]
    return [(name, text) for name, text in facts if text]


def _values(record: StudyRecord, trial: TrialRecord, title: str) -> Table:
    names = dict.fromkeys(["mix.mixing_ratio", *trial.values])
    rows: list[list[Value]] = [
        [name, cell(record.value(trial, name)), "this trial" if name in trial.values else "the study"] for name in names
    ]
    return Table(f"{title}: values", ["field", "value", "set by"], rows, "All other fields are in study.yaml.")


def _scores(trial: TrialRecord, title: str, names: Sequence[str]) -> Table:
    """Return its scores by step: of many, some at even distances, the last among them."""
    count = len(trial.history)
    every = math.ceil(count / MOST_ROWS) or 1
    shown = [entry for at, entry in enumerate(trial.history, start=1) if (count - at) % every == 0]
    rows: list[list[Value]] = [
        [int(entry["step"]), *(rounded(name, entry.get(name)) for name in names)] for entry in shown
    ]
    note = f"{len(rows)} of {counted(count, 'score')}; all are in its metrics.jsonl." if every > 1 else ""
    return Table(f"{title}: scores by step", ["step", *names], rows, note)


def _batches(trial: TrialRecord, title: str) -> Table | None:
    """Return what the plan drew by kind and language pair, most pairs first; the rest as one row a kind."""
    if trial.plan is None or not trial.plan["table"]:
        return None
    columns = ["batches", "pairs", "groups"]
    table = sorted(trial.plan["table"], key=lambda row: -row["pairs"])
    rows: list[list[Value]] = [[row["pair"], row["kind"], *(row.get(c) for c in columns)] for row in table[:MOST_ROWS]]
    rest: dict[str, Counter[str]] = {}
    for row in table[MOST_ROWS:]:
        rest.setdefault(row["kind"], Counter()).update({"rows": 1, **{c: row.get(c, 0) for c in columns}})
    rows += [[f"{sums['rows']:,} others", kind, *(sums[c] for c in columns)] for kind, sums in sorted(rest.items())]
    kinds: Counter[str] = Counter()
    for row in table:
        kinds[row["kind"]] += row["pairs"]
    drawn = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    plan = trial.plan
    note = (
        f"{plan['steps']:,} steps of {plan['batch_size']:,} pairs; pairs drawn: {drawn}. A batch with several language "
        "pairs counts for each of them; groups are distinct pairs. Mixing ratio "
        f"{plan['requested_ratio']:.4g} requested, {plan['realised_ratio']:.4g} drawn."
    )
    return Table(f"{title}: batches drawn", ["language pair", "kind", "batches", "pairs drawn", "groups"], rows, note)


def _worst(record: StudyRecord, trial: TrialRecord, title: str) -> Table | None:
    """Return the queries with the lowest average precision on dev; None where the values are gone."""
    if trial.per_query is None:
        return None
    asked = parse_metric(record.goal).setting
    setting = asked if asked in SETTINGS else "multi"
    try:
        found = lowest_rankings(trial.per_query, setting, _WORST)
    except InputError:
        return None
    rows: list[list[Value]] = []
    for row in found:
        rank = round(1 / row["RR"]) if row.get("RR") else None
        above = None if rank is None else rank - 1
        pool = "all" if row["pool_language"] == "*" else row["pool_language"]
        rows.append([row["query_id"], row["query_language"], pool, rounded("AP", row["AP"]), rank, above])
    note = (
        f"Of the {setting} rankings on dev, by its best checkpoint. A study keeps the ids of queries and how many "
        "passages rank above their first relevant one, not which, nor any text: texts are in the benchmark."
    )
    columns = ["query", "language", "passages in", "AP", "first relevant at rank", "passages above it"]
    return Table(f"{title}: worst queries", columns, rows, note)


def _curves(trial: TrialRecord, names: Sequence[str]) -> dict[str, Any] | None:
    """Return the curve of each metric over the steps, one below another, in Plotly's words.

    It is no `go.Figure`: to check and to write 200 of them would take as long as all else in the report.
    """
    curves = {name: [(entry["step"], entry[name]) for entry in trial.history if name in entry] for name in names}
    drawn = {name: points for name, points in curves.items() if points}
    if not drawn:
        return None
    height, gap = 1 / len(drawn), 0.05
    layout: dict[str, Any] = {"template": TEMPLATE.to_plotly_json(), "showlegend": False}
    layout["height"] = 70 + _PANEL * len(drawn)
    layout["xaxis"] = {"title": {"text": "training step"}, "anchor": _axis(len(drawn) - 1)}
    data = []
    for at, (name, points) in enumerate(drawn.items()):
        top = 1 - at * height
        layout[_axis(at).replace("y", "yaxis")] = {
            "domain": [round(max(0.0, top - height + gap), 4), round(top, 4)],
            "title": {"text": safe(name)},
        }
        line = {"color": GREY if name == "loss" else BLUE, "width": 2}
        data.append(
            {
                **{"type": "scatter", "mode": "lines+markers", "name": safe(name), "line": line, "marker": {"size": 5}},
                **{"x": [int(step) for step, _ in points], "y": [_number(value) for _, value in points]},
                **{"yaxis": _axis(at), "hovertemplate": "step %{x}: %{y}<extra></extra>"},
            }
        )
    return {"data": data, "layout": layout}


def _axis(at: int) -> str:
    """Return Plotly's name of a vertical axis, from 0."""
    return f"y{at + 1}" if at else "y"


def _number(value: float) -> float | None:
    """Return a number as JSON has it: NaN and the infinite are none."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
