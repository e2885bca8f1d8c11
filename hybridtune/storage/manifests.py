"""The manifest of a folder: the size and the digest of every file in it, written last, by which damage is seen.

`seal` writes it where a folder is complete: a checkpoint, a token store, a teacher's vectors, a model folder. `damage`
compares. A folder without one was cut off. Files that came into a folder later are nobody's concern here.
"""

import functools
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridtune.config.json_text import parse_json
from hybridtune.errors import InputError
from hybridtune.storage.files import (
    file_digest,
    flush,
    is_remote,
    join,
    list_files,
    local_path,
    read_file,
    remove,
    write_atomically,
    write_file,
)

MANIFEST = "hybridtune_manifest.json"
_FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """A file as it was written."""

    bytes: int
    sha256: str


def seal(folder: Path) -> None:
    """Flush all files of a complete local folder to the disk, and write its manifest."""
    found = manifest_of(folder)
    for path in (folder, *folder.rglob("*")):
        flush(path)
    write_atomically(folder / MANIFEST, manifest_text(found))


def manifest_of(folder: Path) -> dict[str, Entry]:
    """Return the files of a local folder as they are now, by their paths in it, sorted."""
    sizes = {name: size for name, (size, _) in sorted(list_files(str(folder)).items()) if name != MANIFEST}
    return {name: Entry(size, file_digest(join(str(folder), *name.split("/")))) for name, size in sizes.items()}


def manifest_text(entries: dict[str, Entry]) -> str:
    """Return the content of a manifest."""
    described = {name: {"bytes": one.bytes, "sha256": one.sha256} for name, one in entries.items()}
    return json.dumps({"format": _FORMAT, "files": described}, indent=1)


def leave_out(location: str, name: str) -> None:
    """Remove a file from a sealed folder at a path or URL, which stays whole; killed at any moment, too.

    Without it, or without a manifest that can be read, nothing is done.
    """
    try:
        found = read_manifest(location)
    except ValueError:
        return
    if found is None:
        return
    if found.pop(name, None) is not None:
        write_file(join(location, MANIFEST), manifest_text(found).encode())
    remove(join(location, name))


def rewrite(folder: Path, name: str, content: str) -> None:
    """Write a file of a local folder anew; a sealed folder stays whole, killed at any moment, too."""
    found = read_manifest(str(folder))
    if found is not None:
        write_atomically(folder / MANIFEST, manifest_text({key: one for key, one in found.items() if key != name}))
    write_atomically(folder / name, content)
    if found is not None:
        entry = Entry((folder / name).stat().st_size, file_digest(str(folder / name)))
        write_atomically(folder / MANIFEST, manifest_text({**found, name: entry}))


def read_manifest(location: str) -> dict[str, Entry] | None:
    """Return what the manifest of a folder at a path or URL holds; None where there is none.

    Raises:
        ValueError: it cannot be read; the message names it.
    """
    content = read_file(join(location, MANIFEST))
    if content is None:
        return None
    try:
        found = parse_json(content)
        if found["format"] != _FORMAT:
            raise ValueError(f"has format {found['format']!r}, this version reads {_FORMAT}")
        return {name: _entry(name, one) for name, one in found["files"].items()}
    except ValueError as error:
        raise ValueError(f"{MANIFEST} cannot be read ({error})") from None
    except (TypeError, KeyError, AttributeError):
        raise ValueError(f"{MANIFEST} cannot be read (it holds something else than a manifest)") from None


def _entry(name: str, found: Any) -> Entry:
    if not isinstance(found["bytes"], int) or not isinstance(found["sha256"], str):
        raise ValueError(f"{name}: no size and digest")
    if any(part in ("", ".", "..") for part in name.split("/")):  # a stranger's: nothing outside is looked at
        raise ValueError(f"{name!r} is no file of the folder")
    return Entry(found["bytes"], found["sha256"])


def damage(location: str | Path, names: Collection[str] | None = None, *, sizes_only: bool = False) -> str | None:
    """Return what is wrong with a folder that was sealed, in words that begin with a file's name; None: it is whole.

    Args:
        location: path or URL.
        names: the files to look at, by their paths in the folder; None: all that the manifest has.
        sizes_only: read no file but the manifest; always so at a URL, whose provider has digests of its own.
    """
    location = str(location)
    try:
        written = read_manifest(location)
    except ValueError as error:
        return str(error)
    if written is None:
        return f"{MANIFEST} is missing"
    found = list_files(location)
    for name, entry in written.items():
        if names is not None and name not in names:
            continue
        if name not in found:
            return f"{name} is missing"
        size, _ = found[name]
        if size != entry.bytes:
            return f"{name} has {size:,} bytes, and {entry.bytes:,} were written"
        if not sizes_only and not is_remote(location):
            file = local_path(join(location, *name.split("/")))
            stat = file.stat()
            if _digest(str(file), stat.st_ino, stat.st_ctime_ns) != entry.sha256:
                return f"{name} holds other bytes than were written"
    return None


@functools.lru_cache(maxsize=4096)
def _digest(file: str, inode: int, changed: int) -> str:
    """Return the digest of a file, read once in a process as long as nothing writes to it."""
    return file_digest(file)


def check_whole(folder: Path, remedy: str, names: Collection[str] | None = None) -> None:
    """Raise InputError, which says what is damaged and the ``remedy``, unless a sealed folder is whole."""
    what = damage(folder, names)
    if what is not None:
        raise InputError(f"{folder} is damaged: {what}; {remedy}")
