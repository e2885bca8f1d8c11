"""Errors that are written for people: what, the value, what is allowed, what to do.

They travel between processes by pickle, so none has an ``__init__`` of its own: the message is the error.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:  # the command line imports this module for --help, which is to answer at once
    from pydantic import BaseModel


class HybridtuneError(Exception):
    """Base of every error that hybridtune raises on purpose; the command line shows its message alone."""


class InputError(HybridtuneError):
    """The user's input is wrong: a study file, an option, a data file, a model. Exit code 2."""


class FitError(HybridtuneError):
    """A training or a trial could not go on (a loss that is not finite, a lost worker). Exit code 1."""


def model_not_loaded(what: str, name: str, error: Exception | str) -> InputError:
    """Return the error of an encoder or tokenizer that could not be loaded, in one line."""
    if "trust_remote_code" in str(error):
        return InputError(
            f"encoder {name}: its {what} needs code of its own, which is not run unless this command line allows it; "
            "if you trust it, give --set encoder.trust_remote_code=true (hybridtune export: --trust-remote-code)"
        )
    reason = " ".join(str(error).split())[:160]
    return InputError(
        f"encoder {name}: no {what} there: it is neither a model folder nor a name that could be fetched; give the "
        f"path of a folder with config.json, tokenizer.json and model.safetensors ({reason})"
    )


def reason(item: Any, root: "type[BaseModel]") -> str:
    """Return one error of a ``ValidationError`` of the model ``root`` as one line."""
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


def _known_keys(root: "type[BaseModel]", location: Sequence[Any]) -> list[str]:
    from pydantic import BaseModel

    model: Any = root
    for step in location:
        annotation = model.model_fields[step].annotation if step in model.model_fields else None
        arguments = get_args(annotation)
        candidates = [annotation, *arguments, *(inner for outer in arguments for inner in get_args(outer))]
        # A key of a free mapping (a searched name) has no model: its values are the next one.
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return list(model.model_fields)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message on an unknown name: the known one that looks like it, or all that are known."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    short = sorted(key for key in known if "." not in key)
    return f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(short)}"
