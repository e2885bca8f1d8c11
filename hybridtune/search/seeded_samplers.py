"""Samplers whose proposal for a trial is a function of a seed, the trial's number, and the trials before it.

Optuna's own draw from a generator that goes on from trial to trial: a study that was cut off would begin it anew, and
propose other values than the undisturbed study. Here each trial has a sampler of its own, seeded by its number.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from hybridtune.config.study import Study
from hybridtune.search.arms import ARM, PROPOSED, arms
from hybridtune.search.constrained import constraints_of
from hybridtune.search.rungs import PAUSED
from hybridtune.search.space import suggest

Make = Callable[[int], optuna.samplers.BaseSampler]  # of a seed


def _seed(*of: int) -> int:
    return int(np.random.SeedSequence(of).generate_state(1)[0])


class TrialSampler(optuna.samplers.BaseSampler):  # type: ignore[misc]
    """Makes a sampler for each trial, of those that keep their state in Optuna's storage, as CMA-ES and NSGA do.

    Args:
        seed: of the study.
        make: returns a sampler of a seed; can be pickled.
    """

    def __init__(self, seed: int, make: Make) -> None:
        self._seed, self._make = seed, make
        self._made: tuple[int, optuna.samplers.BaseSampler] | None = None  # for a trial number

    def _of(self, trial: FrozenTrial) -> optuna.samplers.BaseSampler:
        if self._made is None or self._made[0] != trial.number:
            self._made = trial.number, self._make(_seed(self._seed, trial.number))
        return self._made[1]

    def reseed_rng(self) -> None:
        """Do nothing: the trial's number is in the seed, also where several threads propose."""

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Ask the trial's sampler."""
        self._of(trial).before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """Ask the trial's sampler."""
        space: dict[str, Any] = self._of(trial).infer_relative_search_space(study, trial)
        return space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Ask the trial's sampler."""
        values: dict[str, Any] = self._of(trial).sample_relative(study, trial, search_space)
        return values

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Ask the trial's sampler."""
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tell the trial's sampler."""
        self._of(trial).after_trial(study, trial, state, values)


class ArmTPE(optuna.samplers.TPESampler):  # type: ignore[misc]
    """TPE in a copy of `ArmSampler`'s, whose trials share the few spaces that they were drawn from.

    The space that all of them have is found by looking at each of these once; Optuna compares the distributions of
    every trial, anew in each proposal.
    """

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        """Return the parameters that all ended trials have in the same range, by name."""
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        spaces: list[dict[str, Any]] = list({id(one.distributions): one.distributions for one in ended}.values())
        return {
            name: of
            for name, of in sorted(spaces[0].items() if spaces else ())
            if not of.single() and all(space.get(name) == of for space in spaces)
        }


def _copied(trial: FrozenTrial, goals: int, constraints: Mapping[str, float] | None) -> FrozenTrial | None:
    """Return a trial for a copy of the study; one that waits at a rung as if it had ended with its score there.

    None: of what no sampler can learn from, the file's values outside the ranges, or a score that is no number.
    """
    state, values, step = trial.state, trial.values, trial.user_attrs.get(PAUSED)
    if state == TrialState.RUNNING and step in trial.intermediate_values:
        state, values = TrialState.COMPLETE, [trial.intermediate_values[step]]
    if values is not None and len(values) != goals:
        return None
    try:
        return create_trial(
            state=state,
            values=values,
            params=trial.params,
            distributions=trial.distributions,
            intermediate_values={} if goals > 1 else dict(trial.intermediate_values),
            constraints=None if constraints is None else dict(constraints),
        )
    except ValueError:
        return None


class _Before(optuna.storages.InMemoryStorage):  # type: ignore[misc]
    """A storage in memory with trials from the start, which are taken as they are.

    Adding them to a study one by one copies each of them deeply, for every proposal anew.

    Args:
        before: numbered from 1 on; the first trial that is added has number 0.
    """

    def __init__(self, before: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._before = before

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return those added, and then those from the start, which are never copied."""
        added: list[FrozenTrial] = super().get_all_trials(study_id, deepcopy, states)
        return [*added, *(trial for trial in self._before if states is None or trial.state in states)]


class ArmSampler(optuna.samplers.BaseSampler):  # type: ignore[misc]
    """Proposes a trial's values within a copy of the study that holds the trials of its arm alone, and borrowed ones.

    A trial's user attributes say which arm it is of, and whether it is drawn at random. With several objectives the
    copy holds no intermediate values: the study keeps those of the first objective for its dashboard, and TPE would
    fail on them, since it takes them for values of a single objective.

    Args:
        study: the study file; its constraints are judged anew for every proposal, so that a sampler aims at what
            their contestants have come to.
        make: returns a sampler of a seed, of those that keep their state in the trials' values alone, as TPE and GP do.
        trials: by arm, the borrowed ones.
    """

    def __init__(self, study: Study, make: Make, trials: Mapping[str, Sequence[FrozenTrial]]) -> None:
        self._study, self._make, self._trials = study, make, trials
        self._numbers = {arm: number for number, arm in enumerate(arms(study))}
        self._proposed: tuple[int, optuna.Trial] | None = None  # of a trial number, in the copy
        # By the number of a trial: the trial as it was, what it missed of constraints, and its copy then.
        self._copies: dict[int, tuple[FrozenTrial, Mapping[str, float] | None, FrozenTrial | None]] = {}
        self._spaces: dict[str, dict[str, Any]] = {}  # what trials were drawn from, each once

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles samplers, and the copies live in memory alone.
        return {**self.__dict__, "_proposed": None, "_copies": {}}

    def reseed_rng(self) -> None:
        """Do nothing: the trial's number is in the seed, also where several threads propose."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """Return no space: the copy proposes all values together."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return nothing: the space above is empty."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Return one value of those that the arm's sampler proposes for this trial."""
        if self._proposed is None or self._proposed[0] != trial.number:
            self._proposed = (trial.number, self._copy(study, trial).ask())
        return suggest(self._proposed[1], param_name, param_distribution)

    def _copy(self, study: optuna.Study, trial: FrozenTrial) -> optuna.Study:
        arm = trial.user_attrs[ARM]
        seed = _seed(self._study.seed, self._numbers[arm], trial.number)
        if trial.user_attrs[PROPOSED] != "sampler":
            return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        every = study.get_trials(deepcopy=False)
        misses = constraints_of(self._study, every) if self._study.search.constraints else {}
        known = [
            self._copy_of(other, len(study.directions), misses.get(other.number))
            for other in every
            if other.user_attrs.get(ARM) == arm and other.number != trial.number and other.state != TrialState.WAITING
        ]
        # Those borrowed have no constraints beside them, see `check_search`.
        borrowed = [_copied(one, len(study.directions), None) for one in self._trials[arm]]
        before = [one for one in [*borrowed, *known] if one is not None]
        for number, one in enumerate(before, 1):
            one.number = number  # TPE weighs the later ones more
        return optuna.create_study(storage=_Before(before), directions=study.directions, sampler=self._make(seed))

    def _copy_of(self, trial: FrozenTrial, goals: int, constraints: Mapping[str, float] | None) -> FrozenTrial | None:
        """Return the copy of a trial, the one of the proposal before where nothing has changed.

        A storage changes no trial that it has given away: one that has changed is another object.
        """
        kept = self._copies.get(trial.number)
        if kept is None or kept[0] is not trial or kept[1] != constraints:
            kept = self._copies[trial.number] = (trial, constraints, _copied(trial, goals, constraints))
            if kept[2] is not None:
                kept[2].distributions = self._spaces.setdefault(repr(trial.distributions), trial.distributions)
        return kept[2]
