"""The samplers that propose a trial's values, one an arm, and the checks of what each can do."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from hybridtune.config.hooks import load_hook
from hybridtune.config.names import FIXED_ARMS, TUNED, short_name
from hybridtune.config.search import STORAGE_FILES, fill_variables, is_url, masked_url
from hybridtune.config.space import active, in_order
from hybridtune.config.study import Study, load_stored_study
from hybridtune.errors import InputError
from hybridtune.metrics.metrics import direction
from hybridtune.search.arms import ARM, PROPOSED, arm_sizes, arm_space, arm_values, arms, expected_trials, starts
from hybridtune.search.first_values import Start
from hybridtune.search.rungs import PAUSED
from hybridtune.search.seeded_samplers import ArmSampler, ArmTPE, TrialSampler
from hybridtune.search.space import distribution, from_optuna, optuna_params
from hybridtune.storage.optuna_storage import check_url, load_optuna_study, open_url, storage_url
from hybridtune.storage.study_folder import check_format

STARTUP = 6  # at most so many trials of an arm are drawn at random before TPE and GP model anything
_GENETIC = {"nsga2": "NSGAIISampler", "nsga3": "NSGAIIISampler"}  # their classes in Optuna
_BLIND = ("random", "grid")  # learn nothing from the trials before
_LEARN = ("tpe", "gp", "cmaes")  # from trials of an earlier study
_FROM_VALUES = ("tpe", "gp", "random")  # keep no state but in the trials' values, so that each arm can have its own


def check_search(study: Study) -> None:
    """Check that the sampler can search this space for these objectives, and that storage and earlier study open.

    Raises:
        InputError: it cannot, or a package or a study that is needed is missing.
    """
    search, name = study.search, f"search.sampler {study.search.sampler}"
    if search.sampler == "cmaes":
        if importlib.util.find_spec("cmaes") is None:
            raise InputError(f"{name}: needs the package cmaes: pip install 'hybridtune[samplers]', or choose tpe")
        if search.constraints:
            raise InputError(f"{name}: heeds no search.constraints; choose tpe, gp, nsga2 or nsga3")
        if len(search.objective) > 1:
            raise InputError(
                f"{name}: searches for one objective, not for {len(search.objective)}; choose nsga2 or tpe"
            )
        if not _numbers(study):
            raise InputError(f"{name}: moves numbers, and search.space has none that is always searched; choose tpe")
    if search.sampler == "grid":
        _check_grid(study)
    elif search.arms == "searched" and search.sampler not in _FROM_VALUES:
        raise InputError(
            f"{name}: keeps a state of its own in the study, so that it cannot search each arm by itself; set "
            f"search.arms to rerun (or none), or choose {', '.join(_FROM_VALUES)}"
        )
    if ":" in search.sampler:
        _own_sampler(search.sampler, study.seed)
    if search.warm_start is not None and search.sampler not in _LEARN:
        raise InputError(
            f"{name}: does not learn from search.warm_start; leave it out, or choose one of {', '.join(_LEARN)}"
        )
    if search.fidelities and search.sampler not in (*_FROM_VALUES, "grid"):
        raise InputError(
            f"{name}: cannot learn from trials that wait at a rung; leave search.fidelities out, or choose one of "
            f"{', '.join(_FROM_VALUES)}"
        )
    if search.constraints and search.warm_start is not None:
        raise InputError(
            "search.warm_start: the trials of an earlier study do not say whether they meet search.constraints; leave "
            "one of the two out"
        )
    if search.storage not in STORAGE_FILES:
        check_url(fill_variables(search.storage, "search.storage "), "search.storage")
    for arm in arms(study):
        starts(study, arm)
    borrowed(study)


def _check_grid(study: Study) -> None:
    if study.search.arms == "searched":
        raise InputError(
            "search.sampler grid: tries every mixing ratio with every other value anyway; set search.arms to rerun (or "
            "none), or choose another sampler"
        )
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


def sampler(study: Study, begun: int) -> optuna.samplers.BaseSampler:
    """Return what proposes the values of a study's trials, in each arm by itself; the study passed `check_search`.

    What it proposes is a function of the study's seed, the trial's number, and the trials that it learns from, those
    borrowed from an earlier study among them. A sampler of the user's keeps what it likes, and is seeded by ``begun``
    too, the number of trials so far: with the first run's seed it would propose the first trials' values again.
    """
    search = study.search
    if search.sampler in _FROM_VALUES or search.sampler == "grid":  # a grid's trials are enqueued
        return ArmSampler(study, partial(_of_values, study), {arm: borrowed(study, arm) for arm in arms(study)})
    if search.sampler == "cmaes":
        return TrialSampler(study.seed, partial(_cmaes, study, _best_numbers(study, borrowed(study))))
    if search.sampler in _GENETIC:
        kind = getattr(optuna.samplers, _GENETIC[search.sampler])
        return TrialSampler(study.seed, partial(_genetic, kind, _population(study)))
    return _own_sampler(search.sampler, study.seed + begun)


def _of_values(study: Study, seed: int) -> optuna.samplers.BaseSampler:
    """Return a sampler that is asked once the random trials of its arm are over."""
    if study.search.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)
    return _tpe(study, seed)


def _cmaes(study: Study, start: dict[str, Any] | None, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.CmaEsSampler(
        seed=seed,
        x0=start,
        independent_sampler=_tpe(study, seed),  # of choices, and of what is not always searched
        warn_independent_sampling=False,
        consider_pruned_trials=True,  # else no generation would ever be full
    )


def _genetic(kind: type[optuna.samplers.BaseSampler], population: int, seed: int) -> optuna.samplers.BaseSampler:
    return kind(seed=seed, population_size=population)


@dataclass(frozen=True)
class Proposals:
    """The sources of the values of one arm's trials: a list, then at random, then by the sampler."""

    starts: list[tuple[dict[str, Any], str]]  # values that are set, and what set them
    drawn: float  # trials that are drawn at random, before the sampler proposes any
    least: float  # trials that it has to learn from to propose one; without them a trial is drawn too
    known: int  # borrowed trials, which the sampler learns from like from ended ones
    taught_by: tuple[TrialState, ...]  # the states of the trials that it learns from

    def next(self, before: Sequence[FrozenTrial]) -> tuple[dict[str, Any], str]:
        """Return the set values of the next trial and how it is proposed, given all trials of its arm so far."""
        if len(before) < len(self.starts):
            return self.starts[len(before)]
        free = [trial for trial in before if trial.user_attrs[PROPOSED] in ("random", "sampler")]
        learned = self.known + sum(trial.state in self.taught_by or PAUSED in trial.user_attrs for trial in free)
        return {}, "random" if self.known + len(free) < self.drawn or learned < self.least else "sampler"


def proposals(study: Study, screened: Mapping[str, list[Start]] | None = None) -> dict[str, Proposals]:
    """Return how the trials of each arm get their values.

    Before TPE and GP model anything, at most a third of what they are to propose is drawn at random; what the file, its
    points, a grid or a screening set does not count.

    Args:
        study: the study file.
        screened: by arm, the values that a screening lets its search begin with, after those of the file.
    """
    name, found = study.search.sampler, {}
    for arm, size in arm_sizes(study).items():
        first = [*starts(study, arm), *(screened or {}).get(arm, [])]
        least = {"random": float("inf"), "nsga2": _population(study), "nsga3": _population(study)}.get(name, 0)
        drawn = 0
        if name in ("tpe", "gp"):
            drawn, least = min(STARTUP, max(1, (size - len(first)) // 3)), 1
        states = (TrialState.COMPLETE,) if name == "gp" else (TrialState.COMPLETE, TrialState.PRUNED)
        found[arm] = Proposals(first, drawn, least, len(borrowed(study, arm)), states)
    return found


def _population(study: Study) -> int:
    """Return the size of a generation, so that there are generations to learn from."""
    return max(4, min(50, expected_trials(study) // 4))


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
    kind = optuna.samplers.TPESampler if branches else ArmTPE
    return kind(seed=seed, multivariate=True, group=branches, n_startup_trials=1, constant_liar=True)


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


def most_at_once(study: Study) -> int | None:
    """Return the most trials at once of a search that learns from ended ones: a quarter of all, at least 1.

    None: ``resources.concurrent_trials`` says how many, or the sampler learns nothing anyway.
    """
    if study.resources.concurrent_trials is not None or study.search.sampler in _BLIND:
        return None
    return max(1, expected_trials(study) // 4)


def borrowed(study: Study, arm: str = TUNED) -> list[FrozenTrial]:
    """Return the finished trials of the study that ``search.warm_start`` names, as far as the two spaces overlap.

    A fixed arm takes those that trained with its ratio, ``tuned`` all.

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
        if not (Path(location) / "study.yaml").is_file():
            raise InputError(f"{where}: is no study folder (no study.yaml) and no storage URL; give one of them")
        check_format(location, where)
        earlier = load_stored_study(Path(location))
        if earlier.search.storage not in STORAGE_FILES:
            raise InputError(
                f"{where}: its trials are in the database {masked_url(earlier.search.storage)}, which is not opened "
                "because a folder says so; give that URL itself as search.warm_start"
            )
        optuna_study = load_optuna_study(earlier, Path(location), read_only=True)
    columns = _columns(study, earlier, optuna_study, where)
    trials = []
    for trial in optuna_study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
        params = _params(study, arm, earlier, trial)
        if params:
            distributions = optuna_params({name: distribution(study.search.space[name]) for name in params})
            values = [trial.values[column] for column in columns]
            trials.append(create_trial(values=values, params=optuna_params(params), distributions=distributions))
    if not trials and arm == TUNED:
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


def _params(study: Study, arm: str, earlier: Study | None, trial: FrozenTrial) -> dict[str, Any] | None:
    """Return an earlier trial's values of the fields of an arm; None if one lies outside its range, or in no arm."""
    space, known = arm_space(study, arm), from_optuna(trial.params)
    before = trial.user_attrs.get(ARM)
    if before in FIXED_ARMS:
        known |= {"mix.mixing_ratio": FIXED_ARMS[before], "mix.schedule": "constant"}

    def value_of(name: str) -> Any:
        return known[name] if name in known else earlier.value(name) if earlier else None

    fixed = arm_values(study, arm)
    if fixed and (value_of("mix.mixing_ratio"), value_of("mix.schedule")) != (FIXED_ARMS[arm], "constant"):
        return None
    params: dict[str, Any] = dict(fixed)
    for name in in_order(space):
        if not active(space, name, params):
            continue
        value = value_of(name)
        if space[name].allows(value):
            params[name] = value
        elif value is not None:
            return None
    return {name: value for name, value in params.items() if name in space}
