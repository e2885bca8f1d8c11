"""The paired race: a trial is stopped where it is worse than the best of its arm at the same step beyond chance."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune.schedulers import TrialScheduler

from hybridtune.config.search import EarlyStopping
from hybridtune.config.study import Study
from hybridtune.metrics.racing import Shares, is_behind, leader, look_level
from hybridtune.search.trial import trial_name
from hybridtune.storage.files import write_atomically
from hybridtune.train.shares import SHARES

Report = Mapping[str, Any]
FOLDER = "unit_shares"  # in a trial's folder: a file a score


class Race:
    """The rule of one arm: at every score a trial meets the best of the others that have a score at this very step.

    They may have ended, run, or been stopped since. Each look is at `look_level`, of as many looks as a trial can have
    and as many rivals as there are then. The shares are a trial's own, so that a race replayed from a study folder
    decides as the one that was cut off.

    Args:
        metric: by which trials are compared.
        alpha: chance, in (0, 1), that a trial as good as the others is stopped at any look.
        looks: the steps at which a trial can be stopped.
    """

    def __init__(self, metric: str, alpha: float, looks: Sequence[int]) -> None:
        self._metric, self._alpha, self._looks = metric, alpha, frozenset(looks)
        self._shares: dict[int, dict[str, Shares]] = {}  # by step and trial

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Do nothing: a trial counts from its first score on."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Report) -> str:
        """Return whether the trial is to stop; one with the file's values and one at its last step are not."""
        if result["final"]:
            return str(TrialScheduler.CONTINUE)
        name, step = trial_name(trial.config), int(result["step"])
        rivals = {other: shares for other, shares in self._shares.get(step, {}).items() if other != name}
        own = result[SHARES]
        self._shares.setdefault(step, {})[name] = own
        finishes = trial.config["proposed"] == "file" or bool(result["ended"])
        if finishes or not rivals or step not in self._looks:
            return str(TrialScheduler.CONTINUE)
        best = rivals[leader(rivals, self._metric)]
        level = look_level(self._alpha, len(self._looks), len(rivals))
        behind = is_behind(own, best, self._metric, level)
        return str(TrialScheduler.STOP if behind else TrialScheduler.CONTINUE)

    def replay(self, name: str, reports: Sequence[Report]) -> None:
        """Take the shares that a trial had in an earlier run."""
        for report in reports:
            self._shares.setdefault(int(report["step"]), {})[name] = report[SHARES]


def race_of(study: Study, stopping: EarlyStopping, metric: str) -> Race:
    """Return the race of one arm, which knows of no trial yet."""
    last, grace = study.train.max_steps, stopping.grace_steps or study.eval_steps
    rungs = {rung.steps for rung in study.search.fidelities}  # at which all wait anyway
    looks = [step for step in range(study.eval_steps, last, study.eval_steps) if step >= grace and step not in rungs]
    return Race(metric, stopping.alpha, looks)


def keep_shares(trial: Path, step: int, shares: Shares) -> None:
    """Write the shares of a score into a trial's folder, whole or not at all."""
    content = io.BytesIO()
    np.save(content, shares)
    folder = trial / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{step:07d}.npy", content.getvalue())


def kept_shares(trial: Path) -> dict[int, Shares]:
    """Return the shares of a trial's scores by step; {} of one that has none."""
    return {int(file.stem): np.load(file) for file in sorted((trial / FOLDER).glob("*.npy"))}
