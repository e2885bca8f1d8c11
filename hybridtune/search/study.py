"""A study: Ray Tune runs the trials, Optuna proposes their values, ASHA stops the hopeless ones."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from ray import tune
from ray.tune.logger import TBXLoggerCallback
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from hybridtune.config import Study
from hybridtune.errors import FitError
from hybridtune.search.space import baseline_points, search_space
from hybridtune.search.trial import run_trial
from hybridtune.search.watch import Display, TrialRow, Watcher, read_rows
from hybridtune.train.loop import FitJob

TRIALS = "trials"


@dataclass(frozen=True)
class StudyResult:
    """A finished search.

    Attributes:
        rows: every trial that ended.
        best: the chosen trial.
        front: ids of the trials that no other beats on all objectives; with one objective, the best alone.
    """

    rows: list[TrialRow]
    best: TrialRow
    front: list[str]


class BaselinesFinish(ASHAScheduler):  # type: ignore[misc]
    """ASHA that never stops a baseline: a comparison with half a training would be none."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """ASHA's decision, but for baselines."""
        decision = super().on_trial_result(tune_controller, trial, result)
        if trial.config.get("baseline") is not None and decision == TrialScheduler.STOP:
            return str(TrialScheduler.CONTINUE)
        return str(decision)


def run_search(
    job: FitJob, goals: Mapping[str, str], folder: Path, concurrent_trials: int, display: Display
) -> StudyResult:
    """Run the trials of a study, or what is left of them where the folder holds a part.

    Args:
        job: the fit of the study's fixed values; Ray and the evaluator service must be running.
        goals: objective name -> ``max`` or ``min``; the first steers ASHA.
        folder: the study folder.
        concurrent_trials: trials at once.
        display: called as (all rows, changed row) at every change.

    Raises:
        FitError: no trial came to a score.
    """
    study = job.study
    Watcher.displays[str(folder)] = display
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A trial only waits for its workers, whose CPUs are asked for by Ray Train.
    trainable = tune.with_resources(tune.with_parameters(run_trial, job=job), {"CPU": 0.01})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna: experimental options, and baselines outside the range
        if tune.Tuner.can_restore(str(folder / TRIALS)):
            tuner = tune.Tuner.restore(str(folder / TRIALS), trainable, resume_unfinished=True, resume_errored=True)
        else:
            tuner = _new_tuner(trainable, study, goals, folder, concurrent_trials)
        tuner.fit()
    rows = read_rows(folder)
    expected = len(baseline_points(study)) + study.search.trials
    if len(rows) < expected:
        raise FitError(
            f"{len(rows)} of {expected} trials ended; see {folder / 'ray.log'}, and run the same command with "
            f"--out {folder} to finish the others"
        )
    finished = [row for row in rows if row.status == "done"]
    if not finished:
        raise FitError(f"no trial came to its last step; see {folder / TRIALS}")
    front = pareto_front(finished, goals)
    first, mode = next(iter(goals.items()))
    best = max(front, key=lambda row: row.metrics[first] * (1 if mode == "max" else -1))
    return StudyResult(rows, best, [row.id for row in front])


def _new_tuner(
    trainable: Any, study: Study, goals: Mapping[str, str], folder: Path, concurrent_trials: int
) -> tune.Tuner:
    names, modes = list(goals), list(goals.values())
    one = len(names) == 1
    points = baseline_points(study)
    searcher = OptunaSearch(
        space=search_space(study),
        metric=names[0] if one else names,
        mode=modes[0] if one else modes,
        points_to_evaluate=points or None,
        sampler=optuna.samplers.TPESampler(seed=study.seed, multivariate=True, n_startup_trials=6, constant_liar=True),
        storage=optuna.storages.RDBStorage(f"sqlite:///{folder / 'optuna.db'}"),
        study_name=study.name,
    )
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            num_samples=len(points) + study.search.trials,
            max_concurrent_trials=concurrent_trials,
            search_alg=searcher,
            scheduler=_scheduler(study, names[0], modes[0]),
            trial_dirname_creator=_trial_id,
        ),
        run_config=tune.RunConfig(
            name=TRIALS,
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=1),
            callbacks=[Watcher(folder, study.train.max_steps), TBXLoggerCallback()],
        ),
    )


def _scheduler(study: Study, metric: str, mode: str) -> ASHAScheduler | None:
    stopping = study.search.early_stopping
    if stopping is None:
        return None
    return BaselinesFinish(
        time_attr="step",
        metric=metric,
        mode=mode,
        max_t=study.train.max_steps + 1,  # the last report must not stop a trial that ends by itself
        grace_period=stopping.grace_steps or study.eval_steps,
        reduction_factor=stopping.reduction_factor,
    )


def _trial_id(trial: Any) -> str:
    return str(trial.trial_id)


def pareto_front(rows: list[TrialRow], goals: Mapping[str, str]) -> list[TrialRow]:
    """The rows that no other row beats: at least as good on every objective and better on one."""

    def signed(row: TrialRow) -> list[float]:
        return [row.metrics[name] * (1 if mode == "max" else -1) for name, mode in goals.items()]

    points = [signed(row) for row in rows]

    def beaten(point: list[float]) -> bool:
        return any(all(o >= p for o, p in zip(other, point, strict=True)) and other != point for other in points)

    if len(goals) == 1:
        return [rows[points.index(max(points))]]
    return [row for row, point in zip(rows, points, strict=True) if not beaten(point)]
