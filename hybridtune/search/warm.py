"""Trials of an earlier study, for a sampler to learn from; they are never among the study's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from hybridtune.config import Study
from hybridtune.errors import InputError
from hybridtune.search.space import BASELINE, BASELINES, distribution, suggest
from hybridtune.search.storage import filled, load_ledger, open_url, storage_url
from hybridtune.search_section import is_url, masked_url
from hybridtune.searched_fields import active, in_order, searchable_paths
from hybridtune.study_file import load_study


def borrowed(study: Study) -> list[FrozenTrial]:
    """The finished trials of the study that ``search.warm_start`` names, as far as the two spaces overlap.

    A field that was not searched then has its fixed value, where the earlier study file tells it. A trial with a
    value that can no longer be tried is left out.

    Returns:
        complete trials of this study's fields, with this study's objectives.

    Raises:
        InputError: there is no such study, it has no such trial, or it searched for something else.
    """
    if study.search.warm_start is None:
        return []
    field, place = "search.warm_start", filled(study.search.warm_start, "search.warm_start")
    told = f"{field} {masked_url(place)}"
    if is_url(place):
        earlier, ledger = None, _of_url(study, place, field)
    else:
        file = Path(place) / "study.yaml"
        if not file.is_file():
            raise InputError(f"{told}: is no study folder (no study.yaml) and no storage URL; give one of them")
        earlier = load_study(file)
        ledger = load_ledger(earlier, Path(place))
    columns = _columns(study, earlier, ledger, told)
    trials = []
    for trial in ledger.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
        params = _params(study, earlier, trial)
        if params:
            trials.append(
                create_trial(
                    values=[trial.values[column] for column in columns],
                    params=params,
                    distributions={name: distribution(study.search.space[name]) for name in params},
                )
            )
    if not trials:
        raise InputError(f"{told}: none of its finished trials lies in this study's search space; leave it out")
    return trials


def _of_url(study: Study, url: str, field: str) -> optuna.Study:
    storage, told = open_url(url, field), f"{field} {masked_url(url)}"
    names = optuna.get_all_study_names(storage)
    if url == storage_url(study, Path()):
        names = [name for name in names if name != study.name]  # itself, when it goes on
    name = names[0] if len(names) == 1 else study.name
    if name not in names:
        there = ", ".join(sorted(names)) or "none"
        raise InputError(f"{told}: has several studies or none (there: {there}); give the folder of the study instead")
    return optuna.load_study(study_name=name, storage=storage)


def _columns(study: Study, earlier: Study | None, ledger: optuna.Study, told: str) -> list[int]:
    """Which of the earlier study's values are this study's objectives."""
    wanted = study.search.objective
    names = ledger.metric_names or (earlier.search.objective if earlier else None)
    if names is None and len(ledger.directions) == len(wanted):
        return list(range(len(wanted)))
    missing = [name for name in wanted if name not in (names or [])]
    if missing:
        raise InputError(
            f"{told}: searched for {', '.join(names or ['other objectives'])}, not for {', '.join(missing)}; "
            "search.objective must be the same"
        )
    return [list(names or []).index(name) for name in wanted]


def _params(study: Study, earlier: Study | None, trial: FrozenTrial) -> dict[str, Any] | None:
    """An earlier trial's values of this study's fields; None if one of them lies outside its range."""
    space, paths = study.search.space, searchable_paths()
    known = {paths[name]: value for name, value in trial.params.items() if name in paths}
    baseline = trial.user_attrs.get(BASELINE)
    if baseline in BASELINES:
        known = {("mix", "mixing_ratio"): BASELINES[baseline], ("mix", "schedule"): "constant"} | known
    params: dict[str, Any] = {}
    for name in in_order(space):
        if not active(space, name, params):
            continue
        value = known[paths[name]] if paths[name] in known else earlier.value(name) if earlier else None
        if value is None and not space[name].allows(value):
            continue
        if not space[name].allows(value):
            return None
        params[name] = value
    return params


class Mirror(optuna.samplers.BaseSampler):  # type: ignore[misc]
    """A sampler that sees more, or less, than the study's own trials: it is asked in a copy of the study.

    The copy holds the borrowed trials too. With several objectives it holds no intermediate values: the study keeps
    those of the first objective for its dashboard, and TPE would look for the one direction that there is not.

    Args:
        inner: what proposes the values. It must keep its state in the trials' values alone, as TPE and GP do.
        trials: borrowed ones.
    """

    def __init__(self, inner: optuna.samplers.BaseSampler, trials: Sequence[FrozenTrial] = ()) -> None:
        self._inner, self._trials = inner, list(trials)
        self._asked: tuple[int, optuna.Trial] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_asked": None}  # Tune pickles samplers, and a copy in memory is none of it

    def reseed_rng(self) -> None:
        """Seed anew, as Optuna asks of samplers in several threads."""
        self._inner.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """None: the copy asks for all values together."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, Any]
    ) -> dict[str, Any]:
        """None, see above."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """One value, of those that the inner sampler proposes for this trial."""
        if self._asked is None or self._asked[0] != trial.number:
            self._asked = (trial.number, self._copy(study, trial).ask())
        return suggest(self._asked[1], param_name, param_distribution)

    def _copy(self, study: optuna.Study, trial: FrozenTrial) -> optuna.Study:
        copy = optuna.create_study(directions=study.directions, sampler=self._inner)
        several = len(study.directions) > 1
        own = study.get_trials(deepcopy=False)
        for known in [*self._trials, *(other for other in own if other.number != trial.number)]:
            if known.state == TrialState.WAITING:
                continue
            try:
                copy.add_trial(
                    create_trial(
                        state=known.state,
                        values=known.values,
                        params=known.params,
                        distributions=known.distributions,
                        intermediate_values={} if several else known.intermediate_values,
                    )
                )
            except ValueError:
                continue  # a baseline outside the ranges, or a trial whose score is no number
        return copy
