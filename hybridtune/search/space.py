"""The search space as Optuna takes it: ranges, the three baselines, objectives and their directions."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna

from hybridtune.config.names import short_name
from hybridtune.config.space import Parameter, active, field_names, in_order
from hybridtune.config.study import Study
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import Benchmark
from hybridtune.metrics.measures import BIAS, check_measure
from hybridtune.metrics.metrics import direction
from hybridtune.metrics.names import parse_metric

BASELINES = {"mono-only": 1.0, "half-half": 0.5, "cross-only": 0.0}  # the paper's comparison, by mix.mixing_ratio
BASELINE = "baseline"  # the user attribute of a trial that names it

Space = Callable[[optuna.Trial], dict[str, Any]]


def objectives(study: Study, benchmark: Benchmark) -> dict[str, str]:
    """Return ``max`` or ``min`` by objective.

    Raises:
        InputError: no such metric, or one that the dev benchmark cannot give.
    """
    found: dict[str, str] = {}
    settings = benchmark.settings
    for name in study.search.objective:
        found[name] = direction(name)
        setting, measure, _ = parse_metric(name)
        if measure not in BIAS:
            check_measure(measure)
        needed = ("mono", "cross", "multi") if setting == "balanced" else (setting,)
        missing = [setting for setting in needed if setting not in settings]
        if missing:
            raise InputError(
                f"search.objective {name}: the benchmark {benchmark.name} has no query for the "
                f"{' and '.join(missing)} setting; it has {', '.join(settings)}"
            )
        if measure == "PEER" and not _has_two_answers_in_a_language(benchmark):
            raise InputError(
                f"search.objective {name}: the benchmark {benchmark.name} has one relevant passage per query and "
                "language, and PEER is then the same for every model; multi/rank_distance measures bias there"
            )
    return found


def _has_two_answers_in_a_language(benchmark: Benchmark) -> bool:
    """Return whether some query has two relevant passages in one language, without which PEER is not defined."""
    judged = benchmark.relevance
    cells = judged.query_index * len(judged.languages) + judged.passage_language[judged.passage_index]
    cells = cells[judged.grades > 0]
    return len(np.unique(cells)) < len(cells)


def baseline_points(study: Study) -> list[dict[str, Any]]:
    """Return the baselines' values of the searched fields: the fixed ones, and the constant ratio that names them.

    Raises:
        InputError: a value that Optuna cannot hold: null, or one that is not among the choices.
    """
    return [_baseline_point(study, named) for named in _baselines(study).values()]


def _baselines(study: Study) -> dict[str, dict[str, Any]]:
    """Return the values that make each baseline what it is called: its ratio, from the first step to the last."""
    if not study.search.baselines:
        return {}
    scheduled = study.mix.schedule != "constant" or "mix.schedule" in study.search.space
    fixed = {"mix.schedule": "constant"} if scheduled else {}
    return {name: {"mix.mixing_ratio": ratio, **fixed} for name, ratio in BASELINES.items()}


def _baseline_point(study: Study, named: Mapping[str, Any]) -> dict[str, Any]:
    space = study.search.space
    point: dict[str, Any] = {}
    for name in in_order(space):
        if not active(space, name, point):
            continue
        parameter, value = space[name], named.get(name, study.value(name))
        if name in ("mix.final_ratio", "mix.step_at") and not parameter.allows(value):
            value = _any_value(parameter, value)
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
        point[name] = value
    return {**named, **point}  # different points, though the ratio may not be searched


def _any_value(parameter: Parameter, fixed: Any) -> Any:
    """Return a value in the range, near the fixed one, for a field that a constant ratio ignores."""
    if parameter.choice is not None:
        return parameter.choice[0]
    low, high = parameter.ends()
    return low if fixed is not None and fixed < high else high


def search_space(study: Study) -> Space:
    """Return the function that suggests a trial's values; an enqueued baseline has its name as a user attribute."""
    return functools.partial(_suggest, space=dict(study.search.space), baselines=_baselines(study))


def _suggest(
    trial: optuna.Trial, space: Mapping[str, Parameter], baselines: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in in_order(space):
        if active(space, name, values):
            values[name] = suggest(trial, short_name(name), distribution(space[name]))
    baseline = trial.user_attrs.get(BASELINE)
    return {"baseline": baseline, "number": trial.number, **baselines.get(baseline, {})}


def distribution(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    """Return a range as Optuna's distribution."""
    if parameter.choice is not None:
        return optuna.distributions.CategoricalDistribution(parameter.choice)
    low, high = parameter.ends()
    if parameter.uniform is not None:
        return optuna.distributions.FloatDistribution(low, high, step=parameter.step)
    if parameter.loguniform is not None:
        return optuna.distributions.FloatDistribution(low, high, log=True)
    log = parameter.logint is not None
    return optuna.distributions.IntDistribution(low, high, log=log, step=round(parameter.step or 1))


def suggest(trial: optuna.Trial, name: str, of: optuna.distributions.BaseDistribution) -> Any:
    """Return a trial's value of a field, proposed by the sampler or enqueued."""
    if isinstance(of, optuna.distributions.CategoricalDistribution):
        return trial.suggest_categorical(name, of.choices)
    if isinstance(of, optuna.distributions.IntDistribution):
        return trial.suggest_int(name, of.low, of.high, step=of.step, log=of.log)
    return trial.suggest_float(name, of.low, of.high, step=of.step, log=of.log)


def optuna_params(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trial's values by the names that its parameters have in Optuna: those of the fields without a section.

    Optuna's samplers draw in the order of the sorted names: with a section before them, the same seed would give other
    trials than it did when a study file named its fields without one, as nearly all do.
    """
    return {short_name(name): value for name, value in values.items()}


def from_optuna(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with Optuna's ``temperature`` as ``train.temperature``; what is no field keeps its name."""
    return {field_names().get(name, name): value for name, value in params.items()}
