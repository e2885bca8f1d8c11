"""The `search` section of a study file: what to search, by which sampler, for how long, and where trials are kept."""

import os
import re
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, field_validator

from hybridtune.config.constraints import parse_constraint
from hybridtune.config.fields import Count, Part, Steps
from hybridtune.config.hooks import HOOK_SCHEMA, check_form
from hybridtune.config.space import Parameter, full_name, full_names, not_searchable
from hybridtune.errors import InputError, short_repr

SAMPLERS = ["tpe", "cmaes", "gp", "nsga2", "nsga3", "random", "grid"]
STORAGE_FILES = {"sqlite": "optuna.db", "journal": "optuna.log"}  # in the study folder
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_URL = re.compile(r"^(sqlite|postgresql|mysql|mariadb)(\+\w+)?://")
_VARIABLE = re.compile(r"\$\{\w+\}")
_PASSWORD = re.compile(r"://[^/@:?]*:(?P<user>[^?]*)@|[?&](password|passwd)=(?P<query>[^&]*)")


class EarlyStopping(Part):
    """Ends trials that fall behind: ASHA (Li et al. 2018, arXiv 1810.05934), the median rule or a paired test."""

    method: Literal["asha", "median", "paired"] = Field(
        default="asha",
        description="asha: the best 1/reduction_factor go on; median: who is above the median goes on; paired: who is "
        "not worse than the best of the arm at the same step, by a test over documents or topics, goes on",
    )
    metric: str | None = Field(default=None, description="metric by which trials are stopped; null: first objective")
    grace_steps: Steps | None = Field(default=None, description="no trial stops before; null: eval_steps")
    reduction_factor: Annotated[float, Field(gt=1.0, le=1e6)] = Field(default=3.0, description="of asha")
    min_trials: Count = Field(default=3, description="of median: trials that must have got that far")
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.05, description="of paired: chance that a trial as good as all others is stopped at any of its scores"
    )


class Fidelity(Part):
    """A rung of the search: trials wait at it, and the best go on from their checkpoints."""

    steps: Steps = Field(description="steps after which the trials of an arm wait; a multiple of train.eval_steps")
    keep: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.34, description="share of the arm's trials that goes on, by the objective at this step; rounded up"
    )


class Screening(Part):
    """Cheap trainings before the search: an encoder without its upper layers, at points drawn at random."""

    layers: Count = Field(description="lowest layers of the encoder that are trained and scored; fewer than it has")
    trials: Count = Field(default=12, description="screened points of each arm")
    keep: Count = Field(default=3, description="best of an arm that are then among the first trials of its search")


class WithinNoise(Part):
    """The end of an arm's search where its next trials are expected to gain less than noise."""

    ahead: Count = Field(default=5, description="further trials whose expected gain is asked for, together")
    min_trials: Annotated[int, Field(ge=8, le=100_000)] = Field(
        default=10, description="trials of the arm before it can end"
    )


class Search(Part):
    """The search: its space, its goal and its length."""

    objective: list[str] = Field(
        default=["balanced/AP"],
        min_length=1,
        max_length=20,
        description="one metric, or several (a Pareto front); of a group of languages like multi/AP@unseen",
    )
    constraints: list[str] = Field(
        default=[],
        max_length=100,
        description="what the best trial must meet: `multi/rank_distance <= 300`, or `mono/AP >= half-half - 0.005`, "
        "the metric of the best trial of a fixed ratio so far, by the first objective",
    )
    trials: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=12, description="trials of each arm that is searched"
    )
    arms: Literal["searched", "rerun", "none"] = Field(
        default="searched",
        description="what the searched mixing ratio is compared with. searched: mono-only, half-half and cross-only, "
        "each with as many trials over the other fields; rerun: these three ratios once each, with the best trial's "
        "other values; none: nothing",
    )
    learned: bool = Field(
        default=False,
        description="also train a mix that follows the dev scores (mix.schedule: learned) after the search: once with "
        "the file's other values, once with the best trial's",
    )
    sampler: Annotated[str, WithJsonSchema({"anyOf": [{"enum": SAMPLERS}, HOOK_SCHEMA]})] = Field(
        default="tpe", description="what proposes the values of a trial; one of your own: package.module:function"
    )
    points: list[dict[str, Any]] = Field(
        default=[],
        description="values to try first: {field: value}; fields left out are drawn at random",
    )
    warm_start: str | None = Field(
        default=None,
        description="folder of an earlier study, or its Optuna storage (URL): its trials teach the sampler",
    )
    early_stopping: EarlyStopping | None = Field(
        default=EarlyStopping(),
        description="what ends trials that fall behind, in arms of 8 or more; null: nothing",
    )
    screening: Screening | None = Field(
        default=None,
        description="trainings of the encoder's lowest layers before the search, of whose points the best begin each "
        "arm; like {layers: 4, trials: 12, keep: 3}",
    )
    fidelities: list[Fidelity] = Field(
        default=[],
        max_length=100,
        description="rungs of few steps before the whole training: all trials of an arm train to the first, the best "
        "go on to the next, and at last to train.max_steps",
    )
    stop_within_noise: WithinNoise | None = Field(
        default=None,
        description="ends an arm's search where further trials are expected to gain less than noise; true: with these "
        "defaults, false or null: it never ends so",
    )
    time_budget: str | None = Field(
        default=None, description="like 90s, 30m, 2h, 1d: no new trial and no further step after it"
    )
    step_budget: Annotated[int, Field(ge=1, le=10**12)] | None = Field(
        default=None, description="training steps of all trials together, at most"
    )
    repeat_best: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0, description="further seeds for every contestant, to tell gain from noise"
    )
    soups: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0,
        description="averages of the weights of mono-only and cross-only at so many shares between them, scored after "
        "the search without training; may be raised when the study goes on",
    )
    soup_trials: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=0,
        description="further averages, of all contestants: the first of all alike, the others of shares that the "
        "sampler proposes; may be raised when the study goes on",
    )
    keep_models: Literal["best", "front", "all"] = Field(
        default="all",
        description="whose weights stay when the study ends: those of the best trial, of all that no other beats on "
        "all objectives, or of all trials; the contestants' always do",
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
        max_length=100,
        description="what is searched: {field: range}",
    )

    @field_validator("space", mode="before", json_schema_input_type=dict[str, Parameter])
    @classmethod
    def _ranges_alone(cls, value: Any) -> Any:
        problems = []
        for name, given in value.items() if isinstance(value, dict) else ():
            if not isinstance(given, dict | Parameter):
                field = full_name(name)
                problem = (
                    f"{given!r} is not a range; set {field} in the file instead" if field else not_searchable(name)
                )
                problems.append(f"{name}: {problem}")
        if problems:
            raise ValueError("\n".join(problems))
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

    @field_validator("stop_within_noise", mode="before", json_schema_input_type=WithinNoise | bool | None)
    @classmethod
    def _true_is_the_defaults(cls, value: Any) -> Any:
        return ({} if value else None) if isinstance(value, bool) else value

    @field_validator("constraints", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _one_constraint_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("constraints")
    @classmethod
    def _parsed(cls, values: list[str]) -> list[str]:
        return [str(parse_constraint(value)) for value in values]

    @field_validator("objective", "loggers", "constraints")
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
    def _a_storage(cls, value: str) -> str:
        if value not in STORAGE_FILES and not is_url(value) and not _VARIABLE.fullmatch(value):
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
                f"{masked_url(value)} holds a password, which would be written to study.yaml; write ${{VARIABLE}} in "
                "its place and export VARIABLE"
            )
        return value


def seconds(budget: str) -> float:
    """Return the seconds of a time budget: ``90s``, ``30m``, ``1.5h``, ``1d``.

    Raises:
        ValueError: it is not written like that, or is 0.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", budget)
    if match is None or not float(match[1]):
        raise ValueError(f"{short_repr(budget)} is no span of time; write it like 90s, 30m, 2h or 1d")
    return float(match[1]) * SECONDS[match[2]]


def is_url(storage: str) -> bool:
    """Return whether a storage is a database's URL, not a file or folder."""
    return _URL.match(storage) is not None


def fill_variables(text: str, where: str, otherwise: str = "") -> str:
    """Fill in the ``${VARIABLE}`` of a text from the environment.

    Args:
        text: of the study file.
        where: begins the message about a variable that is not set.
        otherwise: ends it: what else can be done.

    Raises:
        InputError: a variable is not set.
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
    """Return a storage's URL with ``***`` for its password; a ``${VARIABLE}`` in its place is no secret."""

    def mask(match: re.Match[str]) -> str:
        name = "user" if match["user"] is not None else "query"
        secret = match[name]
        if not secret or _VARIABLE.fullmatch(secret):
            return match[0]
        start, end = match.start(name) - match.start(), match.end(name) - match.start()
        return f"{match[0][:start]}***{match[0][end:]}"

    return _PASSWORD.sub(mask, url)
