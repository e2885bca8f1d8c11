"""What befalls trainings, as their monitor keeps it, and what workers and actors died of; imports little."""

from typing import Any, NamedTuple

import ray

# What Ray says of a process that it has ended for want of memory, and of one that is gone.
_NO_MEMORY, _NO_WORD = "running low on memory", "connection error code"
_USED_UP = "Ray ended it, since the memory of its machine was nearly used up"
DIED = ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError  # what a call of an actor that died raises
_LONGEST = 500  # characters of a reason


class Loss(NamedTuple):
    """Workers of a training that died: at which step, from which it goes on, and of what."""

    fit: str
    step: int
    goes_on_from: int
    reason: str


class Damage(NamedTuple):
    """A checkpoint of a training that is damaged: of which step, from which it goes on instead, what is wrong."""

    fit: str
    step: int
    goes_on_from: int  # 0: it starts anew
    what: str


class Early(NamedTuple):
    """A checkpoint between two scores: of which training and step, and why."""

    fit: str
    step: int
    why: str


class Replaced(NamedTuple):
    """Something of a training that died and was replaced, without a step that is trained again."""

    fit: str
    what: str


Incident = Loss | Damage | Early | Replaced


def read_incidents(monitor: Any, known: int) -> list[Incident]:
    """Return what befell all trainings, in its order, after the ``known`` first."""
    incidents: list[Incident] = ray.get(monitor.incidents.remote(known))
    return incidents


def death_line(cause: BaseException) -> str:
    """Return in a line what a worker died of; of a process that went without a word Ray has a paragraph of guesses.

    Example:
        >>> death_line(ValueError("two lines\\nthe last is what went wrong"))
        'the last is what went wrong'
    """
    if isinstance(cause, ray.exceptions.OutOfMemoryError):
        return _USED_UP
    if isinstance(cause, ray.exceptions.ActorUnavailableError):
        return "its process does not answer: it was killed, or its machine is gone"
    return last_line(str(cause)) or type(cause).__name__


def last_line(text: str) -> str:
    """Return the last line of a traceback, or in its place what killed the process that it is about; '' of no text."""
    lines = text.strip().splitlines()
    if any(_NO_MEMORY in line for line in lines):
        return _USED_UP
    if any(_NO_WORD in line for line in lines):
        return "its process was killed: by hand, or by the system, whose memory was used up"
    return lines[-1].strip()[:_LONGEST] if lines else ""
