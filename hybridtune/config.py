"""The Study: what a study file may say, as strict models. Every part forbids unknown keys (``sections``)."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from hybridtune.search_checks import search_problems, without_end
from hybridtune.search_section import EarlyStopping, Parameter, Search, seconds
from hybridtune.searched_fields import corners, pinned, searchable_paths
from hybridtune.sections import (
    Benchmarks,
    BenchmarkSource,
    Count,
    Data,
    Encoder,
    Mix,
    Part,
    Resources,
    Seed,
    Tiny,
    Train,
)

__all__ = [
    "BenchmarkSource",
    "Benchmarks",
    "Count",
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
    "corners",
    "searchable_paths",
    "seconds",
    "without_end",
]

_SECTIONS = ("data", "encoder", "benchmarks", "mix", "train", "resources")


class Study(Part):
    """A whole study file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(description="what it is called")
    seed: Seed = Field(default=0, description="seeds everything that is drawn")
    data: Data = Field(description="the texts to train on")
    encoder: Encoder = Field(default=Encoder(), description="the encoder to train")
    benchmarks: Benchmarks = Field(description="what the models are scored on")
    mix: Mix = Field(default=Mix(), description="how batches are made")
    train: Train = Field(default=Train(), description="one training")
    resources: Resources = Field(default=Resources(), description="what a trial takes, and how many run at once")
    search: Search = Field(default=Search(), description="what is searched, for which goal, and for how long")

    @model_validator(mode="before")
    @classmethod
    def _plain_values_are_fixed(cls, tree: Any) -> Any:
        return pinned(tree)

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "Study":
        problems = []
        workers = self.resources.workers
        if workers != "auto" and self.train.batch_size % workers:
            problems.append(
                f"train.batch_size {self.train.batch_size} is not a multiple of resources.workers "
                f"{workers}: every worker takes an equal slice of the batch"
            )
        problems += search_problems(self.search, {name: getattr(self, name) for name in _SECTIONS})
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
            ValidationError: a value its field does not allow, or that does not go with the others.
        """
        tree = {**self.model_dump(), "search": {"space": {}}}  # what else the search may try is no matter of this trial
        for name, value in values.items():
            part, field = searchable_paths()[name]
            (tree[part] if part else tree)[field] = value
        return Study.model_validate(tree).model_copy(update={"search": self.search})

    def value(self, name: str) -> Any:
        """The fixed value of a searchable field, by its short or dotted name; a range is a list, as in a choice."""
        part, field = searchable_paths()[name]
        value = getattr(getattr(self, part) if part else self, field)
        return list(value) if isinstance(value, tuple) else value
