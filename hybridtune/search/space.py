"""The search space as Optuna takes it: the ranges of each arm, objectives and their directions."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna

from hybridtune.config.names import short_name
from hybridtune.config.space import Parameter, active, full_name, in_order
from hybridtune.config.study import Study
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import Benchmark
from hybridtune.metrics.measures import BIAS, check_measure
from hybridtune.metrics.metrics import direction
from hybridtune.metrics.names import parse_metric
from hybridtune.metrics.topics import topic_numbers
from hybridtune.search.arms import ARM, PROPOSED, arm_space, arm_values, arms

Space = Callable[[optuna.Trial], dict[str, Any]]


def objectives(study: Study, benchmark: Benchmark) -> dict[str, str]:
    """Return ``max`` or ``min`` by objective.

    Raises:
        InputError: no such metric, or one that the dev benchmark cannot give.
    """
    return {name: check_metric(name, benchmark, "search.objective") for name in study.search.objective}


def check_metric(name: str, benchmark: Benchmark, where: str) -> str:
    """Return ``max`` or ``min`` of a metric that the field ``where`` names.

    Raises:
        InputError: no such metric, or one that a benchmark cannot give.
    """
    try:
        better = direction(name)
        setting, measure, _ = parse_metric(name)
        if measure not in BIAS:
            check_measure(measure)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    needed = ("mono", "cross", "multi") if setting == "balanced" else (setting,)
    missing = [setting for setting in needed if setting not in benchmark.settings]
    if missing:
        raise InputError(
            f"{where} {name}: the benchmark {benchmark.name} has no query for the {' and '.join(missing)} setting; it "
            f"has {', '.join(benchmark.settings)}"
        )
    if measure == "PEER" and not _has_two_answers_in_a_language(benchmark):
        raise InputError(
            f"{where} {name}: the benchmark {benchmark.name} has one relevant passage per query and language, and PEER "
            "is then the same for every model; multi/rank_distance measures bias there"
        )
    if measure == "rank_correlation" and not _asks_in_two_languages(benchmark):
        raise InputError(
            f"{where} {name}: the benchmark {benchmark.name} asks no question in two languages with the same relevant "
            "passages, two or more; multi/rank_distance measures bias there"
        )
    return str(better)


def _asks_in_two_languages(benchmark: Benchmark) -> bool:
    """Return whether two queries in two languages share their relevant passages, two at least."""
    judged = benchmark.relevance
    relevant = judged.grades > 0
    query, passage = judged.query_index[relevant], judged.passage_index[relevant]
    topic = topic_numbers(query, passage, len(judged.query_language))
    several = np.bincount(query, minlength=len(topic)) > 1
    asked = np.unique(np.stack([topic[several], judged.query_language[several]]), axis=1)
    return bool(len(np.unique(asked[0])) < asked.shape[1])


def _has_two_answers_in_a_language(benchmark: Benchmark) -> bool:
    """Return whether some query has two relevant passages in one language, without which PEER is not defined."""
    judged = benchmark.relevance
    cells = judged.query_index * len(judged.languages) + judged.passage_language[judged.passage_index]
    cells = cells[judged.grades > 0]
    return len(np.unique(cells)) < len(cells)


def search_space(study: Study) -> Space:
    """Return the function that suggests a trial's values, by the arm that its user attributes name."""
    every = arms(study)
    return functools.partial(
        _suggest,
        spaces={arm: arm_space(study, arm) for arm in every},
        fixed={arm: arm_values(study, arm) for arm in every},
    )


def _suggest(
    trial: optuna.Trial, spaces: Mapping[str, Mapping[str, Parameter]], fixed: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    arm = trial.user_attrs[ARM]
    space, values = spaces[arm], dict(fixed[arm])
    for name in in_order(space):
        if active(space, name, values):
            values[name] = suggest(trial, short_name(name), distribution(space[name]))
    return {ARM: arm, PROPOSED: trial.user_attrs[PROPOSED], "number": trial.number, **fixed[arm]}


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
    return {full_name(name) or name: value for name, value in params.items()}


def check_stopping(study: Study, benchmark: Benchmark) -> None:
    """Check that trials can be stopped as the study asks, by a metric that its dev benchmark gives.

    Raises:
        InputError: no such metric, one that the benchmark cannot give, or no step at which a trial could be stopped.
    """
    stopping, last = study.search.early_stopping, study.train.max_steps
    if stopping is None:
        return
    if stopping.metric is not None:
        check_metric(stopping.metric, benchmark, "search.early_stopping.metric")
    if stopping.grace_steps is not None and stopping.grace_steps >= last:
        raise InputError(
            f"search.early_stopping.grace_steps {stopping.grace_steps}: a trial has train.max_steps {last} steps, so "
            "none would be stopped; give fewer, or set search.early_stopping to null"
        )
