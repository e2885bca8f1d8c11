"""What a pydantic error means to the person who wrote the file, in one line, with the nearest known key."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel


def reason(item: Any, root: type[BaseModel]) -> str:
    """One error of a ``ValidationError`` of the model ``root`` as one line."""
    value, kind = item.get("input"), item["type"]
    if kind == "extra_forbidden":
        return "unknown key" + nearest(str(item["loc"][-1]), _known_keys(root, item["loc"][:-1]))
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    shown = f" (got {value!r})" if not isinstance(value, dict) else ""
    message: str = item["msg"]
    return message[0].lower() + message[1:] + shown


def _known_keys(root: type[BaseModel], location: Sequence[Any]) -> list[str]:
    model: Any = root
    for step in location:
        annotation = model.model_fields[step].annotation if step in model.model_fields else None
        candidates = [
            annotation,
            *get_args(annotation),
            *(b for a in get_args(annotation) for b in get_args(a)),
        ]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not models:  # a key of a free mapping (a searched name): its values are the next model
            continue
        model = models[0]
    return list(model.model_fields)


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message on an unknown name: the known one that looks like it, or all that are known."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    short = sorted(key for key in known if "." not in key)
    return f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(short)}"
