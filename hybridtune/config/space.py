"""The search space of a study file: the ranges, the fields that may be searched, their order and their corners."""

import functools
import math
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, field_validator, model_serializer, model_validator
from pydantic import SerializerFunctionWrapHandler as Handler

from hybridtune.config.fields import A_LIST_IS_A_RANGE, Mix, Part
from hybridtune.config.names import short_name
from hybridtune.config.training import Train
from hybridtune.errors import InputError, nearest

Value = TypeVar("Value")
Number = int | float  # `int` is also the name of a field
Whole = int
WholeNumbers = Annotated[tuple[int, int], A_LIST_IS_A_RANGE]
Numbers = Annotated[tuple[float, float], A_LIST_IS_A_RANGE]
RANGES = ("uniform", "loguniform", "int", "logint", "choice")
MOST_VALUES = 10_000  # of a range that is still a list of values
MOST_CORNERS = 500  # that are checked one by one


class Parameter(Part):
    """The range of one searched value: exactly one of uniform, loguniform, int, logint, choice."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in RANGES]})

    uniform: Numbers | None = Field(default=None, description="[low, high]: a number, all alike likely")
    loguniform: Numbers | None = Field(default=None, description="[low, high]: a number, all magnitudes alike likely")
    int: WholeNumbers | None = Field(default=None, description="[low, high]: a whole number, both ends among them")
    logint: WholeNumbers | None = Field(default=None, description="[low, high]: a whole number, all magnitudes alike")
    choice: list[Any] | None = Field(default=None, min_length=1, max_length=1000, description="one of these values")
    step: Number | None = Field(
        default=None, description="with uniform or int: only low, low + step, low + 2 step, ..."
    )
    when: dict[str, Annotated[list[Any], Field(max_length=1000)]] = Field(
        default={},
        max_length=100,
        description="{another searched field: value or list of values}: only searched in trials where that field has "
        "one of these values; in the others the field keeps its fixed value",
    )

    @field_validator("when", mode="before", json_schema_input_type=dict[str, Any])
    @classmethod
    def _one_value_is_a_list(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: values if isinstance(values, list) else [values] for name, values in value.items()}

    @field_validator("when")
    @classmethod
    def _full_names(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return full_names(value)

    @model_validator(mode="after")
    def _one_range(self) -> "Parameter":
        if sum(getattr(self, name) is not None for name in RANGES) != 1:
            raise ValueError(f"give exactly one of {', '.join(RANGES)}")
        low, high = self._bounds or (1, 2)
        if not low < high:
            raise ValueError(f"{[low, high]}: the low end must be below the high end")
        if (self.loguniform or self.logint) and low <= 0:
            raise ValueError(f"{'logint' if self.logint else 'loguniform'} {[low, high]}: both ends must be above 0")
        if self.step is not None:
            if not (self.uniform or self.int):
                raise ValueError("step goes with uniform or int only; list the values as a choice")
            if self.int and self.step != round(self.step):
                raise ValueError(f"step {self.step}: of whole numbers, give a whole number")
            if not 0 < self.step <= high - low:
                raise ValueError(f"step {self.step}: must be above 0, and at most the {high - low:g} of the range")
        for name, values in self.when.items():
            if not values:
                raise ValueError(f"when: {name} has no value; give one, or a list of them")
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_given(self, handler: Handler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value not in (None, {})}

    @property
    def _bounds(self) -> tuple[float, float] | None:
        return self.uniform or self.loguniform or self.int or self.logint

    def _at(self, steps: Whole) -> Any:
        """Return the value that lies so many steps above the low end."""
        low = (self._bounds or (0, 0))[0]
        value = low + steps * (self.step or 1) if steps else low
        return float(f"{value:.12g}") if self.uniform is not None else round(value)  # 0.1 + 2 * 0.1 is meant as 0.3

    def ends(self) -> list[Any]:
        """Return values that are valid only if the whole range is: all of a choice, else the lowest and the highest."""
        if self._bounds is None or self.step is None:
            return list(self.choice or self._bounds or [])
        low, high = self._bounds
        return [low, self._at(int((high - low) / self.step + 1e-9))]

    def values(self) -> list[Any] | None:
        """Return all values where they can be counted; None: numbers without a step, or more than `MOST_VALUES`.

        Example:
            >>> Parameter(uniform=(0.0, 1.0), step=0.5).values()
            [0.0, 0.5, 1.0]
        """
        if self.choice is not None:
            return list(self.choice)
        if self.loguniform is not None or (self.uniform is not None and self.step is None):
            return None
        low, high = self.ends()
        count = round((high - low) / (self.step or 1)) + 1
        return [self._at(index) for index in range(count)] if count <= MOST_VALUES else None

    def allows(self, value: Any) -> bool:
        """Return whether a trial may get the value."""
        if self.choice is not None:
            return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in self.choice)
        whole = self.int is not None or self.logint is not None
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            return False
        low, high = self.ends()
        if not self.step:
            return bool(low <= value <= high)
        steps = (value - low) / self.step  # floats, and never quite whole
        return bool(-1e-6 < steps < (high - low) / self.step + 1e-6 and abs(steps - round(steps)) < 1e-6)

    def describe(self) -> str:
        """Return the range as the study file has it: ``uniform [0.0, 1.0]``."""
        name, value = next((name, value) for name in RANGES if (value := getattr(self, name)) is not None)
        return f"{name} {list(value)}" + (f", step {self.step:g}" if self.step is not None else "")

    def not_multiple_of(self, divisor: Any) -> Any:
        """Return a whole number that a trial may get and that is no multiple of ``divisor``, or None."""
        whole = self.int or self.logint
        # Of any two neighbours one is no multiple.
        numbers: Sequence[Any] = [whole[0], whole[0] + int(self.step or 1)] if whole else self.choice or []
        return next((number for number in numbers if isinstance(number, int) and number % divisor), None)


Space = Mapping[str, Parameter]

DATA_SET_WEIGHTS = "mix.data_set_weights"  # a mapping, of which each value is a field of the search
_SAME_FOR_ALL = ("max_steps", "eval_steps", "scores", "patience", "keep_checkpoints", "hang_timeout")
_NOT_SEARCHED = (*_SAME_FOR_ALL, "teacher_projection", short_name(DATA_SET_WEIGHTS))
_REFUSED = {  # sections and fields that no trial may change, and why
    **dict.fromkeys([f"train.{name}" for name in _SAME_FOR_ALL], "all trials are trained and compared by one rule"),
    "train.teacher_projection": "it makes the form of the model, and all trials train one",
    **dict.fromkeys(
        ["encoder.query_length", "encoder.passage_length", "encoder.query_prefix", "encoder.passage_prefix"],
        "texts are tokenised once, for all trials",
    ),
    **dict.fromkeys(
        [DATA_SET_WEIGHTS, short_name(DATA_SET_WEIGHTS)],
        "a range is of one data set's weight; write data_set_weights.NAME, with a name of data.train",
    ),
    "encoder": "all trials start from one encoder; run a study for each",
    "resources": "what a trial runs on is no hyperparameter; its batch is the same on any number of workers",
    "data": "all trials train on one token store; mix.weights and mix.sampling_exponent change what is drawn of it",
    "benchmarks": "all trials are compared on one benchmark",
    "search": "a search does not search itself",
    "name": "all trials are of one study",
}


@functools.cache
def field_names() -> dict[str, str]:
    """Return the full name of each searchable field by each name that a study file may use: full and short.

    Weights of data sets are not among them, see `full_name`.

    Example:
        >>> field_names()["temperature"], field_names()["train.temperature"], field_names()["seed"]
        ('train.temperature', 'train.temperature', 'seed')
    """
    names = {"seed": "seed", "pooling": "encoder.pooling", "encoder.pooling": "encoder.pooling"}
    for section, fields in (("mix", Mix.model_fields), ("train", Train.model_fields)):
        for field in [name for name in fields if name not in _NOT_SEARCHED]:
            names[field] = names[f"{section}.{field}"] = f"{section}.{field}"
    return names


def full_name(name: str) -> str | None:
    """Return the full name of a searchable field by any of its names; None: there is no such field.

    Example:
        >>> full_name("temperature"), full_name("data_set_weights.news"), full_name("tempratur")
        ('train.temperature', 'mix.data_set_weights.news', None)
    """
    mapping, _, key = name.rpartition(".")
    if mapping and mapping in (DATA_SET_WEIGHTS, short_name(DATA_SET_WEIGHTS)):
        return f"{DATA_SET_WEIGHTS}.{key}"
    return field_names().get(name)


def put_value(tree: MutableMapping[str, Any], name: str, value: Any) -> None:
    """Set a field, by its full name, in a study or a part of it as plain values."""
    *sections, field = name.split(".")
    for section in sections:
        tree = tree[section]
    tree[field] = value


def full_names(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return values by field with every field under its full name, ``section.field``; unknown names stay.

    Raises:
        ValueError: one field is given under both of its names.
    """
    written: dict[str, str] = {}
    for name in values:
        other = written.setdefault(full_name(name) or name, name)
        if other != name:
            raise ValueError(f"{other} and {name} are the same field; give it once")
    return {full: values[name] for full, name in written.items()}


def not_searchable(name: str) -> str:
    """Return why a search may not use a name: the reason for a field that exists, else the nearest name."""
    dotted = f"train.{name}" if f"train.{name}" in _REFUSED else name
    short = {short_name(key): key for key in _REFUSED if key.startswith("encoder.")}
    why = _REFUSED.get(dotted) or _REFUSED.get(short.get(name, "")) or _REFUSED.get(name.partition(".")[0])
    return f"cannot be searched: {why}" if why else f"no such field{nearest(name, field_names())}"


def active(space: Space, key: str, values: Mapping[str, Any]) -> bool:
    """Return whether a field is searched in a trial, given the values of the searched fields before it."""
    return all(parent in values and _among(values[parent], allowed) for parent, allowed in space[key].when.items())


def _among(value: Any, allowed: Sequence[Any]) -> bool:
    if isinstance(value, float):
        return any(isinstance(one, int | float) and math.isclose(value, one) for one in allowed)  # 3 * 0.1 is 0.3
    return value in allowed


def in_order(space: Space) -> list[str]:
    """Return the searched fields, each after those that its ``when`` names, otherwise in the order of the file.

    Raises:
        ValueError: they name each other in a circle.
    """
    left, done = list(space), list[str]()
    while left:
        ready = next((key for key in left if not any(name in left for name in space[key].when)), None)
        if ready is None:
            raise ValueError(f"{', '.join(left)}: their `when` name each other in a circle; leave one out")
        left.remove(ready)
        done.append(ready)
    return done


def corners(space: Space, fields: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the values of some fields at which a study could turn out impossible: if these work, all between do.

    Args:
        space: all searched fields.
        fields: every combination of ends is yielded that a trial may get of the searched ones among these, and of what
            their ``when`` names. Fields that are not searched in it are left out: they keep their value.

    Raises:
        InputError: they are more than `MOST_CORNERS`.

    Example:
        >>> list(corners({"train.batch_size": Parameter(int=(8, 64))}, ["train.batch_size"]))
        [{'train.batch_size': 8}, {'train.batch_size': 64}]
    """
    wanted = {key for key in space if key in fields}
    for key in reversed(in_order(space)):  # children before parents
        if key in wanted:
            wanted |= {parent for parent in space[key].when if parent in space}
    ends = {key: space[key].ends() for key in in_order(space) if key in wanted}
    for key in ends:
        for parent, values in space[key].when.items():
            ends[parent] += [value for value in values if value not in ends[parent]]
    count = math.prod(len(values) for values in ends.values())
    if count > MOST_CORNERS:
        raise InputError(
            f"search.space: {', '.join(ends)} make {count:,} combinations to check, and {MOST_CORNERS} "
            "is the most; give fewer values, or a range in place of a choice"
        )
    yield from _combinations(space, ends, {})


def _combinations(space: Space, ends: Mapping[str, list[Any]], chosen: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not ends:
        yield dict(chosen)
        return
    (key, values), *rest = ends.items()
    for added in [{key: value} for value in values] if active(space, key, chosen) else [{}]:
        yield from _combinations(space, dict(rest), chosen | added)
