"""What a person sees while a command runs: a live table on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from hybridtune.config import Study
from hybridtune.search.watch import Display, TrialRow

_FIGURES = ("mono/AP", "cross/AP", "multi/AP", "multi/rank_distance")
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
_MARKS = {"running": "..", "stopped early": "x", "failed": "!", "done": ""}


class Screen:
    """Where a command writes for people.

    Args:
        to_stderr: standard output is for JSON.
    """

    def __init__(self, to_stderr: bool) -> None:
        # The stream itself, not whatever sys.stdout is later: Ray's prints are redirected while it runs.
        file = sys.stderr if to_stderr else sys.stdout
        self.console = Console(file=file, highlight=False, width=None if file.isatty() else 120)
        self._began = time.perf_counter()

    def line(self, text: str) -> None:
        """One plain line, with the time since the start."""
        self.console.print(f"{time.perf_counter() - self._began:6.1f}s  {text}", soft_wrap=True, markup=False)

    @contextlib.contextmanager
    def progress(self, title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        """A bar with the rate on a terminal, one line at the end elsewhere."""
        began, last = time.perf_counter(), (0, 0)
        columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        with Progress(
            *columns,
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as bar:
            task = bar.add_task(title, total=None, rate="")

            def update(done: int, total: int) -> None:
                nonlocal last
                last = (done, total)
                rate = done / max(1e-9, time.perf_counter() - began)
                bar.update(task, completed=done, total=total, rate=f"{rate:,.0f} {unit}/s")

            yield update
        if last[1]:
            seconds = time.perf_counter() - began
            self.line(f"{title}: {last[0]:,} {unit} in {seconds:.1f} s, {last[0] / seconds:,.0f} {unit}/s")

    @contextlib.contextmanager
    def table(self, study: Study, goals: Sequence[str]) -> Iterator[Display]:
        """The live table of trials; off a terminal, a line at every score and end."""
        if not self.console.is_terminal:
            yield lambda rows, row: self._row_line(study, goals, row)
            return
        with Live(
            console=self.console, refresh_per_second=4, transient=True, redirect_stdout=False, redirect_stderr=False
        ) as live:
            yield lambda rows, row: live.update(trials_table(goals, rows))

    def _row_line(self, study: Study, goals: Sequence[str], row: TrialRow) -> None:
        name = row.baseline or f"trial {row.number}"
        if row.status == "running" and row.metrics:
            shown = [
                f"{key} {row.metrics[key]:.4g}" for key in dict.fromkeys([*goals, *_FIGURES]) if key in row.metrics
            ]
            step = f"step {row.metrics['step']:.0f}/{study.train.max_steps}"
            self.line(f"{name}: {step}, loss {row.metrics['loss']:.4g}, {', '.join(shown)}")
        elif row.status == "running":
            values = ", ".join(f"{key} {_short(value)}" for key, value in row.values.items())
            self.line(f"{name}: started ({values})")
        else:
            self.line(f"{name}: {row.status} after {row.seconds:.0f} s")


def trials_table(goals: Sequence[str], rows: Sequence[TrialRow], best: str | None = None) -> Table:
    """All trials as a table; baselines by name, the best marked."""
    figures = list(dict.fromkeys([*goals, *_FIGURES]))
    searched = list(dict.fromkeys(name for row in rows for name in row.values))
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("trial", no_wrap=True)
    for name in (*searched, "step", *figures):
        table.add_column(_HEADS.get(name, name), justify="right", no_wrap=True)
    for row in rows:
        name = (row.baseline or f"trial {row.number}") + (" *" if row.id == best else "")
        step = f"{row.metrics.get('step', 0):.0f}{_MARKS[row.status]}"
        cells = [_short(row.values.get(key)) for key in searched]
        scores = [_figure(key, row.metrics.get(key)) for key in figures]
        style = "bold" if row.id == best else ("cyan" if row.baseline else None)
        table.add_row(name, *cells, step, *scores, style=style)
    return table


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if name.endswith("rank_distance") else f"{value:.4f}"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "" if value is None else str(value)
