"""Errors that are written for people: what, the value, what is allowed, what to do.

They travel between processes by pickle, so none has an ``__init__`` of its own: the message is the error.
"""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

_LONGEST = 1200  # characters of a line
_PYTHONS = (TypeError, AttributeError, LookupError, AssertionError)  # their messages are about code


class HybridtuneError(Exception):
    """Base of every error that hybridtune raises on purpose; the command line shows its message alone."""


class InputError(HybridtuneError):
    """The user's input is wrong: a study file, an option, a data file, a model. Exit code 2."""


class InUseError(InputError):
    """Another process writes to the same place, or did until a moment ago; the same input may be good later."""


class FitError(HybridtuneError):
    """A training or a trial could not go on (a loss that is not finite, a lost worker). Exit code 1."""


class StorageError(HybridtuneError):
    """A file cannot be written: no space, no quota, a read-only file system. Exit code 1."""


class RayLostError(HybridtuneError):
    """A process of Ray on this machine is gone, and with it all that it ran. Exit code 1."""


def model_not_loaded(what: str, name: str, error: Exception | str) -> InputError:
    """Return the error of an encoder or tokenizer that could not be loaded, in one line."""
    if "trust_remote_code" in str(error):
        return InputError(
            f"encoder {name}: its {what} needs code of its own, which is not run unless this command line allows it; "
            "if you trust it, give --set encoder.trust_remote_code=true (hybridtune export: --trust-remote-code)"
        )
    reason = one_line(error)[:160]
    if not isinstance(error, OSError | ValueError | str) and Path(name).expanduser().is_dir():
        said = "" if isinstance(error, _PYTHONS) else f" ({reason})"
        return InputError(
            f"encoder {name}: its {what} cannot be loaded: a file there is damaged, or says what transformers does not "
            f"read; give a folder that was saved whole{said}"
        )
    return InputError(
        f"encoder {name}: no {what} there: it is neither a model folder nor a name that could be fetched; give the "
        f"path of a folder with config.json, tokenizer.json and model.safetensors ({reason})"
    )


def printable(text: str) -> str:
    """Return a text of a file for a terminal, which control characters would steer; lines stay lines."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", text)


def one_line(error: BaseException | str) -> str:
    """Return the message of an error in one line, without the names of exceptions that libraries put into it."""
    return re.sub(r"\b\w+(?:Exception|Error): |\[Errno -?\d+\] ", "", " ".join(str(error).split()))


def error_text(error: Exception | str) -> str:
    """Return the message of an error for a terminal; a line that is too long, by a value in it, loses its middle."""
    lines = printable(str(error)).split("\n")
    return "\n".join(line if len(line) <= _LONGEST else f"{line[:700]} ... {line[-300:]}" for line in lines)


def short_repr(value: object) -> str:
    """Return a value as messages show it: what is long is cut."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message on an unknown name: the known one that looks like it, or all that are known."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    short = sorted(key for key in known if "." not in key)
    return f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(short)}"
