"""Reading a study folder, while it runs and after: what was asked, every trial with its scores, the best."""

import json
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna

from hybridtune.config.study import Study, load_study
from hybridtune.errors import InputError
from hybridtune.metrics.metrics import direction
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.runtime.processes import lives
from hybridtune.storage.files import last_name

State = Literal["finished", "running", "cut off"]


@dataclass(frozen=True)
class TrialRecord:
    """One trial, with all that its folder still holds.

    Attributes:
        id: its name, and its folder under ``trials/``.
        number: its number in Optuna.
        baseline: ``mono-only``, ``half-half``, ``cross-only``, or None for a searched trial.
        values: the fields of the study that it set.
        metrics: of its best checkpoint if it is done, else its last score's; numbers beside scores are the trial's own.
        status: ``done``, ``stopped early``, ``out of budget``, ``failed``, ``running``, or ``cut off``: it was running
            when its study was.
        seconds: wall time.
        began: seconds of the epoch; 0 where not known.
        history: one entry a score, by step.
        scores: ``scores.json`` of its best checkpoint (the fields of ``evaluate.metrics.Scores``); None: gone.
        plan: ``plan.json``; None: not there.
        per_query: the file of per-query values of its best checkpoint; None: gone.
        label: what people call it: ``mono-only``, ``trial 7``.
    """

    id: str
    number: int
    baseline: str | None
    values: dict[str, Any]
    metrics: dict[str, float]
    status: str
    seconds: float
    began: float
    history: list[dict[str, float]]
    scores: dict[str, Any] | None
    plan: dict[str, Any] | None
    per_query: Path | None
    label: str


@dataclass(frozen=True)
class StudyRecord:
    """A study folder, read.

    Attributes:
        folder: where it is.
        study: the resolved study file.
        goals: objective -> ``max`` or ``min``; the first decides.
        trials: by number; those that run now are among them.
        best: the chosen trial; None before one came to its last step.
        front: trials that no other beats on all objectives; with one objective, the best alone.
        environment: ``environment.json``.
        result: ``result.json``; None before the study has ended.
        repeats: ``repeats.json``, the noise check; None: not made.
        ledger: Optuna's study, for reading; None: not there, see ``notes``.
        state: ``finished``, ``running`` (its process lives, or is on another host), or ``cut off``.
        written: last change of the folder's files, in seconds of the epoch.
        notes: what could not be read, and why; one sentence each.
    """

    folder: Path
    study: Study
    goals: dict[str, str]
    trials: list[TrialRecord]
    best: TrialRecord | None
    front: list[TrialRecord]
    environment: dict[str, Any]
    result: dict[str, Any] | None
    repeats: dict[str, Any] | None
    ledger: optuna.Study | None
    state: State
    written: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether the study has ended, its best model written."""
        return self.state == "finished"


def read_record(folder: Path) -> StudyRecord:
    """Read a study folder, in whatever state; nothing in it is changed.

    Raises:
        InputError: it holds no study, or a file of it cannot be read.
    """
    file = folder / "study.yaml"
    if not file.is_file():
        raise InputError(
            f"{folder}: holds no study (no study.yaml); give the folder that hybridtune run wrote, its --out"
        )
    study = load_study(file)
    result = _read_json(folder / "result.json")
    if result is not None and "trials" not in result:
        raise InputError(f"{folder}: holds a single training (hybridtune train), not a search; there are no trials")
    goals = {name: str(direction(name)) for name in study.search.objective}
    notes: list[str] = []
    rows, running = _rows(folder)
    trials = [_trial(folder, row, notes) for row in rows]
    front, best = _chosen(trials, goals, result)
    return StudyRecord(
        folder=folder,
        study=study,
        goals=goals,
        trials=trials,
        best=best,
        front=front,
        environment=_read_json(folder / "environment.json") or {},
        result=result,
        repeats=_read_json(folder / "repeats.json"),
        ledger=_ledger(study, folder, notes),
        state="finished" if result is not None else "running" if running else "cut off",
        written=_last_change(folder),
        notes=notes,
    )


def pareto_front(trials: Sequence[TrialRecord], goals: Mapping[str, str]) -> list[TrialRecord]:
    """The trials that no other beats: at least as good on every goal, and better on one.

    Args:
        trials: those that lack a goal are left out.
        goals: metric -> ``max`` or ``min``.
    """
    having = [trial for trial in trials if all(name in trial.metrics for name in goals)]
    points = [[t.metrics[name] * (1 if mode == "max" else -1) for name, mode in goals.items()] for t in having]

    def beaten(point: list[float]) -> bool:
        return any(all(o >= p for o, p in zip(other, point, strict=True)) and other != point for other in points)

    return [trial for trial, point in zip(having, points, strict=True) if not beaten(point)]


def _chosen(
    trials: list[TrialRecord], goals: Mapping[str, str], result: Mapping[str, Any] | None
) -> tuple[list[TrialRecord], TrialRecord | None]:
    """The front and the best: as the study ended with, or of the trials that are done so far."""
    by_id = {trial.id: trial for trial in trials}
    if result is not None:
        return [by_id[name] for name in result["front"] if name in by_id], by_id.get(result["best"]["id"])
    done = [trial for trial in trials if trial.status == "done"]
    front = pareto_front(done, goals)
    if not front:
        return [], None
    first, mode = next(iter(goals.items()))
    best = max(front, key=lambda trial: trial.metrics[first] * (1 if mode == "max" else -1))
    return (front if len(goals) > 1 else [best]), best


def _rows(folder: Path) -> tuple[list[dict[str, Any]], bool]:
    """Rows of all trials by number, and whether their study still runs."""
    file = folder / "trials.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    try:
        rows = {row["id"]: row for row in map(json.loads, lines)}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: cannot be read: {error}; it has one JSON object a line") from None
    now = _read_json(folder / "running.json") or {"rows": []}
    running = _under_way(now)
    for row in now["rows"]:
        if row["status"] == "running":
            rows[row["id"]] = {**row, "status": "running" if running else "cut off"}
    check = _read_json(folder / "repeats" / "running.json") or {}  # the noise check, after the search
    return sorted(rows.values(), key=lambda row: int(row["number"])), running or _under_way(check)


def _under_way(told: Mapping[str, Any]) -> bool:
    """Whether the process that wrote a ``running.json`` lives; of another host's, nobody here knows."""
    return "pid" in told and (told.get("host") != socket.gethostname() or lives(told["pid"], told.get("born")))


def _trial(folder: Path, row: Mapping[str, Any], notes: list[str]) -> TrialRecord:
    place = folder / "trials" / row["id"]
    label = row["baseline"] or f"trial {row['number']}"
    checkpoint = _checkpoint(place, row.get("checkpoint"))
    scores = None if checkpoint is None else _read_json(checkpoint / "scores.json")
    if scores is None and row["status"] == "done":
        notes.append(f"{label}: the scores of its best checkpoint are gone (pruned, or on another machine)")
    per_query = checkpoint / PER_QUERY if checkpoint is not None else None
    return TrialRecord(
        id=row["id"],
        number=row["number"],
        baseline=row["baseline"],
        values=row["values"],
        metrics=row["metrics"],
        status=row["status"],
        seconds=row["seconds"],
        began=row.get("began", 0.0),
        history=_history(place / "metrics.jsonl"),
        scores=scores,
        plan=_read_json(place / "plan.json"),
        per_query=per_query if per_query is not None and per_query.is_file() else None,
        label=label,
    )


def _checkpoint(place: Path, written: str | None) -> Path | None:
    """A trial's best checkpoint: in the study folder as it lies now, else where it was written; None: in neither."""
    if not written:
        return None
    found = [path for path in (place / "fit" / last_name(written), Path(written)) if path.is_dir()]
    return found[0] if found else None


def _history(file: Path) -> list[dict[str, float]]:
    """The scores of a trial by step; a resumed trial may have one twice, and the later one counts."""
    if not file.exists():
        return []
    entries: dict[float, dict[str, float]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            entries[entry["step"]] = entry
        except (ValueError, KeyError, TypeError):
            continue  # the last line may be half written: the study runs
    return [entries[step] for step in sorted(entries)]


def _ledger(study: Study, folder: Path, notes: list[str]) -> optuna.Study | None:
    """Optuna's study, opened for reading."""
    where = study.search.storage
    files = {"sqlite": folder / "optuna.db", "journal": folder / "optuna.log"}
    if where in files and not files[where].is_file():
        notes.append(f"Optuna's storage is not there ({files[where].name}): its charts are missing")
        return None
    try:
        storage: Any = re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], found[0]), where)
        if where == "sqlite":  # read-only: a report changes nothing, and does not lock a study that runs
            storage = f"sqlite:///file:{_uri(files[where].absolute())}?mode=ro&uri=true"
        elif where == "journal":
            backend = optuna.storages.journal.JournalFileBackend(str(files[where]))
            storage = optuna.storages.JournalStorage(backend)
        return optuna.load_study(study_name=study.name, storage=storage)
    except Exception as error:  # what a database driver raises is not known here; the report goes on without it
        notes.append(f"Optuna's storage cannot be read ({type(error).__name__}): its charts are missing")
        return None


def _uri(path: Path) -> str:
    return path.as_uri().removeprefix("file://").replace("%3A", ":")


def _last_change(folder: Path) -> float:
    """When what a report reads last changed; the report itself does not count."""
    names = ["study.yaml", "environment.json", "trials.jsonl", "running.json", "result.json", "repeats.json"]
    names += ["repeats/running.json", "repeats/trials.jsonl"]
    files = [folder / name for name in names]
    return max(file.stat().st_mtime for file in files if file.exists())


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None
    return content if isinstance(content, dict) else None
