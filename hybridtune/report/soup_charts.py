"""The chart of the soups: what averages of mono-only and cross-only score on dev, beside trainings on such mixes."""

from typing import NamedTuple

import plotly.graph_objects as go

from hybridtune.report.chart import MARKS, Chart, marks, panels, rounded, safe
from hybridtune.report.colours import GREY, SETTING_COLOURS
from hybridtune.report.mix_charts import requested_ratio
from hybridtune.report.record import StudyRecord, TrialRecord
from hybridtune.report.soups import soup_words
from hybridtune.report.text import counted, format_metric

_DISTANCE = "multi/rank_distance"
_MONO, _CROSS = "mono-only", "cross-only"


class _Point(NamedTuple):
    """A point of the curve: a soup, or one of the two trainings at its ends."""

    share: float  # of cross-only's weights
    label: str
    metrics: dict[str, float]


def soup_curve(record: StudyRecord) -> Chart:
    """Draw the first objective, and AP of the settings, over the share of cross-only: of weights, and of batches."""
    settings = [name for name in SETTING_COLOURS if name != _DISTANCE]
    columns = list(dict.fromkeys([record.goal, *settings, _DISTANCE]))
    chart = Chart(
        "soup-curve", "Soups: mono-only and cross-only averaged", ["weights", "share of cross-only", *columns]
    )
    soup, best = record.best_soup, record.best
    if soup is None or best is None:
        return chart.saying("No weights were averaged: search.soups says at how many shares they are.")
    curve = _curve(record)
    others = [_Point(row.shares.get(_CROSS, 0.0), row.label, row.metrics) for row in record.soups]
    for point in [*curve, *(other for other in others if other not in curve)]:
        values = [rounded(name, point.metrics.get(name)) for name in columns]
        chart.rows.append([point.label, round(point.share, 4), *values])
    figure = panels(2, 680, spacing=0.07, shares=[0.42, 0.58], margin_r=20, margin_b=80)
    trials = [trial for trial in record.trials if trial.done]
    for row, names in ((1, [record.goal]), (2, settings)):
        for name in names:
            figure.add_trace(_trials(record, trials, name), row=row, col=1)
            figure.add_trace(_line(name, curve, apart=row == 1), row=row, col=1)
    figure.update_yaxes(title_text=safe(record.goal), row=1, col=1)
    figure.update_yaxes(title_text="AP by setting", row=2, col=1)
    figure.update_xaxes(range=[-0.04, 1.04])
    figure.update_xaxes(
        title_text="share of cross-only: of the weights (lines), of the batches (other marks)", row=2, col=1
    )
    averages = sum(row.models.keys() == {_MONO, _CROSS} for row in record.soups)
    words = (
        f"{soup_words(soup, len(record.soups), best, record.goal)} The lines go from mono-only to cross-only through "
        f"{counted(averages, 'average')} of their weights (diamonds), scored on dev; none of these was trained. "
        f"The other marks are {counted(len(trials), 'full-length trial')} over the share of their batches that were "
        f"cross; they differ in more than that. {MARKS}"
    )
    return chart.saying(words, figure)


def _curve(record: StudyRecord) -> list[_Point]:
    """Return the points from one training to the other, those that are there: the ends, and the soups of both alone."""
    models = {name: trial for row in record.soups for name, trial in row.models.items() if name in (_MONO, _CROSS)}
    by_id = {trial.id: trial for trial in record.trials}
    ends = {name: by_id[trial] for name, trial in models.items() if trial in by_id}
    points = [_Point(float(name == _CROSS), f"{name} alone ({one.label})", one.metrics) for name, one in ends.items()]
    points += [
        _Point(row.shares[_CROSS], row.label, row.metrics)
        for row in record.soups
        if row.models.keys() == {_MONO, _CROSS}
    ]
    return sorted(points, key=lambda point: point.share)


def _line(name: str, curve: list[_Point], apart: bool) -> go.Scatter:
    """Return the curve of one metric with a mark at each point; ``apart`` in a panel of its own."""
    points = [point for point in curve if name in point.metrics]
    colour = GREY if apart else SETTING_COLOURS[name]
    return go.Scatter(
        x=[point.share for point in points],
        y=[point.metrics[name] for point in points],
        mode="lines+markers",
        name=safe(name),
        line={"color": colour, "width": 2},
        marker={"color": colour, "size": 9, "symbol": "diamond"},
        hovertext=[f"{safe(one.label)}<br>{safe(name)} {format_metric(name, one.metrics[name])}" for one in points],
        hoverinfo="text",
        showlegend=not apart,
    )


def _trials(record: StudyRecord, trials: list[TrialRecord], name: str) -> go.Scatter:
    scored = [trial for trial in trials if name in trial.metrics]
    shares, values = [1 - requested_ratio(record, trial) for trial in scored], [t.metrics[name] for t in scored]
    points = marks(record, scored, shares, values, name, color=SETTING_COLOURS.get(name, GREY), size=8)
    points.showlegend = False
    return points
