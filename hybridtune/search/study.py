"""The search: Ray Tune runs the trials, Optuna proposes their values, and hopeless ones are stopped early."""

import contextlib
import logging
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from ray import cloudpickle, tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from hybridtune.config.study import Study
from hybridtune.errors import FitError, HybridtuneError, StorageError
from hybridtune.runtime.ray_private import ON_HEAD, count_no_callbacks
from hybridtune.search.arms import ARM, PROPOSED, arm_sizes, expected_trials, most_reruns, reruns, searched
from hybridtune.search.interrupt import Interrupts
from hybridtune.search.loggers import callbacks
from hybridtune.search.optuna_search import searcher
from hybridtune.search.rebuilt_storage import rebuild_storage
from hybridtune.search.rungs import going_on, is_paused, rung_steps
from hybridtune.search.stopping import budget, scheduler, settle, used_up
from hybridtune.search.trial import Trial, trial_name, trial_storage
from hybridtune.search.trial_log import Display, TrialLog, objective_scores
from hybridtune.search.within_noise import ending_line, kept_endings
from hybridtune.storage.feasibility import eligible, limits
from hybridtune.storage.optuna_storage import load_optuna_study
from hybridtune.storage.screening_rows import read_screened
from hybridtune.storage.trial_rows import (
    ENDED,
    SETTLED,
    TrialRow,
    best_row,
    contenders,
    pareto_front,
    read_rows,
    rewrite_status,
    spent,
)
from hybridtune.train.evaluators import NotSharedError
from hybridtune.train.fit import WorkerGroups
from hybridtune.train.incidents import Replaced, death_line
from hybridtune.train.job_queue import FitJob

TRIALS = "trials"


@dataclass(frozen=True)
class SearchResult:
    """A finished search."""

    rows: list[TrialRow]  # of all trials that ended
    best: TrialRow
    front: list[str]  # ids of the trials that no other beats on all objectives


def _trial_name(trial: Any) -> str:
    return trial_name(trial.config)


def run_search(
    job: FitJob,
    goals: Mapping[str, str],
    folder: Path,
    groups: WorkerGroups,
    display: Display,
    tell: Callable[[str], object] = lambda line: None,
) -> list[str]:
    """Run the trials of a study's search, or what is left of them where the folder holds a part.

    Args:
        job: the fit of the study's fixed values; Ray and the evaluator service must be running.
        goals: ``max`` or ``min`` by objective.
        folder: the study folder.
        groups: train the trials, as many at once.
        display: called as (all rows, changed row) at every change.
        tell: called with a line where Optuna's storage was damaged, and built again.

    Returns:
        A line for each arm whose search ended before it had all its trials.

    Raises:
        FitError: some trials did not end, or the screening before them used up the budget.
    """
    study = job.study
    if (why := used_up(study, read_screened(folder))) is not None:
        raise FitError(
            f"{why}, all of them in the screening (search.screening), before the search; raise it and run the same "
            f"command with --out {folder}"
        )
    TrialLog.displays[str(folder)] = display
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rebuild_storage(study, goals, folder, tell)
    stages, over = rung_steps(study), False
    for stage in range(len(stages)):
        over = over or _run_stage(job, goals, folder, groups, stage)
    ended = searched(read_rows(folder))
    if not over and len(stages) > 1:
        rewrite_status(folder, {row.id for row in ended if row.status == "paused"}, "stopped early")
    elif over:
        rewrite_status(folder, {row.id for row in ended if row.status == "paused"}, "out of budget")
    ended = searched(read_rows(folder))
    if over or len(stages) > 1:
        settle(study, load_optuna_study(study, folder), ended, list(goals))
    lines, left_out = _endings(study, folder)
    expected = expected_trials(study) - left_out
    if len(ended) < expected and not over:
        raise FitError(
            f"{len(ended)} of {expected} trials ended; see {folder / 'ray.log'}, and run the same command with "
            f"--out {folder} to finish the others"
        )
    return lines


def _endings(study: Study, folder: Path) -> tuple[list[str], int]:
    """Return a line for each arm whose search ended within noise, and how many trials fewer than asked these have."""
    if study.search.stop_within_noise is None:
        return [], 0
    optuna_study, sizes = load_optuna_study(study, folder), arm_sizes(study)
    counts = Counter(trial.user_attrs.get(ARM) for trial in optuna_study.get_trials(deepcopy=False))
    over = kept_endings(optuna_study)
    lines = [ending_line(arm, sizes[arm], over[arm]) for arm in sizes if arm in over]
    return lines, sum(sizes[arm] - counts[arm] for arm in over)


def _run_stage(job: FitJob, goals: Mapping[str, str], folder: Path, groups: WorkerGroups, stage: int) -> bool:
    """Train the trials of one stage to the step at which they wait, or to their end; return whether a budget is over.

    What an earlier run did of it is not done again. A search without rungs is one stage. The budget counts what the
    screening used, too.
    """
    study, before, screened = job.study, searched(read_rows(folder, running=True)), read_screened(folder)
    if used_up(study, [*screened, *before]) is not None:
        return True
    scores, pause_at = objective_scores(study, folder, before), rung_steps(study)[stage]
    there = {row.number for row in before if row.status in SETTLED or is_paused(row, pause_at, scores[row.id])}
    only = {row.number for row in going_on(study, before, scores, stage)} if stage else None
    if only is None:
        lacking = expected_trials(study) - len(there) - (_endings(study, folder)[1] if before else 0)
    else:
        lacking = len(only - there)
    if lacking <= 0:
        return False
    limit = budget(study, *spent([*screened, *before]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna: experimental options, and the file's values outside the range
        run_trials(
            job,
            searcher(study, goals, folder, there, pause_at, only),
            folder,
            trials=lacking,
            groups=groups,
            callbacks=[TrialLog(folder, pause_at), *callbacks(study, folder)],
            scheduler=scheduler(study, folder, pause_at),
            stop=limit,
        )
    used = used_up(study, [*screened, *searched(read_rows(folder))])
    return used is not None or (limit is not None and limit.stop_all())


def run_reruns(job: FitJob, folder: Path, groups: WorkerGroups, display: Display) -> None:
    """Train what the contestants of an ended search lack, as further rows of the study; Optuna learns nothing of it.

    Args: see `run_search`. No budget ends these trainings: without them the search cannot be judged.
    """
    study = job.study
    TrialLog.displays[str(folder)] = display
    run_trials(
        job,
        Lacking(study, folder),
        folder,
        trials=most_reruns(study),
        groups=groups,
        callbacks=[TrialLog(folder), *callbacks(study, folder)],
    )


def chosen(study: Study, goals: Mapping[str, str], folder: Path) -> SearchResult:
    """Return the rows of a study that has trained all it was to train, and the best of any arm.

    With constraints it is chosen among the trials that meet them; where none does, it is the nearest.

    Raises:
        FitError: no trial came to a score.
    """
    rows = read_rows(folder)
    finished = contenders(rows)
    if not finished:
        raise FitError(f"no trial came to its last step; see {folder / TRIALS}")
    front = pareto_front(eligible(limits(study, rows), finished), goals)
    return SearchResult(rows, best_row(front, goals), [row.id for row in front])


class Lacking(Searcher):  # type: ignore[misc]
    """Proposes the trainings that the contestants of a study lack, each once it is known that it is one of them."""

    def __init__(self, study: Study, folder: Path) -> None:
        super().__init__()
        self._study, self._folder, self._tried = study, folder, set[str]()
        self._waits_at: tuple[int, int] | None = None  # size and time of the rows of which nothing followed
        self._number = max([expected_trials(study), *(row.number + 1 for row in read_rows(folder, running=True))])

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next training; None: which one shows when those that run have ended."""
        stat = (self._folder / ENDED).stat()
        if self._waits_at == (stat.st_size, stat.st_mtime_ns):  # Tune asks again and again
            return None
        rows = read_rows(self._folder)
        left = [one for one in reruns(self._study, rows) if one.id not in self._tried]
        if not left and not self._tried <= {row.id for row in rows}:
            self._waits_at = stat.st_size, stat.st_mtime_ns
            return None
        if not left:
            return str(Searcher.FINISHED)
        one, number = left[0], self._number
        self._tried.add(one.id)
        self._number += 1
        return {**one.values, "number": number, ARM: one.arm, PROPOSED: "rerun", "name": one.id}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Learn nothing: the rows say what has ended."""


class Listed(Searcher):  # type: ignore[misc]
    """Proposes the configurations on a list, in its order, and learns nothing."""

    def __init__(self, configs: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self._left = list(configs)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next configuration of the list."""
        return self._left.pop(0) if self._left else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Learn nothing."""


def run_trials(
    job: FitJob,
    proposer: Searcher,
    folder: Path,
    *,
    trials: int,
    groups: WorkerGroups,
    callbacks: list[tune.Callback],
    scheduler: TrialScheduler | None = None,
    stop: tune.Stopper | None = None,
) -> None:
    """Run trials by Ray Tune: as many at once as there are worker groups, each taking trial after trial.

    Args:
        job: of the fixed values; ``storage`` is the location of all trials, ``home`` their folder.
        proposer: of the values.
        folder: takes Tune's own files, in ``trials/``.
        trials: how many.
        groups: train the trials, as many at once.
        callbacks: called at every change of a trial.
        scheduler: stops trials early.
        stop: ends all of them.

    Raises:
        HybridtuneError: what a callback raised; NotSharedError where a node does not see the study's folder,
            StorageError where nothing can be written.
    """
    groups.resize(trials)
    count_no_callbacks()
    # Why a trial failed is in its row, and the traceback in its folder: not on the terminal, at every try.
    os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
    # A trial only waits for its workers, whose CPUs are asked for by Ray Train.
    trainable = tune.with_resources(tune.with_parameters(Trial, job=job, groups=groups), ON_HEAD)
    interrupts = Interrupts()
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            num_samples=trials,
            max_concurrent_trials=groups.at_once,
            search_alg=proposer,
            scheduler=scheduler,
            trial_dirname_creator=_trial_name,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=TRIALS,
            storage_path=str(folder),
            verbose=0,
            stop=stop,
            failure_config=tune.FailureConfig(max_failures=1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # Train's are enough
            callbacks=[*callbacks, FailedTrials(job, groups), interrupts],
        ),
    )
    with callbacks_errors(), interrupts.noted():
        tuner.fit()


@contextlib.contextmanager
def callbacks_errors() -> Iterator[None]:
    """Raise the error of ours with which a callback ended the search within the block; Tune makes a text of it."""
    try:
        yield
    except tune.TuneError as error:
        if isinstance(error.__context__, HybridtuneError):
            raise error.__context__ from None
        raise


class FailedTrials(tune.Callback):  # type: ignore[misc]
    """Ends the search where a trial failed of what all others would fail of too; else it is told, and tried again.

    One that is not tried again is left by its worker group, in case the trial's actor died before it could say so.
    """

    def __init__(self, job: FitJob, groups: WorkerGroups) -> None:
        self._job, self._groups = job, groups

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Raise the cause of a failure that a second try would have too; the trial goes on with the study."""
        file = trial.pickled_error_file  # on this machine; the copy in the storage comes later
        failed = cloudpickle.loads(Path(file).read_bytes()) if file is not None else None
        cause = getattr(failed, "cause", failed)
        if isinstance(cause, NotSharedError | StorageError):
            raise cause
        if self._job.monitor is not None:
            why = death_line(cause) if isinstance(cause, BaseException) else "no reason is known"
            what = f"its actor died or failed ({why}); it is tried once more, from its last checkpoint"
            self._job.monitor.note.remote(Replaced(_trial_name(trial), what))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Have the trial's worker group leave it."""
        self._groups.leave(trial_storage(self._job, trial.config))
