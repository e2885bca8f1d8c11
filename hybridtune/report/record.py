"""A study folder as one record: the study file, every trial with what its folder holds, the best, Optuna's study.

`read_record` reads it, while the study runs and after; the tables and charts of the report take it from here.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import optuna

from hybridtune.config.names import FIXED_ARMS, LEARNED, TUNED
from hybridtune.config.search import STORAGE_FILES
from hybridtune.config.study import Study, load_stored_study
from hybridtune.errors import InputError
from hybridtune.metrics.metrics import direction
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.storage.events import Event, read_events
from hybridtune.storage.feasibility import Limit, best_soup, eligible, limits
from hybridtune.storage.manifests import damage
from hybridtune.storage.optuna_storage import load_optuna_study, with_storage
from hybridtune.storage.records import DamagedError, read_lines, read_object
from hybridtune.storage.screening_rows import SCREENING, Screening, read_screened, read_screening
from hybridtune.storage.soup_rows import SoupRow, read_soups
from hybridtune.storage.study_folder import ENVIRONMENT
from hybridtune.storage.study_record import record_notes, whole_repeats, whole_result
from hybridtune.storage.trial_rows import ENDED, RUNNING, TrialRow, best_row, pareto_front, read_rows, whole_running

State = Literal["finished", "running", "cut off"]
_PLANNED: dict[str, tuple[type, ...]] = {  # of a plan's file
    **{"requested_ratio": (int, float), "realised_ratio": (int, float)},
    **{"steps": (int,), "batch_size": (int,), "table": (list,)},
}
MOST_LISTED = 200  # trials that a page lists one by one: of thousands it would be too large to open


@dataclass
class TrialRecord(TrialRow):
    """One trial, with what its folder still holds; None stands for a file that is gone.

    Of a trial that the page does not list, its scores, its per-query values and its plan's table are not read.
    """

    history: list[dict[str, float]] = field(default_factory=list)  # one entry a score, by step
    scores: dict[str, Any] | None = None  # of its best checkpoint, the fields of `metrics.metrics.Scores`
    plan: dict[str, Any] | None = None
    per_query: Path | None = None  # the file of its best checkpoint

    @property
    def done(self) -> bool:
        """True where it came to its last step."""
        return self.status == "done"

    def training_pairs(self) -> dict[str, tuple[int, int]] | None:
        """Return (distinct, drawn) question-passage pairs by language pair, as "en-de"; None: the plan is gone."""
        if self.plan is None:
            return None
        counts: dict[str, tuple[int, int]] = {}
        for row in self.plan["table"]:
            if row["kind"] != "align":  # translations of one text, no pair of a question and a passage
                distinct, drawn = counts.get(row["pair"], (0, 0))
                counts[row["pair"]] = (distinct + row["groups"], drawn + row["pairs"])
        return counts

    def pairs_of(self, origin: str, count: str = "groups") -> Counter[str]:
        """Count the pairs of an origin, ``native``, ``translated`` or ``bitext``, by language pair, as "en-de".

        ``count`` is a column of the plan's table: ``groups`` for distinct pairs, ``pairs`` for those drawn.
        """
        found: Counter[str] = Counter()
        for row in self.plan["table"] if self.plan is not None else ():
            if row.get("origin", "native") == origin:
                found[row["pair"]] += row[count]
        return found


@dataclass(frozen=True)
class StudyRecord:
    """A study folder, read."""

    folder: Path
    location: str  # of the study for people: the folder, or the URL that it is a copy of
    study: Study
    goals: dict[str, str]  # objective -> ``max`` or ``min``; the first decides
    trials: list[TrialRecord]  # by number; those that run now are among them
    best: TrialRecord | None  # the chosen one; None before one came to its last step
    contestants: dict[str, TrialRecord]  # the compared trials by name; before the study has ended, the best of each arm
    reference: str | None  # the strongest fixed ratio; None: none has come to its last step
    front: list[TrialRecord]  # those that no other beats on all objectives; with one objective, the best alone
    environment: dict[str, Any]
    result: dict[str, Any] | None  # None before the study has ended
    repeats: dict[str, Any] | None  # the seed check; None: not made
    optuna_study: optuna.Study | None  # opened for reading; None: not there, see ``notes``
    state: State  # running: its process lives or is on another host
    written: float = 0.0  # last change of the folder's files, in seconds of the epoch
    soups: list[SoupRow] = field(default_factory=list)  # averages of trials' weights that were scored on dev
    events: list[Event] = field(default_factory=list)  # what happened, in all runs
    screened: list[TrialRow] = field(default_factory=list)  # trainings with few layers before the search
    screening: Screening | None = None  # what these came to; None: they have not ended, or there are none
    notes: list[str] = field(default_factory=list)  # what could not be read, and why; one sentence each

    @property
    def finished(self) -> bool:
        """True where the study has ended, its best model written."""
        return self.state == "finished"

    @property
    def goal(self) -> str:
        """The objective that decides."""
        return next(iter(self.goals))

    @property
    def mode(self) -> str:
        """``max`` or ``min``, of the objective that decides."""
        return self.goals[self.goal]

    @property
    def best_soup(self) -> SoupRow | None:
        """The best soup, None where there is none."""
        return best_soup(self.study, self.trials, self.soups)

    @cached_property
    def listed(self) -> list[TrialRecord]:
        """The trials that tables list and lines draw, by number: all, or the first and best of many."""
        if len(self.trials) <= MOST_LISTED:
            return self.trials
        named = {id(trial) for trial in (self.best, *self.contestants.values())}
        front, sign = {id(trial) for trial in self.front}, -1 if self.mode == "max" else 1

        def rank(trial: TrialRecord) -> tuple[bool, bool, bool, bool, float]:
            value = trial.metrics.get(self.goal, float("nan"))
            scored = value == value
            return (
                *(id(trial) not in named, id(trial) not in front, not trial.done, not scored),
                sign * value if scored else 0.0,
            )

        return sorted(sorted(self.trials, key=rank)[:MOST_LISTED], key=lambda trial: trial.number)

    @cached_property
    def _listed(self) -> set[str]:
        return {trial.id for trial in self.listed}

    def is_listed(self, trial: TrialRow) -> bool:
        """Return whether tables list a trial, and lines draw it."""
        return trial.id in self._listed

    @property
    def left_out(self) -> str:
        """A sentence on the trials that are not listed; empty where all are."""
        if len(self.listed) == len(self.trials):
            return ""
        front = ", the Pareto front" if len(self.goals) > 1 else ""
        return (
            f"Listed are {len(self.listed)} of {len(self.trials):,} trials: the contestants{front} and the best by "
            f"{self.goal}; all are in {ENDED}."
        )

    def scored(self, names: Collection[str]) -> list[TrialRecord]:
        """Return the trials that came to a score of all these metrics."""
        return [trial for trial in self.trials if all(name in trial.metrics for name in names)]

    @property
    def rivals(self) -> dict[str, TrialRecord]:
        """The contestants but for the tuned trial, by name."""
        return {name: trial for name, trial in self.contestants.items() if name != TUNED}

    def is_best(self, trial: TrialRecord) -> bool:
        """Return whether a trial is the chosen one."""
        return self.best is not None and trial.id == self.best.id

    def shown_value(self, trial: TrialRecord, name: str) -> Any:
        """Return a field of a trial for tables: a training after the search has the study's where it set none."""
        return self.value(trial, name) if trial.proposed == "rerun" else trial.values.get(name)

    def value(self, trial: TrialRecord, name: str) -> Any:
        """Return a field of a trial, ``section.field``: what the trial set, else what the study fixes."""
        return trial.values[name] if name in trial.values else self.study.value(name)


def read_record(folder: Path, storage: str | None = None, location: str | None = None) -> StudyRecord:
    """Read a study folder, in whatever state; nothing in it is changed.

    Args:
        folder: maybe a stranger's.
        storage: URL of the database with its trials, as the user gives it; None: one that the folder names is left.
        location: URL that the folder is a copy of; None: it is none.

    Raises:
        InputError: it holds no study, or a file of it cannot be read.
    """
    study = load_stored_study(folder)
    result, notes = whole_result(folder), record_notes(folder)
    if result is not None and "trials" not in result:
        raise InputError(f"{folder}: holds a single training (hybridtune train), not a search; there are no trials")
    goals = {name: str(direction(name)) for name in study.search.objective}
    # The screening and the seed check run in folders of their own. Of another host's process nothing is known.
    processes = [whole_running(folder / name) for name in ("", SCREENING, "repeats")]
    running = any(process is not None and process.alive is not False for process in processes)
    trials = [_read_trial(folder, row, running, notes) for row in read_rows(folder, running=True)]
    found = limits(study, trials)
    front, best = _chosen(trials, goals, result, found)
    compared = _contestants(trials, goals, result, found)
    fixed = [trial for name, trial in compared.items() if name in FIXED_ARMS]
    beside = result.get("reference") if result is not None else None
    strongest = beside["arm"] if beside is not None else best_row(fixed, goals).arm if fixed else None
    # What a report reads; the report itself does not count.
    names = ["study.yaml", "environment.json", "result.json", "screening.json", "repeats.json"]
    names += [f"{place}{name}" for place in ("", f"{SCREENING}/", "repeats/") for name in (RUNNING, ENDED)]
    files = [folder / name for name in names]
    record = StudyRecord(
        folder=folder,
        location=location or str(folder),
        study=study,
        goals=goals,
        trials=trials,
        best=best,
        contestants=compared,
        reference=strongest,
        front=front,
        environment=read_object(folder / ENVIRONMENT) or {},
        result=result,
        repeats=whole_repeats(folder),
        optuna_study=_open_optuna_study(study, folder, storage, notes),
        state="finished" if result is not None else "running" if running else "cut off",
        written=max(file.stat().st_mtime for file in files if file.exists()),
        soups=read_soups(folder),
        events=read_events(folder),
        screened=read_screened(folder),
        screening=read_screening(folder),
        notes=notes,
    )
    for trial in trials:
        if record.is_listed(trial):
            _read_details(folder, trial, notes)
        elif trial.plan is not None:
            del trial.plan["table"]  # of a thousand trials in thirty languages they are gigabytes
    return record


def _chosen(
    trials: list[TrialRecord], goals: Mapping[str, str], result: Mapping[str, Any] | None, found: Sequence[Limit]
) -> tuple[list[TrialRecord], TrialRecord | None]:
    """Return the front and the best: as the study ended with, or of the trials that are done so far."""
    if result is not None:
        by_id = {trial.id: trial for trial in trials}
        return [by_id[name] for name in result["front"] if name in by_id], by_id.get(result["best"]["id"])
    front = pareto_front(eligible(found, [trial for trial in trials if trial.done]), goals)
    return front, best_row(front, goals) if front else None


def _contestants(
    trials: list[TrialRecord], goals: Mapping[str, str], result: Mapping[str, Any] | None, found: Sequence[Limit]
) -> dict[str, TrialRecord]:
    if result is not None:
        by_id = {trial.id: trial for trial in trials}
        return {name: by_id[one] for name, one in result.get("contestants", {}).items() if one in by_id}
    goal = next(iter(goals))
    done = [trial for trial in trials if trial.done and goal in trial.metrics]
    arms = {arm: [trial for trial in done if trial.arm == arm] for arm in (TUNED, *FIXED_ARMS, LEARNED)}
    return {arm: best_row(eligible(found, some), goals) for arm, some in arms.items() if some}


def _read_trial(folder: Path, row: TrialRow, running: bool, notes: list[str]) -> TrialRecord:
    home = folder / "trials" / row.id
    status = "cut off" if row.status == "running" and not running else row.status
    return TrialRecord(
        **{**vars(row), "status": status},
        history=_read_history(home / "metrics.jsonl", notes),
        plan=_read_plan(home / "plan.json", notes),
    )


def _read_details(folder: Path, trial: TrialRecord, notes: list[str]) -> None:
    """Read what a trial's best checkpoint has of its scores."""
    checkpoint = folder / trial.checkpoint if trial.checkpoint else None
    if checkpoint is None or not checkpoint.is_dir():
        if trial.done:
            notes.append(f"{trial.label}: the scores of its best checkpoint are gone (pruned, or on another machine)")
        return
    what = damage(checkpoint, ("scores.json", PER_QUERY))  # the weights are gigabytes, and not shown
    if what is not None:
        notes.append(f"{trial.label}: its best checkpoint {checkpoint} is damaged: {what}; it is left out")
        return
    trial.scores, per_query = read_object(checkpoint / "scores.json"), checkpoint / PER_QUERY
    trial.per_query = per_query if per_query.is_file() else None


def _read_history(file: Path, notes: list[str]) -> list[dict[str, float]]:
    """Read the scores of a trial by step; a resumed trial may have one twice, and the later one counts."""
    try:
        entries = {entry["step"]: entry for entry in read_lines(file).found if "step" in entry}
    except DamagedError as error:
        notes.append(f"{error}; the curves of this trial are left out")
        return []
    return [entries[step] for step in sorted(entries)]


def _read_plan(file: Path, notes: list[str]) -> dict[str, Any] | None:
    try:
        found = read_object(file)
        for name, kinds in _PLANNED.items():
            if found is not None and not isinstance(found.get(name), kinds):
                raise DamagedError(f"{file}: {name!r} is missing, or is not what a plan has there")
    except DamagedError as error:
        notes.append(f"{error}; the counts of this trial's pairs are left out")
        return None
    return found


def _open_optuna_study(study: Study, folder: Path, storage: str | None, notes: list[str]) -> optuna.Study | None:
    name = STORAGE_FILES.get(study.search.storage)
    if name is not None and not (folder / name).is_file():
        notes.append(f"Optuna's storage is not there ({name}): its charts are missing")
        return None
    try:
        study = with_storage(study, storage)
    except InputError as error:
        notes.append(f"{error}: its charts are missing")
        return None
    try:
        return load_optuna_study(study, folder, read_only=True)
    except Exception as error:  # what a database driver raises is not known here; the report goes on without it
        cause = type(error.__context__ or error).__name__
        notes.append(f"Optuna's storage cannot be read ({cause}): its charts are missing")
        return None
