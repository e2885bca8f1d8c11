"""The chart of the soups: what averages of mono-only and cross-only score on dev, beside trainings on such mixes."""

import plotly.graph_objects as go

from hybridtune.report.chart import MARKS, Chart, marks, panels, rounded, safe
from hybridtune.report.colours import GREY, SETTING_COLOURS
from hybridtune.report.mix_charts import requested_ratio
from hybridtune.report.record import StudyRecord, TrialRecord
from hybridtune.report.soups import soup_words
from hybridtune.report.text import counted, format_metric
from hybridtune.storage.soup_rows import SoupRow

_BALANCED, _DISTANCE = "balanced/AP", "multi/rank_distance"
_MONO, _CROSS = "mono-only", "cross-only"


def soup_curve(record: StudyRecord) -> Chart:
    """Draw AP of the settings over the share of cross-only's weights, and below it the trials over their batches."""
    names = [name for name in (*SETTING_COLOURS, _BALANCED) if name != _DISTANCE]
    columns = [*dict.fromkeys([record.goal, *names, _DISTANCE])]
    title = "Soups: mono-only and cross-only averaged"
    chart = Chart("soup-curve", title, ["weights", "share of cross-only", *columns])
    soups = record.soups
    if not soups or record.best is None:
        return chart.saying("No weights were averaged: search.soups says at how many shares they are.")
    ends = _ends(record, soups)
    between = [row for row in soups if row.models.keys() == ends.keys()]
    for label, share, metrics in [
        *((f"{name} alone ({trial.label})", float(name == _CROSS), trial.metrics) for name, trial in ends.items()),
        *((row.label, row.shares.get(_CROSS, 0.0), row.metrics) for row in soups),
    ]:
        values = [rounded(name, metrics.get(name)) for name in columns]
        chart.rows.append([label, round(share, 4), *values])
    chart.rows.sort(key=lambda row: float(str(row[1])))
    figure = panels(2, 640, spacing=0.1, margin_r=20, margin_b=80, margin_t=24)
    trials = [trial for trial in record.trials if trial.done]
    for name in names:
        figure.add_trace(_line(name, between, ends), row=1, col=1)
        points = _trials(record, trials, name)
        if points is not None:
            figure.add_trace(points, row=2, col=1)
    figure.update_yaxes(title_text="AP of soups", row=1, col=1)
    figure.update_yaxes(title_text="AP of trials", matches="y", row=2, col=1)
    figure.update_xaxes(range=[-0.04, 1.04])
    figure.update_xaxes(title_text="share of cross-only: of weights above, of batches below", row=2, col=1)
    words = (
        f"{soup_words(soups, record.best, record.goal)} Above: the two trainings at the ends and "
        f"{counted(len(between), 'average')} of their weights between them, scored on dev; no average was trained. "
        f"Below, on the same scale: {counted(len(trials), 'full-length trial')} over the share of their batches that "
        f"were cross; they differ in more than that. {MARKS}"
    )
    return chart.saying(words, figure)


def _ends(record: StudyRecord, soups: list[SoupRow]) -> dict[str, TrialRecord]:
    """Return the trials at the ends of the curve, as far as they are there."""
    models = {name: trial for row in soups for name, trial in row.models.items()}
    by_id = {trial.id: trial for trial in record.trials}
    return {name: by_id[models[name]] for name in (_MONO, _CROSS) if models.get(name) in by_id}


def _line(name: str, soups: list[SoupRow], ends: dict[str, TrialRecord]) -> go.Scatter:
    """Return the curve of one metric, a mark at each soup and at its ends."""
    points = [(float(end == _CROSS), trial.metrics[name], f"{end} alone") for end, trial in ends.items()]
    points += [(row.shares.get(_CROSS, 0.0), row.metrics[name], row.label) for row in soups]
    points.sort()
    colour = SETTING_COLOURS.get(name, GREY)
    return go.Scatter(
        x=[x for x, *_ in points],
        y=[y for _, y, _ in points],
        mode="lines+markers",
        name=safe(name),
        line={"color": colour, "width": 2},
        marker={"color": colour, "size": 9, "symbol": "diamond" if name == _BALANCED else "circle"},
        hovertext=[f"{safe(label)}<br>{safe(name)} {format_metric(name, y)}" for _, y, label in points],
        hoverinfo="text",
    )


def _trials(record: StudyRecord, trials: list[TrialRecord], name: str) -> go.Scatter | None:
    scored = [trial for trial in trials if name in trial.metrics]
    if not scored:
        return None
    shares, values = [1 - requested_ratio(record, trial) for trial in scored], [t.metrics[name] for t in scored]
    points = marks(record, scored, shares, values, name, color=SETTING_COLOURS.get(name, GREY), size=8)
    points.showlegend = False
    return points
