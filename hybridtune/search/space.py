"""The `search:` block as Optuna sees it: ranges, the three baselines, objectives and their directions."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna

from hybridtune.config import Parameter, Study
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import Benchmark
from hybridtune.evaluate.metrics import direction

BASELINES = {"mono-only": 1.0, "half-half": 0.5, "cross-only": 0.0}  # the paper's comparison, by mixing_ratio
_OF_SCHEDULES = ("final_ratio", "step_at")  # fields that a constant ratio does not look at

Space = Callable[[optuna.Trial], dict[str, Any]]


def objectives(study: Study, benchmark: Benchmark) -> dict[str, str]:
    """The study's objectives and whether each is to be ``max`` or ``min``.

    Raises:
        InputError: no such metric, or one that the dev benchmark cannot give.
    """
    found: dict[str, str] = {}
    settings = benchmark.settings()
    for name in study.search.objective:
        found[name] = direction(name)
        needed = ("mono", "cross", "multi") if name.startswith("balanced/") else (name.split("/")[0],)
        missing = [setting for setting in needed if setting not in settings]
        if missing:
            raise InputError(
                f"search.objective {name}: the benchmark {benchmark.name} has no query for the "
                f"{' and '.join(missing)} setting; it has {', '.join(settings)}"
            )
        if name == "multi/PEER" and not _peer_is_defined(benchmark):
            raise InputError(
                f"search.objective {name}: the benchmark {benchmark.name} has one relevant passage per query and "
                "language, and PEER is then the same for every model; multi/rank_distance measures bias there"
            )
    return found


def _peer_is_defined(benchmark: Benchmark) -> bool:
    """Whether some query has two relevant passages in one language."""
    judged = benchmark.relevance
    cells = judged.query_index * len(judged.languages) + judged.passage_language[judged.passage_index]
    return len(np.unique(cells)) < len(cells)


def baseline_points(study: Study) -> list[dict[str, Any]]:
    """Values of the baselines' searched fields: the study's fixed values, and the constant ratio that names them.

    Raises:
        InputError: a value that Optuna cannot hold: null, or one that is not among the choices.
    """
    if not study.search.baselines:
        return []
    fixed = {name: study.value(name) for name in study.search.space}
    points = [{**fixed, **_named(study, ratio)} for ratio in BASELINES.values()]
    for name, parameter in study.search.space.items():
        for point in points:
            if name.split(".")[-1] in _OF_SCHEDULES:
                point[name] = _any_value(parameter, point[name])
            value = point[name]
            if parameter.choice is None and value is None:
                raise InputError(
                    f"search.space.{name}: the baselines train with the fixed value, which is null; give it a number "
                    "or set search.baselines to false"
                )
            if parameter.choice is not None and value not in parameter.choice:
                raise InputError(
                    f"search.space.{name}: the baselines train with {value!r}, which is not among the choices "
                    f"{parameter.choice}; add it, change the fixed value, or set search.baselines to false"
                )
    return points


def _named(study: Study, ratio: float) -> dict[str, Any]:
    """The values that make a baseline what it is called: its ratio, from the first step to the last."""
    space = study.search.space
    values: dict[str, Any] = {_key(space, "mixing_ratio"): ratio}
    if study.mix.schedule != "constant" or _key(space, "schedule") in space:
        values[_key(space, "schedule")] = "constant"
    return values


def _key(space: Mapping[str, Parameter], field: str) -> str:
    """The name by which the study searches a field of the mix."""
    return f"mix.{field}" if f"mix.{field}" in space else field


def _any_value(parameter: Parameter, fixed: Any) -> Any:
    """A value that a constant ratio does not look at: one in the range, the fixed one if it can be."""
    if parameter.choice is not None:
        return fixed if fixed in parameter.choice else parameter.choice[0]
    low, high = parameter.ends()
    return high if fixed is None else min(max(fixed, low), high)


def search_space(study: Study) -> Space:
    """What Optuna calls for every trial: suggests the values, names the baselines.

    The first trials are the baselines, whose values are enqueued; a trial's number tells which it is.
    """
    names = BASELINES if study.search.baselines else {}
    baselines = [(name, _named(study, ratio)) for name, ratio in names.items()]
    return functools.partial(_suggest, space=dict(study.search.space), baselines=baselines)


def _suggest(
    trial: optuna.Trial, space: Mapping[str, Parameter], baselines: Sequence[tuple[str, dict[str, Any]]]
) -> dict[str, Any]:
    for name, parameter in space.items():
        _suggest_one(trial, name, parameter)
    baseline, values = baselines[trial.number] if trial.number < len(baselines) else (None, {})
    return {"baseline": baseline, "number": trial.number, **values}


def _suggest_one(trial: optuna.Trial, name: str, parameter: Parameter) -> None:
    if parameter.uniform is not None:
        trial.suggest_float(name, *parameter.uniform)
    elif parameter.loguniform is not None:
        trial.suggest_float(name, *parameter.loguniform, log=True)
    elif parameter.int is not None:
        trial.suggest_int(name, *parameter.int)
    else:
        trial.suggest_categorical(name, parameter.choice or [])


def trial_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """The study fields in a trial's configuration."""
    return {key: value for key, value in config.items() if key not in ("baseline", "number")}


def trial_name(config: Mapping[str, Any]) -> str:
    """A trial's name, and its folder under ``trials/``: its number in Optuna, which it keeps when it is resumed."""
    return f"{config['number']:04d}"
