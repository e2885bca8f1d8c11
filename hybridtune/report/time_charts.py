"""Charts of the trials over time: scores while they train, when each ran and what it spent its time on."""

import datetime
from collections.abc import Iterable
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.trial import TrialState

from hybridtune.report.chart import Chart, panels, rounded, safe, styled, tip
from hybridtune.report.colours import BLUE, GREEN, GREY, ORANGE, PURPLE
from hybridtune.report.record import StudyRecord, TrialRecord
from hybridtune.report.text import Value, counted, shorten
from hybridtune.storage.trial_rows import wall_seconds

REST = "waiting and ending"  # for workers to start, for a free place; writing the best checkpoint
PHASES = {"set-up": PURPLE, "training": BLUE, "scoring": GREEN, REST: ORANGE, "not told apart": GREY}
_TIMED = {"set-up": "setup_seconds", "training": "train_seconds", "scoring": "score_seconds"}
_OF_ARM = {"mono-only": (ORANGE, "dot"), "half-half": (GREEN, "dash"), "cross-only": (PURPLE, "dashdot")}


def intermediate(record: StudyRecord) -> Chart:
    """Draw the first objective of every trial at each of its scores, with Optuna where it holds them."""
    goal = record.goal
    chart = Chart("intermediate", "Scores while training", ["trial", "step", goal], note=record.left_out)
    chart.rows = _score_rows(record.listed, [goal])
    if record.optuna_study is None:
        return chart.saying("Optuna's storage is not there or cannot be read, so there is only the table.")
    numbered = {trial.number: trial for trial in record.trials}
    lines = [
        (number, points)
        for number, points in _points_of_trials(record, record.optuna_study)
        if number not in numbered or record.is_listed(numbered[number])
    ]
    if not lines:
        return chart.saying("No trial has a score yet.")
    traces = []
    for number, points in lines:
        found = numbered.get(number)
        named = found is not None and _is_shown(record, found)
        look = _look(record, found if named else None)
        look["marker"]["maxdisplayed"] = 10
        tips = _step_tips(f"Trial{number}", goal, points)
        x, y = zip(*points, strict=True)
        name = "" if found is None else safe(found.label)
        traces.append(go.Scatter(x=x, y=y, name=name, showlegend=named, hoverinfo="text", hovertext=tips, **look))
    figure = styled(go.Figure(sorted(traces, key=lambda trace: trace.line.width)), 400, margin_b=60)
    figure.update_xaxes(title_text="training step")
    figure.update_yaxes(title_text=safe(goal))
    words = f"{goal} at each score of {counted(len(traces), 'trial')}; a line that ends early was stopped there."
    words += " Thin grey lines are other trials."
    return chart.saying(f"{words} {record.left_out}".strip(), figure)


def _points_of_trials(record: StudyRecord, study: optuna.Study) -> list[tuple[int, list[tuple[int, float]]]]:
    """Return (number, points) of each trial that has a score: as Optuna holds them, else those of its folder.

    With several objectives Optuna holds no values between.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.PRUNED, TrialState.COMPLETE, TrialState.RUNNING))
    held = {one.number: sorted(one.intermediate_values.items()) for one in trials if one.intermediate_values}
    others = (
        (trial.number, [(int(entry["step"]), entry[record.goal]) for entry in trial.history if record.goal in entry])
        for trial in record.trials
        if trial.number not in held
    )
    return [*held.items(), *((number, points) for number, points in others if points)]


def _step_tips(label: str, name: str, points: Iterable[tuple[float, float]]) -> list[str]:
    return [f"{label}, step {int(step):,}<br>{safe(name)} {value:.4g}" for step, value in points]


def _is_shown(record: StudyRecord, trial: TrialRecord) -> bool:
    """Return whether a trial has a name in the charts: it is the chosen one or a contestant."""
    return record.is_best(trial) or trial in record.contestants.values()


def _look(record: StudyRecord, trial: TrialRecord | None) -> dict[str, Any]:
    """Return a line: the chosen trial's thick and blue, a contestant's by its arm, that of any other thin and grey."""
    chosen = trial is not None and record.is_best(trial)
    arm = "" if trial is None else trial.arm
    colour, dash = (BLUE, "solid") if chosen else _OF_ARM.get(arm, (GREY if trial is None else BLUE, "solid"))
    line = {"color": colour, "dash": dash, "width": 3 if chosen else 2 if trial is not None else 1}
    return {"mode": "lines+markers", "line": line, "marker": {"color": colour, "size": 5}}


def _score_rows(trials: list[TrialRecord], names: list[str]) -> list[list[Value]]:
    return [
        [trial.label, int(entry["step"]), *(rounded(name, entry.get(name)) for name in names)]
        for trial in trials
        for entry in trial.history
    ]


def learning_curves(record: StudyRecord) -> Chart:
    """Draw loss and first objective over the steps of the chosen trial and the contestants."""
    goal, best = record.goal, record.best
    names = list(dict.fromkeys(["loss", goal]))
    chart = Chart("learning-curves", "Learning curves", ["trial", "step", *names])
    shown = [trial for trial in record.trials if trial.history and _is_shown(record, trial)]
    chart.rows = _score_rows(shown, names)
    if not shown:
        return chart.saying("No trial has come to its last step yet.")
    figure = panels(2, 540, margin_b=60)
    for trial in shown:
        for panel, name in enumerate(names, start=1):
            points = [(entry["step"], entry[name]) for entry in trial.history if name in entry]
            line = go.Scatter(
                x=[x for x, _ in points],
                y=[y for _, y in points],
                name=safe(trial.label),
                legendgroup=trial.id,
                showlegend=panel == 1,
                **_look(record, trial),
                hovertext=_step_tips(safe(trial.label), name, points),
                hoverinfo="text",
            )
            figure.add_trace(line, row=panel, col=1)
    figure.update_xaxes(title_text="training step", row=2, col=1)
    figure.update_yaxes(title_text="training loss", row=1, col=1)
    figure.update_yaxes(title_text=safe(goal), row=2, col=1)
    others = counted(sum(not record.is_best(trial) for trial in shown), "other contestant")
    chosen = "" if best is None else f" and the chosen trial, {best.label} (thick blue)"
    words = (
        f"{others}{chosen}: training loss, a mean over the steps since the score before, and {goal} on dev. Losses at "
        "different temperatures are not comparable with one another."
    )
    return chart.saying(words, figure)


def _phases(trial: TrialRecord) -> dict[str, float]:
    """Return a trial's seconds by phase, which add up to all of its time.

    Its metrics may be those of a checkpoint before the last, so its last score counts too. A resumed trial may have
    trained longer than its last stretch lasted: its phases are then cut to it.
    """
    left = trial.seconds
    phases: dict[str, float] = {}
    for phase, name in _TIMED.items():
        values = [float(entry[name]) for entry in (trial.metrics, *trial.history) if name in entry]
        if values:
            phases[phase] = min(max(values), left)
            left -= phases[phase]
    phases[REST if len(phases) == len(_TIMED) else "not told apart"] = left
    return phases


def timeline(record: StudyRecord) -> Chart:
    """Draw when each trial ran, by phase: set-up, training, scoring, and the rest."""
    columns = ["trial", "status", "begins (s)", "whole (s)", *(f"{phase} (s)" for phase in PHASES)]
    chart = Chart("timeline", "Where the time went", columns, note=record.left_out)
    trials = [trial for trial in record.trials if trial.began > 0 and trial.seconds > 0]
    if not trials:
        return chart.saying("No trial has told when it began and how long it took.")
    first = min(trial.began for trial in trials)
    begins, spent = [trial.began - first for trial in trials], [_phases(trial) for trial in trials]
    drawn = [i for i, trial in enumerate(trials) if record.is_listed(trial)]
    for trial, start, by_phase in ((trials[i], begins[i], spent[i]) for i in drawn):
        phases = [round(by_phase[phase], 1) if phase in by_phase else None for phase in PHASES]
        chart.rows.append([trial.label, trial.status, round(start, 1), round(trial.seconds, 1), *phases])
    # A unit in which the search is no more than a few hundred long, and the seconds of one.
    length = max(start + trial.seconds for start, trial in zip(begins, trials, strict=True))
    unit, seconds = ("seconds", 1) if length < 300 else ("minutes", 60) if length < 4 * 3600 else ("hours", 3600)
    bars = _bars(record, [trials[i] for i in drawn], [(begins[i], spent[i]) for i in drawn], seconds)
    height = 130 + (26 if len(drawn) <= 30 else 15) * len(drawn)
    figure = styled(bars, height, barmode="overlay", margin_b=60, bargap=0.3)
    figure.update_xaxes(title_text=f"{unit} since the first trial began", rangemode="tozero")
    labels = [safe(shorten(trials[i].label, 14)) for i in drawn]
    ticks = {"tickvals": list(range(len(drawn))), "ticktext": labels, "range": [len(drawn) - 0.4, -0.6]}
    figure.update_yaxes(showgrid=False, showline=False, ticks="", **ticks)
    words = _time_words(trials, spent, length)
    if record.repeats:
        words += " The trainings of the noise check are not in it."
    return chart.saying(f"{words} {record.left_out}".strip(), figure)


def _bars(
    record: StudyRecord, trials: list[TrialRecord], times: list[tuple[float, dict[str, float]]], seconds: int
) -> go.Figure:
    """Return a bar a trial, by (begins, seconds by phase); drawn in units of so many ``seconds``."""
    figure, reached = go.Figure(), [start for start, _ in times]
    for phase, colour in PHASES.items():
        long = [by_phase.get(phase, 0.0) for _, by_phase in times]
        if any(long):
            bars = go.Bar(
                y=list(range(len(trials))),
                base=[value / seconds for value in reached],
                x=[value / seconds for value in long],
                orientation="h",
                name=phase,
                marker={"color": colour, "line": {"width": 0}},
                hovertext=[tip(record, t, {phase: f"{value:,.1f} s"}) for t, value in zip(trials, long, strict=True)],
                hoverinfo="text",
            )
            figure.add_trace(bars)
        reached = [a + b for a, b in zip(reached, long, strict=True)]
    return figure


def _time_words(trials: list[TrialRecord], spent: list[dict[str, float]], length: float) -> str:
    whole = sum(trial.seconds for trial in trials)
    totals = {phase: sum(by_phase.get(phase, 0.0) for by_phase in spent) for phase in PHASES}
    lasted, idle = datetime.timedelta(seconds=round(length)), length - wall_seconds(trials)
    shares = ", ".join(f"{total / whole:.0%} {phase}" for phase, total in totals.items() if total / whole >= 0.005)
    words = f"{counted(len(trials), 'trial')} in {lasted} (h:mm:ss); of their time {shares}."
    if idle >= 0.5:
        words += f" For {idle:,.0f} s in between no trial ran."
    if totals[REST]:
        words += (
            f" {REST.capitalize()} is all that is not timed: before its workers are there, and after its last score."
        )
    return f"{words} Training and scoring take turns; each phase is drawn as one stretch."
