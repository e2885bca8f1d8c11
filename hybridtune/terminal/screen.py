"""The screen of a command: a listener that prints the events of a study, and the console that tables go to.

What a command prints before and after is in `summary` and `scores`, the tables themselves in `tables`.
"""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from hybridtune.callbacks import StudyCallback, Training, every
from hybridtune.config.names import short_name
from hybridtune.config.search import seconds
from hybridtune.errors import printable
from hybridtune.report.text import format_duration, format_metric
from hybridtune.search.arms import expected_trials
from hybridtune.storage.events import checkpoint_line, damaged_line, lost_line
from hybridtune.storage.feasibility import constraint_marks, constraint_metrics
from hybridtune.storage.trial_rows import TrialRow, spent
from hybridtune.terminal.fitted import Fitted
from hybridtune.terminal.tables import FIGURES, Pace, latest_rows, short, trials_table

if TYPE_CHECKING:
    from hybridtune.config.study import Study

SECONDS_BETWEEN_LINES = 20.0
_OFF_TERMINAL = 1000  # characters: in a file no table is too wide, and no figure of it is cut
_BESIDE_ROWS = 6  # lines of the live table beside its trials: title, heads, cursor, three on columns left out
_TRANSIENT: dict[str, Any] = {"transient": True, "redirect_stdout": False, "redirect_stderr": False}
_log = logging.getLogger(__name__)  # by which all lines go: a screen prints its own, others may listen


class _Lines(logging.Handler):
    """Prints the lines of a screen on it, with the time since its start."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.told:  # type: ignore[attr-defined]
            record.screen.print(f"{record.screen.seconds():6.1f}s  {record.getMessage()}")  # type: ignore[attr-defined]


_log.setLevel(logging.DEBUG)
_log.addHandler(_Lines())


class Screen(StudyCallback):
    """Prints for people: a live table, bars on a terminal, and lines elsewhere; to stderr where stdout is for JSON.

    Args:
        to_stderr: leave standard output to JSON.
        level: of the lines that are printed, ``INFO``, or ``WARNING``: no others, no table, no bar. With ``DEBUG`` the
            others, of steps and scores, are for who listens to the logger, and no table or bar is in their way.
    """

    def __init__(self, to_stderr: bool = False, level: int = logging.INFO) -> None:
        # The stream itself, not whatever sys.stdout is later: Ray's prints are redirected while it runs.
        file = sys.stderr if to_stderr else sys.stdout
        terminal = file.isatty()  # whatever FORCE_COLOR says, which Jupyter sets: bars in a file are no help
        self.console = Console(
            file=file, highlight=False, force_terminal=terminal, width=None if terminal else _OFF_TERMINAL
        )
        self.live = terminal and level == logging.INFO
        self._level = max(level, logging.INFO)
        self._began = time.perf_counter()
        self._phase, self._training = contextlib.ExitStack(), contextlib.ExitStack()
        self._bar: _Bar  # of the phase, from its start
        self._study: Study  # from the start of its training
        self._rows: list[TrialRow] = []
        self._paces: dict[str, Pace] = {}

    def line(self, text: str, level: int = logging.INFO) -> None:
        """Log one plain line; it is printed with the time since the start, if the screen prints lines of its level."""
        _log.log(level, printable(text), extra={"screen": self, "told": level >= self._level})

    def now_and_then(self, text: str) -> None:
        """Log a line on what a live table or a bar shows, which has it in its place."""
        self.line(text, logging.DEBUG if self.live else logging.INFO)

    def seconds(self) -> float:
        """Return the time since the start."""
        return time.perf_counter() - self._began

    def print(self, text: str, style: str | None = None) -> None:
        """Print a line as it is: neither wrapped nor read as markup."""
        self.console.print(printable(text), style=style, soft_wrap=True, markup=False)

    def on_message(self, text: str) -> None:
        """Print it; what is to be seen to begins with ``warning:``."""
        self.line(text, logging.WARNING if text.startswith("warning: ") else logging.INFO)

    def on_phase_start(self, phase: str, unit: str) -> None:
        """Show a bar on a terminal; elsewhere a line now and then."""
        self.line(f"{phase}: begins", logging.DEBUG)
        self._bar = _Bar(self, phase, unit)
        self._phase.enter_context(self._bar.progress)
        self._phase.enter_context(every(SECONDS_BETWEEN_LINES, self._bar.print_line))

    def on_phase_progress(self, phase: str, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(done, total)

    def on_phase_end(self, phase: str, completed: bool) -> None:
        """Take the bar away, and print what was done in a line."""
        self._phase.close()
        if completed:
            self._bar.print_end()

    def on_training_start(
        self, training: Training, study: "Study", concurrent_trials: int, rows: Sequence[TrialRow]
    ) -> None:
        """Show the live table of trials; off a terminal, a line of each running one now and then."""
        self._rows, self._paces, self._study = [], {}, study
        title = search_title(study, concurrent_trials, rows) if training in ("screening", "search") else None

        def table() -> Fitted:
            goals, meet = [*study.search.objective, *constraint_metrics(study)], constraint_marks(study, self._rows)
            rows = latest_rows(self._rows, self.console.height - _BESIDE_ROWS)
            head = title(self._rows) if title is not None else None
            return trials_table(goals, rows, paces=self._paces, meet=meet, title=head)

        single = training == "fit"
        if self.live:
            show = self._fit_line if single else table
            live = Live(get_renderable=show, console=self.console, refresh_per_second=1, **_TRANSIENT)
            self._training.enter_context(live)
        print_paces = (lambda: self.now_and_then(f"training: {self._fit_line()}")) if single else self._print_paces
        self._training.enter_context(every(SECONDS_BETWEEN_LINES, print_paces))

    def on_step(self, trial: str, step: int, loss: float, pairs_per_second: float) -> None:
        """Note it for the table."""
        pace = self._paces[trial] = Pace(step, loss, pairs_per_second)
        self.line(f"{self._label(trial)}: {self._describe(pace)}", logging.DEBUG)

    def on_score(self, trial: str, step: int, metrics: Mapping[str, float]) -> None:
        """Log all of it; the table and the lines have the figures that matter."""
        figures = ", ".join(f"{name} {value:.6g}" for name, value in metrics.items())
        self.line(f"{self._label(trial)}: step {step} scored: {figures}", logging.DEBUG)

    def on_trial(self, row: TrialRow, rows: Sequence[TrialRow]) -> None:
        """Show it in the table; off a terminal, print a line."""
        self._rows = list(rows)
        self.now_and_then(f"{row.label}: {_change(row, self._study)}")

    def on_workers_lost(self, trial: str, step: int, goes_on_from: int, reason: str) -> None:
        """Print a line."""
        self.line(lost_line(self._label(trial), step, goes_on_from, reason), logging.WARNING)

    def on_damage(self, trial: str | None, step: int, goes_on_from: int, text: str) -> None:
        """Print a line."""
        line = text if trial is None else damaged_line(self._label(trial), step, goes_on_from, text)
        self.line(line, logging.WARNING)

    def on_early_checkpoint(self, trial: str, step: int, reason: str) -> None:
        """Print a line."""
        self.line(checkpoint_line(self._label(trial), step, reason))

    def on_replaced(self, trial: str, text: str) -> None:
        """Print a line."""
        self.line(f"{self._label(trial)}: {text}", logging.WARNING)

    def on_training_end(self, training: Training) -> None:
        """Take the live table away."""
        self._training.close()

    def _label(self, trial: str) -> str:
        return next((row.label for row in self._rows if row.id == trial), trial)

    def _fit_line(self) -> str:
        lines = [self._describe(pace) for pace in list(self._paces.values())]
        return "  ".join(lines) or "training: starting workers"

    def _print_paces(self) -> None:
        for row in self._rows:
            if row.status == "running" and row.id in self._paces:
                self.now_and_then(f"{row.label}: {self._describe(self._paces[row.id])}")

    def _describe(self, pace: Pace) -> str:
        step = f"step {pace.step}/{self._study.train.max_steps}"
        return f"{step}, loss {pace.loss:.3f}, {pace.pairs_per_second:,.0f} pairs/s"


class _Bar:
    """A phase on the screen. What its first update counts as done was done before: it is not part of the rate."""

    def __init__(self, screen: Screen, title: str, unit: str) -> None:
        self._screen, self._title, self._unit = screen, title, unit
        self._began, self._before, self._done, self._total = time.perf_counter(), 0, 0, 0
        columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        self.progress = Progress(*columns, console=screen.console, disable=not screen.live, **_TRANSIENT)
        self._task = self.progress.add_task(title, total=None, rate="")

    def update(self, done: int, total: int) -> None:
        self._before = self._before if self._total else done
        self._done, self._total = done, total
        self.progress.update(self._task, completed=done, total=total, rate=self._describe_rate())

    def print_line(self) -> None:
        if 0 < self._done < self._total:
            counts = f"{self._done:,} of {self._total:,} {self._unit}"
            self._screen.now_and_then(f"{self._title}: {counts}, {self._describe_rate()}")

    def print_end(self) -> None:
        if self._total:
            took, rate = self._measure()
            before = f" ({self._before:,} of them before)" if self._before else ""
            counts = f"{self._done:,} {self._unit}{before} in {took:.1f} s"
            self._screen.line(f"{self._title}: {counts}, {_number(rate)} {self._unit}/s")

    def _describe_rate(self) -> str:
        rate, text = self._measure()[1], ""
        if rate and self._done < self._total:
            text = f", {format_duration((self._total - self._done) / rate)} left"
        return f"{_number(rate)} {self._unit}/s{text}"

    def _measure(self) -> tuple[float, float]:
        """Return the seconds so far and the rate in them."""
        took = max(1e-9, time.perf_counter() - self._began)
        return took, (self._done - self._before) / took


def search_title(
    study: "Study", concurrent_trials: int, earlier: Sequence[TrialRow]
) -> Callable[[Sequence[TrialRow]], str]:
    """Return a function of the rows that titles the live table: ``4 of 15 trials ended, 2 at once``, and the budget.

    The time and the steps of ``earlier`` trials, those that were cut off and screened ones among them, count against
    the budget.
    """
    search, expected = study.search, expected_trials(study)
    began = time.monotonic() - spent(earlier)[0]

    def title(rows: Sequence[TrialRow]) -> str:
        ended = sum(row.status not in ("running", "paused") for row in rows)
        parts = [f"{ended} of {expected} trials ended", f"{concurrent_trials} at once"]
        if search.time_budget is not None:
            left = max(0.0, seconds(search.time_budget) - (time.monotonic() - began))
            parts.append(f"{format_duration(left)} of {search.time_budget} left")
        if search.step_budget is not None:
            every = {row.id: row for row in [*earlier, *rows]}
            left_steps = max(0, search.step_budget - spent(list(every.values()))[1])
            parts.append(f"{left_steps:,} of {search.step_budget:,} steps left")
        return ", ".join(parts)

    return title


def _change(row: TrialRow, study: "Study") -> str:
    if row.status == "running" and row.metrics:
        figures = dict.fromkeys([*study.search.objective, *FIGURES])
        shown = [f"{key} {format_metric(key, row.metrics[key])}" for key in figures if key in row.metrics]
        return f"step {row.metrics['step']:.0f}/{study.train.max_steps}, {', '.join(shown)}"
    if row.status == "running":
        return f"started ({', '.join(f'{short_name(key)} {short(value)}' for key, value in row.values.items())})"
    chosen = row.status in ("done", "out of budget") and "best_step" in row.metrics
    best = f", best at step {row.metrics['best_step']:.0f}" if chosen else ""
    return f"{row.status} after {row.seconds:.0f} s{best}{f': {row.reason}' if row.reason else ''}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
