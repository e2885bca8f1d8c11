"""A study: Ray Tune runs the trials, Optuna proposes their values, ASHA stops the hopeless ones."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from ray import tune
from ray.tune.result import TRAINING_ITERATION
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from hybridtune.config import Study
from hybridtune.errors import FitError
from hybridtune.evaluate.metrics import direction
from hybridtune.search.space import BASELINES, baseline_points, search_space, trial_name
from hybridtune.search.trial import run_trial
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


class BaselinesFinish(ASHAScheduler):  # type: ignore[misc]
    """ASHA that never stops a baseline: a comparison with half a training would be none.

    Nor does it stop a trial at its last step, before the report of its best checkpoint.
    """

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """ASHA's decision, but for baselines and trials that have nothing left to do."""
        if result["final"]:
            return str(TrialScheduler.CONTINUE)
        decision = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP and (trial.config.get("baseline") is not None or result["ended"]):
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
    expected = len(baseline_points(study)) + study.search.trials
    settled = [row for row in read_rows(folder) if row.status in SETTLED]
    if len(settled) < expected:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna: experimental options, and baselines outside the range
            searcher = _searcher(study, goals, folder, {row.number for row in settled})
            _tuner(job, searcher, folder, concurrent_trials, expected - len(settled), settled).fit()
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
    job: FitJob, searcher: OptunaSearch, folder: Path, concurrent_trials: int, trials: int, settled: list[TrialRow]
) -> tune.Tuner:
    study = job.study
    # A trial only waits for its workers, whose CPUs are asked for by Ray Train.
    trainable = tune.with_resources(tune.with_parameters(run_trial, job=job), {"CPU": 0.01})
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            num_samples=trials,
            max_concurrent_trials=concurrent_trials,
            search_alg=searcher,
            scheduler=_scheduler(study),
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=TRIALS,
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=1),
            callbacks=[Watcher(folder, settled), Events(folder)],
        ),
    )


def _searcher(study: Study, goals: Mapping[str, str], folder: Path, ended: set[int]) -> "Resuming":
    """Optuna on the study folder's database; the baselines are enqueued once, whatever was cut off before."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'optuna.db'}")
    ledger = optuna.create_study(
        storage=storage,
        study_name=study.name,
        directions=["maximize" if mode == "max" else "minimize" for mode in goals.values()],
        load_if_exists=True,
    )
    for name, point in zip(BASELINES, baseline_points(study), strict=False):
        ledger.enqueue_trial(point, user_attrs={"baseline": name}, skip_if_exists=True)
    begun = [trial for trial in ledger.trials if trial.state != optuna.trial.TrialState.WAITING]
    seed = study.seed + len(begun)  # a sampler of the same seed would propose the first trials' values again
    names, modes = list(goals), list(goals.values())
    one = len(names) == 1
    return Resuming(
        [trial for trial in begun if trial.number not in ended],
        space=search_space(study),
        metric=names[0] if one else names,
        mode=modes[0] if one else modes,
        sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=6, constant_liar=True),
        storage=storage,
        study_name=study.name,
    )


class Resuming(OptunaSearch):  # type: ignore[misc]
    """OptunaSearch that first takes up the trials which an earlier run began and did not end.

    Tune's own snapshot of a search is up to ten seconds old, and a trial begun or ended since would be lost or told
    twice; Optuna's database and ``trials.jsonl`` are always up to date, so a study goes on from these.

    Args:
        begun: trials of the database, in the order they are to be taken up.
        options: OptunaSearch's.
    """

    def __init__(self, begun: list[optuna.trial.FrozenTrial], **options: Any) -> None:
        super().__init__(**options)
        self._begun = list(begun)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Values of the next trial: those of one begun before, or new ones."""
        if self._begun:
            before = self._begun.pop(0)
            self._ot_study.get_trials(deepcopy=False)  # fills the storage's cache, which is empty after Tune's pickling
            self._ot_trials[trial_id] = optuna.Trial(self._ot_study, before._trial_id)
            if before.state.is_finished():  # it failed, or the run was cut off before its row was written
                self._completed_trials.add(trial_id)  # its state in the database is final
        values: dict[str, Any] | None = super().suggest(trial_id)
        return values

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A score, told to Optuna under our own step: Tune's count of reports begins anew in a resumed trial."""
        if result["final"]:  # of a step that was told before; as the last report it becomes the trial's value
            return
        super().on_trial_result(trial_id, {**result, TRAINING_ITERATION: result["step"]})


def _scheduler(study: Study) -> ASHAScheduler | None:
    stopping, metric = study.search.early_stopping, study.search.objective[0]
    if stopping is None:
        return None
    return BaselinesFinish(
        time_attr="step",
        metric=metric,
        mode=direction(metric),
        max_t=study.train.max_steps + 1,  # the last report must not stop a trial that ends by itself
        grace_period=stopping.grace_steps or study.eval_steps,
        reduction_factor=stopping.reduction_factor,
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
