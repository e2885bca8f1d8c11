"""Optuna as a search algorithm of Tune's, on a storage from which a study goes on."""

import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from hybridtune.config.search import STORAGE_FILES, masked_url
from hybridtune.config.study import Study
from hybridtune.errors import InputError
from hybridtune.runtime import ray_private
from hybridtune.search.arms import ARM, PROPOSED, arm_sizes, next_arm
from hybridtune.search.constrained import keep_constraints, keep_metrics
from hybridtune.search.rungs import PAUSED
from hybridtune.search.samplers import Proposals, proposals, sampler
from hybridtune.search.screened import kept_starts
from hybridtune.search.space import from_optuna, optuna_params, search_space
from hybridtune.search.within_noise import ending, keep_ending, kept_endings
from hybridtune.storage.held_storage import HeldStorage
from hybridtune.storage.optuna_storage import open_storage, storage_url
from hybridtune.storage.study_folder import study_id

SHOWN = ("step", "realised_ratio")  # of the last report, as the trial's attributes in Optuna


def searcher(
    study: Study,
    goals: Mapping[str, str],
    folder: Path,
    ended: Collection[int],
    pause_at: int | None = None,
    only: Collection[int] | None = None,
) -> "Resuming":
    """Return the search algorithm on the study's storage, which goes on where an earlier run was cut off.

    Args:
        study: to be searched.
        goals: ``max`` or ``min`` by objective.
        folder: of the study.
        ended: numbers of the trials that an earlier run has settled.
        pause_at: the step at which trials of this stage wait, see `rungs`; None: they come to their end.
        only: numbers of the trials that go on in this stage, and no new one; None: all, and new ones.

    Raises:
        InputError: the storage cannot be opened, or holds a study of this name and another folder.
    """
    storage = HeldStorage(open_storage(study, folder), study.name)
    optuna_study = make_optuna_study(study, goals, folder, storage)
    begun = [trial for trial in optuna_study.trials if trial.state != TrialState.WAITING]
    names, modes = list(goals), list(goals.values())
    return Resuming(
        study,
        folder,
        [trial for trial in begun if trial.number not in ended and (only is None or trial.number in only)],
        arm_sizes(study) if only is None else {},
        proposals(study, kept_starts(study, folder)),
        pause_at,
        space=search_space(study),
        metric=names if len(names) > 1 else names[0],
        mode=modes if len(names) > 1 else modes[0],
        sampler=sampler(study, len(begun)),
        storage=storage,
        study_name=study.name,
    )


def make_optuna_study(
    study: Study, goals: Mapping[str, str], folder: Path, storage: optuna.storages.BaseStorage
) -> optuna.Study:
    """Create the Optuna study, or load it as an earlier run left it."""
    optuna_study = optuna.create_study(
        storage=storage,
        study_name=study.name,
        directions=["maximize" if mode == "max" else "minimize" for mode in goals.values()],
        load_if_exists=True,
    )
    said = {"hybridtune": metadata.version("hybridtune")}
    if study.search.storage not in STORAGE_FILES:
        said |= {"folder": str(folder), "id": study_id(folder)}
        _check_owner(study, folder, optuna_study, said["id"])
    for key, value in said.items():
        if optuna_study.user_attrs.get(key) != value:
            optuna_study.set_user_attr(key, value)
    if optuna_study.metric_names != list(goals):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls it experimental, and both its dashboard and its plots use it
            optuna_study.set_metric_names(list(goals))
    return optuna_study


def _check_owner(study: Study, folder: Path, optuna_study: optuna.Study, own: str) -> None:
    """Check that the Optuna study in a database is of this study folder, which may have moved since."""
    attributes = optuna_study.user_attrs
    owner, before = attributes.get("id"), attributes.get("folder")
    where = f"search.storage {masked_url(storage_url(study, folder))}: holds the study {study.name!r} of"
    if owner != own and (owner is not None or optuna_study.trials):
        raise InputError(
            f"{where} {before or 'another program'}; give this one another name, or go on with that one by --out"
        )
    if before is not None and before != str(folder) and _is_at(Path(before), own):
        raise InputError(f"{where} {before}, of which {folder} is a copy: one of them alone can go on with it")


def _is_at(folder: Path, own: str) -> bool:
    try:
        return study_id(folder) == own
    except InputError:
        return False


class Resuming(OptunaSearch):  # type: ignore[misc]
    """OptunaSearch that first takes up the trials which an earlier run began and did not end.

    Tune's own snapshot of a search is up to ten seconds old, and a trial begun or ended since would be lost or counted
    twice; Optuna's storage and ``trials.jsonl`` are always up to date, so a study goes on from these.

    It decides of every new trial which arm it is of, and where its values come from. It also stores more than
    OptunaSearch does: which trials were stopped early, the scores on the way where there are several objectives, and
    what the dashboards show beside a trial.

    Args:
        study: to be searched.
        folder: of the study.
        begun: trials of the storage, in the order they are to be taken up.
        sizes: trials that each arm is to have.
        proposals: by arm, how its trials get their values.
        pause_at: the step at which trials wait; they stay running in Optuna.
        options: of OptunaSearch.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        begun: list[FrozenTrial],
        sizes: Mapping[str, int],
        proposals: Mapping[str, Proposals],
        pause_at: int | None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._study, self._folder = study, folder
        self._begun, self._sizes, self._proposals = begun, sizes, proposals
        self._pause_at = pause_at
        self._last: dict[str, dict[str, Any]] = {}  # last reports, by Tune's ids of the trials

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the values of the next trial: those of one begun before, or new ones."""
        if self._begun:
            before = self._begun.pop(0)
            self._ot_trials[trial_id] = optuna.Trial(self._ot_study, ray_private.trial_id(before))
            if before.state.is_finished():  # it failed, or the run was cut off before its row was written
                self._completed_trials.add(trial_id)  # its state in the storage is final
        elif not self._enqueue():
            return str(Searcher.FINISHED)
        values: dict[str, Any] | None = super().suggest(trial_id)
        self._storage.write_new()
        return None if values is None else from_optuna(values)

    def _enqueue(self) -> bool:
        """Enqueue a trial of the arm whose turn it is, unless one waits already; return False if no arm lacks any."""
        before = self._ot_study.get_trials(deepcopy=False)
        if any(trial.state == TrialState.WAITING for trial in before):  # the budget cut it off
            return True
        counts = Counter(trial.user_attrs.get(ARM) for trial in before)
        arm = next_arm(self._left(before, counts), counts)
        if arm is None:
            return False
        values, proposed = self._proposals[arm].next([trial for trial in before if trial.user_attrs.get(ARM) == arm])
        self._ot_study.enqueue_trial(optuna_params(values), user_attrs={ARM: arm, PROPOSED: proposed})
        return True

    def _left(self, before: Sequence[FrozenTrial], counts: Mapping[str, int]) -> dict[str, int]:
        """Return how many trials each arm is to have; of one that ends within noise those that it has."""
        over = kept_endings(self._ot_study)
        for arm in self._sizes.keys() - over.keys():
            own = [trial for trial in before if trial.user_attrs.get(ARM) == arm]
            if counts.get(arm, 0) < self._sizes[arm] and (why := ending(self._study, self._folder, own)) is not None:
                keep_ending(self._ot_study, arm, why)
                over[arm] = why
        return {arm: counts.get(arm, 0) if arm in over else size for arm, size in self._sizes.items()}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Store a score under our own step: Tune's count of reports begins anew in a resumed trial."""
        self._last[trial_id] = result
        if result["final"] or trial_id in self._completed_trials:  # final: of a step that was reported before
            return
        trial, first = self._ot_trials[trial_id], self._objectives()[0]
        # `Trial.report` refuses several objectives, the storage does not, and optuna-dashboard draws what it holds.
        self._storage.set_trial_intermediate_value(ray_private.trial_id(trial), result["step"], float(result[first]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Store the end of a trial: complete with its best checkpoint's value, pruned if stopped, or failed."""
        if result:  # the report with which a trial ends comes nowhere else
            self.on_trial_result(trial_id, result)
        if trial_id in self._completed_trials:
            return
        self._completed_trials.add(trial_id)
        last = self._last.pop(trial_id, None) or result or {}
        trial = self._ot_trials[trial_id]
        for key in SHOWN:
            if key in last:
                trial.set_user_attr(key, last[key])
        if error:
            self._ot_study.tell(trial, state=TrialState.FAIL)
        elif last.get("final"):
            keep_constraints(self._study, self._ot_study, trial.number, last)
            self._ot_study.tell(trial, [last[name] for name in self._objectives()])
        elif self._pause_at is not None and last.get("step", 0) >= self._pause_at:
            trial.set_user_attr(PAUSED, last["step"])
            keep_metrics(self._study, self._ot_study, trial, last)
        else:
            self._ot_study.tell(trial, state=TrialState.PRUNED)

    def _objectives(self) -> list[str]:
        return self.metric if isinstance(self.metric, list) else [self.metric]
