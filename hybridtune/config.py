"""The Study: what a study file may say, as strict models. Every part forbids unknown keys."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from hybridtune.mistakes import nearest, reason

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")]


class Part(BaseModel):
    """A section of the study file: unknown keys are errors, values are not coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


WholeNumbers = tuple[int, int]  # `int` is also the name of a field


class Data(Part):
    """The question-passage pairs to train on."""

    train: list[str] = Field(min_length=1, description="files, folders or globs of the native format")
    language_limits: dict[Language, Annotated[int, Field(ge=0)]] = Field(
        default={}, description="most training groups a language may have; 0 makes it zero-shot"
    )
    store: str | None = Field(default=None, description="folder of the token stores; default: the user's cache")

    @field_validator("train", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Tiny(Part):
    """The size of the `tiny` encoder, built on the spot."""

    vocab_size: Count = 4000
    hidden_size: Count = 128
    layers: Count = 2
    heads: Count = 2


class Encoder(Part):
    """The encoder shared by queries and passages."""

    name: str = Field(default="tiny", description="a model folder, a hub name, or `tiny`")
    pooling: Literal["mean", "cls"] = "mean"
    query_prefix: str = "query: "
    passage_prefix: str = "passage: "
    query_length: Annotated[int, Field(ge=4)] = 96
    passage_length: Annotated[int, Field(ge=4)] = 160
    trust_remote_code: bool = False
    tiny: Tiny = Tiny()


class BenchmarkSource(Part):
    """A benchmark to score on, or a part of one."""

    path: str
    documents: tuple[int, int] | None = Field(
        default=None, description="[first, after the last] document of the benchmark"
    )
    languages: list[Language] | None = None
    language: Language | None = Field(
        default=None, description="language of texts that do not name theirs (BEIR, TREC files)"
    )
    split: str | None = Field(
        default=None, description="which topics and qrels, like dev; null: test, else dev, else the only one"
    )
    low_resource: list[Language] = Field(
        default=[], description="languages whose means are also shown apart from the others'"
    )

    @field_validator("documents", mode="before")
    @classmethod
    def _list_is_a_range(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _range_runs_forward(self) -> "BenchmarkSource":
        if self.documents is not None and not 0 <= self.documents[0] < self.documents[1]:
            raise ValueError(f"documents {list(self.documents)}: give [first, after the last], 0 <= first < last")
        return self


class Benchmarks(Part):
    """`dev` steers the search; `test` scores the best model once, at the end."""

    dev: BenchmarkSource
    test: BenchmarkSource | None = None


class Mix(Part):
    """How batches are made of monolingual and cross-lingual pairs."""

    mixing_ratio: Ratio = Field(default=0.5, description="share of batches that are mono")
    sampling_exponent: Ratio = Field(
        default=0.5,
        description="languages and pairs are drawn with probability ~ size^s: 0 uniform, 1 by size",
    )
    cross_batch: Literal["mixed", "single_pair"] = "mixed"


class Train(Part):
    """One fit. Names are those of Hugging Face where they mean the same."""

    batch_size: Annotated[int, Field(ge=2)] = Field(default=32, description="pairs in the global batch")
    max_steps: Count = 300
    learning_rate: Positive = 3e-5
    temperature: Positive = 0.05
    symmetric: bool = False
    negatives: Annotated[int, Field(ge=0)] = Field(
        default=1, description="hard negatives a pair is given, from those that the data has; 0 ignores them"
    )
    weight_decay: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.01
    warmup_ratio: Ratio = 0.1
    max_grad_norm: Positive = 1.0
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] | None = Field(
        default=None, description="null keeps the encoder's own"
    )
    precision: Literal["auto", "float32", "bf16"] = "auto"
    eval_steps: Count | None = Field(
        default=None, description="steps between two scores (and checkpoints); null: a third of max_steps"
    )


class Resources(Part):
    """What one trial takes, and how many run at once."""

    workers: Count = 1
    cpus_per_worker: Count = 1
    gpus_per_worker: Annotated[float, Field(ge=0.0)] = 0.0
    evaluators: Count | None = Field(default=None, description="at most; null: one per GPU, else one per core")
    min_evaluators: Count | None = Field(
        default=None, description="`evaluate` starts with so many and adds while work waits; null: all from the start"
    )
    concurrent_trials: Count | None = Field(default=None, description="null: as many as the machine holds")


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
    space: dict[str, Parameter] = {
        "mixing_ratio": Parameter(uniform=(0.0, 1.0)),
        "temperature": Parameter(loguniform=(0.01, 0.2)),
        "learning_rate": Parameter(loguniform=(1e-5, 1e-4)),
        "sampling_exponent": Parameter(uniform=(0.0, 1.0)),
    }

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
        if problems:
            raise ValueError("\n".join(problems))
        return self

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
        """The fixed value of a searchable field, by its short or dotted name."""
        part, field = searchable_paths()[name]
        return getattr(getattr(self, part), field)


def _part_with(study: Study, path: tuple[str, str], value: Any) -> Part:
    part: Part = getattr(study, path[0])
    return type(part).model_validate({**part.model_dump(), path[1]: value})


_SAME_FOR_ALL = {"max_steps", "eval_steps"}  # the trials of a study are compared at the same steps


def searchable_paths() -> dict[str, tuple[str, str]]:
    """Names a search may use, short (``temperature``) and dotted (``train.temperature``) -> (part, field)."""
    parts: dict[str, type[Part]] = {"mix": Mix, "train": Train}
    paths = {}
    for part, model in parts.items():
        for field in (name for name in model.model_fields if name not in _SAME_FOR_ALL):
            paths[field] = paths[f"{part}.{field}"] = (part, field)
    return paths
