"""Charts of the search: the Pareto front, and what Optuna draws, in the report's look.

Optuna's charts are its history, its importances and its parallel coordinates.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial, TrialState

from hybridtune.config.names import TUNED, short_name
from hybridtune.report.chart import MARKS, Chart, better, cell, marks, panels, ring, rounded, safe, styled, symbol, tip
from hybridtune.report.colours import BLUE, GREY, ORANGE
from hybridtune.report.record import StudyRecord, TrialRecord
from hybridtune.report.text import counted, format_metric, plain_name, shorten
from hybridtune.storage.feasibility import constraint_marks
from hybridtune.storage.trial_rows import pareto_front

ENOUGH = 8  # trials from which importances are drawn
NAMED = 8  # trials of a front that has room for their names
TRADE = {"mono/AP": "max", "multi/AP": "max", "multi/rank_distance": "min"}  # what one objective trades off
_BEST_SHARE = 0.25  # a tenth of the trials, Optuna's default, is one or two of a small study
_PANELS = 2  # the second and the third goal over the first
_PLAIN: dict[str, Any] = {"title": None, "plot_bgcolor": None, "legend": None}  # without what Optuna set
_NO_STORAGE = "Optuna's storage is not there or cannot be read"


def history(record: StudyRecord) -> Chart:
    """Draw the first objective by trial number, and the best so far, as Optuna has them."""
    goal, mode = record.goal, record.mode
    columns = ["trial", "number", "status", goal, "best so far"]
    chart = Chart("history", "Optimisation history", columns, note=record.left_out)
    pick, best = (max if mode == "max" else min), None
    meet = constraint_marks(record.study, record.trials)
    scored = record.scored([goal])
    for trial in scored:
        value = trial.metrics[goal]
        if trial.done and meet.get(trial.id) != "no":  # as Optuna draws it: others were scored at another step
            best = value if best is None else pick(best, value)
        if record.is_listed(trial):
            chart.rows.append([trial.label, trial.number, trial.status, rounded(goal, value), rounded(goal, best)])
    if record.optuna_study is None:
        return chart.saying(f"{_NO_STORAGE}, so there is only the table.")
    complete = _complete(record.optuna_study)
    if not complete:
        return chart.saying("Optuna has no completed trial yet.")
    target = None if len(record.goals) == 1 else _first_value
    with _quiet():
        figure = optuna.visualization.plot_optimization_history(record.optuna_study, target=target, target_name=goal)
    numbered = {trial.number: trial for trial in record.trials}
    figure.data = sorted(figure.data, key=lambda trace: trace.mode)  # the line below the marks
    for trace in figure.data:
        if trace.mode == "lines":
            trace.update(line={"color": ORANGE, "width": 2, "shape": "hv"}, hoverinfo="skip")
            continue
        found = [(number, numbered.get(number)) for number in trace.x]
        trace.update(hoverinfo="text", hovertext=[safe(n) if t is None else tip(record, t) for n, t in found])
        symbols = ["circle" if t is None else symbol(t) for _, t in found]
        trace.marker.update(symbol=symbols, color=BLUE, size=10, line={"color": BLUE, "width": 2})
    styled(figure, 400, showlegend=False, **_PLAIN)
    figure.update_xaxes(title_text="trial number", tickformat="d")
    figure.update_yaxes(title_text=safe(goal))
    words = f"{goal} of the {counted(len(complete), 'trial')} that Optuna holds as complete; {better(mode)}."
    if best is not None:
        done = counted(sum(trial.done for trial in scored), "full-length trial")
        words += f" The best of {done} is {format_metric(goal, best)}."
    if target is None:
        words += " The line is the best so far."
    return chart.saying(f"{words} {MARKS}", figure)


def importances(record: StudyRecord) -> Chart:
    """Draw how much each searched value matters for reaching the best quarter, by Optuna's PED-ANOVA."""
    chart = Chart("importances", "Parameter importances", ["parameter", "importance"])
    goal, sign = record.goal, -1 if record.mode == "max" else 1
    if record.optuna_study is None:
        return chart.saying(f"{_NO_STORAGE}.")
    free = _free(record.optuna_study)
    trials = _complete(free)
    if len(trials) < ENOUGH or len({trial.values[0] for trial in trials}) < 2:
        has = f"Optuna has {counted(len(trials), 'completed trial')} with a searched mixing ratio"
        return chart.saying(f"{has}; importances of fewer than {ENOUGH} are noise.")
    try:
        with _quiet():
            figure = optuna.visualization.plot_param_importances(
                free,
                evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_BEST_SHARE),
                target=lambda trial: sign * _first_value(trial),  # of a target, PED-ANOVA takes less as better
                target_name=goal,
            )
    except (ValueError, RuntimeError) as error:  # such as: no parameter is in all trials
        return chart.saying(f"Optuna cannot tell the importances: {error}")
    (bars,) = figure.data
    names, shares = list(bars.y), [float(share) for share in bars.x]
    bars.update(hovertemplate=None, hoverinfo="skip", marker={"color": BLUE}, name="", textfont={"size": 13})
    bars.update(text=[f"{share:.2f}" for share in shares], y=[safe(shorten(plain_name(name), 20)) for name in names])
    styled(figure, 110 + 40 * len(names), showlegend=False, bargap=0.35, margin_r=40, **_PLAIN)
    figure.update_xaxes(title_text="share of the importance", rangemode="tozero")
    figure.update_yaxes(title_text="", showgrid=False, showline=False, ticks="")
    chart.rows += [[name, round(share, 3)] for name, share in zip(names[::-1], shares[::-1], strict=True)]
    words = (
        f"How much each value decides whether a trial is among the best quarter on {goal}, from "
        f"{counted(len(trials), 'completed trial')} (PED-ANOVA; the shares add up to 1). Of few trials, a hint."
    )
    return chart.saying(words, figure)


def parallel(record: StudyRecord) -> Chart:
    """Draw each completed trial of the free arm as a line through its values and its objective, with Optuna."""
    goal, mode = record.goal, record.mode
    names = list(dict.fromkeys(name for trial in record.trials for name in trial.values))
    columns = ["trial", "status", goal, *map(short_name, names)]
    chart = Chart("parallel", "Values of all trials", columns, note=record.left_out)
    for trial in record.listed:
        values = [cell(record.shown_value(trial, name)) for name in names]
        chart.rows.append([trial.label, trial.status, rounded(goal, trial.metrics.get(goal)), *values])
    if record.optuna_study is None:
        return chart.saying(f"{_NO_STORAGE}, so there is only the table.")
    listed = {trial.number: trial.label for trial in record.listed}
    free = _free(record.optuna_study, lambda trial: trial.number in listed)
    trials = _complete(free)
    # In a study of some of its trials Optuna numbers them anew, in their order.
    own = [trial for trial in _complete(record.optuna_study) if trial.number in listed and _is_free(trial)]
    labels = {trial.number: listed[one.number] for trial, one in zip(trials, own, strict=True)}
    if len(trials) < 2 or not any(trial.params for trial in trials):
        return chart.saying("Optuna has fewer than two completed trials with a searched mixing ratio.")
    with _quiet():
        figure = optuna.visualization.plot_parallel_coordinate(free, target=_first_value, target_name=goal)
    # With constraints Optuna dots the lines of trials that miss one, and adds two empty lines for its legend.
    figure.data = [trace for trace in figure.data if trace.mode == "lines" and trace.y[0] is not None]
    _draw_lines(figure, _labels(labels, trials, figure), goal, mode)
    _axes_of_values(figure, goal)
    words = (
        f"Each line is one of {counted(len(figure.data), 'completed trial')}: its {goal} at the left, then its values. "
        "Orange has the best of them, blue is the rest of the best quarter. Click a line, or choose its trial, to "
        "highlight it."
    )
    words += f" {record.left_out}" if record.left_out else ""
    if record.study.search.constraints:
        words += " Dotted ones miss a constraint."
    return chart.saying(words, figure)


def _labels(named: dict[int, str], trials: list[FrozenTrial], figure: go.Figure) -> list[str]:
    """Return the label of the trial of each line.

    Optuna does not name its lines, and mixes them where a choice is of numbers: lines and trials of the same order by
    objective, then by each number that all have, belong together.
    """
    params = sorted({name for trial in trials for name in trial.params})
    numbers = [
        (axis, name)
        for axis, name in enumerate(params, start=1)
        if all(isinstance(trial.params.get(name), (int, float)) for trial in trials)
    ]
    finite = [trial for trial in trials if math.isfinite(_first_value(trial))]
    finite.sort(key=lambda trial: (_first_value(trial), *(trial.params[name] for _, name in numbers)))
    lines = list(figure.data)
    order = sorted(range(len(lines)), key=lambda i: (lines[i].y[0], *(lines[i].y[axis] for axis, _ in numbers)))
    labels = [""] * len(lines)
    for i, trial in zip(order, finite, strict=True):
        labels[i] = named[trial.number]
    return labels


def _draw_lines(figure: go.Figure, labels: list[str], goal: str, mode: str) -> None:
    """Colour the lines by the objective, the best on top, and give each a tip; the page's script highlights by name."""
    heights = sorted((trace.y[0] for trace in figure.data), reverse=mode == "max")
    good = heights[(len(heights) - 1) // 4]
    for trace, label in zip(figure.data, labels, strict=True):
        height = trace.y[0]
        best, fair = height == heights[0], (height >= good if mode == "max" else height <= good)
        look = {"color": ORANGE if best else BLUE if fair else GREY, "width": 3 if best else 2 if fair else 1}
        tips = [f"{safe(_axis_name(name, goal))}: {safe(shorten(value, 40))}" for name, value in trace.customdata]
        tips = [f"<b>{safe(label)}</b><br>{text}" for text in tips]
        trace.update(line=look, opacity=1 if fair else 0.6, hovertemplate=None, hoverinfo="text", hovertext=tips)
        trace.customdata = None
    order = sorted(zip(figure.data, labels, strict=True), key=lambda found: found[0].line.width)
    figure.data = [trace for trace, _ in order]
    figure.layout.meta = {"lines": [label for _, label in order]}


def _axes_of_values(figure: go.Figure, goal: str) -> None:
    """Slant the names below the axes, and leave only the ends written on those, each text as it is."""
    texts = [safe(shorten(_axis_name(text, goal), 20)) for text in figure.layout.xaxis.ticktext]
    notes = [note for note in figure.layout.annotations if note.y in (0, 1) or not _is_number(note.text)]
    for note in notes:
        at_end = _is_number(note.text)  # above or below its axis; a choice is written beside it
        shift = {"xanchor": "center", "xshift": 0, "yshift": 10 if note.y else -10} if at_end else {"xanchor": "left"}
        note.update(text=safe(shorten(note.text, 14)), font={"size": 12, "color": None}, **({"xshift": 4} | shift))
    styled(figure, 420, margin_r=24, margin_l=64, **_PLAIN)
    figure.layout.annotations = notes
    figure.update_yaxes(range=[-0.1, 1.1])
    figure.update_xaxes(ticktext=texts, tickangle=-35, showline=False, ticks="", range=[-0.2, len(texts) - 0.8])


def _axis_name(name: str, goal: str) -> str:
    """Return a field in plain words; a metric as it is."""
    return name if name == goal else plain_name(name)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return list(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def _free(study: optuna.Study, wanted: Callable[[FrozenTrial], bool] = lambda trial: True) -> optuna.Study:
    """Return the trials whose mixing ratio is searched: Optuna's charts are of parameters that all trials have."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # no line on a study in memory
    free = optuna.create_study(directions=study.directions)
    trials = study.get_trials(deepcopy=False)
    free.add_trials([trial for trial in trials if _is_free(trial) and wanted(trial)])
    return free


def _is_free(trial: FrozenTrial) -> bool:
    return bool(trial.user_attrs.get("arm") == TUNED)


def _first_value(trial: FrozenTrial) -> float:
    return float(trial.values[0])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's warnings, of experimental charts and of few trials: the chart's words say that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def front(record: StudyRecord) -> Chart:
    """Draw the trials that no other beats on every objective; of one, on mono/AP, multi/AP and rank distance."""
    goals = record.goals if len(record.goals) > 1 else TRADE
    chart = Chart("front", "Pareto front", ["trial", "status", "on the front", *goals], note=record.left_out)
    scored = record.scored(goals)
    members = record.front if len(record.goals) > 1 else pareto_front([t for t in scored if t.done], goals)
    on_front = {trial.id for trial in members}
    for trial in filter(record.is_listed, scored):
        values = [rounded(name, trial.metrics[name]) for name in goals]
        chart.rows.append([trial.label, trial.status, "yes" if trial.id in on_front else "no", *values])
    if not members:
        return chart.saying(f"No full-length trial has all of {', '.join(goals)}: there is no front to show.")
    across, *up = list(goals)[: 1 + _PANELS]
    others = [trial for trial in scored if trial.id not in on_front]
    best = record.best if record.best is not None and set(goals) <= set(record.best.metrics) else None
    figure = panels(len(up), 110 + 250 * len(up), showlegend=False)
    for panel, name in enumerate(up, start=1):
        x, y = ([trial.metrics[n] for trial in others] for n in (across, name))
        traces = [marks(record, others, x, y, "others", color=GREY, size=8)]
        x, y = ([trial.metrics[n] for trial in members] for n in (across, name))
        traces.append(marks(record, members, x, y, "front", color=BLUE, size=13))
        if panel == 1 and len(members) <= NAMED:
            names = [f"\u2002{safe(trial.label)}\u2002" for trial in members]
            # Towards the middle, so that none is cut off at an end.
            all_x = [trial.metrics[across] for trial in scored]
            middle = (min(all_x) + max(all_x)) / 2
            sides = ["middle right" if value <= middle else "middle left" for value in x]
            traces[-1].update(mode="markers+text", text=names, textposition=sides, cliponaxis=False)
        if best is not None:
            traces.append(ring(best.metrics[across], best.metrics[name]))
        for trace in traces:
            figure.add_trace(trace, row=panel, col=1)
        figure.update_yaxes(title_text=f"{safe(name)}<br>({better(goals[name])})", row=panel, col=1)
    figure.update_xaxes(title_text=f"{safe(across)} ({better(goals[across])})", row=len(up), col=1)
    return chart.saying(_front_words(record, goals, scored, members), figure)


def _front_words(
    record: StudyRecord, goals: dict[str, str], scored: list[TrialRecord], members: list[TrialRecord]
) -> str:
    names, named = ", ".join(goals), ", named" if len(members) <= NAMED else ""
    words = (
        f"{len(members)} of {counted(len(scored), 'scored trial')} {'is' if len(members) == 1 else 'are'} on the front "
        f"(blue{named}): no full-length trial is at least as good on all of {names} and better on one."
    )
    if len(record.goals) == 1:
        words += f" The search had one objective, {record.goal}; this shows what it traded off."
    if len(goals) > 1 + _PANELS:
        words += f" Drawn are the first three; {', '.join(list(goals)[1 + _PANELS :])} in the table."
    if record.best is not None:
        words += f" The ring is the chosen trial, {record.best.label}."
    return f"{words} {MARKS}"
