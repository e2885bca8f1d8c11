"""Copying what changed in a study's home to its place, such that the copy is one that the study can go on from.

A database is copied by SQLite itself, whole at one moment. What tells of ended trials is read before that moment and
sent after it: the copy's ``trials.jsonl`` never tells of a trial that the copy's database does not know.
"""

import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from hybridtune.places import join, remove, send
from hybridtune.search.rows import ENDED, RUNNING

_REPEATS = "repeats"
TOLD = (RUNNING, ENDED, f"{_REPEATS}/{RUNNING}", f"{_REPEATS}/{ENDED}", "repeats.json", "result.json")
_DATABASE, _JOURNAL = ".db", "optuna.log"
_PASSING = (".new", ".lock", "-journal", "-wal", "-shm", ".swp")  # ends the names of what is there for a moment
STAMP = "mirror.json"  # at the place: which home it follows, and the files that came from there
_PUBLISHED = ("store", "encoders")  # what nodes fetch
_ELSEWHERE = ("dashboard.txt", "dashboard.token", STAMP)  # of this machine alone, or of the place alone

Stat = tuple[int, int, int]  # bytes, time of change in ns, inode


def is_mirrored(name: str) -> bool:
    """Whether a file of the home, by its path in it, is one that the place gets from there.

    Not: hidden files, what is there for a moment, what nodes write to the place themselves (checkpoints) or fetch from
    there (``store/``, ``encoders/``), and addresses on this machine.
    """
    *folders, last = name.split("/")
    if "fit" in folders or any(part.startswith(".") for part in (*folders, last)):
        return False
    if folders and folders[0] in _PUBLISHED:
        return False
    return not last.endswith(_PASSING) and name not in _ELSEWHERE


def is_weights(name: str) -> bool:
    """Whether a file of a study, by its path in it, is the heavy part of a checkpoint: what is left are its scores."""
    return "fit" in name.split("/")[:-1] and name.endswith(".safetensors")


class Changes:
    """What a place has of a home, and the copying of what it has not.

    Args:
        folder: the home.
        place: where it is copied to.
        there: files that came from a home before, by their paths in it; those that the home has no more are removed.
    """

    def __init__(self, folder: Path, place: str, there: set[str]) -> None:
        self._folder, self._place = folder, place
        self._sent: dict[str, Stat | None] = dict.fromkeys(there)

    @property
    def there(self) -> set[str]:
        """The files at the place that came from the home."""
        return set(self._sent)

    def copy(self) -> None:
        """Copy what changed since the last call.

        Raises:
            OSError: the place could not be written; the next call takes up what is left.
        """
        now = _files(self._folder)
        changed = [name for name, stat in now.items() if self._sent.get(name) != stat]
        with tempfile.TemporaryDirectory(prefix="hybridtune-mirror-") as work:
            staged = Path(work)
            told = [name for name in TOLD if name in changed and _stage(self._folder / name, staged / name)]
            ledgers = [name for name in changed if _is_ledger(name) and _stage(self._folder / name, staged / name)]
            for name in ledgers:
                self._send(staged / name, name, now[name])
            for name in changed:
                if name not in TOLD and not _is_ledger(name):
                    self._send(self._folder / name, name, now[name])
            for name in told:
                self._send(staged / name, name, now[name])
        for name in self.there.difference(now):
            remove(join(self._place, *name.split("/")))
            del self._sent[name]

    def _send(self, file: Path, name: str, stat: Stat) -> None:
        try:
            send(file, join(self._place, *name.split("/")))
        except FileNotFoundError:
            if file.exists():
                raise
            return  # it went in between
        self._sent[name] = stat


def _files(folder: Path) -> dict[str, Stat]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if is_mirrored(name):
            with suppress(FileNotFoundError):
                stat = path.stat()
                if path.is_file():
                    found[name] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return found


def _is_ledger(name: str) -> bool:
    return name.endswith(_DATABASE) or name == _JOURNAL


def _stage(file: Path, copy: Path) -> bool:
    """Copy a file as it is at one moment; whether it was there."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        if file.name.endswith(_DATABASE):
            with (
                closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as source,
                closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
        elif file.name == _JOURNAL:
            content = file.read_bytes()
            copy.write_bytes(content[: content.rfind(b"\n") + 1])  # a line that is being written comes with the next
        else:
            shutil.copyfile(file, copy)
    except FileNotFoundError:
        return False
    except sqlite3.OperationalError as error:
        if not file.exists():
            return False
        raise OSError(f"{file}: {error}") from None  # locked for long, or this disk is full
    return True
