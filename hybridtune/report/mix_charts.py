"""Charts of the mix: scores over the mixing ratio, ratio and temperature together, the ratio that plans realised.

The smooth lines and surfaces between trials are at the end of the file, pure.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from hybridtune.metrics.arrays import Float64
from hybridtune.report.chart import MARKS, Chart, cell, marks, panels, ring, rounded, styled, symbol, tip
from hybridtune.report.colours import FAINT, GREY, SEQUENTIAL, SETTING_COLOURS, plotly_scale
from hybridtune.report.record import StudyRecord, TrialRecord
from hybridtune.report.text import counted, format_metric

DISTANCE = "multi/rank_distance"
FEWEST = 5  # trials through which a line is drawn
DENSE = 8  # trials through which a surface is drawn
WIDE = 0.75  # a region of ratios wider than this names none
WINDOW = 0.2  # width of a line's kernel: of the range of mixing ratios
_WIDTH, _REACH = 0.15, 0.22  # of the unit square: a surface's kernel, and how far from a trial it goes
_RATIOS = np.linspace(0, 1, 101)  # at which lines are drawn


def requested_ratio(record: StudyRecord, trial: TrialRecord) -> float:
    """Return the mixing ratio that a trial requested: the mean of its schedule, where its plan has it."""
    return float(trial.plan["requested_ratio"] if trial.plan is not None else record.value(trial, "mix.mixing_ratio"))


def ratio_temperature(record: StudyRecord) -> Chart:
    """Draw the first objective over mixing ratio and temperature: a mark a trial, a surface where they are dense."""
    goal = record.goal
    trials = record.scored([goal])
    ratios = [requested_ratio(record, trial) for trial in trials]
    temperatures = [float(record.value(trial, "train.temperature")) for trial in trials]
    columns = ["trial", "status", "mixing ratio", "temperature", goal]
    chart = Chart("ratio-temperature", "Mixing ratio and temperature together", columns, note=record.left_out)
    for trial, ratio, temperature in zip(trials, ratios, temperatures, strict=True):
        value = rounded(goal, trial.metrics[goal])
        if record.is_listed(trial):
            chart.rows.append([trial.label, trial.status, cell(ratio), cell(temperature), value])
    if "train.temperature" not in record.study.search.space:
        return chart.saying("The study does not search the temperature.")
    if len(set(temperatures)) < 2 or len(set(ratios)) < 2:
        return chart.saying("The trials so far have one mixing ratio or one temperature: there is no map yet.")
    done = [i for i, trial in enumerate(trials) if trial.done]
    values = np.array([trial.metrics[goal] for trial in trials])
    figure = styled(go.Figure(), 520, showlegend=False)
    words = f"{goal} of {counted(len(trials), 'trial')}, darker is more."
    if len(done) >= DENSE:
        figure.add_trace(_surface(np.array(ratios)[done], np.log(temperatures)[done], values[done]))
        words += (
            " The ground between them is a weighted mean of the full-length trials near by, and left out elsewhere."
        )
    else:
        words += f" No surface is drawn through fewer than {DENSE} full-length trials (here {len(done)})."
    bar = {"orientation": "h", "title": {"text": goal, "side": "top"}, "thickness": 12, "y": -0.16, "yanchor": "top"}
    look = {"color": list(values), "colorscale": plotly_scale(SEQUENTIAL), "colorbar": bar}
    points = marks(record, trials, ratios, temperatures, goal, **look)
    points.marker.symbol = [symbol(trial).removesuffix("-open") for trial in trials]  # a pale ring would not be seen
    points.marker.opacity = 1  # Plotly makes marks of several sizes see-through
    points.marker.size = [14 if trial.done else 8 for trial in trials]
    figure.add_trace(points)
    for trial, ratio, temperature in zip(trials, ratios, temperatures, strict=True):
        if record.is_best(trial):
            side = "left" if ratio > 0.8 else "right" if ratio < 0.2 else "center"  # none is cut off
            figure.add_trace(ring(ratio, temperature, trial.label, side))
            words += f" The ring is the chosen trial, {trial.label}; small marks have not come to the last step."
    figure.update_xaxes(title_text="share of batches that are mono", range=[-0.06, 1.06])
    # Ticks at 1, 2 and 5 times the powers of ten, written out.
    powers = range(math.floor(math.log10(min(temperatures))), math.ceil(math.log10(max(temperatures))) + 1)
    ticks = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    figure.update_yaxes(title_text="temperature", type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    return chart.saying(words, figure)


def _surface(ratios: Float64, logs: Float64, values: Float64) -> go.Contour:
    """Return filled contours over the stretch of temperatures that were tried, whose logarithms are given."""
    low, span = logs.min(), max(float(np.ptp(logs)), 1e-9)
    across, down = np.linspace(0, 1, 51), np.linspace(0, 1, 41)
    z = smooth_surface(ratios, (logs - low) / span, values, across, down)
    return go.Contour(
        x=across,
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


def ratio_curve(record: StudyRecord) -> Chart:
    """Draw AP of the three settings and rank distance over the mixing ratio, with the region of the best ratios."""
    goal = record.goal
    scored = [trial for trial in record.trials if any(name in trial.metrics for name in SETTING_COLOURS)]
    names = [name for name in SETTING_COLOURS if any(name in trial.metrics for trial in scored)]
    figures = [*names, *([] if goal in names else [goal])]
    columns = ["trial", "status", "mixing ratio", *figures]
    chart = Chart("ratio-curve", "Scores over the mixing ratio", columns, note=record.left_out)
    for trial in filter(record.is_listed, scored):
        values = [rounded(name, trial.metrics.get(name)) for name in figures]
        chart.rows.append([trial.label, trial.status, cell(requested_ratio(record, trial)), *values])
    if len({requested_ratio(record, trial) for trial in scored}) < 2:
        return chart.saying("Fewer than two mixing ratios have scores: there is no curve yet.")
    apart = DISTANCE in names
    shares = [0.66, 0.34] if apart else [1.0]
    figure = panels(1 + apart, 600 if apart else 420, shares=shares, margin_r=66, showlegend=False)
    for name in names:
        for trace in _setting(record, name):
            figure.add_trace(trace, row=1 + (name == DISTANCE), col=1)
    figure.update_xaxes(range=[-0.04, 1.04])
    figure.update_xaxes(title_text="share of batches that are mono", row=1 + apart, col=1)
    figure.update_yaxes(title_text="AP", row=1, col=1)
    if apart:
        figure.update_yaxes(title_text="rank distance", row=2, col=1)
    best = _best_ratios(record)
    if best is not None and best.is_narrow:
        figure.add_vrect(x0=best.low, x1=best.high, fillcolor=FAINT, line_width=0, layer="below")
    _name_lines(figure, names)
    return chart.saying(_curve_words(scored, goal, best), figure)


def _setting(record: StudyRecord, name: str) -> list[go.Scatter]:
    """Return the line through the finished trials of one metric, and the marks of all."""
    trials = record.scored([name])
    ratios, values = _points(record, trials, name)
    traces = [marks(record, trials, ratios.tolist(), values.tolist(), name, color=SETTING_COLOURS[name], size=8)]
    done = [trial for trial in trials if trial.done]
    if len(done) >= FEWEST:
        x, y = _points(record, done, name)
        at, look = _between(x), {"color": SETTING_COLOURS[name], "width": 2}
        line = go.Scatter(x=at, y=smooth_line(x, y, at), mode="lines", name=name, line=look, hoverinfo="skip")
        traces.insert(0, line)
    return traces


def _points(record: StudyRecord, trials: list[TrialRecord], name: str) -> tuple[Float64, Float64]:
    return np.array([requested_ratio(record, t) for t in trials]), np.array([t.metrics[name] for t in trials])


def _between(x: Float64) -> Float64:
    """Return the ratios at which a line through these trials is drawn."""
    between: Float64 = _RATIOS[(x.min() <= _RATIOS) & (x.max() >= _RATIOS)]
    return between


def _name_lines(figure: go.Figure, names: list[str]) -> None:
    """Write each setting beside the right end of its line, apart from one another, in place of a legend."""
    ends = {}
    for name in (name for name in names if name != DISTANCE):
        trace = next(trace for trace in figure.data if trace.name == name)
        ends[name] = float(trace.y[int(np.argmax(np.array(trace.x, float)))])
    values = [float(y) for trace in figure.data if trace.name != DISTANCE for y in trace.y]
    gap, taken = 0.06 * (max(values) - min(values)) if values else 0.0, -np.inf
    beside: dict[str, Any] = {"xref": "paper", "x": 1, "xanchor": "left", "xshift": 4, "showarrow": False}
    for name in sorted(ends, key=ends.__getitem__):
        taken = max(ends[name], taken + gap)
        # The colour is for the mark alone: as text it would not stand out enough from the ground.
        text = f'<span style="color:{SETTING_COLOURS[name]}">●</span> {name.split("/")[0]}'
        figure.add_annotation(text=text, y=taken, yref="y", font={"size": 13}, **beside)


class _Region(NamedTuple):
    """The mixing ratios at which the fitted objective is as good as its top, as far as the trials show."""

    low: float
    high: float
    missed: float  # how far the line is off a trial it has not seen, in units of the objective

    @property
    def is_narrow(self) -> bool:
        """True where it leaves out a good part of the ratios."""
        return self.high - self.low <= WIDE


def _best_ratios(record: StudyRecord) -> _Region | None:
    done = [trial for trial in record.scored([record.goal]) if trial.done]
    if len(done) < FEWEST:
        return None
    x, y = _points(record, done, record.goal)
    y = y if record.mode == "max" else -y
    at = _between(x)
    if len(at) < 2:
        return None
    missed = typical_miss(x, y)
    return _Region(*near_top(at, smooth_line(x, y, at), missed), missed)


def _curve_words(scored: list[TrialRecord], goal: str, best: _Region | None) -> str:
    done = [trial for trial in scored if trial.done]
    counts = next((trial.scores["counts"] for trial in scored if trial.scores is not None), None)
    rests_on = ""
    if counts is not None:
        rests_on = (
            f", each on {counted(max(counts['queries'].values()), 'query')}, rank distance in a pool of "
            f"{counts['passages']:,} passages"
        )
    words = f"{counted(len(done), 'full-length trial')} and {len(scored) - len(done)} shorter{rests_on}."
    if best is None:
        return f"{words} No line is drawn through fewer than {FEWEST} full-length trials. {MARKS}"
    words += " Lines are local straight-line fits through the full-length trials, which differ in more than the ratio."
    missed = format_metric(goal, best.missed)
    if best.is_narrow:
        words += (
            f" In the grey region ({best.low:.2f} to {best.high:.2f}) the line of {goal} is within {missed} of its "
            "top, as far as it typically is off a trial that it has not seen."
        )
    else:
        words += f" No ratio stands out: the line of {goal} is typically {missed} off a trial that it has not seen."
    return f"{words} {MARKS}"


def realised_ratio(record: StudyRecord) -> Chart:
    """Draw the mixing ratio that the batches of each trial's plan have, against the requested one."""
    columns = ["trial", "requested", "realised", "difference", "steps planned"]
    chart = Chart("realised-ratio", "Mixing ratio: requested and realised", columns, note=record.left_out)
    planned = [(trial, trial.plan) for trial in record.trials if trial.plan is not None]
    if not planned:
        return chart.saying("No trial has written its plan yet.")
    requested, realised = ([float(plan[name]) for _, plan in planned] for name in ("requested_ratio", "realised_ratio"))
    for (trial, plan), a, b in zip(planned, requested, realised, strict=True):
        if record.is_listed(trial):
            chart.rows.append([trial.label, round(a, 4), round(b, 4), round(b - a, 5), plan["steps"]])
    worst = max(abs(b - a) for a, b in zip(requested, realised, strict=True))
    same = {"color": GREY, "width": 1, "dash": "dot"}
    line = go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=same, hoverinfo="skip")
    figure = styled(go.Figure(line), 340, showlegend=False)
    trials = [trial for trial, _ in planned]
    points = marks(record, trials, requested, realised, "trials", color=SETTING_COLOURS["cross/AP"])
    points.hovertext = [
        tip(record, trial, {"requested": f"{a:.4f}", "realised": f"{b:.4f}"})
        for trial, a, b in zip(trials, requested, realised, strict=True)
    ]
    figure.add_trace(points)
    figure.update_xaxes(title_text="requested", range=[-0.04, 1.04])
    figure.update_yaxes(title_text="realised", range=[-0.06, 1.06])
    steps = max(plan["steps"] for _, plan in planned)
    words = (
        f"The share of mono batches in the plans of {counted(len(planned), 'trial')}; on the dotted line both are the "
        f"same. The largest difference is {worst:.4f}; one batch of {steps:,} is {1 / steps:.4f}."
    )
    return chart.saying(words, figure)


def smooth_line(x: Float64, y: Float64, at: Float64) -> Float64:
    """Fit straight lines of y over x, at each point of ``at`` through all trials, near ones counting more.

    The trials are at ``x`` [n] in [0, 1], n >= 1, with values ``y`` [n]; ``at`` and the fit are [m]. The weights are
    Gaussian, of standard deviation WINDOW.
    """
    away = x[None, :] - at[:, None]  # [m, n]
    squares = (away / WINDOW) ** 2
    weights = np.exp((squares.min(1, keepdims=True) - squares) / 2)  # the nearest has 1: no point is without weight
    total = weights.sum(1)
    mean_x, mean_y = (weights * away).sum(1) / total, (weights * y).sum(1) / total
    spread = (weights * (away - mean_x[:, None]) ** 2).sum(1)
    together = (weights * (away - mean_x[:, None]) * (y[None, :] - mean_y[:, None])).sum(1)
    flat = 1e-3 * total * WINDOW**2  # without a spread of x there is no slope to see
    fitted: Float64 = mean_y - together / (spread + flat) * mean_x
    return fitted


def typical_miss(x: Float64, y: Float64) -> float:
    """Return the median distance of each trial from the `smooth_line` through all the others, in units of y.

    Through a few trials a line passes almost exactly; a trial that it has not seen shows how sure it is. The median,
    for without the trial at an end the line guesses there.
    """
    others = [np.arange(len(x)) != i for i in range(len(x))]
    missed = [y[i] - smooth_line(x[rest], y[rest], x[i : i + 1])[0] for i, rest in enumerate(others)]
    return float(np.median(np.abs(missed)))


def near_top(at: Float64, fitted: Float64, within: float) -> tuple[float, float]:
    """Return the ends of the stretch of ``at`` [m], ascending, around the highest point of a line.

    There the line, ``fitted`` [m], is at most ``within`` below that point.
    """
    top = int(np.argmax(fitted))
    below = np.flatnonzero(fitted < fitted[top] - within)
    left = below[below < top].max(initial=-1) + 1
    right = below[below > top].min(initial=len(at)) - 1
    return float(at[left]), float(at[right])


def smooth_surface(x: Float64, y: Float64, values: Float64, across: Float64, down: Float64) -> Float64:
    """Return weighted means of the trials' values over the unit square, by a Gaussian kernel.

    The trials are at ``x`` and ``y`` [n] in [0, 1], with ``values`` [n]; the points at ``across`` [a] and ``down`` [d].
    The means are [d, a]; NaN where no trial is within reach: nothing is known there.
    """
    away = (across[None, :, None] - x) ** 2 + (down[:, None, None] - y) ** 2  # [d, a, n]
    weights = np.exp(-away / (2 * _WIDTH**2))
    means = (weights * values).sum(2) / np.maximum(weights.sum(2), 1e-300)
    found: Float64 = np.where(away.min(2) <= _REACH**2, means, np.nan)
    return found
