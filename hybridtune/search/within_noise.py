"""The end of an arm's search where further trials are expected to gain less than noise: the rule, and its one line."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hybridtune.config.study import Study
from hybridtune.metrics.expected_gain import LEAST, expected_gain, paired_noise, seed_noise
from hybridtune.metrics.metrics import direction
from hybridtune.metrics.racing import Shares, shares_value
from hybridtune.search.racing import kept_shares
from hybridtune.search.rungs import PAUSED
from hybridtune.storage.study_record import whole_repeats

_ATTRIBUTE = "ended within noise: "  # of the Optuna study, before the name of an arm


@dataclass(frozen=True)
class Ending:
    """The figures by which the search of an arm ended; ``by`` says what the noise was taken from."""

    trials: int
    ahead: int
    gain: float
    noise: float
    by: str


def ending(study: Study, folder: Path, trials: Sequence[FrozenTrial]) -> Ending | None:
    """Return why the search of an arm ends, given its trials so far; None: it goes on.

    A trial that was stopped counts with its last score. The later half of the trials is taken for what the next ones
    will be like. The noise is that of the seeds, where an earlier end of this study has measured it, else the standard
    deviation over documents or topics of the difference of the arm's two best trials.

    Args:
        study: the study file.
        folder: of the study, with the shares of the trials' units.
        trials: of one arm, in the order of their numbers.
    """
    rule, goal = study.search.stop_within_noise, study.search.objective[0]
    if rule is None:
        return None
    sign = 1 if direction(goal) == "max" else -1
    known = [(trial, sign * value) for trial in trials if (value := _value(trial)) is not None]
    if len(known) < max(rule.min_trials, 2 * LEAST):
        return None
    gain = expected_gain([value for _, value in known[len(known) // 2 :]], rule.ahead)
    best = sorted(known, key=lambda one: -one[1])[:2]
    noise, by = _seed_noise(folder, goal), "the spread over seeds"
    if noise is None:
        one, other = (_best_shares(folder, trial.number, sign) for trial, _ in best)
        if one is None or other is None or len(one) < 2:
            return None
        noise, by = (
            paired_noise(one, other, study.seed),
            f"the paired bootstrap of its two best over {len(one):,} units",
        )
    return Ending(len(known), rule.ahead, gain, noise, by) if gain < noise else None


def _value(trial: FrozenTrial) -> float | None:
    """Return the value of a trial that ended, was stopped, or waits at a rung; None of any other."""
    if trial.state == TrialState.COMPLETE:
        return float(trial.values[0])
    waits = trial.state == TrialState.RUNNING and PAUSED in trial.user_attrs
    if (trial.state == TrialState.PRUNED or waits) and trial.intermediate_values:
        return float(trial.intermediate_values[max(trial.intermediate_values)])
    return None


def _seed_noise(folder: Path, goal: str) -> float | None:
    repeats = whole_repeats(folder)
    if repeats is None:
        return None
    who: Mapping[str, Any] = repeats["contestants"]
    spreads = [one["metrics"][goal]["spread"] for one in who.values() if goal in one["metrics"]]
    measured = [spread for spread in spreads if spread is not None]
    return seed_noise(measured) if measured else None


def _best_shares(folder: Path, number: int, sign: int) -> Shares | None:
    kept = kept_shares(folder / "trials" / f"{number:04d}")
    return max(kept.values(), key=lambda shares: sign * shares_value(shares), default=None)


def keep_ending(optuna_study: optuna.Study, arm: str, why: Ending) -> None:
    """Store that the search of an arm has ended, so that a study which goes on does not ask again."""
    optuna_study.set_user_attr(f"{_ATTRIBUTE}{arm}", asdict(why))


def kept_endings(optuna_study: optuna.Study) -> dict[str, Ending]:
    """Return the arms whose search has ended within noise, and why."""
    attributes = optuna_study.user_attrs.items()
    return {name.removeprefix(_ATTRIBUTE): Ending(**why) for name, why in attributes if name.startswith(_ATTRIBUTE)}


def ending_line(arm: str, size: int, why: Ending) -> str:
    """Return one line on an arm whose search ended within noise; ``size`` is the number of trials it was to have."""
    return (
        f"{arm}: ended after {why.trials} of {size} trials (search.stop_within_noise): {why.ahead} more are expected "
        f"to gain {why.gain:.2g}, less than the noise {why.noise:.2g} by {why.by}"
    )
