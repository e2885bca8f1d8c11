"""The chart of the Pareto front: what one objective costs in another, and which point was chosen."""

from plotly.subplots import make_subplots

from hybridtune.report.chart import (
    BLUE,
    GREY,
    MARKS,
    TEMPLATE,
    Cell,
    Chart,
    better,
    counted,
    finished,
    first_goal,
    marks,
    ring,
    rounded,
    safe,
    with_metrics,
)
from hybridtune.report.record import StudyRecord, TrialRecord, pareto_front

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
