"""The records of a study folder together: its result, and what is damaged among them, in one sentence each.

Every reader goes on with what is whole and can be derived again; whoever shows or runs a study tells of the rest by
`record_notes`. Nothing heavy is imported: `hybridtune status` answers at once.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hybridtune.storage.events import damaged_events
from hybridtune.storage.records import DamagedError, make, read_lines, read_object
from hybridtune.storage.screening_rows import SCREENING
from hybridtune.storage.soup_rows import damaged_soups
from hybridtune.storage.trial_rows import ENDED, TrialRow, read_running

RESULT, REPEATS = "result.json", "repeats.json"
_FOLDERS = ("", SCREENING, "repeats")  # that hold trials


@dataclass(frozen=True)
class _Search:
    """The types of what is read of the result of a search."""

    best: dict[str, Any]
    front: list[str]
    trials: list[dict[str, Any]]
    contestants: dict[str, str] = field(default_factory=dict)
    reference: dict[str, Any] | None = None
    headline: str | None = None
    contestant_scores: dict[str, Any] | None = None
    screening: dict[str, Any] | None = None
    repeats: dict[str, Any] | None = None
    soups: dict[str, Any] | None = None
    test: dict[str, Any] | None = None


def read_result(folder: Path) -> dict[str, Any] | None:
    """Read what a study came to: ``result.json``; None before it has ended.

    A search has ``trials``, whose rows are those of `TrialRow`, and ``best`` is one of them; a single training has not.

    Raises:
        DamagedError: it cannot be read; `hybridtune run` derives it again from the trials.
    """
    file = folder / RESULT
    found = read_object(file)
    if found is None or ("trials" not in found and "metrics" in found):
        return found
    names = {field.name for field in fields(_Search)}
    search = make(_Search, {name: value for name, value in found.items() if name in names}, str(file))
    rows = [make(TrialRow, row, f"{file}: trials.{number}") for number, row in enumerate(search.trials)]
    if search.best.get("id") not in {row.id for row in rows}:
        raise DamagedError(f"{file}: 'best' is none of its trials")
    return found


def read_repeats(folder: Path) -> dict[str, Any] | None:
    """Read the noise check of a study on dev, ``repeats.json``; None where it was not made. Raises DamagedError."""
    found = read_object(folder / REPEATS)
    if found is not None and not isinstance(found.get("contestants"), dict):
        raise DamagedError(f"{folder / REPEATS}: 'contestants' is missing")
    return found


def whole_result(folder: Path) -> dict[str, Any] | None:
    """Return what a study came to, as `read_result`; None also where the file is damaged, see `record_notes`."""
    try:
        return read_result(folder)
    except DamagedError:
        return None


def whole_repeats(folder: Path) -> dict[str, Any] | None:
    """Return the noise check, as `read_repeats`; None also where the file is damaged, see `record_notes`."""
    try:
        return read_repeats(folder)
    except DamagedError:
        return None


def record_notes(folder: Path) -> list[str]:
    """Return a sentence on each record of a study folder that is damaged and was left out.

    Raises:
        DamagedError: a record without which the others cannot be understood.
    """
    notes = []
    for name in _FOLDERS:
        if (torn := read_lines(folder / name / ENDED).torn) is not None:
            notes.append(f"{torn}; hybridtune run trains its trial again, from its last checkpoint")
        try:
            read_running(folder / name)
        except DamagedError as error:
            notes.append(f"{error}; it is left out: the trials that run are not shown until the next change")
    for read in (read_result, read_repeats):
        try:
            read(folder)
        except DamagedError as error:
            notes.append(f"{error}; it is left out, and hybridtune run with the study's --out derives it again")
    return [*notes, *damaged_events(folder), *damaged_soups(folder), *damaged_soups(folder / "repeats")]
