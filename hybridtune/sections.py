"""The sections of a study file but the search: data, encoder, benchmarks, mix, training, resources; strict models."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")]


class Part(BaseModel):
    """A section of the study file: unknown keys are errors, values are not coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


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
