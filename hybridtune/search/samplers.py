"""The samplers that propose a trial's values, the checks of what each can do, and the trials that come first."""

import importlib.util
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from hybridtune.config.hooks import load_hook
from hybridtune.config.names import short_name
from hybridtune.config.search import STORAGE_FILES, fill_variables, is_url, masked_url
from hybridtune.config.space import active, in_order
from hybridtune.config.study import Study, load_study
from hybridtune.errors import InputError
from hybridtune.metrics.metrics import direction
from hybridtune.search.space import (
    BASELINE,
    BASELINES,
    baseline_points,
    distribution,
    from_optuna,
    optuna_params,
    suggest,
)
from hybridtune.storage.optuna_storage import check_url, load_optuna_study, open_url, storage_url
from hybridtune.storage.study_folder import check_format

STARTUP = 6  # trials that are drawn at random before TPE and GP model anything, baselines among them
_BLIND = ("random", "grid")  # learn nothing from the trials before
_LEARN = ("tpe", "gp", "cmaes")  # from trials of an earlier study


def check_search(study: Study) -> None:
    """Check that the sampler can search this space for these objectives, and that storage and earlier study open.

    Raises:
        InputError: it cannot, or a package or a study that is needed is missing.
    """
    search, name = study.search, f"search.sampler {study.search.sampler}"
    if search.sampler == "cmaes":
        if importlib.util.find_spec("cmaes") is None:
            raise InputError(f"{name}: needs the package cmaes: pip install 'hybridtune[samplers]', or choose tpe")
        if len(search.objective) > 1:
            raise InputError(
                f"{name}: searches for one objective, not for {len(search.objective)}; choose nsga2 or tpe"
            )
        if not _numbers(study):
            raise InputError(f"{name}: moves numbers, and search.space has none that is always searched; choose tpe")
    if search.sampler == "grid":
        _check_grid(study)
    if ":" in search.sampler:
        _own_sampler(search.sampler, study.seed)
    if search.warm_start is not None and search.sampler not in _LEARN:
        raise InputError(
            f"{name}: does not learn from search.warm_start; leave it out, or choose one of {', '.join(_LEARN)}"
        )
    if search.storage not in STORAGE_FILES:
        check_url(fill_variables(search.storage, "search.storage "), "search.storage")
    borrowed(study)


def _check_grid(study: Study) -> None:
    for name, parameter in study.search.space.items():
        if parameter.when:
            raise InputError(
                f"search.space.{name}: a grid tries every combination and knows no `when`; leave it out, or choose "
                "another search.sampler"
            )
        if parameter.values() is None:
            raise InputError(
                f"search.space.{name}: {parameter.describe()} has no end of values; for search.sampler grid give a "
                "choice, a step, or a shorter range"
            )
    for index, point in enumerate(study.search.points):
        left_out = [name for name in study.search.space if name not in point]
        if left_out:
            raise InputError(f"search.points.{index}: a grid proposes nothing for {', '.join(left_out)}; give a value")


def sampler(study: Study, seed: int, trials: Sequence[FrozenTrial] = ()) -> optuna.samplers.BaseSampler:
    """Return the sampler of a study that passed `check_search`; ``trials`` are borrowed from an earlier study."""
    search = study.search
    population = max(4, min(50, expected_trials(study) // 4))  # so that there are generations to learn from
    if search.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(
            seed=seed,
            x0=_best_numbers(study, trials),
            independent_sampler=_tpe(study, seed),  # of choices, and of what is not always searched
            warn_independent_sampling=False,
            consider_pruned_trials=True,  # else no generation would ever be full
        )
    if ":" in search.sampler:
        return _own_sampler(search.sampler, seed)
    if search.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=population)
    if search.sampler == "nsga3":
        return optuna.samplers.NSGAIIISampler(seed=seed, population_size=population)
    if search.sampler in _BLIND:  # a grid's trials are enqueued
        return optuna.samplers.RandomSampler(seed=seed)
    if search.sampler == "gp":
        inner = optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP, warn_independent_sampling=False)
        return WarmStartSampler(inner, trials) if trials else inner
    inner = _tpe(study, seed)
    return WarmStartSampler(inner, trials) if trials or len(search.objective) > 1 else inner


def _own_sampler(hook: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler that a function of the user's makes of a seed."""
    made = load_hook(hook, "search.sampler")(seed)
    if not isinstance(made, optuna.samplers.BaseSampler):
        raise InputError(
            f"search.sampler {hook}: returned a value of type {type(made).__name__}; return an "
            "optuna.samplers.BaseSampler"
        )
    return made


def _tpe(study: Study, seed: int) -> optuna.samplers.TPESampler:
    branches = any(parameter.when for parameter in study.search.space.values())
    return optuna.samplers.TPESampler(
        seed=seed, multivariate=True, group=branches, n_startup_trials=STARTUP, constant_liar=True
    )


def _numbers(study: Study) -> list[str]:
    space = study.search.space
    return [short_name(name) for name, parameter in space.items() if parameter.choice is None and not parameter.when]


def _best_numbers(study: Study, trials: Sequence[FrozenTrial]) -> dict[str, Any] | None:
    """Return where CMA-ES begins: at the best borrowed trial; None: in the middle."""
    names = _numbers(study)
    whole = [trial for trial in trials if all(name in trial.params for name in names)]
    if not whole:
        return None
    sign = 1 if direction(study.search.objective[0]) == "max" else -1
    best = max(whole, key=lambda trial: sign * trial.values[0])
    return {name: best.params[name] for name in names}


def first_trials(study: Study) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the trials that are set from the start: the baselines, the study's points, and those of a grid.

    Returns:
        (values, user attributes), no values twice. What the values leave out the sampler proposes.
    """
    points: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (point, {BASELINE: name}) for name, point in zip(BASELINES, baseline_points(study), strict=False)
    ]
    most = len(points) + study.search.trials
    points += [(point, {"point": index}) for index, point in enumerate(study.search.points)]
    if study.search.sampler == "grid":
        points += [(point, {}) for point in _grid(study, most)]
    values = [point for point, _ in points]
    return [pair for index, pair in enumerate(points) if pair[0] not in values[:index]][:most]


def _grid(study: Study, most: int) -> list[dict[str, Any]]:
    """Return combinations of the grid in a seeded order: all, or as many as there can be trials."""
    axes = {name: parameter.values() or [] for name, parameter in study.search.space.items()}
    size = math.prod(len(values) for values in axes.values())
    points = []
    for cell in random.Random(study.seed).sample(range(size), min(size, most + len(study.search.points))):
        point = {}
        for name, values in axes.items():
            cell, digit = divmod(cell, len(values))
            point[name] = values[digit]
        points.append(point)
    return points


def most_at_once(study: Study) -> int | None:
    """Return the most trials at once of a search that learns from ended ones: a quarter of all, at least 1.

    None: ``resources.concurrent_trials`` says how many, or the sampler learns nothing anyway.
    """
    if study.resources.concurrent_trials is not None or study.search.sampler in _BLIND:
        return None
    return max(1, expected_trials(study) // 4)


def expected_trials(study: Study) -> int:
    """Return how many trials the study will have: baselines and ``search.trials``, or those of the grid."""
    if study.search.sampler == "grid":
        return len(first_trials(study))
    return (len(BASELINES) if study.search.baselines else 0) + study.search.trials


def borrowed(study: Study) -> list[FrozenTrial]:
    """Return the finished trials of the study that ``search.warm_start`` names, as far as the two spaces overlap.

    A field that was not searched then has its fixed value, where the earlier study file is known. A trial with a value
    that can no longer be tried is left out.

    Returns:
        Complete trials of this study's fields, with this study's objectives.

    Raises:
        InputError: there is no such study, it has no such trial, or it searched for something else.
    """
    if study.search.warm_start is None:
        return []
    location = fill_variables(study.search.warm_start, "search.warm_start ")
    where = f"search.warm_start {masked_url(location)}"
    if is_url(location):
        earlier, optuna_study = None, _load_by_url(study, location, where)
    else:
        file = Path(location) / "study.yaml"
        if not file.is_file():
            raise InputError(f"{where}: is no study folder (no study.yaml) and no storage URL; give one of them")
        check_format(location, where)
        earlier = load_study(file)
        optuna_study = load_optuna_study(earlier, Path(location))
    columns = _columns(study, earlier, optuna_study, where)
    trials = []
    for trial in optuna_study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
        params = _params(study, earlier, trial)
        if params:
            distributions = optuna_params({name: distribution(study.search.space[name]) for name in params})
            values = [trial.values[column] for column in columns]
            trials.append(create_trial(values=values, params=optuna_params(params), distributions=distributions))
    if not trials:
        raise InputError(f"{where}: none of its finished trials lies in this study's search space; leave it out")
    return trials


def _load_by_url(study: Study, url: str, where: str) -> optuna.Study:
    storage = open_url(url, "search.warm_start")
    names = set(optuna.get_all_study_names(storage))
    if url == storage_url(study, Path()):
        names.discard(study.name)  # itself, when it goes on
    name = next(iter(names)) if len(names) == 1 else study.name
    if name not in names:
        found = ", ".join(sorted(names)) or "none"
        raise InputError(f"{where}: has several studies or none (there: {found}); give the folder of the study instead")
    return optuna.load_study(study_name=name, storage=storage)


def _columns(study: Study, earlier: Study | None, optuna_study: optuna.Study, where: str) -> list[int]:
    """Return which of the earlier study's values are this study's objectives."""
    wanted = study.search.objective
    names = optuna_study.metric_names or (earlier.search.objective if earlier else [])
    if not names and len(optuna_study.directions) == len(wanted):
        names = wanted
    missing = [name for name in wanted if name not in names]
    if missing:
        raise InputError(
            f"{where}: searched for {', '.join(names or ['other objectives'])}, not for {', '.join(missing)}; "
            "search.objective must be the same"
        )
    return [names.index(name) for name in wanted]


def _params(study: Study, earlier: Study | None, trial: FrozenTrial) -> dict[str, Any] | None:
    """Return an earlier trial's values of this study's fields; None if one of them lies outside its range."""
    space, known = study.search.space, from_optuna(trial.params)
    baseline = trial.user_attrs.get(BASELINE)
    if baseline in BASELINES:
        known = {"mix.mixing_ratio": BASELINES[baseline], "mix.schedule": "constant"} | known
    params: dict[str, Any] = {}
    for name in in_order(space):
        if not active(space, name, params):
            continue
        value = known[name] if name in known else earlier.value(name) if earlier else None
        if space[name].allows(value):
            params[name] = value
        elif value is not None:
            return None
    return params


class WarmStartSampler(optuna.samplers.BaseSampler):  # type: ignore[misc]
    """A sampler that proposes within a copy of the study, which holds the borrowed trials too.

    With several objectives the copy holds no intermediate values: the study keeps those of the first objective for its
    dashboard, and TPE would fail on them, since it takes them for values of a single objective.

    Args:
        inner: proposes the values. It must keep its state in the trials' values alone, as TPE and GP do.
        trials: the borrowed ones.
    """

    def __init__(self, inner: optuna.samplers.BaseSampler, trials: Sequence[FrozenTrial] = ()) -> None:
        self._inner, self._trials = inner, list(trials)
        self._proposed: tuple[int, optuna.Trial] | None = None  # of a trial number, in the copy

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_proposed": None}  # Tune pickles samplers, and the copy lives in memory alone

    def reseed_rng(self) -> None:
        """Seed anew, as Optuna asks of samplers in several threads."""
        self._inner.reseed_rng()

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
        """Return one value of those that the inner sampler proposes for this trial."""
        if self._proposed is None or self._proposed[0] != trial.number:
            self._proposed = (trial.number, self._copy(study, trial).ask())
        return suggest(self._proposed[1], param_name, param_distribution)

    def _copy(self, study: optuna.Study, trial: FrozenTrial) -> optuna.Study:
        copy = optuna.create_study(directions=study.directions, sampler=self._inner)
        several = len(study.directions) > 1
        own = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        for known in [*self._trials, *(other for other in own if other.state != TrialState.WAITING)]:
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
