"""The contestants in the report: their table, the tuned model less each of the others, and a chart."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hybridtune.config.names import TUNED
from hybridtune.report.chart import Chart, rounded, safe, styled
from hybridtune.report.colours import GREY, SETTING_COLOURS
from hybridtune.report.contestants import centring_words
from hybridtune.report.intervals import DRAWS
from hybridtune.report.record import StudyRecord
from hybridtune.report.soups import soup_words
from hybridtune.report.text import Cell, Table, Value, capital, counted, format_end, format_metric, format_signed

_DISTANCE = "multi/rank_distance"
_BALANCED = "balanced/AP"
_OFFSET = 0.2  # of a row: between the marks of two settings


def scores(record: StudyRecord) -> Table | None:
    """Return the scores of all contestants; None where the study has none yet."""
    found = _found(record)
    if found is None:
        return None
    rows: list[Sequence[Value]] = [
        [row["name"], *(_figure(name, row["metrics"].get(name)) for name in found["metrics"])] for row in found["rows"]
    ]
    units = "".join(f" {capital(note)}." for note in found["unit_notes"])
    note = (
        f"{_benchmark_words(record, found)} Small: 95 % bootstrap intervals over {found['units']:,} {found['unit']}s "
        f"({DRAWS:,} resamples), one seed each.{units} {centring_words(found['centring'])}{_soup(record)}"
    )
    marked = frozenset(i for i, row in enumerate(found["rows"]) if row["contestant"] == TUNED)
    title = f"All contestants on the {found['benchmark']} benchmark"
    return Table(title, ["contestant", *found["metrics"]], rows, note, marked=marked)


def differences(record: StudyRecord) -> Table | None:
    """Return the tuned model's scores less those of each other contestant; None where there are none."""
    found = _found(record)
    against = [row for row in found["rows"] if row["tuned_minus_it"]] if found is not None else []
    if found is None or not against:
        return None
    rows: list[Sequence[Value]] = [
        [f"tuned minus {row['name']}", *(_apart(name, row["tuned_minus_it"].get(name)) for name in found["metrics"])]
        for row in against
    ]
    note = (
        f"Small: 95 % bootstrap intervals of the difference, paired by {found['unit']}. They are about these two "
        "models: what another seed would change is not in them. More rank distance is worse."
    )
    return Table(
        f"Tuned minus each contestant, {found['benchmark']} benchmark", ["difference", *found["metrics"]], rows, note
    )


def contestants(record: StudyRecord) -> Chart:
    """Draw each contestant's scores with their intervals: a row a contestant, a mark a setting."""
    chart = Chart("contestants", "All contestants")
    found = _found(record)
    if found is None:
        return chart.saying("The contestants are scored when the study ends.")
    chart.columns = ["contestant", "metric", "value", "low", "high"]
    chart.rows = [
        [row["name"], name, *(rounded(name, row["metrics"][name][key]) for key in ("value", "low", "high"))]
        for row in found["rows"]
        for name in found["metrics"]
        if name in row["metrics"]
    ]
    aps = [name for name in (*SETTING_COLOURS, _BALANCED) if name in found["metrics"] and name != _DISTANCE]
    shown = [aps, *([[_DISTANCE]] if _DISTANCE in found["metrics"] else [])]
    count = len(found["rows"])
    figure = make_subplots(rows=len(shown), cols=1, vertical_spacing=0.16)
    for panel, names in enumerate(shown, start=1):
        for place, name in enumerate(names):
            offset = _OFFSET * (place - (len(names) - 1) / 2)
            figure.add_trace(_marks(found["rows"], name, offset), row=panel, col=1)
        title = "AP" if names is aps else "rank distance (less is better)"
        figure.update_xaxes(title_text=title, rangemode="tozero", row=panel, col=1)
    labels = [safe(row["name"]) for row in found["rows"]]
    ticks = {"tickvals": list(range(count)), "ticktext": labels, "range": [count - 0.5, -0.5]}
    figure.update_yaxes(showgrid=False, showline=False, ticks="", zeroline=False, **ticks)
    styled(figure, len(shown) * (80 + 34 * count) + 60, margin_b=60)
    words = (
        f"{_benchmark_words(record, found)} Marks are means, lines their 95 % bootstrap intervals over "
        f"{found['units']:,} {found['unit']}s. Each is one model of one seed: what other seeds change is in the noise "
        "check alone. Start is the encoder before any training."
    )
    return chart.saying(words, figure)


def _marks(rows: Sequence[Mapping[str, Any]], name: str, offset: float) -> go.Scatter:
    """Return the marks of one metric, each ``offset`` rows below its contestant's line."""
    scored = [(place, row["name"], row["metrics"][name]) for place, row in enumerate(rows) if name in row["metrics"]]
    ends = [
        [abs((one[key] if one[key] is not None else one["value"]) - one["value"]) for _, _, one in scored]
        for key in ("high", "low")
    ]
    colour = SETTING_COLOURS.get(name, GREY)
    return go.Scatter(
        x=[one["value"] for *_, one in scored],
        y=[place + offset for place, *_ in scored],
        error_x={"type": "data", "array": ends[0], "arrayminus": ends[1], "thickness": 2, "width": 4, "color": colour},
        mode="markers",
        name=safe(name),
        marker={"color": colour, "size": 9, "symbol": "diamond" if name == _BALANCED else "circle"},
        hovertext=[f"{safe(who)}<br>{safe(name)} {_words(name, one)}" for _, who, one in scored],
        hoverinfo="text",
    )


def _words(name: str, one: Mapping[str, Any]) -> str:
    """Return ``0.4210 (0.401 to 0.442)``."""
    ends = "" if one["low"] is None else f" ({format_end(name, one['low'])} to {format_end(name, one['high'])})"
    return f"{format_metric(name, one['value'])}{ends}"


def _figure(name: str, one: Mapping[str, Any] | None) -> Value:
    if one is None:
        return None
    small = [] if one["low"] is None else [f"{format_end(name, one['low'])} to {format_end(name, one['high'])}"]
    return Cell(format_metric(name, one["value"]), one["value"], small)


def _apart(name: str, one: Mapping[str, Any] | None) -> Value:
    if one is None:
        return None
    small = [] if one["low"] is None else [f"{format_signed(name, one['low'])} to {format_signed(name, one['high'])}"]
    return Cell(format_signed(name, one["difference"]), one["difference"], small)


def _soup(record: StudyRecord) -> str:
    soup, best = record.best_soup, record.best
    if soup is None or best is None:
        return ""
    return f" {soup_words(soup, len(record.soups), best, record.goal)}"


def _found(record: StudyRecord) -> Mapping[str, Any] | None:
    return (record.result or {}).get("contestant_scores")


def _benchmark_words(record: StudyRecord, found: Mapping[str, Any]) -> str:
    counts, source = found["counts"], getattr(record.study.benchmarks, found["benchmark"])
    queries = counted(max(counts["queries"].values()), "query")
    steered = "which steered nothing" if found["benchmark"] == "test" else "which steered the search; there is no test"
    return f"On {source.path} ({found['benchmark']}, {steered}): {queries}, pool of {counts['passages']:,} passages."
