"""The averages of weights that a study scores: a grid between two contestants, then shares of all that Optuna proposes.

A soup costs a scoring and no training, so it is no trial of Tune's: `study.soups` asks here for one after the other.
Each is a function of the scores before it, so that a study which goes on gets the ones it would have had.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import optuna
from optuna.trial import create_trial

from hybridtune.config.names import FILE_VALUES, FIXED_ARMS, SAME_VALUES, TUNED
from hybridtune.config.study import Study
from hybridtune.storage.soup_rows import SoupRow
from hybridtune.storage.trial_rows import TrialRow

ENDS = ("mono-only", "cross-only")  # the contestants between which the grid lies
MEMBERS = (TUNED, *FIXED_ARMS, SAME_VALUES, FILE_VALUES)  # the contestants whose shares are proposed
_DIGITS = 3  # of a proposed weight, so that a command line can hold it
Proposed = Literal["grid", "equal", "sampler"]


def soup_grid(study: Study) -> list[dict[str, float]]:
    """Return the inner points of the grid of ``search.soups``, from mono-only to cross-only: weights by contestant.

    Its ends are the two trainings themselves, which are scored already. The weights are whole numbers, so ``hybridtune
    merge --weights`` with the same numbers gives the same model.

    Example:
        >>> from hybridtune.config.study import demo_study, load_study
        >>> soup_grid(load_study(demo_study(), ["search.soups=2"]))
        [{'mono-only': 2.0, 'cross-only': 1.0}, {'mono-only': 1.0, 'cross-only': 2.0}]
    """
    parts = study.search.soups + 1
    return [dict(zip(ENDS, (float(parts - n), float(n)), strict=True)) for n in range(1, parts)]


def soups_wanted(study: Study) -> int:
    """Return how many soups a study scores."""
    return study.search.soups + study.search.soup_trials


def next_soup(
    study: Study, goals: Mapping[str, str], members: Mapping[str, TrialRow], scored: Sequence[SoupRow]
) -> tuple[dict[str, float], Proposed]:
    """Return the weights of the next soup by contestant, each above 0, and how they are proposed.

    First comes the grid, then the average of all members alike, then what the sampler proposes. It learns from the
    members' own scores, which are those of soups of one, and from all soups before.

    Args:
        study: the study file.
        goals: ``max`` or ``min`` by objective; the first one decides.
        members: the trained contestants that may be averaged, by name.
        scored: all soups so far, in their order.
    """
    grid, number = soup_grid(study), len(scored)
    if number < len(grid):
        return grid[number], "grid"
    if number == len(grid):
        return dict.fromkeys(members, 1.0), "equal"
    goal, mode = next(iter(goals.items()))
    known = [({name: 1.0}, row.metrics[goal]) for name, row in members.items()]
    known += [(row.weights, row.metrics[goal]) for row in scored]
    return _propose(study, list(members), known, mode, number), "sampler"


def _propose(
    study: Study, names: Sequence[str], known: Sequence[tuple[Mapping[str, float], float]], mode: str, number: int
) -> dict[str, float]:
    """Return the weights that the study's sampler proposes after these soups and their scores.

    Only the ratios of weights count: those of a known soup are scaled so that its largest is 1.
    """
    space = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in names}
    seed = int(np.random.SeedSequence([study.seed, 0x50F7, number]).generate_state(1)[0])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = "maximize" if mode == "max" else "minimize"
    asked = optuna.create_study(direction=direction, sampler=_sampler(study.search.sampler, seed))
    for weights, value in known:
        largest = max(weights.values())
        params = {name: weights.get(name, 0.0) / largest for name in names}
        asked.add_trial(create_trial(value=value, params=params, distributions=space))
    proposed = {name: round(value, _DIGITS) for name, value in asked.ask(space).params.items()}
    return {name: weight for name, weight in proposed.items() if weight > 0} or dict.fromkeys(names, 1.0)


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return the study's sampler, TPE in place of one that knows no shares or keeps a state between its proposals."""
    if name in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=1)
