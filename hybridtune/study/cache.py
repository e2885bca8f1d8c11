"""`hybridtune cache`: what this machine's cache holds, and its removal by age, by size, or where nothing reads it.

Nothing outside `cache_folder` is touched but Ray's session folders of runs that were killed, and what still runs of
those. Links are not followed.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridtune.callbacks import StudyCallback
from hybridtune.data.store import FORMAT_VERSION
from hybridtune.errors import InputError
from hybridtune.runtime.processes import is_running
from hybridtune.runtime.remains import end_processes
from hybridtune.runtime.sessions import marked_sessions, remove_session
from hybridtune.storage.copies import DIGEST
from hybridtune.storage.files import cache_folder
from hybridtune.storage.manifests import damage
from hybridtune.storage.writer_lock import read_holder

STUDY, SESSION, UNKNOWN = "study at a URL", "Ray session", "unknown"
_HALVES = (".building", ".fetching", ".partial")  # ends of names of what is not finished
_INSIDE = {  # folders whose entries are listed one by one, and what each is
    "fetched": "fetched file",
    "studies": STUDY,
    "outgoing": "checkpoint to send",
    "translations": "translations",
    "ctranslate2": "converted model",
}


_SEALED = ("token store", "teacher's vectors")  # that are made anew where they are damaged


@dataclass(frozen=True)
class Entry:
    """One thing in the cache.

    Attributes:
        kind: of it, for people; what is `UNKNOWN` is never removed.
        size: in bytes.
        used: when a file of it was last read or written, as the file system knows it, in seconds of the epoch.
        unread: why nothing reads it any more; empty: something may.
        busy: a process is at it.
    """

    kind: str
    path: Path
    size: int
    used: float
    unread: str = ""
    busy: bool = False


@dataclass(frozen=True)
class Rules:
    """Rules by which a prune removes more than what nothing reads any more.

    Attributes:
        older_than: seconds since the last use; None: no age is too old.
        most: bytes that may stay, of what may be removed; the least recently used goes first. None: any number.
        studies: homes of studies at URLs may go too. Results that could not be copied to the URL are there alone.
    """

    older_than: float | None = None
    most: int | None = None
    studies: bool = False


def parse_size(text: str) -> int:
    """Return the bytes of a size: ``500MB``, ``20GB``; raise InputError where it is none.

    Example:
        >>> parse_size("1.5GB")
        1500000000
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([KMGT]?)B", text)
    if match is None:
        raise InputError(f"--max-size {text[:40]}: is no size; write it like 500MB or 20GB")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2] or " "))


def list_cache() -> list[Entry]:
    """Return all that the cache holds, and Ray's session folders of our runs, the least recently used first."""
    root = cache_folder()
    found = [entry for path in _entries(root) if (entry := _entry(root, path)) is not None]
    for session, runs in marked_sessions():
        found.append(Entry(SESSION, session, *_extent(session), unread="" if runs else "its run has ended", busy=runs))
    return sorted(found, key=lambda entry: entry.used)


def prune_cache(rules: Rules, callback: StudyCallback, dry_run: bool = False) -> dict[str, Any]:
    """Remove from the cache what nothing reads any more, and what else the rules name.

    Returns:
        ``{"cache", "removed": [`to_dict`], "freed", "left", "dry_run"}``: sizes in bytes.
    """
    entries = list_cache()
    chosen = _chosen(entries, rules)
    removed = [entry for entry in chosen if dry_run or _remove(entry)]
    freed = sum(entry.size for entry in removed)
    for entry in chosen:
        if entry not in removed:
            callback.on_message(f"{entry.path}: is in use or cannot be removed; left")
    return {
        "cache": str(cache_folder()),
        "removed": [to_dict(entry) for entry in removed],
        "freed": freed,
        "left": sum(entry.size for entry in entries) - freed,
        "dry_run": dry_run,
    }


def to_dict(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON and tables have it: ``{"kind", "path", "bytes", "unused_seconds", "state"}``."""
    state = "in use" if entry.busy else entry.unread
    unused = max(0.0, time.time() - entry.used)
    return {
        "kind": entry.kind,
        "path": str(entry.path),
        "bytes": entry.size,
        "unused_seconds": round(unused),
        "state": state,
    }


def _chosen(entries: list[Entry], rules: Rules) -> list[Entry]:
    """Return the entries to remove, the least recently used first."""
    kinds = {UNKNOWN} if rules.studies else {UNKNOWN, STUDY}
    chosen = [entry for entry in entries if entry.unread and not entry.busy]
    free = [entry for entry in entries if not entry.unread and not entry.busy and entry.kind not in kinds]
    old = time.time() - rules.older_than if rules.older_than is not None else None
    too_old = [entry for entry in free if old is not None and entry.used < old]
    left = sum(entry.size for entry in free) - sum(entry.size for entry in too_old)
    for entry in free:
        if rules.most is not None and left > rules.most and entry not in too_old:
            too_old.append(entry)
            left -= entry.size
    return [*chosen, *too_old]


def _entries(root: Path) -> Iterator[Path]:
    """Yield the paths of the entries; locks, which are empty, belong to what they lock."""
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.suffix == ".lock":
            continue
        if path.name in _INSIDE and path.is_dir() and not path.is_symlink():
            yield from (inside for inside in sorted(path.iterdir()) if inside.suffix != ".lock")
        else:
            yield path


def _entry(root: Path, path: Path) -> Entry | None:
    """Return an entry of the cache; None where it has just gone."""
    try:
        size, used = _extent(path)
        if path.is_symlink():
            return Entry(UNKNOWN, path, size, used)
        inside = path.parent != root
        kind = _INSIDE[path.parent.name] if inside else _kind(path)
        with _free(_lock_of(path)) as free:
            locked = not free
        if path.suffix in _HALVES and (inside or DIGEST.fullmatch(path.stem)):
            return Entry("half-written", path, size, used, "" if locked else "its process has ended", locked)
        if kind == "checkpoint to send":
            pid, birth, _ = path.name.split("-")
            busy = is_running(int(pid), birth or None)
            return Entry(kind, path, size, used, "" if busy else "its process has ended", busy)
        if kind == STUDY:
            held = read_holder(str(path))
            return Entry(kind, path, size, used, busy=held is not None and held[1])
        return Entry(kind, path, size, used, _why_unread(path, kind), locked)
    except FileNotFoundError:
        return None
    except ValueError:  # a name of nobody's
        return Entry(UNKNOWN, path, size, used)


def _kind(path: Path) -> str:
    """Return what an entry at the top of the cache is."""
    if path.name == "leaks" and path.is_dir():
        return "searches for leaks"
    if not DIGEST.fullmatch(path.name.partition(".")[0]) or not path.is_dir():
        return UNKNOWN
    if (path / "store.json").is_file():
        return "token store"
    return "teacher's vectors" if (path / "teacher.json").is_file() else "fetched folder"


def _why_unread(path: Path, kind: str) -> str:
    """Return why nothing reads an entry any more, as far as names and sizes say it; empty: something may."""
    if kind == "token store":
        try:
            found = json.loads((path / "store.json").read_text(encoding="utf-8")).get("format")
        except (ValueError, AttributeError):
            return "its store.json is damaged"
        if found != FORMAT_VERSION:
            return f"of format {found}; this version reads {FORMAT_VERSION}"
    return (damage(path, sizes_only=True) or "") if kind in _SEALED else ""


def _extent(path: Path) -> tuple[int, float]:
    """Return the bytes of a file or folder, and when one of its files was last used; links count as themselves."""
    size, used = 0, 0.0
    for one in (path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())):
        with contextlib.suppress(FileNotFoundError):
            stat = one.lstat()
            is_folder = one.is_dir() and not one.is_symlink()
            size += 0 if is_folder else stat.st_size
            # Whoever lists a folder reads it: of folders the time of their change alone says something.
            used = max(used, stat.st_mtime if is_folder else max(stat.st_atime, stat.st_mtime))
    return size, used


def _lock_of(path: Path) -> Path:
    """Return the file that whoever writes an entry locks meanwhile."""
    return path.with_name(f"{path.stem if path.suffix in _HALVES else path.name}.lock")


@contextlib.contextmanager
def _free(lock: Path) -> Iterator[bool]:
    """Yield whether nobody holds a lock, which is held while the block runs then."""
    if not lock.is_file():
        yield True
        return
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _remove(entry: Entry) -> bool:
    """Remove an entry whole; return whether it is gone."""
    path = entry.path
    if entry.kind == SESSION:
        end_processes(path, os.getpid())
        remove_session(path)
    elif path.is_symlink() or not path.resolve().is_relative_to(cache_folder().resolve()):
        return False
    else:
        with _free(_lock_of(path)) as is_free, contextlib.suppress(OSError):
            if is_free and path.is_dir():
                going = path if path.suffix in _HALVES else path.rename(path.with_name(f"{path.name}{_HALVES[0]}"))
                shutil.rmtree(going)  # under this name: what a study finds under the other one is whole
            elif is_free:
                path.unlink()
    return not path.exists()
