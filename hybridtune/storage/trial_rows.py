"""A study's trials as rows, and the two files they stand in: `trials.jsonl` (ended) and `running.json` (all, now).

Nothing heavy is imported here: another process asks how a study stands, and wants to know at once.
"""

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from hybridtune.runtime.processes import born, lives

Status = Literal["running", "stopped early", "out of budget", "done", "failed"]
ENDED, RUNNING = "trials.jsonl", "running.json"


@dataclass
class TrialRow:
    """One trial, as it stands.

    Attributes:
        id: the trial's name, and its folder under ``trials/``.
        number: its number in Optuna.
        baseline: ``mono-only``, ``half-half``, ``cross-only``, or None for a searched trial.
        values: the fields of the study that this trial sets.
        metrics: its last report; of a trial that is done, those of its best checkpoint.
        status: where it is.
        checkpoint: place of the checkpoint with these metrics.
        seconds: wall time in which it ran.
        began: when it started, in seconds of the epoch.
        reason: of a trial that failed, why.
    """

    id: str
    number: int
    baseline: str | None
    values: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    status: Status = "running"
    checkpoint: str | None = None
    seconds: float = 0.0
    began: float = 0.0
    reason: str | None = None


@dataclass(frozen=True)
class Running:
    """What `running.json` tells of the process that runs, or ran, a search.

    Attributes:
        pid: of the process.
        host: the machine it runs on.
        alive: whether it still runs; None where that cannot be seen, from another machine.
        rows: its trials at their last change.
    """

    pid: int
    host: str
    alive: bool | None
    rows: list[TrialRow]


def read_rows(folder: Path, running: bool = False) -> list[TrialRow]:
    """The ended trials of a study folder, in the order they stand there.

    Args:
        folder: the study folder.
        running: also those that have begun and not ended; all are then in the order of their numbers.
    """
    file = folder / ENDED
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    ended = [TrialRow(**json.loads(line)) for line in lines]
    if not running:
        return ended
    now = read_running(folder)
    known = {row.id for row in ended}
    others = [row for row in now.rows if row.status == "running" and row.id not in known] if now else []
    return sorted([*ended, *others], key=lambda row: row.number)


def read_running(folder: Path) -> Running | None:
    """What `running.json` tells; None where no search runs or has been cut off."""
    try:
        told = json.loads((folder / RUNNING).read_text(encoding="utf-8"))
    except FileNotFoundError:  # also when the study ends just now
        return None
    here = told["host"] == socket.gethostname()
    alive = lives(told["pid"], told.get("born")) if here else None
    return Running(told["pid"], told["host"], alive, [TrialRow(**row) for row in told["rows"]])


def write_running(folder: Path, rows: Sequence[TrialRow]) -> None:
    """Write `running.json` of this process; whoever sees the file sees all of it."""
    me = os.getpid()
    told = {"pid": me, "host": socket.gethostname(), "born": born(me), "rows": [asdict(row) for row in rows]}
    temporary = folder / f"{RUNNING}.new"
    temporary.write_text(json.dumps(told), encoding="utf-8")
    temporary.replace(folder / RUNNING)
