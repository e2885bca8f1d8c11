"""Charts of the trials over time: scores while they train, when each ran and what it spent its time on."""

import datetime
from collections.abc import Iterable
from typing import Any, NamedTuple

import optuna
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hybridtune.report.chart import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    TEMPLATE,
    Cell,
    Chart,
    counted,
    first_goal,
    new_figure,
    rounded,
    safe,
    short,
    tip,
)
from hybridtune.report.record import StudyRecord, TrialRecord

REST = "waiting and ending"  # for workers to start, for a place; writing the best checkpoint
PHASES = {"set-up": PURPLE, "training": BLUE, "scoring": GREEN, REST: ORANGE, "not told apart": GREY}
_BASELINES = {"mono-only": (ORANGE, "dot"), "half-half": (GREEN, "dash"), "cross-only": (PURPLE, "dashdot")}


def intermediate(record: StudyRecord) -> Chart:
    """The first objective of every trial at each of its scores, drawn by Optuna where it holds them."""
    key, title = "intermediate", "Scores while training"
    goal = first_goal(record)[0]
    columns, rows = _score_table([trial for trial in record.trials if trial.history], [goal])
    if record.optuna_study is None:
        words = "Optuna's storage is not there or cannot be read, so there is only the table."
        return Chart(key, title, words, None, columns, rows)
    held = {trial.number for trial in record.optuna_study.get_trials(deepcopy=False) if trial.intermediate_values}
    drawn = list(optuna.visualization.plot_intermediate_values(record.optuna_study).data) if held else []
    drawn += _from_history([trial for trial in record.trials if trial.number not in held], goal)
    if not drawn:
        return Chart(key, title, "No trial has a score yet.", None, columns, rows)
    figure = new_figure(400, drawn)
    numbered = {f"Trial{trial.number}": trial for trial in record.trials}
    for trace in figure.data:
        trial = numbered.get(trace.name)
        chosen = trial is not None and record.best is not None and trial.id == record.best.id
        baseline = None if trial is None else trial.baseline
        trace.update(_look(baseline, chosen), hoverinfo="text")
        trace.update(name="" if trial is None else safe(trial.label), showlegend=chosen or baseline is not None)
        trace.hovertext = _step_tips(trace.name, goal, zip(trace.x, trace.y, strict=True))
    figure.data = sorted(figure.data, key=lambda trace: trace.line.width)
    figure.update_xaxes(title_text="training step")
    figure.update_yaxes(title_text=safe(goal))
    figure.update_layout(margin_b=60)
    words = f"{goal} at each score of {counted(len(drawn), 'trial')}; a line that ends early was stopped there."
    return Chart(key, title, f"{words} Thin grey lines are other trials.", figure, columns, rows)


def _step_tips(label: str, name: str, points: Iterable[tuple[float, float]]) -> list[str]:
    return [f"{label}, step {int(step):,}<br>{safe(name)} {value:.4g}" for step, value in points]


def _look(baseline: str | None, chosen: bool) -> dict[str, Any]:
    """The line of a trial: the chosen one thick and blue, a baseline in its own colour and dash, others thin."""
    colour, dash = (BLUE, "solid") if chosen else _BASELINES.get(baseline or "", (GREY, "solid"))
    line = {"color": colour, "dash": dash, "width": 3 if chosen else 2 if baseline else 1}
    return {"mode": "lines+markers", "line": line, "marker": {"color": colour, "size": 5}}


def _from_history(trials: list[TrialRecord], goal: str) -> list[go.Scatter]:
    """Lines from the trials' own records: with several objectives Optuna holds no values between."""
    lines = []
    for trial in trials:
        points = [(entry["step"], entry[goal]) for entry in trial.history if goal in entry]
        if points:
            lines.append(go.Scatter(x=[x for x, _ in points], y=[y for _, y in points], name=f"Trial{trial.number}"))
    return lines


def _score_table(trials: list[TrialRecord], names: list[str]) -> tuple[list[str], list[list[Cell]]]:
    rows: list[list[Cell]] = [
        [trial.label, int(entry["step"]), *(rounded(name, entry.get(name)) for name in names)]
        for trial in trials
        for entry in trial.history
    ]
    return ["trial", "step", *names], rows


def learning_curves(record: StudyRecord) -> Chart:
    """Loss and first objective over the steps of the chosen trial and the baselines."""
    key, title = "learning-curves", "Learning curves"
    goal = first_goal(record)[0]
    best = record.best
    shown = [t for t in record.trials if t.history and (t.baseline or (best is not None and t.id == best.id))]
    names = list(dict.fromkeys(["loss", goal]))
    columns, rows = _score_table(shown, names)
    if not shown:
        return Chart(key, title, "Neither the chosen trial nor a baseline has a score yet.", None, columns, rows)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07)
    figure.update_layout(template=TEMPLATE, height=540, margin_b=60)
    for trial in shown:
        chosen = best is not None and trial.id == best.id
        for place, name in enumerate(names, start=1):
            points = [(entry["step"], entry[name]) for entry in trial.history if name in entry]
            figure.add_trace(
                go.Scatter(
                    x=[x for x, _ in points],
                    y=[y for _, y in points],
                    name=safe(trial.label),
                    legendgroup=trial.id,
                    showlegend=place == 1,
                    **_look(trial.baseline, chosen),
                    hovertext=_step_tips(safe(trial.label), name, points),
                    hoverinfo="text",
                ),
                row=place,
                col=1,
            )
    figure.update_xaxes(title_text="training step", row=2, col=1)
    figure.update_yaxes(title_text="training loss", row=1, col=1)
    figure.update_yaxes(title_text=safe(goal), row=2, col=1)
    others = sum(1 for trial in shown if best is None or trial.id != best.id)
    words = f"{counted(others, 'baseline')}" + (
        "" if best is None else f" and the chosen trial, {best.label} (thick blue)"
    )
    words += (
        f": training loss, a mean over the steps since the score before, and {goal} on dev. Losses at different "
        "temperatures are not comparable with one another."
    )
    return Chart(key, title, words, figure, columns, rows)


class _Spent(NamedTuple):
    """Seconds of a trial: where it begins from the start of the search, and its phases, which add up to ``whole``."""

    begins: float
    whole: float
    phases: dict[str, float]


def _spent(trial: TrialRecord, start: float) -> _Spent:
    """A trial's time by phase; what it does not split is not told apart.

    Its metrics may be those of a checkpoint before the last, so its last score counts too. A resumed trial may have
    trained longer than its last stretch lasted: its phases are then cut to it.
    """
    left, phases = trial.seconds, {}
    told = (("set-up", "setup_seconds"), ("training", "train_seconds"), ("scoring", "score_seconds"))
    for phase, name in told:
        values = [float(entry[name]) for entry in (trial.metrics, *trial.history) if name in entry]
        if values:
            phases[phase] = min(max(values), left)
            left -= phases[phase]
    phases[REST if len(phases) == len(told) else "not told apart"] = left
    return _Spent(trial.began - start, trial.seconds, phases)


def timeline(record: StudyRecord) -> Chart:
    """When each trial ran, by phase: set-up, training, scoring, and the rest."""
    key, title = "timeline", "Where the time went"
    trials = [trial for trial in record.trials if trial.began > 0 and trial.seconds > 0]
    columns = ["trial", "status", "begins (s)", "whole (s)", *(f"{phase} (s)" for phase in PHASES)]
    if not trials:
        return Chart(key, title, "No trial has told when it began and how long it took.", None, columns)
    start = min(trial.began for trial in trials)
    spent = [_spent(trial, start) for trial in trials]
    rows: list[list[Cell]] = []
    for trial, s in zip(trials, spent, strict=True):
        phases = [round(s.phases[phase], 1) if phase in s.phases else None for phase in PHASES]
        rows.append([trial.label, trial.status, round(s.begins, 1), round(s.whole, 1), *phases])
    unit, divisor = _unit(max(s.begins + s.whole for s in spent))
    figure = new_figure(130 + (26 if len(trials) <= 30 else 15) * len(trials))
    reached = [s.begins for s in spent]
    for phase, colour in PHASES.items():
        long = [s.phases.get(phase, 0.0) for s in spent]
        if any(long):
            figure.add_trace(_bars(record, trials, phase, colour, reached, long, divisor))
        reached = [a + b for a, b in zip(reached, long, strict=True)]
    figure.update_layout(barmode="overlay", bargap=0.3, margin_b=60)
    figure.update_xaxes(title_text=f"{unit} since the first trial began", rangemode="tozero")
    labels = [safe(short(trial.label, 14)) for trial in trials]
    ticks = {"tickvals": list(range(len(trials))), "ticktext": labels, "range": [len(trials) - 0.4, -0.6]}
    figure.update_yaxes(showgrid=False, showline=False, ticks="", **ticks)
    words = _time_words(trials, spent)
    if record.repeats:
        words += " The trainings of the noise check are not in it."
    return Chart(key, title, words, figure, columns, rows)


def _bars(
    record: StudyRecord,
    trials: list[TrialRecord],
    phase: str,
    colour: str,
    begins: list[float],
    long: list[float],
    divisor: float,
) -> go.Bar:
    """One phase of every trial."""
    return go.Bar(
        y=list(range(len(trials))),
        base=[value / divisor for value in begins],
        x=[value / divisor for value in long],
        orientation="h",
        name=phase,
        marker={"color": colour, "line": {"width": 0}},
        hovertext=[tip(record, t, {phase: f"{value:,.1f} s"}) for t, value in zip(trials, long, strict=True)],
        hoverinfo="text",
    )


def _unit(seconds: float) -> tuple[str, float]:
    """A unit in which the search is no more than a few hundred long, and the seconds of one."""
    return ("seconds", 1.0) if seconds < 300 else ("minutes", 60.0) if seconds < 4 * 3600 else ("hours", 3600.0)


def _time_words(trials: list[TrialRecord], spent: list[_Spent]) -> str:
    whole = sum(s.whole for s in spent)
    totals = {phase: sum(s.phases.get(phase, 0.0) for s in spent) for phase in PHASES}
    end = max(s.begins + s.whole for s in spent)
    lasted = datetime.timedelta(seconds=round(end))
    shares = ", ".join(f"{total / whole:.0%} {phase}" for phase, total in totals.items() if total / whole >= 0.005)
    begun = sorted((s.begins, s.begins + s.whole) for s in spent)
    gaps, reached = 0.0, 0.0
    for begins, ends in begun:
        gaps, reached = gaps + max(begins - reached, 0.0), max(reached, ends)
    words = f"{counted(len(trials), 'trial')} in {lasted} (h:mm:ss); of their time {shares}."
    if gaps >= 0.5:
        words += f" For {gaps:,.0f} s in between no trial ran."
    if totals[REST]:
        words += (
            f" {REST.capitalize()} is all that is not timed: before its workers are there, and after its last score."
        )
    return f"{words} Training and scoring take turns; each phase is drawn as one stretch."
