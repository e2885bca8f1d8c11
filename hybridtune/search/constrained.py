"""The constraints of a search as Optuna keeps them: with every trial, for its samplers and its dashboard."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hybridtune.config.study import Study
from hybridtune.runtime import ray_private
from hybridtune.search.arms import ARM, PROPOSED
from hybridtune.search.rungs import PAUSED
from hybridtune.storage.feasibility import Limit, constraint_metrics, limits
from hybridtune.storage.trial_rows import TrialRow

_MOST = 1e6  # of a share that is missed; databases hold no infinity


def constraints_of(study: Study, trials: Sequence[FrozenTrial]) -> dict[int, dict[str, float]]:
    """Return by the number of each trial that ended, or waits at a rung, what it misses of every constraint.

    0 or less: it meets it.

    The bounds are those of all ``trials``, as they are now: a sampler aims at what a contestant has come to.
    """
    rows = {trial.number: _row(study, trial) for trial in trials if _is_judged(trial)}
    found = limits(study, list(rows.values()))
    return {number: _shortfalls(found, row.metrics) for number, row in rows.items()}


def keep_constraints(study: Study, optuna_study: optuna.Study, number: int, metrics: Mapping[str, float]) -> None:
    """Store what a trial misses, against the bounds at its end, and its metrics, before it is told as complete."""
    if not study.search.constraints:
        return
    trials = optuna_study.get_trials(deepcopy=False)
    trial = next(one for one in trials if one.number == number)
    keep_metrics(study, optuna_study, trial, metrics)
    rows = [_row(study, one) for one in trials if one.state == TrialState.COMPLETE]
    own = TrialRow(f"{number:04d}", number, trial.user_attrs[ARM], {}, dict(metrics), "done")
    misses = _shortfalls(limits(study, [*rows, own]), metrics)
    ray_private.set_constraints(optuna_study, trial, list(misses.values()))


def keep_metrics(study: Study, optuna_study: optuna.Study, trial: Any, metrics: Mapping[str, float]) -> None:
    """Store the metrics of a trial that constraints are about."""
    for name in constraint_metrics(study):
        if name in metrics:
            ray_private.set_user_attr(optuna_study, trial, name, float(metrics[name]))


def _is_judged(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE or (trial.state == TrialState.RUNNING and PAUSED in trial.user_attrs)


def _row(study: Study, trial: FrozenTrial) -> TrialRow:
    """Return a trial that is judged as a row with the metrics that constraints are judged by."""
    attributes: Mapping[str, Any] = trial.user_attrs
    values = trial.values or [trial.intermediate_values.get(attributes.get(PAUSED, -1), float("nan"))]
    metrics = dict(zip(study.search.objective, values, strict=False))
    metrics |= {name: attributes[name] for name in constraint_metrics(study) if name in attributes}
    return TrialRow(
        f"{trial.number:04d}", trial.number, attributes[ARM], {}, metrics, "done", proposed=attributes[PROPOSED]
    )


def _shortfalls(found: Sequence[Limit], metrics: Mapping[str, float]) -> dict[str, float]:
    return {str(limit.constraint): min(limit.shortfall(metrics), _MOST) for limit in found}
