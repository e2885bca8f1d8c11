"""The members of JSON objects, each of the type that its format says."""

from typing import Any

from hybridtune.errors import short_repr

_TYPES = {str: "a text", list: "a list", dict: "an object", int: "a whole number"}


def member(piece: Any, key: str, kind: type) -> Any:
    """Return a member of an object; a ValueError says what is there in its place.

    Example:
        >>> member({"id": 5}, "id", str)
        Traceback (most recent call last):
        ValueError: id is 5, not a text
    """
    if not isinstance(piece, dict):
        raise ValueError(f"{short_repr(piece)} is not an object")
    if key not in piece:
        raise ValueError(f"{key} is missing")
    if type(piece[key]) is not kind:  # true is no whole number
        raise ValueError(f"{key} is {short_repr(piece[key])}, not {_TYPES[kind]}")
    return piece[key]
