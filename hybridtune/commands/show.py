"""What a person sees while a command runs: a live table on a terminal, plain lines elsewhere."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from hybridtune.commands.trials import FIGURES, figure, label, short
from hybridtune.commands.trials import trials_table as trials_table
from hybridtune.search.rows import TrialRow

if TYPE_CHECKING:  # both import Ray, and `hybridtune status` is to answer at once
    from hybridtune.search.watch import Display
    from hybridtune.train.board import Pace

SECONDS_BETWEEN_LINES = 20.0
Paces = Callable[[], Mapping[str, "Pace"]]
Title = Callable[[Sequence[TrialRow]], str]


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
            left = f", {duration((total - done) / rate)} left" if rate and done < total else ""
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
    def table(
        self, max_steps: int, goals: Sequence[str], paces: Paces, title: Title | None = None
    ) -> "Iterator[Display]":
        """The live table of trials; off a terminal, a line at every score and end, and of the steps between.

        Args:
            max_steps: steps of a whole trial.
            goals: objectives, shown first.
            paces: how far the running trials are now, by trial id.
            title: a line above the table, of the rows as they stand.
        """
        rows: list[TrialRow] = []

        def table() -> Table:
            shown = trials_table(goals, rows, paces=paces(), width=self.console.width)
            shown.title, shown.title_justify = title(rows) if title is not None else None, "left"
            return shown

        if self.console.is_terminal:
            with self._live(table):
                yield lambda now, changed: rows.__setitem__(slice(None), now)
            return

        def display(now: list[TrialRow], changed: TrialRow) -> None:
            rows[:] = now
            self._row_line(max_steps, goals, changed)

        def tell() -> None:
            known = paces()
            for row in rows:
                if row.status == "running" and row.id in known:
                    self.line(f"{label(row)}: {_pace(known[row.id], max_steps)}")

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
            figures = dict.fromkeys([*goals, *FIGURES])
            shown = [f"{key} {figure(key, row.metrics[key])}" for key in figures if key in row.metrics]
            self.line(f"{label(row)}: step {row.metrics['step']:.0f}/{max_steps}, {', '.join(shown)}")
        elif row.status == "running":
            values = ", ".join(f"{key} {short(value)}" for key, value in row.values.items())
            self.line(f"{label(row)}: started ({values})")
        else:
            kept = row.status in ("done", "out of budget") and "best_step" in row.metrics
            best = f", best at step {row.metrics['best_step']:.0f}" if kept else ""
            why = f": {row.reason}" if row.reason else ""
            self.line(f"{label(row)}: {row.status} after {row.seconds:.0f} s{best}{why}")


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


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def duration(seconds: float) -> str:
    """A length of time in its largest unit."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"


def _pace(pace: "Pace", max_steps: int) -> str:
    return f"step {pace.step}/{max_steps}, loss {pace.loss:.3f}, {pace.pairs_per_second:,.0f} pairs/s"
