"""The Study: what a study file may say, as strict models. Every part forbids unknown keys (``sections``)."""

import itertools
from typing import Annotated, Any

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from hybridtune.mistakes import nearest, reason
from hybridtune.sections import Benchmarks, BenchmarkSource, Count, Data, Encoder, Mix, Part, Resources, Tiny, Train

__all__ = [
    "BenchmarkSource",
    "Benchmarks",
    "Data",
    "EarlyStopping",
    "Encoder",
    "Mix",
    "Parameter",
    "Part",
    "Resources",
    "Search",
    "Study",
    "Tiny",
    "Train",
    "searchable_paths",
    "without_end",
]

WholeNumbers = tuple[int, int]  # `int` is also the name of a field


class Parameter(Part):
    """The range of one searched value: exactly one of these."""

    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    int: WholeNumbers | None = None
    choice: list[Any] | None = Field(default=None, min_length=1)

    @field_validator("uniform", "loguniform", "int", mode="before")
    @classmethod
    def _list_is_a_range(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_range(self) -> "Parameter":
        if sum(value is not None for value in dict(self).values()) != 1:
            raise ValueError("give exactly one of uniform, loguniform, int, choice")
        low_high = self.uniform or self.loguniform or self.int
        if low_high is not None and not low_high[0] < low_high[1]:
            raise ValueError(f"{list(low_high)}: the low end must be below the high end")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError(f"loguniform {list(self.loguniform)}: both ends must be above 0")
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}

    def ends(self) -> list[Any]:
        """The values whose validity vouches for the whole range."""
        return list(self.uniform or self.loguniform or self.int or self.choice or [])

    def not_multiple_of(self, divisor: Any) -> Any:
        """A whole number that a trial may get and that is no multiple of ``divisor``; None if there is none."""
        numbers = [self.int[0], self.int[0] + 1] if self.int else self.choice or []  # one of any two neighbours
        return next((number for number in numbers if isinstance(number, int) and number % divisor), None)


class EarlyStopping(Part):
    """ASHA (Li et al. 2018, arXiv 1810.05934) on the first objective, in training steps."""

    grace_steps: Count | None = Field(default=None, description="no trial stops before; null: eval_steps")
    reduction_factor: Annotated[float, Field(gt=1.0)] = 3.0


class Search(Part):
    """What to search, for which goal, and for how long."""

    objective: list[str] = Field(default=["balanced/AP"], min_length=1)
    trials: Annotated[int, Field(ge=0)] = Field(default=12, description="searched trials, after the baselines")
    baselines: bool = True
    early_stopping: EarlyStopping | None = EarlyStopping()
    space: dict[str, Parameter] = Field(
        default={
            "mixing_ratio": Parameter(uniform=(0.0, 1.0)),
            "temperature": Parameter(loguniform=(0.01, 0.2)),
            "learning_rate": Parameter(loguniform=(1e-5, 1e-4)),
            "sampling_exponent": Parameter(uniform=(0.0, 1.0)),
        }
    )

    @field_validator("objective", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Study(Part):
    """A whole study file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: Data
    encoder: Encoder = Encoder()
    benchmarks: Benchmarks
    mix: Mix = Mix()
    train: Train = Train()
    resources: Resources = Resources()
    search: Search = Search()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "Study":
        problems = []
        if self.train.batch_size % self.resources.workers:
            problems.append(
                f"train.batch_size {self.train.batch_size} is not a multiple of resources.workers "
                f"{self.resources.workers}: every worker takes an equal slice of the batch"
            )
        names: dict[tuple[str, str], str] = {}
        for name, parameter in self.search.space.items():
            path = searchable_paths().get(name)
            if path is None:
                problems.append(f"search.space.{name}: no such field{nearest(name, searchable_paths())}")
                continue
            if names.setdefault(path, name) != name:
                problems.append(f"search.space.{name}: is the same field as {names[path]}")
            if path == ("train", "batch_size"):
                uneven = parameter.not_multiple_of(self.resources.workers)
                if uneven is not None:
                    problems.append(
                        f"search.space.{name}: {uneven} is not a multiple of resources.workers "
                        f"{self.resources.workers}; give a choice of multiples"
                    )
            for end in parameter.ends():
                try:
                    _part_with(self, path, end)
                except ValidationError as error:
                    problems.append(f"search.space.{name}: {end!r}: {reason(error.errors()[0], Study)}")
        if not problems:
            problems += self._clashes()
        problems += self._schedules_without_end()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _clashes(self) -> list[str]:
        """Fields of `train` that a trial may get, good each by itself, that contradict each other; one line or none."""
        space = self.search.space
        ends = {key: space[key].ends() for key in space if searchable_paths()[key] in _JOINT}
        for values in itertools.product(*ends.values()):
            chosen = dict(zip(ends, values, strict=True))
            try:
                Train.model_validate(
                    {**self.train.model_dump(), **{searchable_paths()[k][1]: chosen[k] for k in chosen}}
                )
            except ValidationError as error:
                told = ", ".join(f"{key} {value!r}" for key, value in chosen.items())
                return [f"search.space: a trial may get {told}: {reason(error.errors()[0], Study)}"]
        return []

    def _schedules_without_end(self) -> list[str]:
        """What is wrong with a schedule that a trial may get and that has nowhere to go; one line, or none."""
        schedules, ends = self._possible("schedule"), self._possible("final_ratio")
        moving = [schedule for schedule in schedules if schedule != "constant"]
        if not moving or None not in ends:
            return []
        return [without_end(moving[0])]

    def _possible(self, field: str) -> list[Any]:
        """The ends of a field's searched range, or its fixed value."""
        searched = [range_.ends() for name, range_ in self.search.space.items() if name.split(".")[-1] == field]
        return searched[0] if searched else [self.value(field)]

    @property
    def eval_steps(self) -> int:
        """Steps between two scores."""
        return self.train.eval_steps or max(1, -(-self.train.max_steps // 3))

    def with_values(self, values: dict[str, Any]) -> "Study":
        """This study with fields of a trial put in: ``{"temperature": 0.02, ...}``.

        Raises:
            ValidationError: a value its field does not allow.
        """
        tree = self.model_dump()
        for name, value in values.items():
            part, field = searchable_paths()[name]
            tree[part][field] = value
        return Study.model_validate(tree)

    def value(self, name: str) -> Any:
        """The fixed value of a searchable field, by its short or dotted name; a range is a list, as in a choice."""
        part, field = searchable_paths()[name]
        value = getattr(getattr(self, part), field)
        return list(value) if isinstance(value, tuple) else value


def without_end(schedule: str) -> str:
    """What is wrong with a schedule of the mixing ratio that has no final ratio."""
    return (
        f"mix.schedule {schedule} needs a mixing ratio to end with: set mix.final_ratio (0 to 1), or mix.schedule to "
        "constant"
    )


def _part_with(study: Study, path: tuple[str, str], value: Any) -> Part:
    part: Part = getattr(study, path[0])
    return type(part).model_validate({**part.model_dump(), path[1]: value})


_JOINT = {  # what `Train` allows together only
    ("train", field)
    for field in (
        *("temperature", "learn_temperature", "temperature_range"),
        *("lora_rank", "embeddings", "freeze_layers", "layer_decay"),
    )
}
_SAME_FOR_ALL = {"max_steps", "eval_steps", "patience", "keep_checkpoints"}  # all trials are compared by one rule


def searchable_paths() -> dict[str, tuple[str, str]]:
    """Names a search may use, short (``temperature``) and dotted (``train.temperature``) -> (part, field)."""
    parts: dict[str, type[Part]] = {"mix": Mix, "train": Train}
    paths = {}
    for part, model in parts.items():
        for field in (name for name in model.model_fields if name not in _SAME_FOR_ALL):
            paths[field] = paths[f"{part}.{field}"] = (part, field)
    return paths
