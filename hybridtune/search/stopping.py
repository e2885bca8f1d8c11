"""Stopping trials early: Tune's schedulers, over our own steps."""

from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from hybridtune.config import Study
from hybridtune.evaluate.metrics import direction


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


def scheduler(study: Study) -> ASHAScheduler | None:
    """What stops trials early; None: nothing does."""
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
