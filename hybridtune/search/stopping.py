"""Stopping trials early: Tune's rules, over our own steps, with what earlier runs of the study have seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule, TrialScheduler

from hybridtune.config import Study
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import Benchmark
from hybridtune.evaluate.metrics import direction
from hybridtune.search.space import objectives, trial_name
from hybridtune.search.watch import read_reports

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Known:
    """What a rule sees of a trial: the name that it keeps when it is resumed, where Tune gives it a new id."""

    trial_id: str


class Halving(ASHAScheduler):  # type: ignore[misc]
    """ASHA that stops neither baselines nor a trial that has only its best checkpoint left to report.

    A comparison with half a training would be none.
    """

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial that may run."""
        super().on_trial_add(tune_controller, _known(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Report) -> str:
        """ASHA's decision, but for trials that are to finish; their scores are cutoffs for the others."""
        if result["final"]:
            return str(TrialScheduler.CONTINUE)
        decision = super().on_trial_result(tune_controller, _known(trial), result)
        return str(TrialScheduler.CONTINUE if _finishes(trial, result) else decision)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Report) -> None:
        """Nothing: all scores are known, and the last report repeats one of them."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Nothing: a trial that never ran has no score."""

    def replay(self, name: str, reports: Sequence[Report]) -> None:
        """Fill the rungs with the scores that a trial had in an earlier run."""
        super().on_trial_add(None, Known(name))
        for report in reports:
            super().on_trial_result(None, Known(name), report)


class Median(MedianStoppingRule):  # type: ignore[misc]
    """The median rule that stops neither baselines nor a trial that has only its best checkpoint left to report."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Report) -> str:
        """The rule's decision; of trials that are to finish, it only takes the score."""
        if result["final"]:
            return str(TrialScheduler.CONTINUE)
        if _finishes(trial, result):  # not asked: it would take a trial for stopped that goes on
            super().on_trial_complete(tune_controller, _known(trial), result)
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, _known(trial), result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Report) -> None:
        """Nothing: all scores are known, and the last report repeats one of them."""

    def replay(self, name: str, reports: Sequence[Report]) -> None:
        """Take the scores that a trial had in an earlier run."""
        for report in reports:
            super().on_trial_complete(None, Known(name), report)


def scheduler(study: Study, folder: Path | None = None) -> Halving | Median | None:
    """What stops trials early; None: nothing does.

    Args:
        study: the study file.
        folder: the study folder, whose trials' ``metrics.jsonl`` the rule starts from; None: from nothing.
    """
    stopping = study.search.early_stopping
    if stopping is None:
        return None
    metric = stopping.metric or study.search.objective[0]
    grace = min(stopping.grace_steps or study.eval_steps, study.train.max_steps)
    rule: Halving | Median
    if stopping.method == "asha":
        rule = Halving(
            time_attr="step",
            metric=metric,
            mode=direction(metric),
            max_t=study.train.max_steps + 1,  # the last report must not stop a trial that ends by itself
            grace_period=grace,
            reduction_factor=stopping.reduction_factor,
        )
    else:
        rule = Median(
            time_attr="step",
            metric=metric,
            mode=direction(metric),
            grace_period=grace,
            min_samples_required=stopping.min_trials,
            min_time_slice=float("inf"),  # never pause a trial: Tune would have to restore it
        )
    for file in sorted(folder.glob("trials/[0-9]*/metrics.jsonl")) if folder is not None else []:
        reports = [report for report in read_reports(file.parent) if "step" in report and metric in report]
        rule.replay(file.parent.name, reports)
    return rule


def check_stopping(study: Study, benchmark: Benchmark) -> None:
    """See to it that trials can be stopped as the study asks.

    Args:
        study: the study file.
        benchmark: the dev benchmark, which must give the metric.

    Raises:
        InputError: no such metric, one that the benchmark cannot give, or no step at which a trial could be stopped.
    """
    stopping, last = study.search.early_stopping, study.train.max_steps
    if stopping is None:
        return
    if stopping.metric is not None:
        search = study.search.model_copy(update={"objective": [stopping.metric]})
        try:
            objectives(study.model_copy(update={"search": search}), benchmark)
        except InputError as error:
            reason = str(error).removeprefix("search.objective ")
            raise InputError(f"search.early_stopping.metric: {reason}") from None
    if stopping.grace_steps is not None and stopping.grace_steps >= last:
        raise InputError(
            f"search.early_stopping.grace_steps {stopping.grace_steps}: a trial has train.max_steps {last} steps, so "
            "none would be stopped; give fewer, or set search.early_stopping to null"
        )


def _known(trial: Any) -> Known:
    return Known(trial_name(trial.config))


def _finishes(trial: Any, result: Report) -> bool:
    """Whether a trial is not to be stopped at this score."""
    return trial.config.get("baseline") is not None or bool(result["ended"])
