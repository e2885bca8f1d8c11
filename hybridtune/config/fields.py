"""The sections of a study file but `search` and `train`: data, encoder, benchmarks, mix, resources; strict models."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from hybridtune.config.hooks import Hook
from hybridtune.config.languages import LANGUAGE, canonical_code, is_language
from hybridtune.config.names import LONGEST_NAME, data_set_names

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
OpenRatio = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0.0, le=1e9)]  # sums of products of them stay finite
Held = Annotated[float, Field(gt=0.0, lt=0.5)]  # two such shares leave something to train on
# Upper bounds: what is beyond them is a slip of the pen, and would keep a dry run busy.
Count = Annotated[int, Field(ge=1, le=100_000)]  # trials, workers, scores, and the like
Steps = Annotated[int, Field(ge=1, le=10_000_000)]
Place = Annotated[int, Field(le=2**31)]  # of a document
Length = Annotated[int, Field(ge=4, le=131_072)]  # tokens
Prefix = Annotated[str, Field(max_length=10_000)]
Name = Annotated[str, Field(max_length=100)]  # a part of file names
REVISION = r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,198}[A-Za-z0-9])?$"  # of a hub name
MOST_PARAMETERS = 2_000_000_000  # of the `tiny` encoder
Auto = Literal["auto"]  # worked out from the machine or the cluster, before a study starts
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Language = Annotated[str, Field(pattern=LANGUAGE.pattern), AfterValidator(canonical_code)]
A_LIST_IS_A_RANGE = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)  # YAML has lists
# A second part that begins as a language does, in lower case.
_LANGUAGE_PAIR = re.compile(r"(.+?)-([a-z]{2,3}(?:[-_][A-Z0-9][A-Za-z0-9]*)*)")
MixPair = Annotated[str, Field(max_length=100, pattern=LANGUAGE.pattern)]  # `de`, or `en-de`: query language first


def _of_short_names(path: str) -> str:
    """Check that a path can be one on some file system; a URL is left to what opens it."""
    if "://" not in path and any(len(os.fsencode(part)) > LONGEST_NAME for part in path.split("/")):
        raise ValueError(f"a name in the path has more than {LONGEST_NAME} bytes, the most that file systems take")
    return path


Location = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_of_short_names)]  # a path or URL


class Part(BaseModel):
    """A section of the study file: unknown keys are errors, values are not coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Format = Literal["groups", "pairs", "squad", "beir", "miracl", "ciral", "neuclir", "mmarco", "mrtydi", "clirmatrix"]
ColumnRole = Literal[
    "query",
    "passage",
    "language",
    "query_language",
    "passage_language",
    "id",
    "document",
    "negatives",
    "score",
    "passage_scores",
    "negative_scores",
    "scores",
]


class DataSet(Part):
    """One entry of `data.train`, and of the paths of the commands on data."""

    path: Location = Field(
        description="a file, folder or glob of any known format, hf://datasets/OWNER/NAME, or what `reader` takes"
    )
    name: Annotated[Name, Field(pattern=r"^[^\W_][\w-]*$")] = Field(
        default="", description="what mix.data_set_weights and tables call it; default: the end of its path"
    )
    reader: Hook | None = Field(
        default=None, description="a function of yours, package.module:function: takes the path, yields groups"
    )
    format: Format | None = Field(default=None, description="what the files are; null: found by names and first rows")
    columns: dict[ColumnRole, Annotated[str, Field(min_length=1)]] = Field(
        default={}, description="columns of pairs by what they hold; of those left out the usual names are looked for"
    )
    language: str | None = Field(
        default=None, description="language of texts that do not name theirs: `sw`, or `en-sw` for queries-passages"
    )
    split: str | None = Field(default=None, description="which part of a data set with several; null: train")

    @model_validator(mode="before")
    @classmethod
    def _its_weight_is_of_the_mix(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and "weight" in tree:
            (name,) = data_set_names([str(tree.get("path", ""))], [str(tree.get("name") or "")])
            raise ValueError(
                f"weight: is a field of the mix; write mix: {{data_set_weights: {{{name}: {tree['weight']}}}}}"
            )
        return tree

    @field_validator("columns", mode="before")
    @classmethod
    def _a_number_names_a_column(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {role: str(name) if type(name) is int else name for role, name in value.items()}

    @field_validator("language")
    @classmethod
    def _languages_have_codes(cls, value: str | None) -> str | None:
        return None if value is None else "-".join(dict.fromkeys(language_pair(value)))

    @model_validator(mode="after")
    def _a_reader_sees_to_its_format(self) -> "DataSet":
        given = [name for name in ("format", "columns", "language", "split") if getattr(self, name)]
        if self.reader is not None and given:
            raise ValueError(f"{given[0]} is not for a reader of your own; let {self.reader} see to it")
        return self


def language_pair(code: str) -> tuple[str, str]:
    """Return the languages of queries and of passages that a code names, ``sw`` or ``en-sw``; ValueError for others.

    The region of a language is in upper case, so that it is no second language.

    Example:
        >>> language_pair("en-sw"), language_pair("pt-BR"), language_pair("zh-Hant-en")
        (('en', 'sw'), ('pt-BR', 'pt-BR'), ('zh-Hant', 'en'))
    """
    pair = _LANGUAGE_PAIR.fullmatch(code)
    both = pair.groups() if pair else (code, code)
    return canonical_code(both[0]), canonical_code(both[1])


class Holdout(Part):
    """The shares of the training files that are kept out of the training, a dev and a test part of one size."""

    documents: Held | None = Field(
        default=None, description="share of the documents in each part; a group that names none goes by its answer set"
    )
    groups: Held | None = Field(default=None, description="share of the answer sets in each part, whatever document")
    seed: Seed = Field(default=0, description="another one cuts other parts; the study's seed changes nothing")

    @model_validator(mode="after")
    def _one_share_is_given(self) -> "Holdout":
        if (self.documents is None) == (self.groups is None):
            raise ValueError("holdout takes one share: {documents: 0.1}, or {groups: 0.1} for data without documents")
        return self


class Data(Part):
    """The question-passage pairs to train on."""

    train: list[DataSet] = Field(
        min_length=1, max_length=1000, description="data sets: paths, or {path, name, format, language, ...}"
    )
    language_limits: dict[Language, Annotated[int, Field(ge=0, le=2**31)]] = Field(
        default={}, description="most training groups a language may have; 0 makes it zero-shot"
    )
    unseen_pairs: list[MixPair] = Field(
        default=[],
        description="language pairs (`en-de`) that are never drawn, in neither direction, though both languages are",
    )
    holdout: Holdout | None = Field(
        default=None, description="cut a dev and a test benchmark out of the training files, by document"
    )
    on_leak: Literal["error", "drop", "warn"] = Field(
        default="error",
        description="where texts of a benchmark stand in the training texts: refuse the study, train without the "
        "groups that hold them, or report it and go on",
    )
    on_wrong_language: Literal["error", "warn"] = Field(
        default="error",
        description="where most texts of a language are in another one: refuse the study, or report it and go on",
    )
    store: Location | None = Field(default=None, description="folder of the token stores; default: the user's cache")

    @field_validator("language_limits", mode="before")
    @classmethod
    def _a_language_has_one_limit(cls, value: Any) -> Any:
        written: dict[str, str] = {}
        for code in filter(is_language, map(str, value)) if isinstance(value, dict) else ():
            other = written.setdefault(canonical_code(code), code)
            if other != code:
                raise ValueError(f"{other} and {code} are one language; give its limit once")
        return value

    @field_validator("train", mode="before", json_schema_input_type=str | list[str | DataSet])
    @classmethod
    def _a_path_is_a_data_set(cls, value: Any) -> Any:
        entries = value if isinstance(value, list) else [value]
        return [{"path": entry} if isinstance(entry, str) else entry for entry in entries]

    @field_validator("train")
    @classmethod
    def _each_data_set_has_a_name(cls, value: list[DataSet]) -> list[DataSet]:
        given = [data_set.name for data_set in value]
        twice = next((name for name in given if name and given.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two data sets are named {twice}; give each a name of its own")
        names = data_set_names([data_set.path for data_set in value], given)
        return [one.model_copy(update={"name": name}) for one, name in zip(value, names, strict=True)]


class Tiny(Part):
    """The size of the `tiny` encoder, built on the spot."""

    vocab_size: Annotated[int, Field(ge=100, le=1_000_000)] = Field(
        default=4000, description="word pieces of its tokenizer"
    )
    hidden_size: Annotated[int, Field(ge=1, le=8192)] = Field(
        default=128, description="numbers of a vector; a multiple of `heads`"
    )
    layers: Annotated[int, Field(ge=1, le=1000)] = Field(default=2, description="transformer layers")
    heads: Annotated[int, Field(ge=1, le=1000)] = Field(default=2, description="attention heads of a layer")

    @model_validator(mode="after")
    def _such_an_encoder_can_be(self) -> "Tiny":
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}: every head takes an equal "
                "part of the vector"
            )
        parameters = (self.vocab_size + 12 * self.layers * self.hidden_size) * self.hidden_size
        if parameters > MOST_PARAMETERS:
            raise ValueError(
                f"vocab_size {self.vocab_size}, hidden_size {self.hidden_size} and layers {self.layers} make "
                f"{parameters:,} parameters, and {MOST_PARAMETERS:,} is the most of an encoder that is built on the "
                "spot; name a model"
            )
        return self


class Encoder(Part):
    """The encoder shared by queries and passages."""

    name: Location = Field(default="tiny", description="a model folder, a hub name, or `tiny`")
    pooling: Literal["mean", "cls", "max", "weightedmean", "lasttoken", "mean_sqrt_len"] = Field(
        default="mean", description="how tokens become one vector"
    )
    query_prefix: Prefix = Field(default="query: ", description="put before each query")
    passage_prefix: Prefix = Field(default="passage: ", description="put before each passage")
    query_length: Length = Field(default=96, description="tokens; longer queries are cut")
    passage_length: Length = Field(default=160, description="tokens; longer passages are cut")
    revision: Annotated[str, Field(pattern=REVISION)] | None = Field(
        default=None,
        description="commit, tag or branch of a hub name, which is loaded at it; the name becomes `name@revision`",
    )
    trust_remote_code: bool = Field(
        default=False, description="whether a model may run code of its own; only --set of a command may allow it"
    )
    tiny: Tiny = Field(default=Tiny(), description="size of the `tiny` encoder")

    @model_validator(mode="before")
    @classmethod
    def _the_name_holds_the_revision(cls, tree: Any) -> Any:
        name, revision = (tree.get("name", "tiny"), tree.get("revision")) if isinstance(tree, dict) else ("", None)
        if not isinstance(name, str) or not isinstance(revision, str) or name.endswith(f"@{revision}"):
            return tree
        if name == "tiny":
            raise ValueError(f"revision {revision}: `tiny` is built by the study, and has none; leave it out")
        if Path(name).expanduser().is_dir():
            raise ValueError(f"revision {revision}: {name} is a folder, which has none; leave it out")
        if "@" in name:
            raise ValueError(f"revision {revision}: the name {name} holds another one; give one of the two")
        return {**tree, "name": f"{name}@{revision}"}


HELD_OUT_DEV, HELD_OUT_TEST = "holdout:dev", "holdout:test"


class BenchmarkSource(Part):
    """A benchmark to score on, or a part of one."""

    path: Location = Field(
        description="a file, folder or glob; `newsroom:dev` and `newsroom:test` are built in, `holdout:dev` and "
        "`holdout:test` the parts of `data.holdout`"
    )
    reader: Hook | None = Field(
        default=None, description="a function of yours, package.module:function: takes the path, returns a benchmark"
    )
    documents: Annotated[tuple[Place, Place] | None, A_LIST_IS_A_RANGE] = Field(
        default=None, description="[first, after the last] document of the benchmark"
    )
    languages: list[Language] | None = Field(default=None, description="only these; null: all")
    language: Language | None = Field(
        default=None, description="language of texts that do not name theirs (BEIR, TREC files)"
    )
    split: str | None = Field(
        default=None, description="which topics and qrels, like dev; null: test, else dev, else the only one"
    )
    ignore_identical_ids: bool | None = Field(
        default=None,
        description="leave the passage with a query's own id out of its ranking, as BEIR and mteb do for ArguAna and "
        "Quora (BEIR and TREC folders); null: where that passage holds the query's text for half of the queries",
    )
    strict: bool = Field(
        default=False,
        description="refuse judged ids that are not there and passages without a text; false: count them, and say so",
    )

    @model_validator(mode="before")
    @classmethod
    def _low_resource_is_of_the_study(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and "low_resource" in tree:
            named = tree["low_resource"]
            given = f"low_resource: [{', '.join(map(str, named if isinstance(named, list) else []))}]"
            raise ValueError(
                f"low_resource: is one for the whole study; write {given} at the top of its file "
                "(hybridtune evaluate: --set low_resource=[...])"
            )
        return tree

    @model_validator(mode="after")
    def _range_runs_forward(self) -> "BenchmarkSource":
        if self.documents is not None and not 0 <= self.documents[0] < self.documents[1]:
            raise ValueError(f"documents {list(self.documents)}: give [first, after the last], 0 <= first < last")
        return self


class FewerThan(Part):
    """The languages of which there are few training pairs."""

    fewer_than: Annotated[int, Field(ge=1, le=2**31)] = Field(
        description="question-passage pairs that have the language on either side"
    )


LowResource = Annotated[
    Annotated[list[Language], Tag("languages")] | Annotated[FewerThan, Tag("fewer")],
    Discriminator(lambda value: "fewer" if isinstance(value, dict | FewerThan) else "languages"),
]


class Benchmarks(Part):
    """`dev` steers the search; `test` scores the best model once, at the end."""

    dev: BenchmarkSource = Field(
        default=BenchmarkSource(path=HELD_OUT_DEV), description="steers the search; left out: the part of data.holdout"
    )
    test: BenchmarkSource | None = Field(
        default=None, description="scores the best model once, at the end; left out: the part of data.holdout, if any"
    )


class Mix(Part):
    """The making of batches out of monolingual and cross-lingual pairs."""

    mixing_ratio: Ratio = Field(
        default=0.5, description="share of the question-passage batches that are mono; a schedule starts from it"
    )
    schedule: Literal["constant", "linear", "cosine", "step", "learned"] = Field(
        default="constant",
        description="how the mixing ratio changes over the training; `learned` follows the dev scores",
    )
    final_ratio: Ratio | None = Field(
        default=None, description="the mixing ratio that a schedule ends with; `constant` and `learned` ignore it"
    )
    step_at: Ratio = Field(default=0.5, description="share of the training after which `step` changes the ratio")
    learned_range: Annotated[tuple[OpenRatio, OpenRatio], A_LIST_IS_A_RANGE] = Field(
        default=(0.05, 0.95), description="of `learned`: lowest and highest mixing ratio, both above 0 and below 1"
    )
    learned_step: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.5, description="of `learned`: share of the way to what the scores ask for that each of them goes"
    )
    learned_weights: Annotated[float, Field(ge=1.0, le=100.0)] = Field(
        default=2.0,
        description="of `learned`: by what a language's or pair's weight is multiplied or divided at most; 1: never",
    )
    sampling_exponent: Ratio = Field(
        default=0.5,
        description="languages and pairs are drawn with probability ~ size^s: 0 uniform, 1 by size",
    )
    weights: dict[MixPair, Weight] = Field(
        default={}, description="factor on how often a language (`de`) or language pair (`en-de`) is drawn; 0: never"
    )
    data_set_weights: dict[str, Weight] = Field(
        default={}, description="by name: a data set is drawn as if it stood there so many times; 0: never"
    )
    translated_weight: Weight = Field(
        default=1.0,
        description="a pair translated by machine is drawn as if it stood there so many times; 0: never",
    )
    cross_batch: Literal["mixed", "single_pair"] = Field(
        default="mixed", description="every row of a cross batch has its own language pair, or all have one"
    )
    align_share: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.0, description="share of all batches that align translations with the teacher's vectors"
    )
    bitext_weight: Weight = Field(
        default=1.0,
        description="of align batches: a group without a query is drawn as if it stood there so many times; 0: never",
    )

    @model_validator(mode="after")
    def _learned_range_runs_upwards(self) -> "Mix":
        low, high = self.learned_range
        if not low < high:
            raise ValueError(f"learned_range {[low, high]}: the low end must be below the high end")
        return self


class Resources(Part):
    """The resources of one trial, and the number of trials at once. Numbers replace `auto` before a study starts."""

    workers: Annotated[int, Field(ge=1, le=10_000)] | Auto = Field(
        default=1, description="Ray Train workers of a trial; the batch is split evenly. auto: one per GPU of a node"
    )
    cpus_per_worker: Count | Auto = Field(default=1, description="and threads; auto: what a node has for a worker")
    gpus_per_worker: Annotated[float, Field(ge=0.0, le=1000.0)] | Auto = Field(
        default="auto", description="may be a part of one; auto: 1 where there are GPUs, else 0"
    )
    accelerator_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = Field(
        default=None, description="the GPUs to train on, as Ray names them (A10G, H100); null: any"
    )
    placement: Literal["pack", "strict_pack", "spread"] = Field(
        default="pack",
        description="a trial's workers on few nodes, on one node (or the trial waits), or on many",
    )
    evaluators: Count | None = Field(
        default=None, description="at most, shared out among the trials; null: one per GPU, else one per core"
    )
    min_evaluators: Count | None = Field(
        default=None, description="`evaluate` starts with so many and adds while work waits; null: all from the start"
    )
    concurrent_trials: Count | None = Field(
        default=None,
        description="null: as many as the machine or cluster holds, but no more than a quarter of a search that learns",
    )
    sharding: Literal["ddp", "fsdp"] = Field(
        default="ddp",
        description="fsdp splits weights and optimiser over the workers, for encoders that do not fit one",
    )

    @model_validator(mode="after")
    def _gpus_can_be_given(self) -> "Resources":
        gpus = self.gpus_per_worker
        if gpus != "auto" and gpus > 1 and gpus % 1:
            raise ValueError(f"gpus_per_worker {gpus:g}: give a part of one GPU, or a whole number of them")
        if self.accelerator_type is not None and gpus == 0:
            raise ValueError(
                f"accelerator_type {self.accelerator_type} is a kind of GPU, and gpus_per_worker is 0: "
                "write auto, or leave gpus_per_worker out"
            )
        return self
