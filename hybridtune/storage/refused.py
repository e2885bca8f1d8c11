"""Writes that a file system refuses, as full, read-only or over quota: told in one line, and never tried for ever."""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from hybridtune.errors import HybridtuneError, StorageError
from hybridtune.storage.files import is_remote

_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_IN_RUST = re.compile(r"\(os error (\d+)\)")  # of libraries whose errors are no OSError, as safetensors


@contextlib.contextmanager
def refusals_told(place: str | Path) -> Iterator[None]:
    """Raise StorageError where a write inside the block was refused; any other error passes.

    Args:
        place: where the block writes, for an error that names no file of its own.

    Example:
        >>> with refusals_told("study"):
        ...     raise OSError(errno.EROFS, "Read-only file system", "study/trials.jsonl")
        Traceback (most recent call last):
        ...
        hybridtune.errors.StorageError: study/trials.jsonl: cannot be written: read-only file system...
    """
    try:
        yield
    except HybridtuneError:
        raise
    except Exception as error:
        line = refusal(error, place)
        if line is None:
            raise
        raise StorageError(line) from error


def refusal(error: BaseException, place: str | Path = "") -> str | None:
    """Return in a line which write was refused, and why; None: the error is of something else.

    Args:
        error: it, or what caused it, is looked at.
        place: what is named where the error names no file.
    """
    found: BaseException | None = error
    while found is not None:
        code = _code(found)
        if code is not None:
            named = getattr(found, "filename", None) or place
            return f"{named or 'a file'}: cannot be written: {os.strerror(code).lower()}{_free(named)}; make room there"
        found = found.__cause__ or found.__context__
    return None


def _code(error: BaseException) -> int | None:
    named = _IN_RUST.search(str(error)) if not isinstance(error, OSError) else None
    code = int(named[1]) if named is not None else getattr(error, "errno", None)
    return code if code in _REFUSED else None


def _free(place: str | Path) -> str:
    """Return `` (12,345 bytes free)`` of the file system of a local place, else nothing."""
    if not str(place) or is_remote(str(place)):
        return ""
    path = Path(place).absolute()
    here = next(folder for folder in (path, *path.parents) if folder.exists())
    with contextlib.suppress(OSError):
        return f" ({shutil.disk_usage(here).free:,} bytes free)"
    return ""
