"""The Study: one YAML file, checked before anything starts.

Every part forbids unknown keys. `load_study` reads a file, fills ``${VARIABLE}`` from the environment, applies
``--set a.b=c`` overrides and reports every mistake at once, one line each.
"""

import difflib
import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
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

from hybridtune.errors import InputError

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")]


class Part(BaseModel):
    """A section of the study file: unknown keys are errors, values are not coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


AnyPart = TypeVar("AnyPart", bound=Part)
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
    evaluators: Count | None = Field(default=None, description="null: one per GPU, else one per core")
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
                problems.append(f"search.space.{name}: no such field{_nearest(name, searchable_paths())}")
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
                    problems.append(f"search.space.{name}: {end!r}: {_reason(error.errors()[0], Study)}")
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


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``3e-5`` as text; people who write learning rates mean the number."""


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that `_Loader` would read as numbers."""


for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)$|^[-+]?(\d+\.\d*|\.\d+)$|^[-+]?\.inf$|^\.nan$"),
        list("-+0123456789."),
    )


def parse_yaml(text: str) -> Any:
    """YAML as the study file reads it."""
    return yaml.load(text, _Loader)


def load_study(path: Path, overrides: Sequence[str] = ()) -> Study:
    """Read and check a study file.

    Args:
        path: the YAML file.
        overrides: ``a.b=value`` strings, applied over the file; values are read as YAML.

    Raises:
        InputError: with one line per mistake.
    """
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read the study file: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot read the study file: {error}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: a study file is a mapping of sections (name, data, benchmarks, ...)")
    apply_overrides(tree, overrides)
    return check(Study, _fill_variables(tree, str(path)), str(path))


def demo_study() -> Path:
    """The study file of the demo, which is part of the package."""
    packaged = Path(str(resources.files("hybridtune") / "search_spaces" / "newsroom.yaml"))
    return packaged if packaged.is_file() else Path(__file__).parents[1] / "search_spaces" / "newsroom.yaml"


def check(model: type[AnyPart], tree: dict[str, Any], source: str) -> AnyPart:
    """A parsed section as its model. Raises InputError with one line per mistake, each naming ``source``."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            where = ".".join(str(step) for step in item["loc"])
            for reason in _reason(item, model).split("\n"):
                lines.append(f"{source}: {where}: {reason}" if where else f"{source}: {reason}")
        raise InputError("\n".join(lines)) from None


def dump_study(study: Study) -> str:
    """The resolved study as YAML that `load_study` reads back to the same study."""
    text: str = yaml.dump(study.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def apply_overrides(tree: dict[str, Any], overrides: Sequence[str]) -> None:
    """Put ``a.b=value`` strings into a parsed file. Raises InputError for one that is not of that form."""
    for override in overrides:
        _apply_override(tree, override)


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override}: write it as --set section.field=value")
    node = tree
    *sections, field = key.split(".")
    for section in sections:
        child = node.setdefault(section, {})
        if not isinstance(child, dict):
            raise InputError(f"--set {override}: {section} is a value, not a section")
        node = child
    try:
        node[field] = parse_yaml(text)
    except yaml.YAMLError:
        raise InputError(f"--set {override}: {text!r} is not a YAML value") from None


def _fill_variables(node: Any, source: str) -> Any:
    if isinstance(node, dict):
        return {key: _fill_variables(value, source) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill_variables(value, source) for value in node]
    if not isinstance(node, str):
        return node

    def fill(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if value is None:
            raise InputError(
                f"{source}: {node}: the variable {match[1]} is not set; set it (export {match[1]}=FOLDER) "
                "or give the path by --set"
            )
        return value

    return re.sub(r"\$\{(\w+)\}", fill, node)


def _reason(item: Any, root: type[Part]) -> str:
    """What a pydantic error means to the person who wrote the file."""
    value, kind = item.get("input"), item["type"]
    if kind == "extra_forbidden":
        return "unknown key" + _nearest(str(item["loc"][-1]), _known_keys(root, item["loc"][:-1]))
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    shown = f" (got {value!r})" if not isinstance(value, dict) else ""
    message: str = item["msg"]
    return message[0].lower() + message[1:] + shown


def _known_keys(root: type[Part], location: Sequence[Any]) -> list[str]:
    model: Any = root
    for step in location:
        annotation = model.model_fields[step].annotation if step in model.model_fields else None
        candidates = [
            annotation,
            *get_args(annotation),
            *(b for a in get_args(annotation) for b in get_args(a)),
        ]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, Part)]
        if not models:  # a key of a free mapping (a searched name): its values are the next model
            continue
        model = models[0]
    return list(model.model_fields)


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    short = sorted(key for key in known if "." not in key)
    return f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(short)}"
