"""A study's trials as rows, and their two files: `trials.jsonl` (ended) and `running.json` (those that run now).

What a change of a trial costs does not grow with the trials before it: a line is added to the one file, and the other
holds no more than runs at once. In `trials.jsonl` the last line of a trial counts; one that says ``running`` takes
back the line before it, of a trial that is tried again or goes on from a rung. The end of a search leaves a line each.

Nothing heavy is imported here: `hybridtune status` reads both from another process, and answers at once.
"""

import json
import operator
import os
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

from hybridtune.config.names import TUNED, check_file_name
from hybridtune.runtime.processes import is_running, start_time
from hybridtune.storage.files import flush, write_atomically
from hybridtune.storage.records import DamagedError, append_line, make, read_lines, read_object

Proposed = Literal["file", "point", "grid", "screened", "random", "sampler", "rerun", "repeat"]
Status = Literal["running", "paused", "stopped early", "out of budget", "done", "failed", "cut off"]
ENDED, RUNNING = "trials.jsonl", "running.json"
FIT = "fit"  # in a trial's folder: its checkpoints
SETTLED = ("done", "stopped early")  # any other trial is tried again when the study is run again
_WITHOUT_IT = "without the line, hybridtune run with the study's --out trains its trial again"


@dataclass
class TrialRow:
    """The present state of one trial.

    Attributes:
        id: the trial's name, and its folder under ``trials/``.
        number: its number in Optuna.
        arm: ``tuned``, or the fixed mixing ratio: ``mono-only``, ``half-half``, ``cross-only``.
        values: the fields of the study that this trial sets.
        metrics: its last report; of a trial that is done, those of its best checkpoint.
        status: ``paused`` at a rung of the search, see `search.rungs`; ``cut off`` is in no file: a reader sees it when
            the study runs no more.
        checkpoint: path of the checkpoint with these metrics in the study folder, see `checkpoint_path`.
        seconds: wall time in which it ran.
        began: in seconds of the epoch.
        reason: of a failure.
        proposed: where its values come from: the study ``file``, a ``point`` or combination (``grid``) of it, the
            screening before the search (``screened``), a draw at ``random``, the ``sampler``, the trials before it
            (``rerun``), or the contestant that the noise check trains again (``repeat``).
    """

    id: str
    number: int
    arm: str
    values: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    status: Status = "running"
    checkpoint: str | None = None
    seconds: float = 0.0
    began: float = 0.0
    reason: str | None = None
    proposed: Proposed = "sampler"

    def __post_init__(self) -> None:
        check_file_name(self.id, "the id of a trial")

    @property
    def label(self) -> str:
        """The name for people: ``trial 7``, ``half-half 4``; a training that Optuna does not know has its own."""
        if self.id.isdigit():
            return f"{'trial' if self.arm == TUNED else self.arm} {self.number}"
        return self.id


Row = TypeVar("Row", bound=TrialRow)


@dataclass(frozen=True)
class Running:
    """The process that runs, or ran, a search, with the trials that it runs, at their last change.

    Whether it is ``alive`` is None on another machine, from where that cannot be seen.
    """

    pid: int
    host: str
    alive: bool | None
    rows: list[TrialRow]


@dataclass(frozen=True)
class _Process:
    """The content of `running.json`."""

    pid: int
    host: str
    rows: list[dict[str, Any]]
    start_time: str | None = None


def read_rows(folder: Path, running: bool = False) -> list[TrialRow]:
    """Read the ended trials of a study folder, in the order of their numbers.

    A last line that was cut off is left out, and so is a damaged `running.json`, which only repeats what the trials'
    folders know; `study_record.record_notes` tells of both.

    With ``running``, those that have begun and not ended are among them.

    Raises:
        DamagedError: a line of `trials.jsonl` is no trial of this version.
    """
    rows = {row.id: row for row in _lines(folder)}
    now = whole_running(folder) if running else None
    for row in now.rows if now else []:
        # `trials.jsonl` is written first: a trial that is settled there and runs here was cut off between the two.
        if row.status == "running" and (row.id not in rows or rows[row.id].status not in SETTLED):
            rows[row.id] = row
    found = [row for row in rows.values() if running or row.status != "running"]
    return sorted(found, key=lambda row: row.number)


def _lines(folder: Path) -> list[TrialRow]:
    file = folder / ENDED
    lines = read_lines(file, _WITHOUT_IT).found
    return [_row(line, f"{file}: line {number}", _WITHOUT_IT) for number, line in enumerate(lines, 1)]


def append_row(folder: Path, row: TrialRow) -> None:
    """Add the line of a trial that has ended, or of one that has and runs again; the disk has it when this returns."""
    append_line(folder / ENDED, asdict(row))
    flush(folder / ENDED)


def write_rows(folder: Path, rows: Sequence[TrialRow]) -> None:
    """Write `trials.jsonl` anew: the ended ones of these trials, a line each."""
    lines = "".join(json.dumps(asdict(row)) + "\n" for row in rows if row.status != "running")
    write_atomically(folder / ENDED, lines)


def _row(found: dict[str, Any], where: str, remedy: str = "") -> TrialRow:
    row = make(TrialRow, found, where, remedy)
    inside = PurePosixPath(row.checkpoint or "")
    if inside.is_absolute() or ".." in inside.parts:
        raise DamagedError(f"{where}: 'checkpoint' is {row.checkpoint!r}: not in the study folder{_then(remedy)}")
    return row


def _then(remedy: str) -> str:
    return f"; {remedy}" if remedy else ""


def read_running(folder: Path) -> Running | None:
    """Read `running.json`; None where no search runs or has been cut off. Raises DamagedError."""
    file = folder / RUNNING
    found = read_object(file)
    if found is None:  # also when the study ends just now
        return None
    process = make(_Process, found, str(file))
    alive = is_running(process.pid, process.start_time) if process.host == socket.gethostname() else None
    return Running(process.pid, process.host, alive, [_row(row, str(file)) for row in process.rows])


def whole_running(folder: Path) -> Running | None:
    """Read `running.json` as `read_running` does; None also where it is damaged."""
    try:
        return read_running(folder)
    except DamagedError:
        return None


def checkpoint_name(step: int) -> str:
    """Return the name of the folder of a step's checkpoint.

    Example:
        >>> checkpoint_name(12)
        'checkpoint_0000012'
    """
    return f"checkpoint_{step:07d}"


def checkpoint_path(trial: str, step: int, part: str = "") -> str:
    """Return the path of a trial's checkpoint in the study folder; ``part``: of the screening, or of the repeats.

    Example:
        >>> checkpoint_path("tuned-s1", 12, "repeats")
        'repeats/trials/tuned-s1/fit/checkpoint_0000012'
    """
    return str(PurePosixPath(part, "trials", trial, FIT, checkpoint_name(step)))


def write_running(folder: Path, rows: Sequence[TrialRow]) -> None:
    """Write `running.json` of this process; whoever sees the file sees all of it."""
    process = {"pid": os.getpid(), "host": socket.gethostname(), "start_time": start_time(os.getpid())}
    write_atomically(folder / RUNNING, json.dumps(process | {"rows": [asdict(row) for row in rows]}))


def rewrite_status(folder: Path, ids: Collection[str], status: Status) -> None:
    """Give ended trials of a study folder another status."""
    if not ids:
        return
    rows = read_rows(folder)
    for row in rows:
        row.status = status if row.id in ids else row.status
    write_rows(folder, rows)


def pareto_front(rows: Sequence[Row], goals: Mapping[str, str]) -> list[Row]:
    """Return the rows that no other row beats: at least as good on every goal and better on one.

    Args:
        rows: trials; those that lack a goal are left out.
        goals: metric -> ``max`` or ``min``; with one goal the front is the best alone, the first of equals.
    """
    scored = [row for row in rows if all(name in row.metrics for name in goals)]
    points = [[row.metrics[name] * (1 if mode == "max" else -1) for name, mode in goals.items()] for row in scored]
    if len(goals) == 1:
        return [scored[points.index(max(points))]] if points else []

    def beats(other: list[float], point: list[float]) -> bool:
        return other != point and all(map(operator.ge, other, point))

    return [row for row, point in zip(scored, points, strict=True) if not any(beats(other, point) for other in points)]


def best_row(rows: Sequence[Row], goals: Mapping[str, str]) -> Row:
    """Return the row with the best value of the first goal (metric -> ``max`` or ``min``), the first of equals."""
    first, mode = next(iter(goals.items()))
    return max(rows, key=lambda row: row.metrics[first] * (1 if mode == "max" else -1))


def contenders(rows: Sequence[Row]) -> list[Row]:
    """Return the trials among which the best is chosen: those that came to their end.

    A trial that ran out of budget had less training than the others and counts as one that was stopped early; only
    where no trial came to its end are those taken that have a score.
    """
    done = [row for row in rows if row.status == "done"]
    return done or [row for row in rows if row.status == "out of budget" and row.metrics]


def wall_seconds(rows: Sequence[TrialRow]) -> float:
    """Return the seconds in which a trial ran: gaps do not count, and trials side by side count once."""
    total, until = 0.0, 0.0
    for began, ended in sorted((row.began, row.began + row.seconds) for row in rows):
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total


def spent(rows: Sequence[TrialRow]) -> tuple[float, int]:
    """Return the wall time in seconds, of trials side by side once, and the training steps that trials have used.

    ``rows`` include trials that were cut off: ``read_rows(folder, running=True)``.
    """
    return wall_seconds(rows), sum(int(row.metrics.get("step", 0)) for row in rows)
