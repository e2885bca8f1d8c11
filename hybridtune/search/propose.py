"""What proposes a trial's values: Optuna, on a storage that a study goes on from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from ray.tune.result import TRAINING_ITERATION
from ray.tune.search.optuna import OptunaSearch

from hybridtune.config import Study
from hybridtune.search.space import BASELINES, baseline_points, search_space


def searcher(study: Study, goals: Mapping[str, str], folder: Path, ended: set[int]) -> "Resuming":
    """Optuna on the study folder's database; the baselines are enqueued once, whatever was cut off before.

    Args:
        study: the study file.
        goals: objective name -> ``max`` or ``min``.
        folder: the study folder.
        ended: numbers of the trials that an earlier run has settled.
    """
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
