"""Records in JSON: a file with one object, and a file with one object a line; all that is wrong in them is one line.

A line that was cut off at the end of a file, as a kill or a power cut leaves it, is left out and told of; everything
before it holds. Any other damage is a `DamagedError`, which names the file and the line.
"""

import functools
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from hybridtune.config.json_text import json_kind, parse_json
from hybridtune.errors import InputError, short_repr

T = TypeVar("T")


class DamagedError(InputError):
    """A record cannot be read; the message names its file, and its line where it has several."""


class Lines(NamedTuple):
    """The objects of a file, a line each, and a sentence on a last line that was cut off."""

    found: list[dict[str, Any]]
    torn: str | None


def read_object(file: Path, remedy: str = "") -> dict[str, Any] | None:
    """Read a file with one JSON object; None where there is no file.

    Raises:
        DamagedError: it holds something else; the message ends with the ``remedy``.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedError(f"{file}: cannot be read: {error.strerror}") from None
    return parse_object(content, str(file), remedy)


def read_lines(file: Path, remedy: str = "") -> Lines:
    """Read a file with one JSON object a line; without a file there are none.

    Raises:
        DamagedError: a line holds something else; the message ends with the ``remedy``.
    """
    try:
        *lines, rest = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return Lines([], None)
    except OSError as error:
        raise DamagedError(f"{file}: cannot be read: {error.strerror}") from None
    found = [parse_object(line, f"{file}: line {number}", remedy) for number, line in enumerate(lines, 1)]
    if not rest:
        return Lines(found, None)
    where = f"{file}: line {len(lines) + 1}"
    if b"\0" in rest or _is_whole(rest):
        return Lines([*found, parse_object(rest, where, remedy)], None)
    return Lines(found, f"{where} was cut off, and is left out")


def append_line(file: Path, content: dict[str, Any]) -> None:
    """Add an object to a file of one a line; a line that was cut off at its end goes."""
    with file.open("ab+") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        ends = _end_of_lines(stream, size)
        if ends != size:
            stream.truncate(ends)
        stream.write(json.dumps(content, ensure_ascii=False).encode() + b"\n")


def _end_of_lines(stream: Any, size: int) -> int:
    """Return where the last whole line of a file ends."""
    if not size:
        return 0
    stream.seek(size - 1)
    if stream.read(1) == b"\n":
        return size
    stream.seek(0)
    return int(stream.read().rfind(b"\n")) + 1


def make(kind: type[T], found: dict[str, Any], where: str, remedy: str = "") -> T:
    """Return a dataclass with the fields that a record holds.

    Raises:
        DamagedError: a field is missing, has another type, or is not known here; the message begins with ``where``.
    """
    unknown = sorted(found.keys() - {field.name for field in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        later = "a later hybridtune may have written it: use that version"
        raise DamagedError(f"{where}: {unknown[0]!r} is not known here; {remedy or later}")
    try:
        _checker(kind).validate_json(json.dumps(found), strict=True)  # type: ignore[arg-type]
    except ValidationError as errors:
        raise DamagedError(f"{where}: {_words(errors)}{_then(remedy)}") from None
    except InputError as error:  # a value that the record itself refuses
        raise DamagedError(f"{where}: {error}{_then(remedy)}") from None
    return kind(**found)


@functools.cache
def _checker(kind: type[Any]) -> TypeAdapter[Any]:
    """Return what checks the types of a dataclass's fields; values stay as they were read."""
    return TypeAdapter(kind)


def _words(errors: ValidationError) -> str:
    error = errors.errors(include_url=False)[0]
    name = ".".join(map(str, error["loc"]))
    if error["type"] in ("missing", "missing_argument"):
        return f"{name!r} is missing"
    return f"{name!r} is {short_repr(error['input'])}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _is_whole(line: bytes) -> bool:
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def parse_object(content: bytes, where: str, remedy: str = "") -> dict[str, Any]:
    """Return the object that a text holds. Raises DamagedError, which begins with ``where`` it stands."""
    what = ""
    try:
        found = parse_json(content)
        if isinstance(found, dict):
            return found
        what = f"is {json_kind(found)}, and not an object"
    except json.JSONDecodeError as error:
        what = f"is no JSON: {error.msg[0].lower()}{error.msg[1:]} at character {error.pos + 1}"
    except ValueError as error:
        what = f"is no JSON: {' '.join(str(error).split())[:120]}"
    if not content.strip():
        what = "is empty"
    elif b"\0" in content:
        what = "holds NUL bytes, as a disk leaves them that lost power"
    raise DamagedError(f"{where} {what}{_then(remedy)}")


def _then(remedy: str) -> str:
    return f"; {remedy}" if remedy else ""
