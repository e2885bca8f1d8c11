"""What has happened to a study, one event a line: ``events.jsonl`` in its folder. Every run adds to it.

Nothing heavy is imported here: `hybridtune status` reads it, and answers at once.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from hybridtune.storage.records import DamagedError, append_line, make, parse_object

EVENTS = "events.jsonl"
OfRuns = Literal["began", "resumed", "ended", "interrupted", "failed"]
OfTrials = Literal["trial began", "trial goes on", "scored", "trial ended"]
Kind = Literal[OfRuns, OfTrials, "workers lost", "damaged", "checkpoint", "replaced"]
# The others are in the trials' rows.
SHOWN = (
    *("began", "resumed", "ended", "interrupted", "failed"),
    *("workers lost", "damaged", "checkpoint", "replaced"),
)


_CUTS = ("interrupted", "failed", "resumed", "workers lost", "damaged", "replaced")


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        time: in seconds of the epoch.
        kind: what.
        text: a line for people.
        trial: the id of the training that it happened to, if to one.
        step: how far that had come.
        repeated: steps that are trained again because of it; None: none, or not known.
    """

    time: float
    kind: Kind
    text: str
    trial: str | None = None
    step: int | None = None
    repeated: int | None = None


def append_event(folder: Path, event: Event) -> None:
    """Add an event to a study folder."""
    append_line(folder / EVENTS, {name: value for name, value in asdict(event).items() if value is not None})


def read_events(folder: Path) -> list[Event]:
    """Read the events of a study folder, in their order; what a newer version adds to one is left out.

    So is a line that cannot be read, of which `damaged_events` tells: nothing but words depends on it.
    """
    return _read(folder)[0]


def damaged_events(folder: Path) -> list[str]:
    """Return a sentence on each line of the events that cannot be read."""
    return _read(folder)[1]


def _read(folder: Path) -> tuple[list[Event], list[str]]:
    file, names = folder / EVENTS, {field.name for field in fields(Event)}
    events, notes = list[Event](), list[str]()
    for number, line in enumerate(file.read_bytes().splitlines() if file.exists() else [], 1):
        where = f"{file}: line {number}"
        try:
            found = parse_object(line, where)
            events.append(make(Event, {name: value for name, value in found.items() if name in names}, where))
        except DamagedError as error:
            notes.append(f"{error}; the event is left out")
    return events, notes


def history(events: Sequence[Event]) -> dict[str, Any]:
    """Return the interruptions of a study: how often it was run, what cut it off, and the steps trained again.

    Returns:
        ``{"runs", "interruptions": [line, ...], "workers_lost", "repeated_steps"}``. A run that was killed leaves no
        event of its own: the ``resumed`` of the next says so, and the steps that it lost are not known.
    """
    cuts = [one for one in events if one.kind in _CUTS]
    return {
        "runs": sum(one.kind in ("began", "resumed") for one in events),
        "interruptions": [one.text for one in cuts],
        "workers_lost": sum(one.kind == "workers lost" for one in events),
        "repeated_steps": sum(one.repeated or 0 for one in events),
    }


def lost_line(training: str, step: int, goes_on_from: int, reason: str) -> str:
    """Return one line on the lost workers of a training.

    Example:
        >>> lost_line("trial 4", 47, 40, "a worker died (exit code 137)")
        'trial 4: a worker died (exit code 137) at step 47; going on from step 40'
    """
    return f"{training}: {reason} at step {step}; going on from step {goes_on_from}"


def checkpoint_line(training: str, step: int, reason: str) -> str:
    """Return one line on a checkpoint between two scores.

    Example:
        >>> checkpoint_line("trial 4", 47, "a node of its workers is about to go")
        'trial 4: wrote a checkpoint at step 47: a node of its workers is about to go'
    """
    return f"{training}: wrote a checkpoint at step {step}: {reason}"


def damaged_line(training: str, step: int, goes_on_from: int, what: str) -> str:
    """Return one line on the damaged checkpoint of a training.

    Example:
        >>> damaged_line("trial 4", 40, 20, "model.safetensors is missing")
        'trial 4: its checkpoint of step 40 is damaged (model.safetensors is missing); going on from step 20'
        >>> damaged_line("trial 4", 20, 0, "model.safetensors is missing")
        'trial 4: its checkpoint of step 20 is damaged (model.safetensors is missing); starting again'
    """
    then = f"going on from step {goes_on_from}" if goes_on_from else "starting again"
    return f"{training}: its checkpoint of step {step} is damaged ({what}); {then}"
