"""The search: Ray Tune runs the trials, Optuna proposes their values, and hopeless ones are stopped early."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from ray import cloudpickle, tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from hybridtune.config.study import Study
from hybridtune.errors import FitError
from hybridtune.runtime.ray_private import ON_HEAD
from hybridtune.search.arms import ARM, PROPOSED, expected_trials, most_reruns, reruns, searched
from hybridtune.search.interrupt import Interrupts
from hybridtune.search.loggers import callbacks
from hybridtune.search.optuna_search import searcher
from hybridtune.search.stopping import budget, scheduler, settle, used_up
from hybridtune.search.trial import Trial, trial_name
from hybridtune.search.trial_log import Display, TrialLog
from hybridtune.storage.optuna_storage import load_optuna_study
from hybridtune.storage.trial_rows import SETTLED, TrialRow, best_row, contenders, pareto_front, read_rows, spent
from hybridtune.train.evaluators import NotSharedError
from hybridtune.train.fit import clear
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


def run_search(job: FitJob, goals: Mapping[str, str], folder: Path, concurrent_trials: int, display: Display) -> None:
    """Run the trials of a study's search, or what is left of them where the folder holds a part.

    Args:
        job: the fit of the study's fixed values; Ray and the evaluator service must be running.
        goals: ``max`` or ``min`` by objective.
        folder: the study folder.
        concurrent_trials: trials at once.
        display: called as (all rows, changed row) at every change.

    Raises:
        FitError: some trials did not end.
    """
    study = job.study
    TrialLog.displays[str(folder)] = display
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    expected, before = expected_trials(study), searched(read_rows(folder, running=True))
    settled = [row for row in before if row.status in SETTLED]
    over = used_up(study, before) is not None
    if len(settled) < expected and not over:
        limit = budget(study, *spent(before))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna: experimental options, and the file's values outside the range
            proposer = searcher(study, goals, folder, {row.number for row in settled})
            run_trials(
                job,
                proposer,
                folder,
                trials=expected - len(settled),
                concurrent_trials=concurrent_trials,
                callbacks=[TrialLog(folder), *callbacks(study, folder)],
                scheduler=scheduler(study, folder),
                stop=limit,
            )
        ended = searched(read_rows(folder))
        over = used_up(study, ended) is not None or (limit is not None and limit.stop_all())
        if over:
            settle(load_optuna_study(study, folder), ended, list(goals))
    ended = searched(read_rows(folder))
    if len(ended) < expected and not over:
        raise FitError(
            f"{len(ended)} of {expected} trials ended; see {folder / 'ray.log'}, and run the same command with "
            f"--out {folder} to finish the others"
        )


def run_reruns(job: FitJob, folder: Path, concurrent_trials: int, display: Display) -> None:
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
        concurrent_trials=concurrent_trials,
        callbacks=[TrialLog(folder), *callbacks(study, folder)],
    )


def chosen(goals: Mapping[str, str], folder: Path) -> SearchResult:
    """Return the rows of a study that has trained all it was to train, and the best of any arm.

    Raises:
        FitError: no trial came to a score.
    """
    rows = read_rows(folder)
    finished = contenders(rows)
    if not finished:
        raise FitError(f"no trial came to its last step; see {folder / TRIALS}")
    front = pareto_front(finished, goals)
    return SearchResult(rows, best_row(front, goals), [row.id for row in front])


class Lacking(Searcher):  # type: ignore[misc]
    """Proposes the trainings that the contestants of a study lack, each once it is known that it is one of them."""

    def __init__(self, study: Study, folder: Path) -> None:
        super().__init__()
        self._study, self._folder, self._tried = study, folder, set[str]()
        self._number = max([expected_trials(study), *(row.number + 1 for row in read_rows(folder, running=True))])

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next training; None: which one shows when those that run have ended."""
        rows = read_rows(self._folder)
        left = [one for one in reruns(self._study, rows) if one.id not in self._tried]
        if not left:
            return Searcher.FINISHED if self._tried <= {row.id for row in rows} else None
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
    concurrent_trials: int,
    callbacks: list[tune.Callback],
    scheduler: TrialScheduler | None = None,
    stop: tune.Stopper | None = None,
) -> None:
    """Run trials by Ray Tune: as many at once as worker groups fit, each group taking trial after trial.

    Args:
        job: of the fixed values; ``storage`` is the location of all trials, ``home`` their folder.
        proposer: of the values.
        folder: takes Tune's own files, in ``trials/``.
        trials: how many.
        concurrent_trials: trials at once.
        callbacks: called at every change of a trial.
        scheduler: stops trials early.
        stop: ends all of them.

    Raises:
        NotSharedError: a node does not see the study's folder.
    """
    clear(folder / TRIALS)
    # Why a trial failed is in its row, and the traceback in its folder: not on the terminal, at every try.
    os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
    # A trial only waits for its workers, whose CPUs are asked for by Ray Train.
    trainable = tune.with_resources(tune.with_parameters(Trial, job=job), ON_HEAD)
    fatal, interrupts = FatalErrors(), Interrupts()
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            num_samples=trials,
            max_concurrent_trials=concurrent_trials,
            search_alg=proposer,
            scheduler=scheduler,
            trial_dirname_creator=_trial_name,
            reuse_actors=True,  # and with them the worker groups
        ),
        run_config=tune.RunConfig(
            name=TRIALS,
            storage_path=str(folder),
            verbose=0,
            stop=stop,
            failure_config=tune.FailureConfig(max_failures=1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # Train's are enough
            callbacks=[*callbacks, fatal, interrupts],
        ),
    )
    with fatal.reraised(), interrupts.noted():
        tuner.fit()


class FatalErrors(tune.Callback):  # type: ignore[misc]
    """Ends the search where a trial failed of what all others would fail of too."""

    problem: NotSharedError | None = None

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Raise the cause of a failure that a second try would have too."""
        file = trial.pickled_error_file  # on this machine; the copy in the storage comes later
        failed = cloudpickle.loads(Path(file).read_bytes()) if file is not None else None
        cause = getattr(failed, "cause", failed)
        if isinstance(cause, NotSharedError):
            self.problem = cause
            raise cause

    @contextlib.contextmanager
    def reraised(self) -> Iterator[None]:
        """Raise what ended the search within the block, instead of what Tune makes of it."""
        try:
            yield
        except Exception:
            if self.problem is not None:
                raise self.problem from None
            raise
