"""Hooks: functions of the user's own that a study names as ``package.module:function``.

Reading a study file checks the form of the name alone; it is imported where the function is called (run, train,
evaluate): no code runs because somebody looks at a study.
"""

import pkgutil
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from hybridtune.errors import InputError, nearest

_FORM = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def check_form(spec: str) -> str:
    """Return the name of a hook that has the right form; a ValueError says what is wrong."""
    if not _FORM.fullmatch(spec):
        raise ValueError(f"{spec!r} does not name a function; write it as package.module:function")
    return spec


HOOK_SCHEMA = {"type": "string", "pattern": "^[^:]+:[^:]+$"}
Hook = Annotated[str, AfterValidator(check_form), WithJsonSchema(HOOK_SCHEMA)]  # a field of the study file


def is_hook(name: str) -> bool:
    """Return whether a name has the form of a hook."""
    return _FORM.fullmatch(name) is not None


def load_hook(spec: str, what: str) -> Callable[..., Any]:
    """Import the function (or class) that a study names.

    Args:
        spec: ``package.module:function``; the module is found as by ``import``.
        what: the field that names it, for the messages.

    Raises:
        InputError: another form, no such module, a module that fails to import, no such name, or not callable.

    Example:
        >>> load_hook("math:hypot", "train.loss")(3, 4)
        5.0
    """
    try:
        module, _, name = check_form(spec).partition(":")
    except ValueError as error:
        raise InputError(f"{what}: {error}") from None
    try:
        loaded = pkgutil.resolve_name(f"{module}:")
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            reason = f"there is no module {error.name!r}; put the folder that holds it on PYTHONPATH"
        else:
            reason = f"importing {module} failed: {type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"{what} {spec}: {reason}") from None
    if not hasattr(loaded, name):
        known = [known for known in vars(loaded) if not known.startswith("_")]
        raise InputError(f"{what} {spec}: the module {module} has no {name!r}{nearest(name, known)}")
    hook: Callable[..., Any] = getattr(loaded, name)
    if not callable(hook):
        raise InputError(f"{what} {spec}: it is a value of type {type(hook).__name__}; name a function or a class")
    return hook


def hook_source(spec: str, what: str) -> bytes:
    """Read the source file of the module of a hook, whose digest shows a change; nothing if it has no file."""
    load_hook(spec, what)
    file = getattr(sys.modules[spec.partition(":")[0]], "__file__", None)
    return Path(file).read_bytes() if file else b""
