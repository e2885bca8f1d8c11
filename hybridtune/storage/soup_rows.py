"""The soups of a study as rows: averages of its trials' weights that were scored on dev, in ``soups/`` of its folder.

A soup took no step of training, so it is no row of ``trials.jsonl``: no budget, step or seed is its own. Nothing heavy
is imported: `hybridtune status` counts them, and answers at once.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hybridtune.config.names import check_file_name
from hybridtune.storage.records import DamagedError, make, read_object

SOUPS = "soups"  # in the study folder: a folder a soup
SCORES = "scores.json"  # in a soup's folder, written last: the row, and the fields of `metrics.metrics.Scores`
_ROW, _METRICS = "soup", "metrics"


@dataclass(frozen=True)
class SoupRow:
    """A soup, and what it scored on dev.

    Attributes:
        id: its folder under ``soups/``.
        weights: of each contestant, by its name, above 0, as ``hybridtune merge --weights`` takes them.
        models: the trial of each of these contestants.
        checkpoints: the name of each trial's checkpoint that was averaged.
        benchmark: digest of the dev benchmark.
        proposed: where its weights come from: the ``grid``, all contestants alike (``equal``), or the ``sampler``.
        metrics: as of a trial.
    """

    id: str
    weights: dict[str, float]
    models: dict[str, str]
    checkpoints: dict[str, str]
    benchmark: str
    proposed: Literal["grid", "equal", "sampler"]
    metrics: dict[str, float]

    def __post_init__(self) -> None:
        for name in (self.id, *self.models.values()):
            check_file_name(name, "the id of a soup or its trial")

    @property
    def shares(self) -> dict[str, float]:
        """The weights scaled to add up to 1."""
        total = sum(self.weights.values())
        return {name: weight / total for name, weight in self.weights.items()}

    @property
    def label(self) -> str:
        """The name for people: ``0.75 mono-only + 0.25 cross-only``."""
        return " + ".join(f"{share:.3g} {name}" for name, share in self.shares.items())


def read_soups(folder: Path) -> list[SoupRow]:
    """Read the soups of a study folder that have been scored, in their order.

    One whose file cannot be read is left out, and scored again when the study goes on; `damaged_soups` tells of it.
    """
    return _read(folder)[0]


def damaged_soups(folder: Path) -> list[str]:
    """Return a sentence on each soup of a study folder that cannot be read."""
    return _read(folder)[1]


def _read(folder: Path) -> tuple[list[SoupRow], list[str]]:
    rows, notes = list[SoupRow](), list[str]()
    for file in sorted((folder / SOUPS).glob(f"*/{SCORES}")):
        try:
            fields = read_object(file) or {}
            if not isinstance(fields.get(_ROW), dict) or _METRICS not in fields:
                raise DamagedError(f"{file}: has no {_ROW!r} and {_METRICS!r}")
            rows.append(make(SoupRow, {**fields[_ROW], _METRICS: fields[_METRICS]}, str(file)))
        except DamagedError as error:
            notes.append(f"{error}; the soup is left out, and scored again by hybridtune run")
    return rows, notes


def soup_content(row: SoupRow, scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a soup's file holds: its row, and the fields of its scores."""
    about = asdict(row)
    del about[_METRICS]
    return {_ROW: about, **scores}
