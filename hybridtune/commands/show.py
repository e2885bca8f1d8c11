"""What a person sees while a command runs: a live table on a terminal, plain lines elsewhere."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from hybridtune.search.watch import Display, TrialRow
from hybridtune.train.board import Pace

SECONDS_BETWEEN_LINES = 20.0
Paces = Callable[[], Mapping[str, Pace]]

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
        """A bar with rate and time left on a terminal; elsewhere a line now and then, and one at the end.

        What the first call counts as done was done before: it is not part of the rate.
        """
        began, seen = time.perf_counter(), (0, 0, 0)  # done before, done, total
        columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))

        def pace() -> str:
            before, done, total = seen
            rate = (done - before) / max(1e-9, time.perf_counter() - began)
            left = f", {_duration((total - done) / rate)} left" if rate and done < total else ""
            return f"{_rate(rate)} {unit}/s{left}"

        def tell() -> None:
            if not self.console.is_terminal and 0 < seen[1] < seen[2]:
                self.line(f"{title}: {seen[1]:,} of {seen[2]:,} {unit}, {pace()}")

        with (
            Progress(
                *columns,
                console=self.console,
                transient=True,
                disable=not self.console.is_terminal,
                redirect_stdout=False,
                redirect_stderr=False,
            ) as bar,
            _every(SECONDS_BETWEEN_LINES, tell),
        ):
            task = bar.add_task(title, total=None, rate="")

            def update(done: int, total: int) -> None:
                nonlocal seen
                seen = (seen[0] if seen[2] else done, done, total)
                bar.update(task, completed=done, total=total, rate=pace())

            yield update
        before, done, total = seen
        if total:
            seconds = time.perf_counter() - began
            kept = f" ({before:,} of them before)" if before else ""
            self.line(f"{title}: {done:,} {unit}{kept} in {seconds:.1f} s, {_rate((done - before) / seconds)} {unit}/s")

    @contextlib.contextmanager
    def table(self, max_steps: int, goals: Sequence[str], paces: Paces) -> Iterator[Display]:
        """The live table of trials; off a terminal, a line at every score and end, and of the steps between.

        Args:
            max_steps: steps of a whole trial.
            goals: objectives, shown first.
            paces: how far the running trials are now, by trial id.
        """
        rows: list[TrialRow] = []
        if self.console.is_terminal:
            with self._live(lambda: trials_table(goals, rows, paces=paces())):
                yield lambda now, changed: rows.__setitem__(slice(None), now)
            return

        def display(now: list[TrialRow], changed: TrialRow) -> None:
            rows[:] = now
            self._row_line(max_steps, goals, changed)

        def tell() -> None:
            known = paces()
            for row in rows:
                if row.status == "running" and row.id in known:
                    self.line(f"{_name(row)}: {_pace(known[row.id], max_steps)}")

        with _every(SECONDS_BETWEEN_LINES, tell):
            yield display

    @contextlib.contextmanager
    def steps(self, max_steps: int, paces: Paces) -> Iterator[None]:
        """The progress of one fit, while the block runs."""

        def text() -> str:
            return "  ".join(_pace(pace, max_steps) for pace in paces().values()) or "training: starting workers"

        if self.console.is_terminal:
            with self._live(text):
                yield
            return
        with _every(SECONDS_BETWEEN_LINES, lambda: self.line(f"training: {text()}")):
            yield

    def _live(self, render: Callable[[], Any]) -> Live:
        return Live(
            get_renderable=render,
            console=self.console,
            refresh_per_second=1,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def _row_line(self, max_steps: int, goals: Sequence[str], row: TrialRow) -> None:
        if row.status == "running" and row.metrics:
            figures = dict.fromkeys([*goals, *_FIGURES])
            shown = [f"{key} {_figure(key, row.metrics[key])}" for key in figures if key in row.metrics]
            self.line(f"{_name(row)}: step {row.metrics['step']:.0f}/{max_steps}, {', '.join(shown)}")
        elif row.status == "running":
            values = ", ".join(f"{key} {_short(value)}" for key, value in row.values.items())
            self.line(f"{_name(row)}: started ({values})")
        else:
            best = f", best at step {row.metrics['best_step']:.0f}" if row.status == "done" else ""
            self.line(f"{_name(row)}: {row.status} after {row.seconds:.0f} s{best}")


def plain_table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """Rows of like keys as a table."""
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", header_style="bold")
    for key, value in (rows[0] if rows else {}).items():
        table.add_column(str(key), justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    return table


@contextlib.contextmanager
def _every(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    """Call something again and again, in a thread, while the block runs."""
    over = threading.Event()

    def loop() -> None:
        while not over.wait(seconds):
            do()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def trials_table(
    goals: Sequence[str], rows: Sequence[TrialRow], best: str | None = None, paces: Mapping[str, Pace] | None = None
) -> Table:
    """All trials as a table; baselines by name, the best marked, running ones at their present step."""
    paces = paces or {}
    figures = list(dict.fromkeys([*goals, *_FIGURES]))
    searched = list(dict.fromkeys(name for row in rows for name in row.values))
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("trial", no_wrap=True)
    for name in (*searched, "step", *figures):
        table.add_column(_HEADS.get(name, name), justify="right", no_wrap=True)
    for row in rows:
        name = _name(row) + (" *" if row.id == best else "")
        done = row.metrics.get("step", 0)
        if row.status == "running" and row.id in paces:
            done = max(done, paces[row.id].step)
        step = f"{done:.0f}{_MARKS[row.status]}"
        cells = [_short(row.values.get(key)) for key in searched]
        scores = [_figure(key, row.metrics.get(key)) for key in figures]
        style = "bold" if row.id == best else ("cyan" if row.baseline else None)
        table.add_row(name, *cells, step, *scores, style=style)
    return table


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"


def _name(row: TrialRow) -> str:
    return row.baseline or f"trial {row.number}"


def _pace(pace: Pace, max_steps: int) -> str:
    return f"step {pace.step}/{max_steps}, loss {pace.loss:.3f}, {pace.pairs_per_second:,.0f} pairs/s"


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if name.endswith("rank_distance") else f"{value:.4f}"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "" if value is None else str(value)
