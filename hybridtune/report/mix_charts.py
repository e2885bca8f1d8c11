"""The chart of mixing ratio and temperature together: a mark a trial, and a surface where they are dense."""

import math
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hybridtune.metrics.arrays import Float64
from hybridtune.report import smoothing as smooth
from hybridtune.report.chart import (
    FAINT,
    GREY,
    MARKS,
    SEQUENTIAL,
    SETTING_COLOURS,
    TEMPLATE,
    Cell,
    Chart,
    cell,
    counted,
    finished,
    first_goal,
    is_searched,
    marks,
    new_figure,
    plotly_scale,
    ring,
    rounded,
    said,
    symbol,
    tip,
    value_of,
    with_metrics,
)
from hybridtune.report.record import StudyRecord, TrialRecord

_ACROSS = np.linspace(0, 1, 51)


def ratio_temperature(record: StudyRecord) -> Chart:
    """The first objective over mixing ratio and temperature: a mark a trial, a surface where they are dense."""
    key, title = "ratio-temperature", "Mixing ratio and temperature together"
    goal = first_goal(record)[0]
    trials = with_metrics(record.trials, [goal])
    columns = ["trial", "status", "mixing ratio", "temperature", goal]
    ratios = [asked_ratio(record, trial) for trial in trials]
    heats = [float(value_of(record, trial, "train.temperature")) for trial in trials]
    rows: list[list[Cell]] = [
        [trial.label, trial.status, cell(ratio), cell(heat), rounded(goal, trial.metrics[goal])]
        for trial, ratio, heat in zip(trials, ratios, heats, strict=True)
    ]
    if not is_searched(record, "train.temperature"):
        return Chart(key, title, "The study does not search the temperature.", None, columns, rows)
    if len(set(heats)) < 2 or len(set(ratios)) < 2:
        reason = "The trials so far have one mixing ratio or one temperature: there is no map yet."
        return Chart(key, title, reason, None, columns, rows)
    done = [i for i, trial in enumerate(trials) if trial.status == "done"]
    values = np.array([trial.metrics[goal] for trial in trials])
    figure = new_figure(520)
    words = f"{goal} of {counted(len(trials), 'trial')}, darker is more."
    if len(done) >= smooth.DENSE:
        figure.add_trace(_surface(np.array(ratios)[done], np.log(heats)[done], values[done]))
        words += (
            " The ground between them is a weighted mean of the full-length trials near by, and left out elsewhere."
        )
    else:
        words += f" No surface is drawn through fewer than {smooth.DENSE} full-length trials (here {len(done)})."
    figure.add_trace(_coloured(record, trials, ratios, heats, values, goal))
    for i, trial in enumerate(trials):
        if record.best is not None and trial.id == record.best.id:
            side = "left" if ratios[i] > 0.8 else "right" if ratios[i] < 0.2 else "center"  # none is cut off
            figure.add_trace(ring(ratios[i], heats[i], trial.label, side))
            words += f" The ring is the chosen trial, {trial.label}; small marks were stopped before."
    figure.update_xaxes(title_text="share of batches that are mono", range=[-0.06, 1.06])
    figure.update_yaxes(title_text="temperature", type="log", **_log_ticks(heats))
    figure.update_layout(showlegend=False)
    return Chart(key, title, words, figure, columns, rows)


def _log_ticks(values: list[float]) -> dict[str, Any]:
    """Ticks at 1, 2 and 5 times the powers of ten, written out."""
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    ticks = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _coloured(
    record: StudyRecord, trials: list[TrialRecord], x: list[float], y: list[float], values: Float64, goal: str
) -> go.Scatter:
    """Marks coloured by the objective, with the bar of colours below."""
    bar = {"orientation": "h", "title": {"text": goal, "side": "top"}, "thickness": 12, "y": -0.16, "yanchor": "top"}
    look = {"color": list(values), "colorscale": plotly_scale(SEQUENTIAL), "colorbar": bar}
    points = marks(record, trials, x, y, goal, **look)
    points.marker.symbol = [symbol(trial).removesuffix("-open") for trial in trials]  # a pale ring would not be seen
    points.marker.opacity = 1  # Plotly makes marks of several sizes see-through
    points.marker.size = [14 if trial.status == "done" else 8 for trial in trials]
    return points


def _surface(ratios: Float64, log_heats: Float64, values: Float64) -> go.Contour:
    """Filled contours over the stretch of temperatures that were tried."""
    low, span = log_heats.min(), max(float(np.ptp(log_heats)), 1e-9)
    down = np.linspace(0, 1, 41)
    z = smooth.surface(ratios, (log_heats - low) / span, values, _ACROSS, down)
    return go.Contour(
        x=_ACROSS,
        y=np.exp(low + down * span),
        z=[[None if np.isnan(value) else float(value) for value in row] for row in z],
        zmin=float(values.min()),
        zmax=float(values.max()),
        colorscale=plotly_scale(SEQUENTIAL),
        showscale=False,
        line={"width": 0},
        opacity=0.55,
        ncontours=16,
        hoverinfo="skip",
    )


DISTANCE = "multi/rank_distance"
WIDE = 0.75  # a region of ratios wider than this names none
_PLACES = np.linspace(0, 1, 101)


def asked_ratio(record: StudyRecord, trial: TrialRecord) -> float:
    """The mixing ratio a trial asked for: the mean of its schedule, where its plan tells it."""
    if trial.plan is not None:
        return float(trial.plan["asked_ratio"])
    return float(value_of(record, trial, "mix.mixing_ratio"))


def ratio_curve(record: StudyRecord) -> Chart:
    """Mixing ratio against AP of the three settings and rank distance, with the region of the best ratios."""
    key, title = "ratio-curve", "Scores over the mixing ratio"
    goal = first_goal(record)[0]
    scored = [trial for trial in record.trials if any(name in trial.metrics for name in SETTING_COLOURS)]
    names = [name for name in SETTING_COLOURS if any(name in trial.metrics for trial in scored)]
    columns = ["trial", "status", "mixing ratio", *names, *([] if goal in names else [goal])]
    rows: list[list[Cell]] = [
        [trial.label, trial.status, cell(asked_ratio(record, trial))]
        + [rounded(name, trial.metrics.get(name)) for name in columns[3:]]
        for trial in scored
    ]
    if len({asked_ratio(record, trial) for trial in scored}) < 2:
        return Chart(
            key, title, "Fewer than two mixing ratios have scores: there is no curve yet.", None, columns, rows
        )
    apart = DISTANCE in names
    figure = make_subplots(
        rows=1 + apart, cols=1, shared_xaxes=True, vertical_spacing=0.07, row_heights=_heights(apart)
    )
    figure.update_layout(template=TEMPLATE, height=600 if apart else 420, margin_r=66)
    for name in names:
        for trace in _setting(record, with_metrics(scored, [name]), name):
            figure.add_trace(trace, row=1 + (name == DISTANCE), col=1)
    figure.update_xaxes(range=[-0.04, 1.04])
    figure.update_xaxes(title_text="share of batches that are mono", row=1 + apart, col=1)
    figure.update_yaxes(title_text="AP", row=1, col=1)
    if apart:
        figure.update_yaxes(title_text="rank distance", row=2, col=1)
    best = _best_ratios(record, finished(with_metrics(scored, [goal])), goal)
    if best is not None and best.stands_out:
        figure.add_vrect(x0=best.low, x1=best.high, fillcolor=FAINT, line_width=0, layer="below")
    _name_lines(figure, names)
    return Chart(key, title, _curve_words(record, scored, goal, best), figure, columns, rows)


def _heights(apart: bool) -> list[float]:
    return [0.66, 0.34] if apart else [1.0]


def _setting(record: StudyRecord, trials: list[TrialRecord], name: str) -> list[go.Scatter]:
    """The marks of one metric, and the line through its finished trials."""
    ratios, values = [asked_ratio(record, t) for t in trials], [t.metrics[name] for t in trials]
    traces = [marks(record, trials, ratios, values, name, color=SETTING_COLOURS[name], size=8)]
    done = finished(trials)
    if len(done) >= smooth.FEWEST:
        x, y = _points(record, done, name)
        at = _PLACES[(x.min() <= _PLACES) & (x.max() >= _PLACES)]
        look = {"color": SETTING_COLOURS[name], "width": 2}
        drawn = go.Scatter(x=at, y=smooth.line(x, y, at), mode="lines", name=name, line=look, hoverinfo="skip")
        traces.insert(0, drawn)
    return traces


def _points(record: StudyRecord, trials: list[TrialRecord], name: str) -> tuple[Float64, Float64]:
    return np.array([asked_ratio(record, t) for t in trials]), np.array([t.metrics[name] for t in trials])


def _name_lines(figure: go.Figure, names: list[str]) -> None:
    """Each setting beside the right end of its line, apart from one another; then no legend is needed."""
    figure.update_layout(showlegend=False)
    ends = {}
    for name in (name for name in names if name != DISTANCE):
        trace = next(trace for trace in figure.data if trace.name == name)
        last = int(np.argmax(np.array(trace.x, float)))
        ends[name] = float(trace.y[last])
    values = [float(y) for trace in figure.data if trace.name != DISTANCE for y in trace.y]
    gap, taken = 0.06 * (max(values) - min(values)) if values else 0.0, -np.inf
    where: dict[str, Any] = {"xref": "paper", "x": 1, "xanchor": "left", "xshift": 4, "showarrow": False}
    for name in sorted(ends, key=ends.__getitem__):
        taken = max(ends[name], taken + gap)
        # The colour is for the mark alone: as text it would not stand out enough from the ground.
        text = f'<span style="color:{SETTING_COLOURS[name]}">●</span> {name.split("/")[0]}'
        figure.add_annotation(text=text, y=taken, yref="y", font={"size": 13}, **where)


class _Region(NamedTuple):
    """The mixing ratios at which the fitted objective is as good as its top, as far as the trials can tell."""

    low: float
    high: float
    missed: float  # how far the line is off a trial it has not seen, in units of the objective

    @property
    def stands_out(self) -> bool:
        """Whether it leaves out a good part of the ratios."""
        return self.high - self.low <= WIDE


def _best_ratios(record: StudyRecord, done: list[TrialRecord], goal: str) -> _Region | None:
    if len(done) < smooth.FEWEST:
        return None
    x, y = _points(record, done, goal)
    y = y if first_goal(record)[1] == "max" else -y
    at = _PLACES[(x.min() <= _PLACES) & (x.max() >= _PLACES)]
    if len(at) < 2:
        return None
    missed = smooth.typical_miss(x, y)
    return _Region(*smooth.near_top(at, smooth.line(x, y, at), missed), missed)


def _curve_words(record: StudyRecord, scored: list[TrialRecord], goal: str, best: _Region | None) -> str:
    done = finished(scored)
    counts = next((trial.scores["counts"] for trial in scored if trial.scores is not None), None)
    said_of = "" if counts is None else f", each on {counted(max(counts['queries'].values()), 'query')}"
    pool = "" if counts is None else f", rank distance in a pool of {counts['passages']:,} passages"
    words = [f"{counted(len(done), 'full-length trial')} and {len(scored) - len(done)} stopped before{said_of}{pool}."]
    if best is None:
        words.append(f"No line is drawn through fewer than {smooth.FEWEST} full-length trials.")
    else:
        missed = said(goal, best.missed)
        words.append(
            "Lines are local straight-line fits through the full-length trials, which differ in more than the ratio."
        )
        if best.stands_out:
            words.append(
                f"In the grey region ({best.low:.2f} to {best.high:.2f}) the line of {goal} is within {missed} of its "
                "top, as far as it typically is off a trial that it has not seen."
            )
        else:
            words.append(
                f"No ratio stands out: the line of {goal} is typically {missed} off a trial that it has not seen."
            )
    return " ".join([*words, MARKS])


def realised_ratio(record: StudyRecord) -> Chart:
    """The mixing ratio that the batches of each trial's plan have, against the one asked for."""
    key, title = "realised-ratio", "Mixing ratio: asked and realised"
    planned = [(trial, trial.plan) for trial in record.trials if trial.plan is not None]
    columns = ["trial", "asked", "realised", "difference", "steps planned"]
    rows: list[list[Cell]] = []
    for trial, plan in planned:
        asked, realised = float(plan["asked_ratio"]), float(plan["realised_ratio"])
        rows.append([trial.label, round(asked, 4), round(realised, 4), round(realised - asked, 5), plan["steps"]])
    if not planned:
        return Chart(key, title, "No trial has written its plan yet.", None, columns, rows)
    trials = [trial for trial, _ in planned]
    asked_for, got = ([float(plan[name]) for _, plan in planned] for name in ("asked_ratio", "realised_ratio"))
    worst = max(abs(b - a) for a, b in zip(asked_for, got, strict=True))
    figure = new_figure(340)
    same = {"color": GREY, "width": 1, "dash": "dot"}
    figure.add_trace(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=same, hoverinfo="skip"))
    points = marks(record, trials, asked_for, got, "trials", color=SETTING_COLOURS["cross/AP"])
    points.hovertext = [
        tip(record, trial, {"asked": f"{a:.4f}", "realised": f"{b:.4f}"})
        for trial, a, b in zip(trials, asked_for, got, strict=True)
    ]
    figure.add_trace(points)
    figure.update_xaxes(title_text="asked for", range=[-0.04, 1.04])
    figure.update_yaxes(title_text="realised", range=[-0.06, 1.06])
    figure.update_layout(showlegend=False)
    steps = max(plan["steps"] for _, plan in planned)
    words = (
        f"The share of mono batches in the plans of {counted(len(planned), 'trial')}; on the dotted line both are the "
        f"same. The largest difference is {worst:.4f}; one batch of {steps:,} is {1 / steps:.4f}."
    )
    return Chart(key, title, words, figure, columns, rows)
