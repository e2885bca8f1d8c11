"""A study: Ray Tune runs the trials, Optuna proposes their values, ASHA stops the hopeless ones."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from ray import tune

from hybridtune.errors import FitError
from hybridtune.search.propose import Resuming, searcher
from hybridtune.search.space import baseline_points, trial_name
from hybridtune.search.stopping import scheduler
from hybridtune.search.trial import Trial
from hybridtune.search.watch import Display, Events, TrialRow, Watcher, read_rows
from hybridtune.train.loop import FitJob

TRIALS = "trials"
SETTLED = ("done", "stopped early")  # a failed trial is tried again when the study is run again


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
    expected = len(baseline_points(study)) + study.search.trials
    settled = [row for row in read_rows(folder) if row.status in SETTLED]
    if len(settled) < expected:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna: experimental options, and baselines outside the range
            proposer = searcher(study, goals, folder, {row.number for row in settled})
            _tuner(job, proposer, folder, concurrent_trials, expected - len(settled), settled).fit()
    rows = read_rows(folder)
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


def _tuner(
    job: FitJob, proposer: Resuming, folder: Path, concurrent_trials: int, trials: int, settled: list[TrialRow]
) -> tune.Tuner:
    study = job.study
    # A trial only waits for its workers, whose CPUs are asked for by Ray Train.
    trainable = tune.with_resources(tune.with_parameters(Trial, job=job), {"CPU": 0.01})
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            num_samples=trials,
            max_concurrent_trials=concurrent_trials,
            search_alg=proposer,
            scheduler=scheduler(study),
            trial_dirname_creator=_trial_name,
            reuse_actors=True,  # and with them the worker groups
        ),
        run_config=tune.RunConfig(
            name=TRIALS,
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # Train's are enough
            callbacks=[Watcher(folder, settled), Events(folder)],
        ),
    )


def _trial_name(trial: Any) -> str:
    return trial_name(trial.config)


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
