"""PURE. The values that an arm begins with: those of the study file, the study's points, the combinations of a grid."""

import math
import random
from collections.abc import Mapping
from typing import Any

from hybridtune.config.space import Parameter, active, in_order
from hybridtune.config.study import Study
from hybridtune.errors import InputError

Start = tuple[dict[str, Any], str]  # values, and how they were proposed
Space = Mapping[str, Parameter]
_LARGEST_GRID = 10**15  # combinations, of which as many are drawn as there can be trials


def first_values(study: Study, space: Space, fixed: Mapping[str, Any]) -> list[Start]:
    """Return what is set from the start in one arm, no values twice.

    Args:
        study: the study file.
        space: what is searched in the arm.
        fixed: the values that make the arm; empty in the arm whose ratio is searched.

    Returns:
        (values, ``file``, ``point`` or ``grid``). A fixed arm begins with the file's own values; the study's points
        and a grid are of the other arm. What a point leaves out is drawn at random.

    Raises:
        InputError: a value of the file that Optuna cannot hold: null, or one that is not among the choices.
    """
    if fixed:
        return [(_file_values(study, space, fixed), "file")]
    found: list[Start] = [(point, "point") for point in study.search.points]
    if study.search.sampler == "grid":
        found += [(point, "grid") for point in _grid(study, space)]
    once: dict[tuple[Any, ...], Start] = {}
    for start in found:
        once.setdefault(_key(start[0]), start)
    return list(once.values())[: study.search.trials]


def _key(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what is equal for equal values, 1 and 1.0 among them."""
    return tuple((name, repr(one) if isinstance(one, list | dict) else one) for name, one in sorted(values.items()))


def _file_values(study: Study, space: Space, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file's own values of the fields that are searched."""
    point = dict(fixed)
    for name in in_order(space):
        if not active(space, name, point):
            continue
        parameter, value = space[name], study.value(name)
        if parameter.choice is None and value is None:
            raise InputError(
                f"search.space.{name}: the first trial of each fixed ratio has the file's value, which is null; give "
                "it a number, or set search.arms to rerun"
            )
        if parameter.choice is not None and value not in parameter.choice:
            raise InputError(
                f"search.space.{name}: the first trial of each fixed ratio has the file's value, {value!r}, which is "
                f"not among the choices {parameter.choice}; add it, change the value, or set search.arms to rerun"
            )
        point[name] = value
    return {name: value for name, value in point.items() if name in space}


def _grid(study: Study, space: Space) -> list[dict[str, Any]]:
    """Return combinations of the grid in a seeded order: all, or as many as there can be trials."""
    axes = {name: parameter.values() or [] for name, parameter in space.items()}
    size = math.prod(len(values) for values in axes.values())
    if size > _LARGEST_GRID:
        raise InputError(
            f"search.sampler grid: the space has {size:.3g} combinations, and {_LARGEST_GRID:.0e} is the most; search "
            "fewer fields or values, or choose another sampler"
        )
    wanted, points = study.search.trials + len(study.search.points), []
    for cell in random.Random(study.seed).sample(range(size), min(size, wanted)):
        point = {}
        for name, values in axes.items():
            cell, digit = divmod(cell, len(values))
            point[name] = values[digit]
        points.append(point)
    return points
