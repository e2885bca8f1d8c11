"""What is wrong with a search, before anything starts: fields, bounds, conditions, points, contradictions."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from hybridtune.config.fields import Part, Seed, Train
from hybridtune.config.search import Parameter, Search, corners, in_order, key_of, not_searchable, searchable_paths
from hybridtune.errors import reason

Parts = Mapping[str, Part]
_SEED: TypeAdapter[int] = TypeAdapter(Seed, config=ConfigDict(strict=True))
_JOINT = (  # what `Train` allows together only
    *("temperature", "learn_temperature", "temperature_range"),
    *("lora_rank", "embeddings", "freeze_layers", "layer_decay"),
)


def search_problems(search: Search, parts: Parts) -> list[str]:
    """Everything that is wrong with a search, a line each.

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
    names: dict[tuple[str, str], str] = {}
    for name, parameter in search.space.items():
        path = searchable_paths().get(name)
        if path is None:
            yield f"search.space.{name}: {not_searchable(name)}"
            continue
        if names.setdefault(path, name) != name:
            yield f"search.space.{name}: is the same field as {names[path]}"
        for end in parameter.ends():
            told = _refused(parts, path, end)
            if told:
                yield f"search.space.{name}: {end!r}: {told}"


def _refused(parts: Parts, path: tuple[str, str], value: Any) -> str | None:
    """Why a field does not take a value; None: it does."""
    section, field = path
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
        uneven = parameter.not_multiple_of(workers) if name.split(".")[-1] == "batch_size" else None
        if uneven is not None:
            yield (
                f"search.space.{name}: {uneven} is not a multiple of resources.workers {workers}; give a choice of "
                "multiples, or a step"
            )


def _condition_problems(search: Search) -> Iterator[str]:
    space = search.space
    for name, parameter in space.items():
        for other, values in parameter.when.items():
            told = f"search.space.{name}: when {other}: "
            parent = key_of(space, other)
            if parent is None:
                yield told + (
                    "is not searched; add it to search.space, or leave the condition out"
                    if other in searchable_paths()
                    else not_searchable(other)
                )
            elif parent == name:
                yield told + "is the field itself; leave the condition out"
            elif space[parent].values() is None:
                yield told + f"{space[parent].told()} is a range without a step, whose values never repeat"
            else:
                yield from (
                    f"{told}{value!r} is never tried: {other} is {space[parent].told()}"
                    for value in values
                    if not space[parent].allows(value)
                )
    try:
        in_order(space)
    except ValueError as error:
        if not any(key_of(space, other) == name for name in space for other in space[name].when):
            yield f"search.space: {error}"


def _point_problems(search: Search, parts: Parts) -> Iterator[str]:
    space, places = search.space, [f"search.points.{place}" for place in range(len(search.points))]
    if len(search.points) > search.trials:
        yield f"search.points: {len(search.points)} points, but search.trials is {search.trials}; raise it"
    for where, point in zip(places, search.points, strict=True):
        keys = {name: key_of(space, name) for name in point}
        if not point:
            yield f"{where}: has no value; give {{field: value}}"
        for name, value in point.items():
            key = keys[name]
            if key is None:
                known = name in searchable_paths()
                why = f"is not searched; searched are {', '.join(space)}" if known else not_searchable(name)
                yield f"{where}.{name}: {why}"
            elif list(keys.values()).count(key) > 1:
                yield f"{where}.{name}: the field stands twice; give it once"
            elif not space[key].allows(value):
                yield f"{where}.{name}: {value!r} is not in its range, {space[key].told()}"
            else:
                yield from _never_looked_at(space, where, key, {keys[other]: point[other] for other in point})


def _never_looked_at(space: Mapping[str, Parameter], where: str, key: str, point: Mapping[Any, Any]) -> Iterator[str]:
    for name, allowed in space[key].when.items():
        parent = key_of(space, name)
        if parent in point and not any(point[parent] == value for value in allowed):
            yield f"{where}.{key}: is not searched when {name} is {point[parent]!r}; leave it out of the point"


def _clashes(search: Search, parts: Parts) -> Iterator[str]:
    """Fields of `train` that a trial may get, good each by itself, that contradict each other; one line or none."""
    fixed = parts["train"].model_dump()
    for values in corners(search.space, _JOINT):
        chosen = {key: value for key, value in values.items() if key.split(".")[-1] in _JOINT}
        try:
            Train.model_validate({**fixed, **{searchable_paths()[key][1]: chosen[key] for key in chosen}})
        except ValidationError as error:
            told = ", ".join(f"{key} {value!r}" for key, value in chosen.items())
            yield f"search.space: a trial may get {told}: {reason(error.errors()[0], Train)}"
            return


def _schedules_without_end(search: Search, parts: Parts) -> list[str]:
    """What is wrong with a schedule that a trial may get and that has nowhere to go; one line, or none."""
    mix = parts["mix"].model_dump()
    for values in corners(search.space, ("schedule", "final_ratio")):
        chosen = {**mix, **{key.split(".")[-1]: value for key, value in values.items()}}
        if chosen["schedule"] != "constant" and chosen["final_ratio"] is None:
            return [without_end(chosen["schedule"])]
    return []


def without_end(schedule: str) -> str:
    """What is wrong with a schedule of the mixing ratio that has no final ratio."""
    return (
        f"mix.schedule {schedule} needs a mixing ratio to end with: set mix.final_ratio (0 to 1), or mix.schedule to "
        "constant"
    )
