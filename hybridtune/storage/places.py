"""Places that a user names, checked before anything is read or written there."""

import os

from hybridtune.config.names import LONGEST_NAME
from hybridtune.errors import InputError
from hybridtune.storage.files import is_remote, local_path

_LONGEST_PATH = 4000  # bytes; Linux takes 4,095


def check_name(location: str, option: str) -> None:
    """Check that a file system can have such a path; URLs are left to what opens them.

    Raises:
        InputError: it is empty, or a name in it is too long, or it holds a NUL; the message names the ``option``.

    Example:
        >>> check_name("studies/" + "x" * 300, "--out")
        Traceback (most recent call last):
        hybridtune.errors.InputError: --out studies/xxxxxxxxxxxx...: a name has at most 255 bytes, a path 4000
    """
    if not location:
        raise InputError(f"{option}: is empty; give a path")
    if "://" in location:
        return
    if "\0" in location:
        raise InputError(f"{option} {location[:20]!r}: holds a NUL character, which no file system takes")
    longest = max(len(os.fsencode(name)) for name in location.split("/"))
    if longest > LONGEST_NAME or len(os.fsencode(location)) > _LONGEST_PATH:
        raise InputError(
            f"{option} {location[:20]}...: a name has at most {LONGEST_NAME} bytes, a path {_LONGEST_PATH}"
        )


def check_out(location: str, option: str = "--out") -> None:
    """Check, writing nothing, that a folder is at a location or can be made there; URLs are left to what opens them.

    Raises:
        InputError: a file stands there or on the way, a name is too long, or there are no rights.
    """
    if is_remote(location):
        return
    check_name(location, option)
    try:
        path = local_path(location).absolute()
        there = next(place for place in (path, *path.parents) if os.path.lexists(place))
        if not there.is_dir():
            raise InputError(f"{option} {location}: {there} is a file; name a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise InputError(f"{option} {location}: {there} cannot be written to; choose another folder")
    except OSError as error:
        raise InputError(f"{option} {location}: cannot be a folder: {error}") from None
