"""The study: its model, made of the sections in `fields` and `search`, and the reading and writing of its file."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from hybridtune.config.checks import data_set_problems, search_problems
from hybridtune.config.fields import (
    HELD_OUT_DEV,
    HELD_OUT_TEST,
    Benchmarks,
    Data,
    Encoder,
    LowResource,
    Mix,
    Name,
    Part,
    Resources,
    Seed,
)
from hybridtune.config.names import LEARNED
from hybridtune.config.search import Search, fill_variables
from hybridtune.config.shipped import shipped
from hybridtune.config.space import put_value
from hybridtune.config.training import Train
from hybridtune.config.validation import check, mistakes
from hybridtune.config.yaml_limits import MOST_DEPTH
from hybridtune.config.yaml_text import YAMLError, dump_yaml, parse_yaml, read_yaml_text, yaml_mistake, yaml_problem
from hybridtune.errors import InputError

_SCORES, _LEARNED_SCORES = 3, 10  # of a training, where train.eval_steps does not say
_SECTIONS = ("data", "encoder", "benchmarks", "mix", "train", "resources")


class Study(Part):
    """A whole study file.

    Raises:
        InputError: with one line per mistake.

    Example:
        >>> study = Study(name="first", data={"train": "newsroom:train"}, benchmarks={"dev": {"path": "newsroom:dev"}})
        >>> study.mix.mixing_ratio, study.search.objective
        (0.5, ['balanced/AP'])
    """

    name: Annotated[Name, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(description="what it is called")
    seed: Seed = Field(default=0, description="seeds everything that is drawn")
    low_resource: LowResource = Field(
        default=[],
        description="languages whose means are also shown apart: a list, or those with few training pairs "
        "({fewer_than: 100}), which becomes a list when the study starts",
    )
    data: Data = Field(description="the texts to train on")
    encoder: Encoder = Field(default=Encoder(), description="the encoder to train")
    benchmarks: Benchmarks = Field(default=Benchmarks(), description="what the models are scored on")
    mix: Mix = Field(default=Mix(), description="how batches are made")
    train: Train = Field(default=Train(), description="one training")
    resources: Resources = Field(default=Resources(), description="what a trial takes, and how many run at once")
    search: Search = Field(default=Search(), description="what is searched, for which goal, and for how long")

    def __init__(self, **sections: Any) -> None:
        try:
            super().__init__(**sections)
        except ValidationError as error:
            raise InputError(mistakes(error, Study, "Study")) from None

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # `model_validate` does not go through it

    @model_validator(mode="before")
    @classmethod
    def _a_holdout_has_a_test_part(cls, tree: Any) -> Any:
        data = tree.get("data") if isinstance(tree, dict) else None
        cut = data.get("holdout") if isinstance(data, dict) else getattr(data, "holdout", None)
        benchmarks = tree.get("benchmarks", {}) if cut is not None else None
        if isinstance(benchmarks, dict) and "test" not in benchmarks:
            return {**tree, "benchmarks": {**benchmarks, "test": {"path": HELD_OUT_TEST}}}
        return tree

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "Study":
        problems = list(_holdout_problems(self.data, self.benchmarks))
        workers = self.resources.workers
        if workers != "auto" and self.train.batch_size % workers:
            problems.append(
                f"train.batch_size {self.train.batch_size} is not a multiple of resources.workers "
                f"{workers}: every worker takes an equal slice of the batch"
            )
        problems += _local_negatives(self.train, self.search, workers)
        problems += data_set_problems(self.search, self.data, self.mix)
        problems += search_problems(self.search, {name: getattr(self, name) for name in _SECTIONS})
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def low_resource_languages(self) -> list[str]:
        """The low-resource languages; none while ``{fewer_than: n}`` waits for the training data."""
        return self.low_resource if isinstance(self.low_resource, list) else []

    @property
    def teacher_key(self) -> str | None:
        """Return the key of the teacher among all that a search may try; None: nothing is taught."""
        if not (self.mix.align_share or self.scored_by_teacher):
            return None
        return self.train.teacher or f"the starting encoder, pooled by {self.encoder.pooling}"

    @property
    def scored_by_teacher(self) -> bool:
        """Return whether a teacher's scores of mono and cross batches are learnt."""
        train = self.train
        return train.distil is not None and train.distil_from == "teacher" and train.teacher is not None

    @property
    def learns_data_scores(self) -> bool:
        """Return whether the scores that the training data have are learnt."""
        return self.train.distil is not None and self.train.distil_from == "data"

    @property
    def eval_steps(self) -> int:
        """Steps between two scores."""
        scores = _LEARNED_SCORES if self.has_learned_mix else _SCORES
        return self.train.eval_steps or max(1, -(-self.train.max_steps // scores))

    @property
    def has_learned_mix(self) -> bool:
        """Return whether some training of the study has a mix that follows its scores: all are then scored as often."""
        searched = self.search.space.get("mix.schedule")
        learned = searched is not None and LEARNED in searched.ends()
        return learned or self.search.learned or self.mix.schedule == LEARNED

    def next_score(self, step: int) -> int:
        """Return the step after which the next score comes, for a step that is not the last."""
        return min(self.train.max_steps, (step // self.eval_steps + 1) * self.eval_steps)

    def with_values(self, values: dict[str, Any]) -> "Study":
        """Return this study with the fields of a trial put in: ``{"train.temperature": 0.02, ...}``.

        Raises:
            ValidationError: a value its field does not allow, or that does not go with the others.
        """
        tree = {**self.model_dump(), "search": {"space": {}}}  # what else the search may try is no matter of this trial
        for name, value in values.items():
            put_value(tree, name, value)
        return Study.model_validate(tree).model_copy(update={"search": self.search})

    def value(self, name: str) -> Any:
        """Return the fixed value of a searchable field, ``train.temperature``; a range is a list, as in a choice."""
        value: Any = self
        for part in name.split("."):
            # of a mapping of weights, one may be left out
            value = value.get(part, 1.0) if isinstance(value, dict) else getattr(value, part)
        return list(value) if isinstance(value, tuple) else value


def _local_negatives(train: Train, search: Search, workers: int | str) -> Iterator[str]:
    """Yield a line where workers are to have negatives of their own, and there are not, or may not be, several."""
    searched = search.space.get("train.gather_negatives")
    if (train.gather_negatives and (searched is None or False not in searched.ends())) or workers not in (1, "auto"):
        return
    why = "changes nothing with one worker" if workers == 1 else "trains otherwise on every number of workers"
    yield f"train.gather_negatives false: {why}; set resources.workers (now {workers}) to 2 or more"


def _holdout_problems(data: Data, benchmarks: Benchmarks) -> Iterator[str]:
    for name, source in (("dev", benchmarks.dev), ("test", benchmarks.test)):
        if source is None or not source.path.startswith("holdout:"):
            continue
        if source.path not in (HELD_OUT_DEV, HELD_OUT_TEST):
            yield f"benchmarks.{name}.path {source.path}: the parts of data.holdout are {HELD_OUT_DEV}, {HELD_OUT_TEST}"
        elif data.holdout is None:
            yield (
                f"benchmarks.{name}: is missing; give its path, or cut a part out of the training files: "
                "data.holdout: {documents: 0.1}"
            )


def load_study(path: str | Path, overrides: Sequence[str] = (), **fields: Any) -> Study:
    """Read and check a study file, to run it: the ``${VARIABLE}`` in it are filled in from the environment.

    A file cannot let a model run code of its own: ``overrides`` or ``fields`` can (``encoder.trust_remote_code``).

    Args:
        path: the YAML file.
        overrides: ``section.field=value`` texts, applied over the file; values are read as YAML.
        fields: ``section__field=value``, applied after them.

    Raises:
        InputError: with one line per mistake.

    Example:
        >>> study = load_study(demo_study(), ["seed=3"], train__max_steps=50)
        >>> study.seed, study.train.max_steps
        (3, 50)
    """
    path = Path(path)
    tree = _read_tree(path)
    apply_overrides(tree, overrides, fields)
    return check(Study, _fill_variables(tree, f"{path}: "), str(path))


def load_stored_study(folder: Path) -> Study:
    """Read the study of a study folder, to look at it: it may be a stranger's, and is told nothing of the environment.

    Raises:
        InputError: there is none, or with one line per mistake.
    """
    file = folder / "study.yaml"
    if not file.is_file():
        raise InputError(
            f"{folder}: is no study folder (no study.yaml); give the folder that hybridtune run wrote, its --out"
        )
    return check(Study, _read_tree(file), str(file))


def _read_tree(path: Path) -> dict[str, Any]:
    """Return the sections of a study file."""
    try:
        tree = parse_yaml(read_yaml_text(path, "the study file"))
    except YAMLError as error:
        raise InputError(yaml_mistake(path, error)) from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: a study file is a mapping of sections (name, data, benchmarks, ...)")
    encoder = tree.get("encoder")
    if isinstance(encoder, dict) and encoder.get("trust_remote_code") is True:
        raise InputError(
            f"{path}: encoder.trust_remote_code: a file cannot let a model run code of its own, since it may be a "
            "stranger's; take the line out, and give the command --set encoder.trust_remote_code=true"
        )
    return tree


def demo_study() -> Path:
    """Return the study file of the demo, which is part of the package."""
    return shipped("search_spaces") / "newsroom.yaml"


def dump_study(study: Study) -> str:
    """Return the resolved study as YAML that `load_study` reads back to the same study.

    That a model may run code of its own is left to each command, and is in no file.
    """
    tree = study.model_dump(mode="json")
    tree["encoder"]["trust_remote_code"] = False
    return dump_yaml(tree)


def apply_overrides(tree: dict[str, Any], overrides: Sequence[str], fields: Mapping[str, Any] | None = None) -> None:
    """Put values into a parsed file: ``a.b=value`` texts, with values as YAML, then ``fields`` by ``a__b``.

    Raises:
        InputError: a text of another form, or a field under a value that is no section.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key or key.count(".") > MOST_DEPTH:
            raise InputError(f"--set {override[:200]}: write it as --set section.field=value")
        try:
            value = _value(text)
        except YAMLError as error:
            given = f"--set {override[:200]}: {text[:200]!r}"
            raise InputError(f"{given} is not a YAML value: {yaml_problem(error)}") from None
        _set_field(tree, key.split("."), value, f"--set {override}")
    for name, value in (fields or {}).items():
        _set_field(tree, name.split("__"), value, f"{name}={value!r}")


def _value(text: str) -> Any:
    """Return what a text is as YAML; one like ``query: `` is the text that it is, a prefix, and no mapping to null."""
    value = parse_yaml(text)
    is_text = isinstance(value, dict) and [*value.values()] == [None] and text.rstrip().endswith(":")
    return text if is_text else value


def _set_field(tree: dict[str, Any], names: Sequence[str], value: Any, shown: str) -> None:
    *sections, field = names
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise InputError(f"{shown}: {section} is a value, not a section")
    tree[field] = value


def _fill_variables(node: Any, where: str, key: str = "") -> Any:
    """Fill in the variables of a parsed file, except in fields that may hold passwords, since it becomes study.yaml.

    Those are filled in where they are used. ``key`` is that of the node, ``.search.storage``.
    """
    if isinstance(node, dict):
        return {name: _fill_variables(value, where, f"{key}.{name}") for name, value in node.items()}
    if isinstance(node, list):
        return [_fill_variables(value, where, key) for value in node]
    if isinstance(node, str) and key not in (".search.storage", ".search.warm_start"):
        return fill_variables(node, where, " or give the path by --set")
    return node
