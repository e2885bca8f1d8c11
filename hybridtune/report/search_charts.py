"""Charts of the search that Optuna draws, in the report's look: history, importances, parallel coordinates."""

import warnings
from collections.abc import Callable
from typing import Any

import optuna
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hybridtune.config.names import short_name
from hybridtune.report.chart import (
    BLUE,
    GREY,
    MARKS,
    ORANGE,
    TEMPLATE,
    Cell,
    Chart,
    better,
    cell,
    counted,
    finished,
    first_goal,
    marks,
    plain_name,
    ring,
    rounded,
    safe,
    said,
    short,
    symbol,
    tip,
    with_metrics,
)
from hybridtune.report.record import StudyRecord, TrialRecord
from hybridtune.storage.trial_rows import pareto_front

ENOUGH = 8  # trials from which importances are told
_BEST_SHARE = 0.25  # a tenth of the trials, Optuna's default, is one or two of a small study
_NO_LEDGER = "Optuna's storage is not there or cannot be read, so there is only the table."


def history(record: StudyRecord) -> Chart:
    """The first objective by trial number, and the best so far, as Optuna has them."""
    key, title = "history", "Optimisation history"
    goal, mode = first_goal(record)
    scored = with_metrics(record.trials, [goal])
    done = finished(scored)
    columns = ["trial", "number", "status", goal, "best so far"]
    rows: list[list[Cell]] = []
    pick, best = (max if mode == "max" else min), None
    for trial in scored:
        value = trial.metrics[goal]
        if trial.status == "done":  # as Optuna draws it: others were scored at another step
            best = value if best is None else pick(best, value)
        rows.append([trial.label, trial.number, trial.status, rounded(goal, value), rounded(goal, best)])
    if record.optuna_study is None or not _complete(record.optuna_study):
        reason = _NO_LEDGER if record.optuna_study is None else "Optuna has no completed trial yet."
        return Chart(key, title, reason, None, columns, rows)
    target = None if len(record.goals) == 1 else _first_value
    figure = _quiet(
        optuna.visualization.plot_optimization_history, record.optuna_study, target=target, target_name=goal
    )
    numbered = {trial.number: trial for trial in record.trials}
    figure.data = sorted(figure.data, key=lambda trace: trace.mode)  # the line below the marks
    for trace in figure.data:
        if trace.mode == "lines":
            trace.update(line={"color": ORANGE, "width": 2, "shape": "hv"}, hoverinfo="skip")
            continue
        found = [numbered.get(number) for number in trace.x]
        trace.update(hoverinfo="text")
        trace.hovertext = [
            safe(number) if t is None else tip(record, t) for number, t in zip(trace.x, found, strict=True)
        ]
        trace.marker.update(symbol=[symbol(t) if t is not None else "circle" for t in found], color=BLUE, size=10)
        trace.marker.line = {"color": BLUE, "width": 2}
    _restyle(figure, 400)
    figure.update_xaxes(title_text="trial number", tickformat="d")
    figure.update_yaxes(title_text=safe(goal))
    figure.update_layout(showlegend=False)
    complete = counted(len(_complete(record.optuna_study)), "trial")
    words = f"{goal} of the {complete} that Optuna holds as complete; {better(mode)}."
    if best is not None:
        words += f" The best of {counted(len(done), 'full-length trial')} is {said(goal, best)}."
    if target is None:
        words += " The line is the best so far."
    return Chart(key, title, f"{words} {MARKS}", figure, columns, rows)


def importances(record: StudyRecord) -> Chart:
    """How much each searched value matters for reaching the best quarter, by Optuna's PED-ANOVA."""
    key, title = "importances", "Parameter importances"
    goal, mode = first_goal(record)
    sign = -1 if mode == "max" else 1
    if record.optuna_study is None:
        return Chart(key, title, _NO_LEDGER.replace(", so there is only the table", ""), None)
    trials = _complete(record.optuna_study)
    if len(trials) < ENOUGH or len({trial.values[0] for trial in trials}) < 2:
        reason = f"Optuna has {counted(len(trials), 'completed trial')}; importances of fewer than {ENOUGH} are noise."
        return Chart(key, title, reason, None)
    evaluator = _quiet(optuna.importance.PedAnovaImportanceEvaluator, target_quantile=_BEST_SHARE)
    try:
        figure = _quiet(
            optuna.visualization.plot_param_importances,
            record.optuna_study,
            evaluator=evaluator,
            target=lambda trial: sign * _first_value(trial),  # of a target, PED-ANOVA takes less as better
            target_name=goal,
        )
    except (ValueError, RuntimeError) as error:  # such as: no parameter is in all trials
        return Chart(key, title, f"Optuna cannot tell the importances: {error}", None)
    (bars,) = figure.data
    names, shares = list(bars.y), [float(share) for share in bars.x]
    bars.update(hovertemplate=None, hoverinfo="skip", marker={"color": BLUE}, name="", textfont={"size": 13})
    bars.update(text=[f"{share:.2f}" for share in shares], y=[safe(short(plain_name(name), 20)) for name in names])
    _restyle(figure, 110 + 40 * len(names))
    figure.update_xaxes(title_text="share of the importance", rangemode="tozero")
    figure.update_yaxes(title_text="", showgrid=False, showline=False, ticks="")
    figure.update_layout(showlegend=False, bargap=0.35, margin_r=40)
    rows: list[list[Cell]] = [[name, round(share, 3)] for name, share in zip(names, shares, strict=True)]
    words = (
        f"How much each value decides whether a trial is among the best quarter on {goal}, from "
        f"{counted(len(trials), 'completed trial')} (PED-ANOVA; the shares add up to 1). Of few trials, a hint."
    )
    return Chart(key, title, words, figure, ["parameter", "importance"], rows[::-1])


def parallel(record: StudyRecord) -> Chart:
    """Each completed trial as a line through its values and its objective, drawn by Optuna."""
    key, title = "parallel", "Values of all trials"
    goal, mode = first_goal(record)
    names = list(dict.fromkeys(name for trial in record.trials for name in trial.values))
    columns = ["trial", "status", goal, *map(short_name, names)]
    rows: list[list[Cell]] = [
        [trial.label, trial.status, rounded(goal, trial.metrics.get(goal)), *(cell(trial.values.get(n)) for n in names)]
        for trial in record.trials
    ]
    if record.optuna_study is None:
        return Chart(key, title, _NO_LEDGER, None, columns, rows)
    trials = _complete(record.optuna_study)
    if len(trials) < 2 or not any(trial.params for trial in trials):
        return Chart(key, title, "Optuna has fewer than two completed trials with values.", None, columns, rows)
    figure = _quiet(
        optuna.visualization.plot_parallel_coordinate, record.optuna_study, target=_first_value, target_name=goal
    )
    figure.data = [trace for trace in figure.data if trace.mode == "lines"]
    heights = sorted((trace.y[0] for trace in figure.data), reverse=mode == "max")
    good = heights[(len(heights) - 1) // 4]
    for trace in figure.data:
        height = trace.y[0]
        best, fair = height == heights[0], (height >= good if mode == "max" else height <= good)
        look = {"color": ORANGE if best else BLUE if fair else GREY, "width": 3 if best else 2 if fair else 1}
        trace.update(line=look, opacity=1 if fair else 0.6, hovertemplate=None, hoverinfo="text")
        trace.hovertext = [
            f"{safe(_axis_name(name, goal))}: {safe(short(value, 40))}" for name, value in trace.customdata
        ]
        trace.customdata = None
    figure.data = sorted(figure.data, key=lambda trace: trace.line.width)  # the best on top
    _axes_of_values(figure, goal)
    words = (
        f"Each line is one of {counted(len(figure.data), 'completed trial')}: its {goal} at the left, then its values. "
        "Orange has the best of them, blue is the rest of the best quarter."
    )
    return Chart(key, title, words, figure, columns, rows)


def _axes_of_values(figure: go.Figure, goal: str) -> None:
    """Names slanted below the axes, on which the ends alone are written, each text as it is."""
    texts = [safe(short(_axis_name(text, goal), 20)) for text in figure.layout.xaxis.ticktext]
    kept = [note for note in figure.layout.annotations if note.y in (0, 1) or not _is_number(note.text)]
    for note in kept:
        at_end = _is_number(note.text)  # above or below its axis; a choice stands beside it
        shift = {"xanchor": "center", "xshift": 0, "yshift": 10 if note.y else -10} if at_end else {"xanchor": "left"}
        note.update(text=safe(short(note.text, 14)), font={"size": 12, "color": None}, **({"xshift": 4} | shift))
    _restyle(figure, 420)
    figure.layout.annotations = kept
    figure.update_layout(margin_r=24, margin_l=64)
    figure.update_yaxes(range=[-0.1, 1.1])
    figure.update_xaxes(ticktext=texts, tickangle=-35, showline=False, ticks="", range=[-0.2, len(texts) - 0.8])


def _axis_name(name: str, goal: str) -> str:
    """A field in plain words; a metric as it is."""
    return name if name == goal else plain_name(name)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _restyle(figure: go.Figure, height: int) -> None:
    """Optuna's figure in the report's look, without its title."""
    figure.update_layout(template=TEMPLATE, height=height, title=None, plot_bgcolor=None, legend=None)


def _complete(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    found: list[optuna.trial.FrozenTrial] = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    return found


def _first_value(trial: optuna.trial.FrozenTrial) -> float:
    return float(trial.values[0])


def _quiet(draw: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Optuna warns that these are experimental, and of few trials: the chart's words say that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return draw(*arguments, **options)


TRADE = {"mono/AP": "max", "multi/AP": "max", "multi/rank_distance": "min"}  # what one objective trades off
NAMED = 8  # trials of a front that has room for their names
_PANELS = 2  # the second and the third goal over the first


def front(record: StudyRecord) -> Chart:
    """The trials that no other beats on every objective; of one objective, on mono/AP, multi/AP and rank distance."""
    key, title = "front", "Pareto front"
    goals = record.goals if len(record.goals) > 1 else TRADE
    scored = with_metrics(record.trials, goals)
    members = record.front if len(record.goals) > 1 else pareto_front(finished(scored), goals)
    on_front = {trial.id for trial in members}
    columns = ["trial", "status", "on the front", *goals]
    rows: list[list[Cell]] = [
        [trial.label, trial.status, "yes" if trial.id in on_front else "no"]
        + [rounded(name, trial.metrics[name]) for name in goals]
        for trial in scored
    ]
    if not on_front:
        reason = f"No full-length trial has all of {', '.join(goals)}: there is no front to show."
        return Chart(key, title, reason, None, columns, rows)
    across, *up = list(goals)[: 1 + _PANELS]
    figure = make_subplots(rows=len(up), cols=1, shared_xaxes=True, vertical_spacing=0.07)
    figure.update_layout(template=TEMPLATE, height=110 + 250 * len(up), showlegend=False)
    for place, name in enumerate(up, start=1):
        behind = [trial for trial in scored if trial.id not in on_front]
        x, y = ([trial.metrics[n] for trial in behind] for n in (across, name))
        figure.add_trace(marks(record, behind, x, y, "others", color=GREY, size=8), row=place, col=1)
        x, y = ([trial.metrics[n] for trial in members] for n in (across, name))
        points = marks(record, members, x, y, "front", color=BLUE, size=13)
        if place == 1 and len(members) <= NAMED:
            points.update(mode="markers+text", text=[f"\u2002{safe(trial.label)}\u2002" for trial in members])
            points.update(textposition=_inward(x, [trial.metrics[across] for trial in scored]), cliponaxis=False)
        figure.add_trace(points, row=place, col=1)
        if record.best is not None and set(goals) <= set(record.best.metrics):
            figure.add_trace(ring(record.best.metrics[across], record.best.metrics[name]), row=place, col=1)
        figure.update_yaxes(title_text=f"{safe(name)}<br>({better(goals[name])})", row=place, col=1)
    figure.update_xaxes(title_text=f"{safe(across)} ({better(goals[across])})", row=len(up), col=1)
    return Chart(key, title, _words(record, goals, scored, members), figure, columns, rows)


def _inward(x: list[float], everywhere: list[float]) -> list[str]:
    """Where names stand: towards the middle, so that none is cut off at an end."""
    middle = (min(everywhere) + max(everywhere)) / 2
    return ["middle right" if value <= middle else "middle left" for value in x]


def _words(record: StudyRecord, goals: dict[str, str], scored: list[TrialRecord], members: list[TrialRecord]) -> str:
    names, named = ", ".join(goals), ", named" if len(members) <= NAMED else ""
    verb = "is" if len(members) == 1 else "are"
    words = (
        f"{len(members)} of {counted(len(scored), 'scored trial')} {verb} on the front (blue{named}): no full-length "
        f"trial is at least as good on all of {names} and better on one."
    )
    if len(record.goals) == 1:
        words += f" The search had one objective, {first_goal(record)[0]}; this shows what it traded off."
    if len(goals) > 1 + _PANELS:
        words += f" Drawn are the first three; {', '.join(list(goals)[1 + _PANELS :])} in the table."
    if record.best is not None:
        words += f" The ring is the chosen trial, {record.best.label}."
    return f"{words} {MARKS}"
