"""The checks of a search before anything starts: fields, bounds, conditions, points, contradictions."""

from collections.abc import Callable, Iterator, Mapping

from pydantic import ConfigDict, TypeAdapter, ValidationError

from hybridtune.config.constraints import parse_constraint
from hybridtune.config.fields import Data, Mix, Part, Seed
from hybridtune.config.names import ENDING, short_name
from hybridtune.config.search import Search
from hybridtune.config.space import DATA_SET_WEIGHTS, corners, full_name, in_order, not_searchable, put_value
from hybridtune.config.training import Train
from hybridtune.config.validation import reason
from hybridtune.errors import InputError, nearest

Parts = Mapping[str, Part]
_SEED: TypeAdapter[int] = TypeAdapter(Seed, config=ConfigDict(strict=True))
_JOINT = (  # what `Train` allows together only
    *("train.temperature", "train.learn_temperature", "train.temperature_range"),
    *("train.lora_rank", "train.freeze_layers", "train.layer_decay"),
)


def search_problems(search: Search, parts: Parts) -> list[str]:
    """Return everything that is wrong with a search, a line each; ``parts`` are the study's other sections by name."""
    problems = [*_field_problems(search, parts), *_batch_problems(search, parts), *_soup_problems(search)]
    problems += [*_constraint_problems(search), *_fidelity_problems(search, parts), *_screening_problems(search, parts)]
    conditions = list(_condition_problems(search))
    if not problems and not conditions:
        problems = [*_point_problems(search), *_of_corners(_clashes, search, parts)]
    return [*problems, *(conditions or _of_corners(_schedules_without_end, search, parts))]


def _of_corners(check: Callable[[Search, Parts], Iterator[str]], search: Search, parts: Parts) -> list[str]:
    """Return the lines of a check of combinations of values, or that there are too many."""
    try:
        return list(check(search, parts))
    except InputError as error:
        return [str(error)]


def _field_problems(search: Search, parts: Parts) -> Iterator[str]:
    for name, parameter in search.space.items():
        if full_name(name) is None:
            yield f"search.space.{name}: {not_searchable(name)}"
            continue
        section = name.partition(".")[0]
        for end in parameter.ends():
            try:
                if section in parts:
                    tree = {section: parts[section].model_dump()}
                    put_value(tree, name, end)
                    type(parts[section]).model_validate(tree[section])
                else:
                    _SEED.validate_python(end)
            except ValidationError as error:
                yield f"search.space.{name}: {end!r}: {reason(error.errors()[0], Part)}"


def _constraint_problems(search: Search) -> Iterator[str]:
    for text in search.constraints:
        contestant = parse_constraint(text).contestant
        if contestant is not None and search.arms != "searched":
            yield (
                f"search.constraints: {text}: {contestant} is trained after the search with search.arms {search.arms}; "
                "give a number, or set search.arms to searched"
            )


def _fidelity_problems(search: Search, parts: Parts) -> Iterator[str]:
    train = parts["train"].model_dump()
    last = train["max_steps"]
    between = train["eval_steps"] or max(1, -(-last // 3))  # as `Study.eval_steps`
    before = 0
    for index, rung in enumerate(search.fidelities):
        where = f"search.fidelities.{index}.steps {rung.steps}"
        if not before < rung.steps < last:
            yield f"{where}: is not between {before} and {last} (train.max_steps); rungs rise, and end before it"
        elif rung.steps % between:
            yield (
                f"{where}: no score is taken there; give a multiple of the {between} steps between two scores "
                "(train.eval_steps)"
            )
        before = rung.steps
    if search.stop_within_noise and len(search.objective) > 1:
        yield f"search.stop_within_noise: goes by one objective, not by {len(search.objective)}; leave it out"
    stopping = search.early_stopping
    if search.stop_within_noise and stopping and stopping.method == "paired":
        metric = stopping.metric
        if metric not in (None, search.objective[0]):
            yield (
                f"search.early_stopping.metric {metric}: with search.stop_within_noise trials are compared by the "
                f"objective, {search.objective[0]}; leave one of the two out"
            )
    if search.fidelities and len(search.objective) > 1:
        yield f"search.fidelities: go by one objective, not by {len(search.objective)}; leave them out"


def _screening_problems(search: Search, parts: Parts) -> Iterator[str]:
    screening = search.screening
    if screening is None:
        return
    searched = search.space.get("train.freeze_layers")
    frozen = max([parts["train"].model_dump()["freeze_layers"], *(searched.ends() if searched else ())])
    if frozen >= screening.layers:
        yield (
            f"search.screening.layers {screening.layers}: train.freeze_layers {frozen} leaves none of them to be "
            f"trained; give at least {frozen + 1}, or freeze fewer"
        )
    set_before = max(len(search.points), int(search.arms == "searched"))  # values of an arm that the file sets
    drawn, room = screening.trials - set_before, search.trials - set_before
    if screening.keep >= drawn:
        yield (
            f"search.screening.keep {screening.keep}: is not below the {max(0, drawn)} points that are drawn for an "
            f"arm, search.screening.trials {screening.trials} less those that the file sets; give fewer, or more trials"
        )
    if screening.keep > room:
        yield (
            f"search.screening.keep {screening.keep}: the search of an arm has room for {max(0, room)}, search.trials "
            f"{search.trials} less those that the file sets; give fewer, or raise search.trials"
        )
    if len(search.objective) > 1:
        yield f"search.screening: goes by one objective, not by {len(search.objective)}; leave it out"
    if search.sampler == "grid":
        yield "search.screening: search.sampler grid tries every combination anyway; leave one of the two out"
    if not search.space:
        yield "search.screening: search.space is empty, and there is nothing to choose; leave it out"


def data_set_problems(search: Search, data: Data, mix: Mix) -> Iterator[str]:
    """Yield a line for each weight, fixed or searched, of a data set that the study does not have."""
    names = [data_set.name for data_set in data.train]
    fixed = [f"{DATA_SET_WEIGHTS}.{key}" for key in mix.data_set_weights]
    searched = [f"search.space.{name}" for name in search.space if name.startswith(f"{DATA_SET_WEIGHTS}.")]
    for name in [*fixed, *searched]:
        data_set = name.rpartition(".")[2]
        if data_set not in names:
            yield f"{name}: data.train has no data set of that name{nearest(data_set, names)}"


def _batch_problems(search: Search, parts: Parts) -> Iterator[str]:
    workers, sizes = parts["resources"].model_dump()["workers"], search.space.get("train.batch_size")
    # `auto` becomes a number that divides all batches.
    uneven = sizes.not_multiple_of(workers) if sizes is not None and workers != "auto" else None
    if uneven is not None:
        yield (
            f"search.space.train.batch_size: {uneven} is not a multiple of resources.workers {workers}; give a choice "
            "of multiples, or a step"
        )


def _soup_problems(search: Search) -> Iterator[str]:
    for name in ("soups", "soup_trials"):
        count = getattr(search, name)
        if count and search.arms == "none":
            yield (
                f"search.{name} {count}: averages the weights of fixed mixing ratios, which search.arms none does not "
                f"train; set search.arms to searched or rerun, or search.{name} to 0"
            )


def _condition_problems(search: Search) -> Iterator[str]:
    space = search.space
    for name, parameter in space.items():
        for other, values in parameter.when.items():
            where = f"search.space.{name}: when {other}: "
            if other not in space:
                yield where + (
                    "is not searched; add it to search.space, or leave the condition out"
                    if full_name(other) is not None
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


def _point_problems(search: Search) -> Iterator[str]:
    space = search.space
    if len(search.points) > search.trials:
        yield f"search.points: {len(search.points)} points, but search.trials is {search.trials}; raise it"
    for index, point in enumerate(search.points):
        where = f"search.points.{index}"
        if not point:
            yield f"{where}: has no value; give {{field: value}}"
        for name, value in point.items():
            if name not in space:
                known = full_name(name) is not None
                why = f"is not searched; searched are {', '.join(space)}" if known else not_searchable(name)
                yield f"{where}.{name}: {why}"
            elif not space[name].allows(value):
                yield f"{where}.{name}: {value!r} is not in its range, {space[name].describe()}"
            else:
                yield from (
                    f"{where}.{name}: is not searched when {parent} is {point[parent]!r}; leave it out of the point"
                    for parent, allowed in space[name].when.items()
                    if parent in point and point[parent] not in allowed
                )


def _clashes(search: Search, parts: Parts) -> Iterator[str]:
    """Yield one line where a trial may get fields of `train` that are good each by itself and contradict each other."""
    fixed = parts["train"].model_dump()
    for values in corners(search.space, _JOINT):
        chosen = {short_name(key): value for key, value in values.items() if key in _JOINT}
        try:
            Train.model_validate({**fixed, **chosen})
        except ValidationError as error:
            given = ", ".join(f"train.{key} {value!r}" for key, value in chosen.items())
            yield f"search.space: a trial may get {given}: {reason(error.errors()[0], Train)}"
            return


def _schedules_without_end(search: Search, parts: Parts) -> Iterator[str]:
    """Yield one line where a trial may get a schedule without a final ratio."""
    mix = parts["mix"].model_dump()
    for values in corners(search.space, ("mix.schedule", "mix.final_ratio")):
        chosen = {**mix, **{short_name(key): value for key, value in values.items()}}
        if chosen["schedule"] in ENDING and chosen["final_ratio"] is None:
            yield without_end(chosen["schedule"])
            return


def without_end(schedule: str) -> str:
    """Return the message on a schedule of the mixing ratio that has no final ratio."""
    return (
        f"mix.schedule {schedule} needs a mixing ratio to end with: set mix.final_ratio (0 to 1), or mix.schedule to "
        "constant"
    )
