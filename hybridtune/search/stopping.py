"""The rules that stop a trial early and the budget that ends a search, both over our own steps and earlier runs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune import Stopper
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from hybridtune.config.search import EarlyStopping, seconds
from hybridtune.config.study import Study
from hybridtune.metrics.metrics import direction
from hybridtune.runtime import ray_private
from hybridtune.search.arms import arms, searched, stops_early
from hybridtune.search.constrained import keep_constraints
from hybridtune.search.racing import Race, kept_shares, race_of
from hybridtune.search.trial import trial_name
from hybridtune.search.trial_log import read_reports
from hybridtune.storage.trial_rows import TrialRow, read_rows, spent
from hybridtune.train.shares import SHARES

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Known:
    """A trial as a rule sees it: by the name that it keeps when it is resumed, where Tune gives it a new id."""

    trial_id: str


class Halving(ASHAScheduler):  # type: ignore[misc]
    """ASHA, which stops neither a trial with the file's values nor one that has only its best checkpoint to report.

    Half a training would make no fair comparison.
    """

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Register a trial."""
        super().on_trial_add(tune_controller, _known(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Report) -> str:
        """Return ASHA's decision, except for trials that are to finish; their scores are cutoffs for the others."""
        if result["final"]:
            return str(TrialScheduler.CONTINUE)
        decision = super().on_trial_result(tune_controller, _known(trial), result)
        return str(TrialScheduler.CONTINUE if _finishes(trial, result) else decision)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Report) -> None:
        """Do nothing: all scores are known, and the last report repeats one of them."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Do nothing: a trial that never ran has no score."""

    def replay(self, name: str, reports: Sequence[Report]) -> None:
        """Fill the rungs with the scores that a trial had in an earlier run."""
        super().on_trial_add(None, Known(name))
        for report in reports:
            super().on_trial_result(None, Known(name), report)


class Median(MedianStoppingRule):  # type: ignore[misc]
    """The median rule, which stops neither a trial with the file's values nor one that has only its best to report."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Report) -> str:
        """Return the rule's decision; of trials that are to finish, only take the score."""
        if result["final"]:
            return str(TrialScheduler.CONTINUE)
        if _finishes(trial, result):  # the rule would take a trial for stopped that goes on
            super().on_trial_complete(tune_controller, _known(trial), result)
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, _known(trial), result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Report) -> None:
        """Do nothing: all scores are known, and the last report repeats one of them."""

    def replay(self, name: str, reports: Sequence[Report]) -> None:
        """Take the scores that a trial had in an earlier run."""
        for report in reports:
            super().on_trial_complete(None, Known(name), report)


class Arms(FIFOScheduler):  # type: ignore[misc]
    """A rule an arm: whether a trial is stopped depends on the trials of its own arm alone."""

    def __init__(self, rules: Mapping[str, Halving | Median | Race]) -> None:
        super().__init__()
        self._rules = rules

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Register a trial."""
        self._rules[trial.config["arm"]].on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Report) -> str:
        """Return the decision of the trial's arm."""
        return self._rules[trial.config["arm"]].on_trial_result(tune_controller, trial, result)


class Rung(FIFOScheduler):  # type: ignore[misc]
    """Ends the run of every trial at a step, where it waits for the others; a rule may stop it before.

    Args:
        step: of the rung.
        rule: of the steps before; None: nothing is stopped.
    """

    def __init__(self, step: int, rule: TrialScheduler | None) -> None:
        super().__init__()
        self._step, self._rule = step, rule

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Register a trial."""
        if self._rule is not None:
            self._rule.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Report) -> str:
        """Return whether the trial ends its run here."""
        ends = result["step"] >= self._step and not result["ended"] and not result["final"]
        decision = TrialScheduler.CONTINUE
        if self._rule is not None:
            decision = self._rule.on_trial_result(tune_controller, trial, result)
        return str(TrialScheduler.STOP if ends else decision)


def scheduler(study: Study, folder: Path | None = None, pause_at: int | None = None) -> TrialScheduler | None:
    """Return what ends trials before their last step, if anything: at a rung, by the rules of early stopping, or both.

    The rules start from the scores of the trials in the study folder.
    """
    rule = _rules(study, folder)
    return rule if pause_at is None else Rung(pause_at, rule)


def _rules(study: Study, folder: Path | None) -> Arms | None:
    stopping = study.search.early_stopping
    if stopping is None or not stops_early(study):
        return None
    metric = stopping.metric or study.search.objective[0]
    rules = {arm: _rule(study, stopping, metric) for arm in arms(study)}
    if folder is not None:
        for row in searched(read_rows(folder, running=True)):
            reports = [one for one in read_reports(folder / "trials" / row.id) if "step" in one and metric in one]
            if stopping.method == "paired":
                shares = kept_shares(folder / "trials" / row.id)
                reports = [{**one, SHARES: shares[one["step"]]} for one in reports if one["step"] in shares]
            rules[row.arm].replay(row.id, reports)
    return Arms(rules)


def _rule(study: Study, stopping: EarlyStopping, metric: str) -> Halving | Median | Race:
    """Return the rule of one arm, which knows of no trial yet."""
    if stopping.method == "paired":
        return race_of(study, stopping, metric)
    options: dict[str, Any] = {
        "time_attr": "step",
        "metric": metric,
        "mode": direction(metric),
        "grace_period": min(stopping.grace_steps or study.eval_steps, study.train.max_steps),
    }
    if stopping.method == "asha":
        last = study.train.max_steps + 1  # the last report must not stop a trial that ends by itself
        return Halving(max_t=last, reduction_factor=stopping.reduction_factor, **options)
    # One that never pauses a trial: Tune would have to restore it.
    return Median(min_samples_required=stopping.min_trials, min_time_slice=float("inf"), **options)


def _known(trial: Any) -> Known:
    return Known(trial_name(trial.config))


def _finishes(trial: Any, result: Report) -> bool:
    """Return whether a trial is not to be stopped at this score."""
    return trial.config["proposed"] == "file" or bool(result["ended"])


class Budget(Stopper):  # type: ignore[misc]
    """Ends all trials at once when the time or the steps are used up, and lets no other begin.

    Time is checked all along, so a trial ends between two scores and the steps since its last one are lost. Steps are
    counted at scores: the last trials may have gone up to ``eval_steps`` beyond the budget each.

    Infinite seconds or steps of all trials together are no budget. At its first score, a trial that goes on has done
    ``eval_steps`` in this run at most.
    """

    def __init__(
        self, seconds_left: float, steps_left: float, eval_steps: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock, self.deadline = clock, clock() + seconds_left
        self.steps_left, self.eval_steps = steps_left, eval_steps
        self.reached: dict[str, int] = {}  # steps by trial

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Count the steps of a score; it ends no trial by itself."""
        if not result["final"]:
            step = int(result["step"])
            before = self.reached.get(trial_id, max(0, step - self.eval_steps))
            self.steps_left -= max(0, step - before)
            self.reached[trial_id] = max(step, before)
        return False

    def stop_all(self) -> bool:
        """Return whether the search is to end now."""
        return self.steps_left <= 0 or self.clock() >= self.deadline


def budget(study: Study, spent_seconds: float, spent_steps: int) -> Budget | None:
    """Return what ends the search when its budget is used up, given what it has `spent`; None: it has no budget."""
    search = study.search
    if search.time_budget is None and search.step_budget is None:
        return None
    time_left = float("inf") if search.time_budget is None else seconds(search.time_budget) - spent_seconds
    steps_left = float("inf") if search.step_budget is None else search.step_budget - spent_steps
    return Budget(time_left, steps_left, study.eval_steps)


def used_up(study: Study, rows: Sequence[TrialRow]) -> str | None:
    """Return in words which budget of a study its trials have used up; None: some is left, or none was set."""
    search, (took, steps) = study.search, spent(rows)
    if search.time_budget is not None and took >= seconds(search.time_budget):
        return f"search.time_budget {search.time_budget} is used up: the trials took {took:,.0f} s"
    if search.step_budget is not None and steps >= search.step_budget:
        return f"search.step_budget {search.step_budget:,} is used up: the trials trained {steps:,} steps"
    return None


def settle(study: Study, optuna_study: optuna.Study, rows: Sequence[TrialRow], goals: Sequence[str]) -> None:
    """Store the states of trials that the budget cut off or that wait at a rung, when the search is over.

    A trial that had its last score is complete with the values of its best checkpoint, and one that no rung let through
    is pruned. Any other that is stored as running waits with its values and scores: it goes on with a larger budget,
    and no other state could be changed then.

    The search was not interrupted; the objectives are in the order of the Optuna study's.
    """
    known = {row.number: row for row in rows}
    for trial in optuna_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        row = known.get(trial.number)
        if row is not None and row.status == "done":
            keep_constraints(study, optuna_study, trial.number, row.metrics)
            optuna_study.tell(trial.number, [row.metrics[name] for name in goals])
        elif row is not None and row.status == "stopped early":
            optuna_study.tell(trial.number, state=TrialState.PRUNED)
        elif row is None or row.status == "out of budget":
            ray_private.set_trial_waiting(optuna_study, trial, TrialState.WAITING)
