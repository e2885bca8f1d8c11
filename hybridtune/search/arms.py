"""PURE. The arms of a study, whose turn it is, the contestants that come out of them, and the trainings still lacking.

An arm is a set of trials with one rule on the mixing ratio: ``tuned``, where it is searched, and the fixed ratios
mono-only, half-half and cross-only. A contestant is a trial that the study's headline or tables compare. Nothing heavy
is imported: `hybridtune status` counts a study's trials, and answers at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hybridtune.config.names import (
    ENDING,
    FILE_VALUES,
    FIXED_ARMS,
    LEARNED,
    LEARNED_FILE_VALUES,
    SAME_VALUES,
    TUNED,
)
from hybridtune.config.space import Parameter
from hybridtune.config.study import Study
from hybridtune.search.first_values import first_values
from hybridtune.storage.feasibility import eligible, limits
from hybridtune.storage.trial_rows import TrialRow, best_row

# In a trial's configuration and user attributes: its arm, and where its values are from.
ARM, PROPOSED = "arm", "proposed"
RATIO_FIELDS = ("mix.mixing_ratio", "mix.schedule", "mix.final_ratio", "mix.step_at")
LEARNED_FIELDS = ("mix.learned_range", "mix.learned_step", "mix.learned_weights")
# Trials of an arm, by ASHA or the median: of three, these stop the best in a fifth to a third of studies.
FEWEST_TO_STOP = 8


def arms(study: Study) -> list[str]:
    """Return the arms of a study's search, in the order in which they take turns."""
    return [*FIXED_ARMS, TUNED] if study.search.arms == "searched" else [TUNED]


def arm_space(study: Study, arm: str) -> dict[str, Parameter]:
    """Return what is searched in an arm; in a fixed one, all but the ratio and its schedule."""
    space = study.search.space
    return {name: one for name, one in space.items() if arm == TUNED or name not in (*RATIO_FIELDS, *LEARNED_FIELDS)}


def arm_values(study: Study, arm: str) -> dict[str, Any]:
    """Return the values that make an arm what it is called: its ratio from first step to last, or ``learned``.

    There are none of ``tuned``.
    """
    if arm == TUNED:
        return {}
    if arm == LEARNED:
        return {"mix.schedule": LEARNED}
    scheduled = study.mix.schedule != "constant" or "mix.schedule" in study.search.space
    return {"mix.mixing_ratio": FIXED_ARMS[arm]} | ({"mix.schedule": "constant"} if scheduled else {})


def starts(study: Study, arm: str) -> list[tuple[dict[str, Any], str]]:
    """Return (values, proposed) of the trials that an arm begins with; see `first_values`."""
    return first_values(study, arm_space(study, arm), arm_values(study, arm))


def arm_sizes(study: Study) -> dict[str, int]:
    """Return how many trials each arm will have: ``search.trials``, or fewer where there is no more to try."""
    sizes = dict.fromkeys(arms(study), int(study.search.trials))
    for arm in sizes:
        if study.search.sampler == "grid" or not arm_space(study, arm):
            sizes[arm] = min(sizes[arm], max(1, len(starts(study, arm))))
    return sizes


def expected_trials(study: Study) -> int:
    """Return how many trials the search will have, of all arms together; the reruns after it do not count."""
    return sum(arm_sizes(study).values())


def most_reruns(study: Study) -> int:
    """Return how many trainings `reruns` lists at most, all in all."""
    fixed = {"searched": 1, "rerun": len(FIXED_ARMS) + 1, "none": 0}[study.search.arms]
    return fixed + 2 * study.search.learned


def next_arm(sizes: Mapping[str, int], counts: Mapping[str, int]) -> str | None:
    """Return whose turn it is: of the arms that lack trials the one with the fewest, the first of equals.

    Args:
        sizes: see `arm_sizes`.
        counts: trials so far by arm, those that failed among them.

    Example:
        >>> next_arm({"mono-only": 2, "tuned": 2}, {"mono-only": 1}), next_arm({"tuned": 1}, {"tuned": 1})
        ('tuned', None)
    """
    lacking = [arm for arm, size in sizes.items() if counts.get(arm, 0) < size]
    return min(lacking, key=lambda arm: counts.get(arm, 0), default=None)


def stops_early(study: Study) -> bool:
    """Return whether trials are stopped early: the study asks for it, and its arms have trials enough.

    The paired test bounds its own error, however few they are. With ``search.fidelities`` the others are off: their
    rungs do the same.
    """
    stopping = study.search.early_stopping
    if stopping is None or (study.search.fidelities and stopping.method != "paired"):
        return False
    return max(arm_sizes(study).values()) >= (2 if stopping.method == "paired" else FEWEST_TO_STOP)


def searched(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Return the trials of the search, without the reruns after it."""
    return [row for row in rows if row.proposed != "rerun"]


@dataclass(frozen=True)
class Rerun:
    """A training after the search that completes the contestants; its row is one of the study's trials."""

    id: str  # of its row and folder: 0007-half-half has the other values of trial 7, file-half-half those of the file
    arm: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Reference:
    """The strongest fixed ratio, with which the headline compares, and which contestants have its two trainings."""

    arm: str
    same_values: str | None  # the contestant with the tuned trial's other values; None: not trained yet, or failed
    file_values: str | None  # the contestant with the study file's values; None: likewise


def contestants(study: Study, rows: Sequence[TrialRow]) -> dict[str, TrialRow]:
    """Return the compared trials by name, those that came to their end; no trial under two names.

    ``tuned`` is the best of the free arm, and a fixed ratio the best of its arm, or its rerun; with constraints,
    of those trials of the arm that meet them, or where none does the nearest. ``same-values`` and ``file-values`` are
    left out where a fixed ratio's own trial is that very training: `reference` says which. ``learned`` and
    ``learned-file-values`` are there where ``search.learned`` asks for them.
    """
    fixed = _fixed(study, rows)
    tuned = _tuned(study, rows)
    found = ({TUNED: tuned} if tuned is not None else {}) | fixed
    for name, row in _of_reference(study, rows, tuned, fixed).items():
        if row is not None and all(row is not other for other in fixed.values()):
            found[name] = row
    for name, row in _learned(study, rows, tuned).items():
        if row is not None and all(row is not other for other in found.values()):
            found[name] = row
    return found


def reference(study: Study, rows: Sequence[TrialRow]) -> Reference | None:
    """Return the strongest fixed ratio and its trainings by the names of `contestants`; None: none came to its end."""
    fixed = _fixed(study, rows)
    if not fixed:
        return None
    found = _of_reference(study, rows, _tuned(study, rows), fixed)
    names = {
        name: None if row is None else next((arm for arm, other in fixed.items() if row is other), name)
        for name, row in found.items()
    }
    return Reference(_strongest(study, rows, fixed), names[SAME_VALUES], names[FILE_VALUES])


def reruns(study: Study, rows: Sequence[TrialRow]) -> list[Rerun]:
    """Return the trainings that the contestants lack after the search; call it anew when these have ended.

    Which fixed ratio is the strongest is only known when all have been trained: in ``rerun`` the three ratios come
    first, and then, where no trial has it, the strongest with the file's values.
    """
    tuned = _tuned(study, rows)
    if tuned is None:
        return []
    return [*_fixed_reruns(study, rows, tuned), *_learned_reruns(study, rows, tuned)]


def _learned_reruns(study: Study, rows: Sequence[TrialRow], tuned: TrialRow) -> list[Rerun]:
    """Return the trainings of a learned mix that the contestants lack; one where tuned has the file's other values."""
    others = {LEARNED: tuned, LEARNED_FILE_VALUES: None}
    learned = _learned(study, rows, tuned).items()
    lacking = [_rerun(study, LEARNED, others[name]) for name, row in learned if row is None]
    first = [dict(_settings(study, one.values)) for one in lacking[:1]]
    return [*lacking[:1], *(one for one in lacking[1:] if dict(_settings(study, one.values)) not in first)]


def _fixed_reruns(study: Study, rows: Sequence[TrialRow], tuned: TrialRow) -> list[Rerun]:
    """Return the trainings of fixed ratios that the contestants lack."""
    if study.search.arms == "none":
        return []
    if study.search.arms == "rerun":
        fixed = _fixed(study, rows)
        lacking = [_rerun(study, arm, tuned) for arm in FIXED_ARMS if arm not in fixed]
        if not fixed or any(one.id not in {row.id for row in rows} for one in lacking):
            return lacking
    else:
        fixed, lacking = _fixed(study, rows), []
    if not fixed:
        return lacking
    found, arm = _of_reference(study, rows, tuned, fixed), _strongest(study, rows, fixed)
    lacking += [_rerun(study, arm, tuned)] if found[SAME_VALUES] is None else []
    lacking += [_rerun(study, arm, None)] if found[FILE_VALUES] is None else []
    return lacking


def _rerun(study: Study, arm: str, tuned: TrialRow | None) -> Rerun:
    """Return the training of a fixed ratio, or a learned mix, with a trial's other values; None: the file's."""
    begin = "file" if tuned is None else tuned.id
    return Rerun(f"{begin}-{arm}", arm, _beside(study, arm, tuned))


def _beside(study: Study, arm: str, tuned: TrialRow | None) -> dict[str, Any]:
    others = {} if tuned is None else tuned.values
    own = (*RATIO_FIELDS, *LEARNED_FIELDS)
    return arm_values(study, arm) | {name: value for name, value in others.items() if name not in own}


def _tuned(study: Study, rows: Sequence[TrialRow]) -> TrialRow | None:
    return _best(study, rows, _done(study, rows, TUNED))


def _fixed(study: Study, rows: Sequence[TrialRow]) -> dict[str, TrialRow]:
    """Return the trial of each fixed ratio: the best of its arm, or its training beside the tuned trial."""
    found: dict[str, TrialRow | None] = {}
    tuned = _tuned(study, rows)
    for arm in FIXED_ARMS:
        done = _done(study, rows, arm)
        if study.search.arms == "searched":
            found[arm] = _best(study, rows, searched(done))
        elif study.search.arms == "rerun" and tuned is not None:
            found[arm] = _with_values(study, done, _beside(study, arm, tuned))
    return {arm: row for arm, row in found.items() if row is not None}


def _of_reference(
    study: Study, rows: Sequence[TrialRow], tuned: TrialRow | None, fixed: Mapping[str, TrialRow]
) -> dict[str, TrialRow | None]:
    """Return the two trainings of the strongest fixed ratio; None for one that there is not."""
    if not fixed:
        return {SAME_VALUES: None, FILE_VALUES: None}
    arm = _strongest(study, rows, fixed)
    done = _done(study, rows, arm)
    same = None if tuned is None else _with_values(study, done, _beside(study, arm, tuned))
    return {SAME_VALUES: same, FILE_VALUES: _with_values(study, done, _beside(study, arm, None))}


def _learned(study: Study, rows: Sequence[TrialRow], tuned: TrialRow | None) -> dict[str, TrialRow | None]:
    """Return the trainings of a learned mix that the study asks for; None for one that there is not."""
    if not study.search.learned or tuned is None:
        return {}
    done = [row for arm in (LEARNED, TUNED) for row in _done(study, rows, arm)]
    others = {LEARNED: tuned, LEARNED_FILE_VALUES: None}
    return {name: _with_values(study, done, _beside(study, LEARNED, other)) for name, other in others.items()}


def _strongest(study: Study, rows: Sequence[TrialRow], fixed: Mapping[str, TrialRow]) -> str:
    best = _best(study, rows, list(fixed.values()))
    return next(arm for arm, row in fixed.items() if row is best)


def _done(study: Study, rows: Sequence[TrialRow], arm: str) -> list[TrialRow]:
    goal = study.search.objective[0]
    return [row for row in rows if row.arm == arm and row.status == "done" and goal in row.metrics]


def _best(study: Study, rows: Sequence[TrialRow], among: Sequence[TrialRow]) -> TrialRow | None:
    """Return the best of some trials, of those that meet the constraints where any does; ``rows`` are all trials."""
    from hybridtune.metrics.metrics import direction  # heavy: it brings numpy

    goal = study.search.objective[0]
    found = eligible(limits(study, rows), among)
    return best_row(found, {goal: direction(goal)}) if found else None


def _with_values(study: Study, rows: Sequence[TrialRow], values: Mapping[str, Any]) -> TrialRow | None:
    """Return the first trial that trained as these values would."""
    wanted = dict(_settings(study, values))
    return next((row for row in rows if dict(_settings(study, row.values)) == wanted), None)


def _settings(study: Study, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each field that trials may differ in with its value; none that the schedule of the ratio ignores."""
    schedule = values.get("mix.schedule", study.mix.schedule)
    ignored = [*(() if schedule in ENDING else RATIO_FIELDS[2:]), *(() if schedule == LEARNED else LEARNED_FIELDS)]
    for name in dict.fromkeys([*RATIO_FIELDS, *LEARNED_FIELDS, *study.search.space]):
        if name not in ignored:
            yield name, values[name] if name in values else study.value(name)
