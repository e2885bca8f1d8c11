"""The chart of learned mixes: the mixing ratio over the steps of a training, as its dev scores moved it."""

import plotly.graph_objects as go

from hybridtune.report.chart import Chart, cell, safe, styled
from hybridtune.report.colours import BLUE, GREEN, GREY
from hybridtune.report.record import StudyRecord, TrialRecord
from hybridtune.report.text import counted


def ratio_path(record: StudyRecord) -> Chart | None:
    """Draw the ratio of every training whose mix was learned; None where none was."""
    trials = [trial for trial in record.trials if trial.plan is not None and trial.plan.get("segments")]
    if not trials:
        return None
    columns = ["trial", "from step", "mixing ratio"]
    chart = Chart("ratio-path", "Mixing ratio over the steps of learned mixes", columns, note=record.left_out)
    figure = styled(go.Figure(), 340, showlegend=1 < len(trials) <= 8)
    for trial in filter(record.is_listed, trials):
        steps, ratios = _path(trial)
        chart.rows += [[trial.label, step, cell(ratio)] for step, ratio in zip(steps[:-1], ratios, strict=False)]
        figure.add_trace(_line(record, trial, steps, ratios))
    figure.update_xaxes(title_text="step", rangemode="tozero")
    figure.update_yaxes(title_text="share of batches that are mono", range=[-0.04, 1.04])
    words = (
        f"The requested share of mono batches in {counted(len(trials), 'training')} whose mix follows the dev scores: "
        "it changes after each score, and the weights of the language pairs with it (plan.json of the trial's folder)."
    )
    return chart.saying(f"{words} {record.left_out}".strip(), figure)


def _path(trial: TrialRecord) -> tuple[list[int], list[float]]:
    """Return the steps at which the ratio changes and the last step, and the ratio from each on."""
    assert trial.plan is not None
    segments = trial.plan["segments"]
    ratios = [float(one["mixing_ratio"]) for one in segments]
    return [*(int(one["start"]) for one in segments), int(trial.plan["steps"])], [*ratios, ratios[-1]]


def _line(record: StudyRecord, trial: TrialRecord, steps: list[int], ratios: list[float]) -> go.Scatter:
    chosen, named = record.is_best(trial), trial in record.contestants.values()
    look = {"shape": "hv", "color": BLUE if chosen else GREEN if named else GREY, "width": 3 if chosen else 1 + named}
    label = f"{safe(trial.label)}, from step %{{x}}: %{{y:.3f}}<extra></extra>"
    return go.Scatter(x=steps, y=ratios, mode="lines", line=look, name=safe(trial.label), hovertemplate=label)
