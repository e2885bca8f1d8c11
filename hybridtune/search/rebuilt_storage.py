"""Optuna's storage of a study, built again from its trials' rows and scores where the file is damaged or gone.

`trials.jsonl` and the folders of the trials know all that the storage does, except for how a trial that no row names
was proposed: such a one gets its values anew. A database that the study file names by a URL is not ours to build.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hybridtune.config.names import short_name
from hybridtune.config.search import STORAGE_FILES
from hybridtune.config.space import in_order
from hybridtune.config.study import Study
from hybridtune.errors import InputError
from hybridtune.search.arms import ARM, PROPOSED, arm_sizes, arm_space, next_arm, searched
from hybridtune.search.constrained import keep_constraints
from hybridtune.search.optuna_search import SHOWN, make_optuna_study
from hybridtune.search.rungs import PAUSED
from hybridtune.search.samplers import proposals
from hybridtune.search.screened import kept_starts
from hybridtune.search.space import distribution, optuna_params
from hybridtune.search.trial_log import objective_scores
from hybridtune.storage.feasibility import constraint_metrics
from hybridtune.storage.files import remove
from hybridtune.storage.optuna_storage import load_optuna_study, open_storage
from hybridtune.storage.trial_rows import TrialRow, read_rows

_STATES = {"stopped early": TrialState.PRUNED, "failed": TrialState.FAIL}  # the others are told, or go on
_ASIDE = ".damaged"  # ends the name under which a damaged file stays


def rebuild_storage(study: Study, goals: Mapping[str, str], folder: Path, tell: Callable[[str], object]) -> None:
    """Build the storage in a study folder again, unless it is whole; a study without trials has nothing to build.

    Args:
        study: the study file.
        goals: ``max`` or ``min`` by objective.
        folder: of the study, which this process alone writes to.
        tell: is given a line on what was damaged.
    """
    rows = {row.number: row for row in searched(read_rows(folder, running=True))}
    if study.search.storage not in STORAGE_FILES or not rows:
        return
    file = folder / STORAGE_FILES[study.search.storage]
    what = _damage(study, folder, file, max(rows) + 1)
    if what is None:
        return
    tell(f"{file} is damaged ({what}): it is built again from trials.jsonl")
    if file.exists():
        file.replace(file.with_name(file.name + _ASIDE))
    for end in ("-journal", "-wal", "-shm"):  # SQLite would put them into the new one
        remove(str(file.with_name(file.name + end)))
    storage = open_storage(study, folder)
    optuna_study = make_optuna_study(study, goals, folder, storage)
    scores = objective_scores(study, folder, list(rows.values()))
    for number in range(max(rows) + 1):
        if number in rows:
            _add(study, goals, storage, rows[number], scores[rows[number].id])
        else:
            _enqueue(study, folder, optuna_study)


def _damage(study: Study, folder: Path, file: Path, trials: int) -> str | None:
    """Return what is wrong with the file, which is to have so many trials at least."""
    if not file.is_file():
        return "it is gone"
    try:
        if study.search.storage == "sqlite":
            with closing(sqlite3.connect(file)) as database:  # for writing: what a kill left half done is undone
                (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                return " ".join(str(found).split())[:160]
        there = len(load_optuna_study(study, folder).get_trials(deepcopy=False))
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise InputError(
                f"{file}: is locked by another program; close it, and run the same command again"
            ) from None
        return str(error)
    except Exception as error:  # what a driver, or a line of the journal, raises is not known here
        return " ".join(str(error).split())[:160]
    return None if there >= trials else f"it has {there} trials, and trials.jsonl has {trials}"


def _add(
    study: Study, goals: Mapping[str, str], storage: BaseStorage, row: TrialRow, scores: Mapping[int, float]
) -> None:
    """Add the trial of a row, with the next number; the storage, unlike a study, takes values outside of the ranges."""
    space = arm_space(study, row.arm)
    params = {name: row.values[name] for name in in_order(space) if name in row.values}
    attributes: dict[str, Any] = {ARM: row.arm, PROPOSED: row.proposed}
    if row.status != "running":
        attributes |= {name: row.metrics[name] for name in SHOWN if name in row.metrics}
    if row.status == "paused":
        attributes[PAUSED] = row.metrics["step"]
        attributes |= {name: row.metrics[name] for name in constraint_metrics(study) if name in row.metrics}
    state = _STATES.get(row.status, TrialState.RUNNING)
    template = FrozenTrial(
        number=-1,
        trial_id=-1,
        state=state,
        value=scores[max(scores)] if state == TrialState.PRUNED and scores and len(goals) == 1 else None,  # as told
        datetime_start=datetime.fromtimestamp(row.began),
        datetime_complete=datetime.fromtimestamp(row.began + row.seconds) if state.is_finished() else None,
        params=optuna_params(params),
        distributions={short_name(name): distribution(space[name]) for name in params},
        user_attrs=attributes,
        system_attrs={},
        intermediate_values={step: float(value) for step, value in scores.items()},
    )
    storage.create_new_trial(storage.get_study_id_from_name(study.name), template)  # no range is checked there
    if row.status == "done":
        optuna_study = optuna.load_study(study_name=study.name, storage=storage)
        keep_constraints(study, optuna_study, row.number, row.metrics)
        optuna_study.tell(row.number, [row.metrics[name] for name in goals])


def _enqueue(study: Study, folder: Path, optuna_study: optuna.Study) -> None:
    """Let a trial of which nothing is known get its values as the next of the arm whose turn it was."""
    before: Sequence[FrozenTrial] = optuna_study.get_trials(deepcopy=False)
    counts = Counter(trial.user_attrs.get(ARM) for trial in before)
    arm = next_arm(arm_sizes(study), counts)
    assert arm is not None, "a study has no more trials than its arms"
    of_arm = [trial for trial in before if trial.user_attrs.get(ARM) == arm]
    values, proposed = proposals(study, kept_starts(study, folder))[arm].next(of_arm)
    optuna_study.enqueue_trial(optuna_params(values), user_attrs={ARM: arm, PROPOSED: proposed})
