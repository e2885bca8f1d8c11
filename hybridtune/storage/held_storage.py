"""Optuna's storage of a study to which this process alone writes: read once, and then held in memory.

Optuna asks a storage for its trials several times a proposal, and a database answers that by dozens of statements,
however little has changed.
"""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from hybridtune.runtime import ray_private


class HeldStorage(optuna.storages.InMemoryStorage):  # type: ignore[misc]
    """Answers from memory, and writes each change to another storage as well.

    A new trial is written by `write_new`: by then it has its values, and goes there whole, in one transaction. A
    process that is killed before leaves nothing of it, and the next one proposes the same values.

    Args:
        behind: the storage that lasts.
        name: of the study in it; there may be none yet.
    """

    def __init__(self, behind: optuna.storages.BaseStorage, name: str) -> None:
        super().__init__()
        self._behind = behind
        self._there: list[int] = []  # the ids behind of the trials that are written, by their ids here
        try:
            self._study = behind.get_study_id_from_name(name)
        except KeyError:
            return
        own = super().create_new_study(behind.get_study_directions(self._study), name)
        for key, value in behind.get_study_user_attrs(self._study).items():
            super().set_study_user_attr(own, key, value)
        for key, value in behind.get_study_system_attrs(self._study).items():
            super().set_study_system_attr(own, key, value)
        for trial in behind.get_all_trials(self._study, deepcopy=False):
            super().create_new_trial(own, trial)
            self._there.append(ray_private.trial_id(trial))

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Create the study in both; raises DuplicatedStudyError where it is there."""
        self._study = self._behind.create_new_study(directions, study_name)
        own: int = super().create_new_study(directions, study_name)
        return own

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set it in both."""
        self._behind.set_study_user_attr(self._study, key, value)
        super().set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set it in both."""
        self._behind.set_study_system_attr(self._study, key, value)
        super().set_study_system_attr(study_id, key, value)

    def write_new(self) -> None:
        """Write the trials that are new, with all that they have."""
        while len(self._there) <= self._max_trial_id:
            self._there.append(self._behind.create_new_trial(self._study, self.get_trial(len(self._there))))

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Set it in both."""
        if trial_id < len(self._there):
            self._behind.set_trial_param(self._there[trial_id], param_name, param_value_internal, distribution)
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Set them in both; False where a trial is to run that does not wait."""
        if trial_id < len(self._there) and not self._behind.set_trial_state_values(
            self._there[trial_id], state, values
        ):
            return False
        changed: bool = super().set_trial_state_values(trial_id, state, values)
        return changed

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Set it in both."""
        if trial_id < len(self._there):
            self._behind.set_trial_intermediate_value(self._there[trial_id], step, intermediate_value)
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set it in both."""
        if trial_id < len(self._there):
            self._behind.set_trial_user_attr(self._there[trial_id], key, value)
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set it in both."""
        if trial_id < len(self._there):
            self._behind.set_trial_system_attr(self._there[trial_id], key, value)
        super().set_trial_system_attr(trial_id, key, value)
