"""Samplers: what proposes a trial's values, what each can do, and which trials are set from the start."""

import importlib.util
import math
import random
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from hybridtune.config import Study
from hybridtune.errors import InputError
from hybridtune.evaluate.metrics import direction
from hybridtune.search.space import BASELINE, BASELINES, baseline_points
from hybridtune.search.storage import FILES, check_url, filled
from hybridtune.search.warm import Mirror, borrowed
from hybridtune.searched_fields import key_of

STARTUP = 6  # trials that are drawn at random before TPE and GP model anything, baselines among them
_NEEDS = {"cmaes": "cmaes", "gp": "scipy"}
_BLIND = ("random", "grid")  # learn nothing from the trials before
_LEARN = ("tpe", "gp", "cmaes")  # from trials of an earlier study


def check_search(study: Study) -> None:
    """See that the sampler can search this space for these objectives, and that the storage and the earlier study open.

    Raises:
        InputError: it cannot, or a package or a study that is needed is not there.
    """
    search, name = study.search, f"search.sampler {study.search.sampler}"
    package = _NEEDS.get(search.sampler)
    if package is not None and importlib.util.find_spec(package) is None:
        raise InputError(f"{name}: needs the package {package}: pip install 'hybridtune[samplers]', or choose tpe")
    if search.sampler == "cmaes":
        if len(search.objective) > 1:
            raise InputError(
                f"{name}: searches for one objective, not for {len(search.objective)}; choose nsga2 or tpe"
            )
        if not _numbers(study):
            raise InputError(f"{name}: moves numbers, and search.space has none that is always searched; choose tpe")
    if search.sampler == "grid":
        _check_grid(study)
    if search.warm_start is not None and search.sampler not in _LEARN:
        raise InputError(
            f"{name}: does not learn from search.warm_start; leave it out, or choose one of {', '.join(_LEARN)}"
        )
    if search.storage not in FILES:
        check_url(filled(search.storage, "search.storage"), "search.storage")
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
                f"search.space.{name}: {parameter.told()} has no end of values; for search.sampler grid give a "
                "choice, a step, or a shorter range"
            )
    for place, point in enumerate(study.search.points):
        left_out = [name for name in study.search.space if key_of(point, name) is None]
        if left_out:
            raise InputError(f"search.points.{place}: a grid proposes nothing for {', '.join(left_out)}; give a value")


def sampler(study: Study, seed: int, trials: Sequence[FrozenTrial] = ()) -> optuna.samplers.BaseSampler:
    """The study's sampler.

    Args:
        study: a study that `check_search` found good.
        seed: of all that it draws.
        trials: borrowed from an earlier study.
    """
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
    if search.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=population)
    if search.sampler == "nsga3":
        return optuna.samplers.NSGAIIISampler(seed=seed, population_size=population)
    if search.sampler in ("random", "grid"):  # a grid's trials are enqueued
        return optuna.samplers.RandomSampler(seed=seed)
    if search.sampler == "gp":
        inner = optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP, warn_independent_sampling=False)
        return Mirror(inner, trials) if trials else inner
    inner = _tpe(study, seed)
    return Mirror(inner, trials) if trials or len(search.objective) > 1 else inner


def _tpe(study: Study, seed: int) -> optuna.samplers.TPESampler:
    branches = any(parameter.when for parameter in study.search.space.values())
    return optuna.samplers.TPESampler(
        seed=seed, multivariate=True, group=branches, n_startup_trials=STARTUP, constant_liar=True
    )


def _numbers(study: Study) -> list[str]:
    space = study.search.space
    return [name for name, parameter in space.items() if parameter.choice is None and not parameter.when]


def _best_numbers(study: Study, trials: Sequence[FrozenTrial]) -> dict[str, Any] | None:
    """Where CMA-ES begins: at the best borrowed trial; None: in the middle."""
    names = _numbers(study)
    whole = [trial for trial in trials if all(name in trial.params for name in names)]
    if not whole:
        return None
    sign = 1 if direction(study.search.objective[0]) == "max" else -1
    best = max(whole, key=lambda trial: sign * trial.values[0])
    return {name: best.params[name] for name in names}


def first_trials(study: Study) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The trials that are set from the start: the baselines, the study's points, and those of a grid.

    Returns:
        (values, user attributes), no values twice. What the values leave out the sampler proposes.
    """
    found: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (point, {BASELINE: name}) for name, point in zip(BASELINES, baseline_points(study), strict=False)
    ]
    room = len(found) + study.search.trials
    space = study.search.space
    for place, point in enumerate(study.search.points):
        found.append(({key_of(space, name) or name: value for name, value in point.items()}, {"point": place}))
    if study.search.sampler == "grid":
        found += [(point, {}) for point in _grid(study, room)]
    different: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for point, attributes in found:
        if not any(point == other for other, _ in different):
            different.append((point, attributes))
    return different[:room]


def _grid(study: Study, most: int) -> list[dict[str, Any]]:
    """Combinations of the grid in a seeded order: all, or as many as there can be trials."""
    axes = {name: parameter.values() or [] for name, parameter in study.search.space.items()}
    size = math.prod(len(values) for values in axes.values())
    points = []
    for place in random.Random(study.seed).sample(range(size), min(size, most + len(study.search.points))):
        point = {}
        for name, values in axes.items():
            place, digit = divmod(place, len(values))
            point[name] = values[digit]
        points.append(point)
    return points


def most_at_once(study: Study) -> int | None:
    """Trials at once at most, so that the search learns from those that have ended: a quarter of all, and at least 1.

    None: ``resources.concurrent_trials`` says how many, or the sampler learns nothing anyway.
    """
    if study.resources.concurrent_trials is not None or study.search.sampler in _BLIND:
        return None
    return max(1, expected_trials(study) // 4)


def expected_trials(study: Study) -> int:
    """How many trials the study will have: baselines and ``search.trials``, or all that there are on a grid."""
    if study.search.sampler == "grid":
        return len(first_trials(study))
    return (len(BASELINES) if study.search.baselines else 0) + study.search.trials
