"""What has happened to a study, one event a line: ``events.jsonl`` in its folder. Every run adds to it.

Nothing heavy is imported here: `hybridtune status` reads it, and answers at once.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

EVENTS = "events.jsonl"
OfRuns = Literal["began", "resumed", "ended", "interrupted", "failed"]
Kind = Literal[OfRuns, "trial began", "trial goes on", "scored", "trial ended", "workers lost"]
SHOWN = ("began", "resumed", "ended", "interrupted", "failed", "workers lost")  # the others are in the trials' rows


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
    known = {name: value for name, value in asdict(event).items() if value is not None}
    with (folder / EVENTS).open("ab+") as lines:
        lines.seek(max(0, lines.seek(0, os.SEEK_END) - 1))
        torn = lines.read(1) not in (b"", b"\n")  # the process was killed while it wrote
        lines.write(b"\n" * torn + json.dumps(known, ensure_ascii=False).encode() + b"\n")


def read_events(folder: Path) -> list[Event]:
    """Read the events of a study folder, in their order; a line that was cut off is left out, and so is what a newer
    version adds to one.
    """
    file, events, names = folder / EVENTS, list[Event](), {field.name for field in fields(Event)}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []:
        try:
            found = json.loads(line)
            events.append(Event(**{name: value for name, value in found.items() if name in names}))
        except (ValueError, TypeError, AttributeError):
            continue
    return events


def history(events: Sequence[Event]) -> dict[str, Any]:
    """Return the interruptions of a study: how often it was run, what cut it off, and the steps trained again.

    Returns:
        ``{"runs", "interruptions": [line, ...], "workers_lost", "repeated_steps"}``. A run that was killed leaves no
        event of its own: the ``resumed`` of the next says so, and the steps that it lost are not known.
    """
    cuts = [one for one in events if one.kind in ("interrupted", "failed", "resumed", "workers lost")]
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
