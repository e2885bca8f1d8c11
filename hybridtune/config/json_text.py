"""JSON that others wrote: whatever is wrong with it is a ValueError, which its readers turn into one line."""

import json
from typing import Any

MOST_DEPTH = 100  # what handles a value deep in other calls goes through it by recursion
_DECODER = json.JSONDecoder()
_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}


def json_kind(value: Any) -> str:
    """Return what a value of JSON is, in words for people.

    Example:
        >>> json_kind([1]), json_kind(None), json_kind(5.0)
        ('a list', 'null', 'a number')
    """
    return _KINDS.get(type(value), "a number")


def parse_json(text: str | bytes, decoder: json.JSONDecoder = _DECODER) -> Any:
    """Return the value of a JSON text.

    Args:
        text: of one value; bytes are in UTF-8.
        decoder: how objects are made; by default dictionaries, of a key that is there twice the last.

    Raises:
        ValueError: not UTF-8, not JSON (a `json.JSONDecodeError`, with the place), or nested too deep.

    Example:
        >>> parse_json('{"a": [1, 2]}')
        {'a': [1, 2]}
    """
    text = text if isinstance(text, str) else text.decode("utf-8-sig")
    start = len(text) - len(text.lstrip(" \t\r\n"))
    value, end = parse_value(text, start, decoder)
    rest = text[end:].lstrip(" \t\r\n")
    if rest:
        raise json.JSONDecodeError("Extra data", text, len(text) - len(rest))
    return value


def parse_value(text: str, start: int, decoder: json.JSONDecoder = _DECODER) -> tuple[Any, int]:
    """Return the value that begins at a place of a text, and the place after it. Raises as `parse_json` does."""
    try:
        value, end = decoder.raw_decode(text, start)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        if "integer string conversion" in str(error):  # Python's own bound, against slow conversions
            raise ValueError("a number of more than 4300 digits") from None
        raise
    opening = text.count("[", start, end) + text.count("{", start, end)  # what most values have few of
    if opening > MOST_DEPTH and _depth_over(value, MOST_DEPTH):
        raise ValueError(_TOO_DEEP)
    return value, end


_TOO_DEEP = f"nested more than {MOST_DEPTH} deep"


def _depth_over(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        inside = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
        level = [item for item in inside if isinstance(item, dict | list)]
        if not level:
            return False
    return True
