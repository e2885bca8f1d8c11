"""What is wrong with a search, before anything starts: fields, bounds, conditions, points, contradictions."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from hybridtune.config.fields import Part, Seed, Train
from hybridtune.config.names import short_name
from hybridtune.config.search import Parameter, Search, corners, field_names, in_order, not_searchable
from hybridtune.errors import reason

Parts = Mapping[str, Part]
_SEED: TypeAdapter[int] = TypeAdapter(Seed, config=ConfigDict(strict=True))
_JOINT = (  # what `Train` allows together only
    *("train.temperature", "train.learn_temperature", "train.temperature_range"),
    *("train.lora_rank", "train.freeze_layers", "train.layer_decay"),
)


def search_problems(search: Search, parts: Parts) -> list[str]:
    """Return everything that is wrong with a search, a line each.

    Args:
        search: the section.
        parts: the study's other sections by their names.
    """
    problems = [*_field_problems(search, parts), *_batch_problems(search, parts)]
    conditions = list(_condition_problems(search))
    if not problems and not conditions:
        problems = [*_point_problems(search, parts), *_clashes(search, parts)]
    return [*problems, *(conditions or _schedules_without_end(search, parts))]


def _field_problems(search: Search, parts: Parts) -> Iterator[str]:
    for name, parameter in search.space.items():
        if name not in field_names():
            yield f"search.space.{name}: {not_searchable(name)}"
            continue
        for end in parameter.ends():
            problem = _refused(parts, name, end)
            if problem:
                yield f"search.space.{name}: {end!r}: {problem}"


def _refused(parts: Parts, name: str, value: Any) -> str | None:
    """Return why a field does not take a value; None: it does."""
    section, _, field = name.rpartition(".")
    try:
        if section:
            type(parts[section]).model_validate({**parts[section].model_dump(), field: value})
        else:
            _SEED.validate_python(value)
    except ValidationError as error:
        return reason(error.errors()[0], Part)
    return None


def _batch_problems(search: Search, parts: Parts) -> Iterator[str]:
    workers = parts["resources"].model_dump()["workers"]
    if workers == "auto":  # then it is one that divides all batches
        return
    for name, parameter in search.space.items():
        uneven = parameter.not_multiple_of(workers) if name == "train.batch_size" else None
        if uneven is not None:
            yield (
                f"search.space.{name}: {uneven} is not a multiple of resources.workers {workers}; give a choice of "
                "multiples, or a step"
            )


def _condition_problems(search: Search) -> Iterator[str]:
    space = search.space
    for name, parameter in space.items():
        for other, values in parameter.when.items():
            where = f"search.space.{name}: when {other}: "
            if other not in space:
                yield where + (
                    "is not searched; add it to search.space, or leave the condition out"
                    if other in field_names()
                    else not_searchable(other)
                )
            elif other == name:
                yield where + "is the field itself; leave the condition out"
            elif space[other].values() is None:
                yield where + f"{space[other].describe()} is a range without a step, whose values never repeat"
            else:
                yield from (
                    f"{where}{value!r} is never tried: {other} is {space[other].describe()}"
                    for value in values
                    if not space[other].allows(value)
                )
    try:
        in_order(space)
    except ValueError as error:
        if not any(name in space[name].when for name in space):
            yield f"search.space: {error}"


def _point_problems(search: Search, parts: Parts) -> Iterator[str]:
    space, names = search.space, [f"search.points.{index}" for index in range(len(search.points))]
    if len(search.points) > search.trials:
        yield f"search.points: {len(search.points)} points, but search.trials is {search.trials}; raise it"
    for where, point in zip(names, search.points, strict=True):
        if not point:
            yield f"{where}: has no value; give {{field: value}}"
        for name, value in point.items():
            if name not in space:
                known = name in field_names()
                why = f"is not searched; searched are {', '.join(space)}" if known else not_searchable(name)
                yield f"{where}.{name}: {why}"
            elif not space[name].allows(value):
                yield f"{where}.{name}: {value!r} is not in its range, {space[name].describe()}"
            else:
                yield from _never_looked_at(space, where, name, point)


def _never_looked_at(space: Mapping[str, Parameter], where: str, key: str, point: Mapping[Any, Any]) -> Iterator[str]:
    for parent, allowed in space[key].when.items():
        if parent in point and not any(point[parent] == value for value in allowed):
            yield f"{where}.{key}: is not searched when {parent} is {point[parent]!r}; leave it out of the point"


def _clashes(search: Search, parts: Parts) -> Iterator[str]:
    """Yield one line where a trial may get fields of `train` that are good each by itself and contradict each other."""
    fixed = parts["train"].model_dump()
    for values in corners(search.space, _JOINT):
        chosen = {key: value for key, value in values.items() if key in _JOINT}
        try:
            Train.model_validate({**fixed, **{short_name(key): value for key, value in chosen.items()}})
        except ValidationError as error:
            given = ", ".join(f"{key} {value!r}" for key, value in chosen.items())
            yield f"search.space: a trial may get {given}: {reason(error.errors()[0], Train)}"
            return


def _schedules_without_end(search: Search, parts: Parts) -> list[str]:
    """Return one line where a trial may get a schedule without a final ratio, else none."""
    mix = parts["mix"].model_dump()
    for values in corners(search.space, ("mix.schedule", "mix.final_ratio")):
        chosen = {**mix, **{short_name(key): value for key, value in values.items()}}
        if chosen["schedule"] != "constant" and chosen["final_ratio"] is None:
            return [without_end(chosen["schedule"])]
    return []


def without_end(schedule: str) -> str:
    """Return the message on a schedule of the mixing ratio that has no final ratio."""
    return (
        f"mix.schedule {schedule} needs a mixing ratio to end with: set mix.final_ratio (0 to 1), or mix.schedule to "
        "constant"
    )
