"""The chart of mixing ratio and temperature together: a mark a trial, and a surface where they are dense."""

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go

from hybridtune.report import smooth
from hybridtune.report.chart import (
    Cell,
    Chart,
    cell,
    counted,
    first_goal,
    is_searched,
    marks,
    new_figure,
    ring,
    rounded,
    symbol,
    value_of,
    with_metrics,
)
from hybridtune.report.heat_map import SEQUENTIAL, plotly_scale
from hybridtune.report.mix_charts import asked_ratio
from hybridtune.report.record import StudyRecord, TrialRecord

_ACROSS = np.linspace(0, 1, 51)


def ratio_temperature(record: StudyRecord) -> Chart:
    """The first objective over mixing ratio and temperature: a mark a trial, a surface where they are dense."""
    key, title = "ratio-temperature", "Mixing ratio and temperature together"
    goal = first_goal(record)[0]
    trials = with_metrics(record.trials, [goal])
    columns = ["trial", "status", "mixing ratio", "temperature", goal]
    ratios = [asked_ratio(record, trial) for trial in trials]
    heats = [float(value_of(record, trial, "temperature")) for trial in trials]
    rows: list[list[Cell]] = [
        [trial.label, trial.status, cell(ratio), cell(heat), rounded(goal, trial.metrics[goal])]
        for trial, ratio, heat in zip(trials, ratios, heats, strict=True)
    ]
    if not is_searched(record, "temperature"):
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
    record: StudyRecord, trials: list[TrialRecord], x: list[float], y: list[float], values: smooth.Floats, goal: str
) -> go.Scatter:
    """Marks coloured by the objective, with the bar of colours below."""
    bar = {"orientation": "h", "title": {"text": goal, "side": "top"}, "thickness": 12, "y": -0.16, "yanchor": "top"}
    look = {"color": list(values), "colorscale": plotly_scale(SEQUENTIAL), "colorbar": bar}
    points = marks(record, trials, x, y, goal, **look)
    points.marker.symbol = [symbol(trial).removesuffix("-open") for trial in trials]  # a pale ring would not be seen
    points.marker.opacity = 1  # Plotly makes marks of several sizes see-through
    points.marker.size = [14 if trial.status == "done" else 8 for trial in trials]
    return points


def _surface(ratios: smooth.Floats, log_heats: smooth.Floats, values: smooth.Floats) -> go.Contour:
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
