"""The screening of a study in its folder: its trainings as rows, in ``screening/``, and what it came to.

A screened training is no row of the study's own ``trials.jsonl``: its encoder lacks layers, so nothing that is compared
or exported may be one. Nothing heavy is imported: `hybridtune status` counts them, and answers at once.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hybridtune.storage.files import write_atomically
from hybridtune.storage.records import make, read_object
from hybridtune.storage.trial_rows import TrialRow, read_rows

SCREENING = "screening"  # in the study folder; laid out like a study folder of its own
ENDED = f"{SCREENING}.json"  # written when it has ended: no later run changes what the search begins with
_WITHOUT_IT = "without the file the study screens again"


@dataclass(frozen=True)
class Screening:
    """A screening that has ended.

    Attributes:
        layers: of its encoder.
        of: of the whole encoder.
        kept: the points by arm with which the search begins, the best first: ids of screened trainings and the values
            that these set.
    """

    layers: int
    of: int
    kept: Mapping[str, Mapping[str, Mapping[str, Any]]]


def read_screened(folder: Path) -> list[TrialRow]:
    """Read the screened trainings of a study folder by number, those that run among them; none where it has none."""
    return read_rows(folder / SCREENING, running=True)


def read_screening(folder: Path) -> Screening | None:
    """Read what the screening of a study folder came to; None: it has not ended. Raises DamagedError."""
    file = folder / ENDED
    found = read_object(file, _WITHOUT_IT)
    return None if found is None else make(Screening, found, str(file), _WITHOUT_IT)


def write_screening(folder: Path, screening: Screening) -> None:
    """Write what the screening of a study folder came to; whoever sees the file sees all of it."""
    write_atomically(folder / ENDED, json.dumps(asdict(screening), indent=1))


def trained_in_both(screened: Sequence[TrialRow], trials: Sequence[TrialRow]) -> list[tuple[TrialRow, TrialRow]]:
    """Return each point that came to its end with few layers and with all, as (screened training, trial)."""
    done = [row for row in trials if row.status == "done"]
    return [
        (one, row)
        for one in screened
        if one.status == "done"
        for row in [next((row for row in done if (row.arm, row.values) == (one.arm, one.values)), None)]
        if row is not None
    ]
