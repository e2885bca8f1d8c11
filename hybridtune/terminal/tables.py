"""Tables of rich for a terminal: trials, and rows of like keys. Nothing heavy is imported: `status` prints them too."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from hybridtune.config.names import TUNED, short_name
from hybridtune.errors import printable
from hybridtune.report.text import format_metric
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.terminal.fitted import Fitted

FIGURES = ("mono/AP", "cross/AP", "multi/AP", "multi/rank_distance")
MARKS = {
    "running": "..",
    "paused": "p",
    "stopped early": "x",
    "out of budget": "t",
    "failed": "!",
    "cut off": "c",
    "done": "",
}
_HEADS = {
    "mixing_ratio": "ratio",
    "temperature": "temp",
    "learning_rate": "lr",
    "sampling_exponent": "s",
    "mono/AP": "mono",
    "cross/AP": "cross",
    "multi/AP": "multi",
    "balanced/AP": "balanced",
    "multi/rank_distance": "distance",
}


class Pace(NamedTuple):
    """The progress of a training."""

    step: int
    loss: float
    pairs_per_second: float


def trials_table(
    goals: Sequence[str],
    rows: Sequence[TrialRow],
    best: str | None = None,
    paces: Mapping[str, Pace] | None = None,
    meet: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Fitted:
    """Return all trials as a table: how each was proposed, the best marked, running ones at their present step.

    The goals come before the other figures; ``meet`` says by trial id whether one meets the study's constraints, whose
    metrics are then among the goals. ``paces`` are by trial id. On a terminal that has no room for all columns the last
    searched fields go first, then the figures that are no goals; the trials and the first goal stay.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    fields = [_column(short_name(name), [short(row.values.get(name)) for row in rows]) for name in names]
    figures = []
    for name in dict.fromkeys([*goals, *FIGURES]):
        figures.append(_column(name, [format_metric(name, row.metrics.get(name)) for row in rows]))
    columns = [*fields, _step_column(rows, paces or {}), *figures]
    if meet:
        columns.append(["meets", *(meet.get(row.id, "") for row in rows)])
    first = ["trial", *(row.label + (" *" if row.id == best else "") for row in rows)]
    proposed = ["proposed", *(row.proposed for row in rows)]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", title=title)
    table.title_justify = "left"
    table.add_column(first[0], no_wrap=True)
    table.add_column(proposed[0], no_wrap=True)
    for head, *_ in columns:
        table.add_column(head, justify="right", no_wrap=True)
    for n, row in enumerate(rows, start=1):
        style = "bold" if row.id == best else (None if row.arm == TUNED else "cyan")
        table.add_row(
            *(Text(cell) for cell in (first[n], proposed[n], *(column[n] for column in columns))), style=style
        )
    others = [head for head, *_ in reversed(figures[len(goals) :])]
    more_goals = [head for head, *_ in reversed(figures[1 : len(goals)])]
    return Fitted(table, [*(head for head, *_ in reversed(fields)), *others, "proposed", *more_goals, "meets", "step"])


def latest_rows(rows: Sequence[TrialRow], most: int) -> list[TrialRow]:
    """Return the trials that there is room for, in their order: those that run, and the last of the others."""
    ended = [index for index, row in enumerate(rows) if row.status != "running"]
    room = max(0, most - (len(rows) - len(ended)))
    left_out = set(ended[: max(0, len(ended) - room)])
    return [row for index, row in enumerate(rows) if index not in left_out]


def explain_marks(rows: Sequence[TrialRow]) -> str:
    """Explain the marks after the steps, of those that the rows have: ``x: stopped early``."""
    seen = {row.status for row in rows}
    return "; ".join(f"{mark}: {status}" for status, mark in MARKS.items() if mark and status in seen)


def short(value: Any) -> str:
    """Return a trial's value as tables show it; empty for null."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return "" if value is None else printable(str(value))


def column_head(name: str) -> str:
    """Return the head of a column of a metric or a field: a short name where it has one."""
    return _HEADS.get(name, name)


def _column(name: str, cells: Sequence[str]) -> list[str]:
    return [column_head(name), *cells]


def _step_column(rows: Sequence[TrialRow], paces: Mapping[str, Pace]) -> list[str]:
    cells = []
    for row in rows:
        done = row.metrics.get("step", 0)
        if row.status == "running" and row.id in paces:
            done = max(done, paces[row.id].step)
        cells.append(f"{done:.0f}{MARKS[row.status]}")
    return ["step", *cells]


def plain_table(rows: Sequence[Mapping[str, Any]], title: str, goes_first: Sequence[str] = ()) -> Fitted:
    """Return rows of like keys as a table; texts stand in it as they are, brackets too.

    ``goes_first`` are the keys that a narrow terminal is without first, see `Fitted`.
    """
    table = Table(box=None, pad_edge=False, title=Text(title), title_justify="left", header_style="bold")
    for key, value in (rows[0] if rows else {}).items():
        table.add_column(Text(str(key)), justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(Text(f"{value:,}" if isinstance(value, int) else str(value)) for value in row.values()))
    return Fitted(table, goes_first)
