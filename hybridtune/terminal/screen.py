"""The table of a study's trials on a terminal. Nothing heavy is imported: `hybridtune status` prints it too."""

import contextlib
import dataclasses
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from hybridtune.metrics.breakdown import group_means, pair_table
from hybridtune.metrics.metrics import BIAS, SETTINGS, Scores
from hybridtune.report.bias_map import bias_table
from hybridtune.storage.trial_rows import TrialRow

if TYPE_CHECKING:
    from hybridtune.train.job_queue import Pace

FIGURES = ("mono/AP", "cross/AP", "multi/AP", "multi/rank_distance")
NARROW = 6  # searched fields that a terminal shows which is too narrow for all
MARKS = {"running": "..", "stopped early": "x", "out of budget": "t", "failed": "!", "done": ""}
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


def trials_table(
    goals: Sequence[str],
    rows: Sequence[TrialRow],
    best: str | None = None,
    paces: "Mapping[str, Pace] | None" = None,
    width: int | None = None,
) -> Table:
    """All trials as a table; baselines by name, the best marked, running ones at their present step.

    Args:
        goals: objectives, shown before the other figures.
        rows: the trials.
        best: id of the best one.
        paces: how far the running trials are now, by trial id.
        width: of the terminal; where the table is wider it has six searched fields at most. None: all of them.
    """
    figures = list(dict.fromkeys([*goals, *FIGURES]))
    fields = list(dict.fromkeys(name for row in rows for name in row.values))
    columns = [_step_column(rows, paces or {}), *(_figure_column(rows, name) for name in figures)]
    columns = [_column(rows, name) for name in fields] + columns
    first = ["trial", *(row.label + (" *" if row.id == best else "") for row in rows)]
    left_out = 0
    if width is not None and len(fields) > NARROW and sum(_width(one) for one in (first, *columns)) > width:
        left_out = len(fields) - NARROW
        columns = columns[:NARROW] + columns[len(fields) :]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(first[0], no_wrap=True)
    for head, *_ in columns:
        table.add_column(head, justify="right", no_wrap=True)
    for place, row in enumerate(rows, start=1):
        style = "bold" if row.id == best else ("cyan" if row.baseline else None)
        table.add_row(first[place], *(column[place] for column in columns), style=style)
    if left_out:
        table.caption = f"{left_out} more searched fields: see --json"
        table.caption_justify = "left"
    return table


def marks_told(rows: Sequence[TrialRow]) -> str:
    """What the marks behind the steps mean, of those that the rows have: ``x: stopped early``."""
    seen = {row.status for row in rows}
    return "; ".join(f"{mark}: {status}" for status, mark in MARKS.items() if mark and status in seen)


def figure(name: str, value: float | None) -> str:
    """A metric's value as tables show it; empty where there is none."""
    if value is None:
        return ""
    return f"{value:.1f}" if name.endswith("rank_distance") else f"{value:.4f}"


def short(value: Any) -> str:
    """A trial's value as tables show it; empty for null."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return "" if value is None else str(value)


def _column(rows: Sequence[TrialRow], field: str) -> list[str]:
    return [_HEADS.get(field, field), *(short(row.values.get(field)) for row in rows)]


def _figure_column(rows: Sequence[TrialRow], name: str) -> list[str]:
    return [_HEADS.get(name, name), *(figure(name, row.metrics.get(name)) for row in rows)]


def _step_column(rows: Sequence[TrialRow], paces: "Mapping[str, Pace]") -> list[str]:
    cells = []
    for row in rows:
        done = row.metrics.get("step", 0)
        if row.status == "running" and row.id in paces:
            done = max(done, paces[row.id].step)
        cells.append(f"{done:.0f}{MARKS[row.status]}")
    return ["step", *cells]


def _width(column: Sequence[str]) -> int:
    return max(map(len, column)) + 1  # with the blank behind it


if TYPE_CHECKING:  # both import Ray, and `hybridtune status` is to answer at once
    from hybridtune.search.trial_log import Display
    from hybridtune.train.job_queue import Pace

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
                    self.line(f"{row.label}: {_pace(known[row.id], max_steps)}")

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
            self.line(f"{row.label}: step {row.metrics['step']:.0f}/{max_steps}, {', '.join(shown)}")
        elif row.status == "running":
            values = ", ".join(f"{key} {short(value)}" for key, value in row.values.items())
            self.line(f"{row.label}: started ({values})")
        else:
            kept = row.status in ("done", "out of budget") and "best_step" in row.metrics
            best = f", best at step {row.metrics['best_step']:.0f}" if kept else ""
            why = f": {row.reason}" if row.reason else ""
            self.line(f"{row.label}: {row.status} after {row.seconds:.0f} s{best}{why}")


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


Cells = Mapping[str, Any]


def full_scores(
    scores: Scores, training_pairs: Mapping[str, int] | None, low_resource: Sequence[str]
) -> dict[str, Any]:
    """Scores as JSON, with the low-resource view of them.

    Args:
        scores: of one benchmark.
        training_pairs: of the model, by pair; None: not known.
        low_resource: languages.

    Returns:
        the fields of ``Scores``, ``training_pairs``, ``pairs`` (``groups.pair_table``) and ``groups``
        (``groups.group_means``).
    """
    return {
        **dataclasses.asdict(scores),
        "training_pairs": training_pairs,
        "pairs": pair_table(scores, training_pairs),
        "groups": group_means(scores, training_pairs, low_resource),
    }


def evaluation_summary(result: Mapping[str, Any], screen: Screen) -> None:
    """The tables of one evaluation, or what a dry run found."""
    print_to = screen.console.print
    if "metrics" not in result:
        print_to(plain_table([result], "would score"))
        return
    for table in scores_tables(result):
        print_to(table)
    metrics, counts = result["metrics"], result["counts"]
    if "balanced/AP" in metrics:
        print_to(f"balanced/AP {metrics['balanced/AP']:.4f} (harmonic mean of the three settings)")
    for name in BIAS:
        if f"multi/{name}" in metrics:
            queries, passages = counts["queries_with"][name], counts["passages"]
            print_to(
                f"multi/{name} {metrics[f'multi/{name}']:.4f} ({queries:,} queries, pool of {passages:,} passages)"
            )
    other = other_means(result)
    if other:
        print_to(other, soft_wrap=True)
    if counts.get("not_retrieved"):
        print_to(f"relevant passages not in the run: {counts['not_retrieved']:,} of {counts['relevant_pairs']:,}")
    for note in result["notes"]:
        print_to(note, style="dim", soft_wrap=True, markup=False)


def other_means(result: Mapping[str, Any]) -> str:
    """The means that trec_eval prints, in one line; empty where they are those of the table."""
    own, counts = result["metrics"], result["counts"]
    means = {
        name: value
        for name, value in result["trec_eval"].items()
        if not math.isclose(value, own.get(name, -1.0), rel_tol=1e-9)
    }
    if not means:
        return ""
    setting = next(iter(means)).split("/")[0]
    silent = counts["queries_without_relevant"][setting]
    queries = counts["queries"][setting] + silent
    shown = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
    return (
        f"trec_eval prints {shown}: means over all {queries:,} judged queries at once, those without a relevant "
        f"passage ({silent:,}) at 0"
    )


def scores_tables(result: Mapping[str, Any]) -> list[Table]:
    """Means with their counts, the matrix of languages, its training pairs, groups of languages, and the bias."""
    measures = [name for name in dict.fromkeys(key.split("/")[1] for key in result["metrics"]) if name not in BIAS]
    shown = measures[0]
    tables = [
        plain_table(_means(result, measures), "means over query languages (mono, multi) or ordered pairs (cross)")
    ]
    multi = {language: values.get(shown) for language, values in result["per_language"]["multi"].items()}
    cells = {pair: values.get(shown) for pair, values in result["per_pair"].items()}
    tables.append(plain_table(_matrix(result, shown, cells, multi), "query language by row, pool by column"))
    if result["training_pairs"] is not None:
        trained = {pair: result["training_pairs"].get(pair, 0) for pair in cells}
        title = "training pairs of each pair (0: zero-shot)"
        tables.append(plain_table(_matrix(result, "pairs", trained, {}), title))
    if result["groups"]:
        tables.append(groups_table(result["groups"], measures))
    if result["over_represented"]:
        tables.append(bias_table(result))
    return tables


def _means(result: Mapping[str, Any], measures: list[str]) -> list[dict[str, Any]]:
    metrics, counts = result["metrics"], result["counts"]
    return [
        {
            "setting": setting,
            **{name: f"{metrics[f'{setting}/{name}']:.4f}" for name in measures},
            "queries": counts["queries"][setting],
            "without answer": counts["queries_without_relevant"][setting],
        }
        for setting in SETTINGS
        if f"{setting}/{measures[0]}" in metrics
    ]


def _matrix(result: Mapping[str, Any], corner: str, cells: Cells, multi: Cells) -> list[dict[str, Any]]:
    """One row a query language, one column a passage language; empty where nothing was scored."""
    names = list(result["counts"]["passages_per_language"])
    asked = [x for x in names if x in multi or any(f"{x}-{y}" in cells for y in names)]
    pools = [y for y in names if any(f"{x}-{y}" in cells for x in names)]
    last = {x: {"multi": _cell(multi.get(x))} for x in asked} if multi else {x: {} for x in asked}
    return [{corner: x, **{y: _cell(cells.get(f"{x}-{y}")) for y in pools}, **last[x]} for x in asked]


def _cell(value: float | int | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def groups_table(groups: Mapping[str, Any], measures: Sequence[str]) -> Table:
    """Means over groups of languages: ``groups.group_means``."""
    rows = [
        {
            "group": group,
            "setting": setting,
            **{name: f"{values[name]:.4f}" if name in values else "" for name in measures},
            "languages or pairs": values["rows"],
            "queries": values["queries"],
        }
        for group, settings in groups.items()
        for setting, values in settings.items()
    ]
    return plain_table(rows, "groups of languages and pairs")
