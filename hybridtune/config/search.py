"""The `search` section of a study file: what to search, by which sampler, for how long, and where it is kept."""

import functools
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)

from hybridtune.config.fields import A_LIST_IS_A_RANGE, Count, Mix, Part, Train
from hybridtune.config.hooks import HOOK_SCHEMA, check_form
from hybridtune.config.names import short_name
from hybridtune.errors import InputError, nearest

Value = TypeVar("Value")
Number = int | float  # `int` is also the name of a field
Whole = int
WholeNumbers = Annotated[tuple[int, int], A_LIST_IS_A_RANGE]
Numbers = Annotated[tuple[float, float], A_LIST_IS_A_RANGE]
Ends = tuple[float, float] | tuple[int, int]
RANGES = ("uniform", "loguniform", "int", "logint", "choice")
SAMPLERS = ["tpe", "cmaes", "gp", "nsga2", "nsga3", "random", "grid"]
MOST_VALUES = 10_000  # of a range that is still a list of values
PLACES = ("sqlite", "journal")  # storages in the study folder
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_URL = re.compile(r"^(sqlite|postgresql|mysql|mariadb)(\+\w+)?://")
_VARIABLE = re.compile(r"\$\{\w+\}")
_PASSWORD = re.compile(r"://[^/@:?]*:(?P<user>[^?]*)@|[?&](password|passwd)=(?P<query>[^&]*)")


class Parameter(Part):
    """The range of one searched value: exactly one of uniform, loguniform, int, logint, choice."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in RANGES]})

    uniform: Numbers | None = Field(default=None, description="[low, high]: a number, all alike likely")
    loguniform: Numbers | None = Field(default=None, description="[low, high]: a number, all magnitudes alike likely")
    int: WholeNumbers | None = Field(default=None, description="[low, high]: a whole number, both ends among them")
    logint: WholeNumbers | None = Field(default=None, description="[low, high]: a whole number, all magnitudes alike")
    choice: list[Any] | None = Field(default=None, min_length=1, description="one of these values")
    step: Number | None = Field(
        default=None, description="with uniform or int: only low, low + step, low + 2 step, ..."
    )
    when: dict[str, list[Any]] = Field(
        default={},
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
        ends = self.uniform or self.loguniform or self.int or self.logint
        if ends is not None and not ends[0] < ends[1]:
            raise ValueError(f"{list(ends)}: the low end must be below the high end")
        for name in ("loguniform", "logint"):
            if getattr(self, name) is not None and ends is not None and ends[0] <= 0:
                raise ValueError(f"{name} {list(ends)}: both ends must be above 0")
        self._check_step()
        for name, values in self.when.items():
            if not values:
                raise ValueError(f"when: {name} has no value; give one, or a list of them")
        return self

    def _check_step(self) -> None:
        if self.step is None:
            return
        ends = self.uniform or self.int
        if ends is None:
            raise ValueError("step goes with uniform or int only; list the values as a choice")
        if self.int is not None and self.step != round(self.step):
            raise ValueError(f"step {self.step}: of whole numbers, give a whole number")
        if not 0 < self.step <= ends[1] - ends[0]:
            raise ValueError(f"step {self.step}: must be above 0, and at most the {ends[1] - ends[0]:g} of the range")

    @model_serializer(mode="wrap")
    def _only_what_is_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value not in (None, {})}

    @property
    def low_high(self) -> Ends | None:
        """The range's two ends, both possible, or None of a choice. A step's last value is the high end."""
        ends = self.uniform or self.loguniform or self.int or self.logint
        if ends is None or self.step is None:
            return ends
        steps = int((ends[1] - ends[0]) / self.step + 1e-9)
        return (ends[0], self._at(steps))

    def _at(self, steps: Whole) -> Any:
        low = (self.uniform or self.int or self.logint or (0, 0))[0]
        value = low + steps * (self.step or 1) if steps else low
        return float(f"{value:.12g}") if self.uniform is not None else round(value)  # 0.1 + 2 * 0.1 is meant as 0.3

    def ends(self) -> list[Any]:
        """Return the values that are valid only if the whole range is."""
        return list(self.choice or self.low_high or [])

    def values(self) -> list[Any] | None:
        """Return all values where they can be counted; None: a range of numbers without a step, or of too many.

        Example:
            >>> Parameter(uniform=(0.0, 1.0), step=0.5).values()
            [0.0, 0.5, 1.0]
        """
        if self.choice is not None:
            return list(self.choice)
        low, high = self.low_high or (0, 0)
        if self.loguniform is not None or (self.uniform is not None and self.step is None):
            return None
        count = round((high - low) / (self.step or 1)) + 1
        return [self._at(index) for index in range(count)] if count <= MOST_VALUES else None

    def allows(self, value: Any) -> bool:
        """Return whether a trial may get the value."""
        if self.choice is not None:
            return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in self.choice)
        whole = self.int is not None or self.logint is not None
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            return False
        low, high = self.low_high or (0, 0)
        if not self.step:
            return bool(low <= value <= high)
        steps = (value - low) / self.step  # floats, and never quite whole
        return -1e-6 < steps < (high - low) / self.step + 1e-6 and abs(steps - round(steps)) < 1e-6

    def describe(self) -> str:
        """Return the range as the study file has it: ``uniform [0.0, 1.0]``."""
        name = next(name for name in RANGES if getattr(self, name) is not None)
        value = getattr(self, name)
        step = f", step {self.step:g}" if self.step is not None else ""
        return f"{name} {list(value)}{step}"

    def not_multiple_of(self, divisor: Any) -> Any:
        """Return a whole number that a trial may get and that is no multiple of ``divisor``, or None."""
        whole = self.int or self.logint
        if whole is None:
            numbers: Sequence[Any] = self.choice or []
        else:  # one of any two neighbours
            numbers = [whole[0], whole[0] + int(self.step or 1)]
        return next((number for number in numbers if isinstance(number, int) and number % divisor), None)


class EarlyStopping(Part):
    """What ends trials that fall behind: ASHA (Li et al. 2018, arXiv 1810.05934) or the median rule, in steps."""

    method: Literal["asha", "median"] = Field(
        default="asha", description="asha: the best 1/reduction_factor go on; median: who is above the median goes on"
    )
    metric: str | None = Field(default=None, description="metric by which trials are stopped; null: first objective")
    grace_steps: Count | None = Field(default=None, description="no trial stops before; null: eval_steps")
    reduction_factor: Annotated[float, Field(gt=1.0)] = Field(default=3.0, description="of asha")
    min_trials: Count = Field(default=3, description="of median: trials that must have got that far")


class Search(Part):
    """What to search, for which goal, and for how long."""

    objective: list[str] = Field(
        default=["balanced/AP"], min_length=1, description="one metric, or several (a Pareto front)"
    )
    trials: Annotated[int, Field(ge=0)] = Field(default=12, description="searched trials, after the baselines")
    baselines: bool = Field(default=True, description="first train mono-only, half-half and cross-only")
    sampler: Annotated[str, WithJsonSchema({"anyOf": [{"enum": SAMPLERS}, HOOK_SCHEMA]})] = Field(
        default="tpe", description="what proposes the values of a trial; one of your own: package.module:function"
    )
    points: list[dict[str, Any]] = Field(
        default=[],
        description="values to try first, after the baselines: {field: value}; the sampler proposes fields left out",
    )
    warm_start: str | None = Field(
        default=None,
        description="folder of an earlier study, or its Optuna storage (URL): its trials teach the sampler",
    )
    early_stopping: EarlyStopping | None = Field(
        default=EarlyStopping(), description="what ends trials that fall behind; null: nothing"
    )
    time_budget: str | None = Field(
        default=None, description="like 90s, 30m, 2h, 1d: no new trial and no further step after it"
    )
    step_budget: Count | None = Field(default=None, description="training steps of all trials together, at most")
    repeat_best: Annotated[int, Field(ge=0)] = Field(
        default=0, description="further seeds for the best trial and each baseline, to tell gain from noise"
    )
    storage: str = Field(
        default="sqlite",
        description="where Optuna keeps the trials: sqlite or journal (files in the study folder), or the URL of a "
        "PostgreSQL, MySQL or SQLite database; write passwords as ${VARIABLE}",
    )
    loggers: list[Literal["wandb", "mlflow"]] = Field(
        default=[], description="also report to these, beside the TensorBoard events"
    )
    space: dict[str, Parameter] = Field(
        default={
            "mix.mixing_ratio": Parameter(uniform=(0.0, 1.0)),
            "train.temperature": Parameter(loguniform=(0.01, 0.2)),
            "train.learning_rate": Parameter(loguniform=(1e-5, 1e-4)),
            "mix.sampling_exponent": Parameter(uniform=(0.0, 1.0)),
        },
        description="what is searched: {field: range}",
    )

    @field_validator("space", mode="before", json_schema_input_type=dict[str, Parameter])
    @classmethod
    def _ranges_alone(cls, value: Any) -> Any:
        items = value.items() if isinstance(value, dict) else ()
        plain = [_not_a_range(name, given) for name, given in items if not isinstance(given, dict | Parameter)]
        if plain:
            raise ValueError("\n".join(plain))
        return value

    @field_validator("space")
    @classmethod
    def _full_names(cls, value: dict[str, Parameter]) -> dict[str, Parameter]:
        return full_names(value)

    @field_validator("points")
    @classmethod
    def _full_names_of_points(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [full_names(point) for point in value]

    @field_validator("objective", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("objective", "loggers")
    @classmethod
    def _each_once(cls, values: list[str]) -> list[str]:
        twice = next((value for index, value in enumerate(values) if value in values[:index]), None)
        if twice is not None:
            raise ValueError(f"{twice} stands twice; give each once")
        return values

    @field_validator("sampler")
    @classmethod
    def _a_sampler(cls, value: str) -> str:
        if value not in SAMPLERS and ":" not in value:
            raise ValueError(f"{value!r} is not a sampler; choose {', '.join(SAMPLERS)}, or package.module:function")
        return value if value in SAMPLERS else check_form(value)

    @field_validator("time_budget")
    @classmethod
    def _a_span_of_time(cls, value: str | None) -> str | None:
        if value is not None:
            seconds(value)
        return value

    @field_validator("storage")
    @classmethod
    def _a_place(cls, value: str) -> str:
        if value not in PLACES and not is_url(value) and not _VARIABLE.fullmatch(value):
            raise ValueError(
                f"{masked_url(value)!r} is no storage; give sqlite, journal, or a URL like "
                "postgresql://user:${PASSWORD}@host/database"
            )
        return value

    @field_validator("storage", "warm_start")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        if value is not None and masked_url(value) != value:
            raise ValueError(
                f"{masked_url(value)} holds a password, which would stand in study.yaml; write ${{VARIABLE}} in its "
                "place and export VARIABLE"
            )
        return value


def seconds(budget: str) -> float:
    """Return the seconds of a time budget: ``90s``, ``30m``, ``1.5h``, ``1d``.

    Raises:
        ValueError: it is not written like that, or is 0.

    Example:
        >>> seconds("1.5h")
        5400.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", budget)
    if match is None or not float(match[1]):
        raise ValueError(f"{budget!r} is no span of time; write it like 90s, 30m, 2h or 1d")
    return float(match[1]) * SECONDS[match[2]]


def is_url(storage: str) -> bool:
    """Return whether a storage is a database's URL, not a file or folder.

    Example:
        >>> is_url("sqlite:///trials.db"), is_url("journal")
        (True, False)
    """
    return _URL.match(storage) is not None


def fill_variables(text: str, where: str, otherwise: str = "") -> str:
    """Fill in the ``${VARIABLE}`` of a text from the environment.

    Args:
        text: of the study file.
        where: it stands, the beginning of a message.
        otherwise: what else can be done about a variable that is not set, the end of a message.

    Raises:
        InputError: a variable is not set.

    Example:
        >>> fill_variables("sqlite:///trials.db", "search.storage ")
        'sqlite:///trials.db'
    """

    def fill(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if value is None:
            raise InputError(
                f"{where}{text}: the variable {match[1]} is not set; set it (export {match[1]}=...){otherwise}"
            )
        return value

    return re.sub(r"\$\{(\w+)\}", fill, text)


def masked_url(url: str) -> str:
    """Return a storage's URL with ``***`` for its password; a ``${VARIABLE}`` in its place is no secret.

    Example:
        >>> masked_url("mysql://me:secret@host/trials")
        'mysql://me:***@host/trials'
    """

    def mask(match: re.Match[str]) -> str:
        name = "user" if match["user"] is not None else "query"
        secret = match[name]
        if not secret or _VARIABLE.fullmatch(secret):
            return match[0]
        start, end = match.start(name) - match.start(), match.end(name) - match.start()
        return f"{match[0][:start]}***{match[0][end:]}"

    return _PASSWORD.sub(mask, url)


Space = Mapping[str, Parameter]

_SAME_FOR_ALL = ("max_steps", "eval_steps", "patience", "keep_checkpoints")
_REFUSED = {  # sections and fields that no trial may change, and why
    **dict.fromkeys([f"train.{name}" for name in _SAME_FOR_ALL], "all trials are trained and compared by one rule"),
    **dict.fromkeys(
        ["encoder.query_length", "encoder.passage_length", "encoder.query_prefix", "encoder.passage_prefix"],
        "texts are tokenised once, for all trials",
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
    """Return the names that a study file may use for a searchable field, short and full, and the full one of each.

    Example:
        >>> field_names()["temperature"], field_names()["train.temperature"], field_names()["seed"]
        ('train.temperature', 'train.temperature', 'seed')
    """
    names = {"seed": "seed", "pooling": "encoder.pooling", "encoder.pooling": "encoder.pooling"}
    sections: dict[str, type[Part]] = {"mix": Mix, "train": Train}
    for section, model in sections.items():
        for field in (name for name in model.model_fields if name not in _SAME_FOR_ALL):
            names[field] = names[f"{section}.{field}"] = f"{section}.{field}"
    return names


def full_names(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return values by field with every field under its full name, ``section.field``; unknown names stay.

    Raises:
        ValueError: two names stand for one field.

    Example:
        >>> full_names({"temperature": 0.05, "mix.mixing_ratio": 1.0})
        {'train.temperature': 0.05, 'mix.mixing_ratio': 1.0}
    """
    written: dict[str, str] = {}
    for name in values:
        other = written.setdefault(field_names().get(name, name), name)
        if other != name:
            raise ValueError(f"{other} and {name} are the same field; give it once")
    return {full: values[name] for full, name in written.items()}


def not_searchable(name: str) -> str:
    """Return why a search may not use a name: the reason for a field that exists, else the nearest name."""
    dotted = f"train.{name}" if name in _SAME_FOR_ALL else name
    short = {short_name(key): key for key in _REFUSED if key.startswith("encoder.")}
    why = _REFUSED.get(dotted) or _REFUSED.get(short.get(name, "")) or _REFUSED.get(name.partition(".")[0])
    return f"cannot be searched: {why}" if why else f"no such field{nearest(name, field_names())}"


def _not_a_range(name: str, value: Any) -> str:
    field = field_names().get(name)
    if field is None:
        return f"{name}: {not_searchable(name)}"
    return f"{name}: {value!r} is not a range; set {field} in the file instead"


def active(space: Space, key: str, values: Mapping[str, Any]) -> bool:
    """Return whether a field is searched in a trial, by what its ``when`` names.

    Args:
        space: all searched fields.
        key: one of them.
        values: of the searched fields before it; those not searched in this trial are left out.

    Example:
        >>> space = {"train.lora_alpha": Parameter(int=(8, 32), when={"train.lora_rank": [16]})}
        >>> active(space, "train.lora_alpha", {"train.lora_rank": 8})
        False
    """
    return all(parent in values and _among(values[parent], allowed) for parent, allowed in space[key].when.items())


def _among(value: Any, allowed: Sequence[Any]) -> bool:
    if isinstance(value, float):
        return any(isinstance(one, int | float) and math.isclose(value, one) for one in allowed)  # 3 * 0.1 is 0.3
    return value in allowed


def in_order(space: Space) -> list[str]:
    """Return the searched fields, each after those that its ``when`` names, otherwise in the order of the file.

    Raises:
        ValueError: they name each other in a circle.

    Example:
        >>> in_order({"mix.final_ratio": Parameter(choice=[0.5], when={"mix.schedule": ["linear"]}),
        ...           "mix.schedule": Parameter(choice=["constant", "linear"])})
        ['mix.schedule', 'mix.final_ratio']
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
        fields: of those that are searched, and of what their ``when`` names, every combination of ends is yielded
            that a trial may get. Fields that are not searched then are left out: they keep their value.

    Example:
        >>> list(corners({"train.batch_size": Parameter(int=(8, 64))}, ["train.batch_size"]))
        [{'train.batch_size': 8}, {'train.batch_size': 64}]
    """
    wanted = {key for key in space if key in fields}
    for key in reversed(in_order(space)):  # children before parents
        if key in wanted:
            wanted |= {parent for parent in space[key].when if parent in space}
    ends = {key: [*space[key].ends()] for key in in_order(space) if key in wanted}
    for key in ends:
        for parent, values in space[key].when.items():
            ends[parent] += [value for value in values if value not in ends[parent]]
    yield from _combinations(space, ends, {})


def _combinations(space: Space, ends: Mapping[str, list[Any]], chosen: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not ends:
        yield dict(chosen)
        return
    (key, values), *rest = ends.items()
    if not active(space, key, chosen):
        yield from _combinations(space, dict(rest), chosen)
        return
    for value in values:
        yield from _combinations(space, dict(rest), {**chosen, key: value})
