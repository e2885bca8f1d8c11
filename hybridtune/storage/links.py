"""Symbolic links in folders that may be a stranger's: none leads a command to a file outside.

`check_links` looks before a command reads or writes in a study's or a launch's folder, `copy_folder` while it copies.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from hybridtune.errors import InputError
from hybridtune.storage.files import is_remote, local_path

_UNREAD = {"debug-core.log"}  # W&B's, in each of its runs: no name of ours, so it is never followed


def check_links(location: str | Path, shown: str | None = None) -> None:
    """Check that no link in a folder, at any depth, leads out of it; a URL has none, nor has what is not there.

    Raises:
        InputError: one does; the message begins with ``shown``, or else with the location.
    """
    if is_remote(str(location)):
        return
    folder = local_path(str(location))
    found = _outward(str(folder), os.path.realpath(folder))
    if found is not None:
        raise InputError(
            f"{shown or location}: {Path(found).relative_to(folder)} is a link to {Path(found).readlink()}, outside "
            "the folder, and nothing was done; a stranger could lead a command by it to files of yours: put what it "
            "leads to in its place, or remove it"
        )


def copy_folder(folder: Path, into: Path, ignore: Callable[[str, list[str]], list[str]]) -> None:
    """Copy a model folder, without what ``ignore`` names as `shutil.copytree` asks it.

    Raises:
        InputError: a link in it leads elsewhere than to the blobs of its own place in the Hugging Face cache.
    """
    blobs = os.path.realpath(folder.absolute().parent.parent / "blobs")

    def left_out(place: str, names: list[str]) -> list[str]:
        ignored = ignore(place, names)
        for path in (os.path.join(place, name) for name in names if name not in ignored):  # noqa: PTH118
            if _leads_out(path, os.path.realpath(folder)) and _leads_out(path, blobs):
                raise InputError(f"{path}: is a link to a file outside the model's folder, which is not copied")
        return ignored

    shutil.copytree(folder, into, ignore=left_out, dirs_exist_ok=True)


def _outward(folder: str, root: str) -> str | None:
    """Return a link that leads out of a root, of those at or below a folder; None: there is none."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError:
        return None  # no folder, or one that nobody can read
    for entry in found:
        if entry.is_symlink():
            if entry.name not in _UNREAD and _leads_out(entry.path, root):
                return entry.path
        elif entry.is_dir(follow_symlinks=False) and (inside := _outward(entry.path, root)) is not None:
            return inside
    return None


def _leads_out(path: str, root: str) -> bool:
    return os.path.commonpath([os.path.realpath(path), root]) != root if os.path.islink(path) else False  # noqa: PTH114
