"""The files of a study's home that its location gets, found again and again while the study runs.

What a trial left does not change once it has settled: two more looks walk its folder, and then its files are
remembered. So a look costs the same for a study's thousandth trial as for its tenth.
"""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from hybridtune.storage.trial_rows import ENDED, SETTLED

Stat = tuple[int, int, int]  # bytes, time of change in ns, inode

PARTS = ("", "screening/", "repeats/")  # of a home, that hold trials
STAMP = "mirror.json"  # at the location: which home it follows, and the files that came from there
_TEMPORARY = (".new", ".lock", "-journal", "-wal", "-shm", ".swp")  # ends of names
_PUBLISHED = ("store", "encoders", "teachers")  # what nodes download
_ELSEWHERE = ("dashboard.txt", "dashboard.token", STAMP)  # of this machine alone, or of the location alone
_LOOKS = 2  # at the folder of a settled trial: the last of its events are written after its row


def is_synced(name: str) -> bool:
    """Return whether a file of the home, by its path in it, is one that the location gets from there.

    Not: hidden and temporary files, what nodes write to the location themselves (checkpoints) or download from there
    (``store/``, ``encoders/``, ``teachers/``), and addresses on this machine.
    """
    *folders, last = name.split("/")
    return _is_walked(folders) and not (last.startswith(".") or last.endswith(_TEMPORARY) or name in _ELSEWHERE)


def _is_walked(folders: Sequence[str]) -> bool:
    """Return whether a folder of the home, by the names on the way to it, may hold files that are synced."""
    hidden = any(one == "fit" or one.startswith(".") for one in folders)
    return not hidden and not (folders and folders[0] in _PUBLISHED)


class HomeFiles:
    """Finds the files of a home that its location gets; each `find` is a look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows = {part: _Settled(folder / part / ENDED) for part in PARTS}
        self._looks: dict[str, int] = {}  # at the folder of a settled trial, by its path in the home
        self._left: dict[str, dict[str, Stat]] = {}  # the files of a folder that is walked no more

    def find(self, whole: bool = False) -> dict[str, Stat]:
        """Return the files by their paths in the home; ``whole``: walk the folders of settled trials too."""
        settled = {f"{part}trials/{name}" for part, rows in self._rows.items() for name in rows.read()}
        for path in self._looks.keys() - (set() if whole else settled):  # one that does not count now runs again
            del self._looks[path]
            self._left.pop(path, None)
        walked = dict(self._walk(self._folder, []))
        found = dict(walked)
        for files in self._left.values():
            found |= files
        for path in settled - self._left.keys():
            self._looks[path] = self._looks.get(path, 0) + 1
            if self._looks[path] == _LOOKS:
                self._left[path] = {}
        for name, of in walked.items():
            folder = name[: name.find("/", name.find("trials/") + len("trials/"))]
            if folder in self._left:
                self._left[folder][name] = of
        return found

    def _walk(self, folder: Path, inside: list[str]) -> Iterator[tuple[str, Stat]]:
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                parts = [*inside, entry.name]
                name = "/".join(parts)
                with suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False):
                        if _is_walked(parts) and name not in self._left:
                            yield from self._walk(folder / entry.name, parts)
                    elif is_synced(name) and stat.S_ISREG((found := entry.stat(follow_symlinks=False)).st_mode):
                        yield name, (found.st_size, found.st_mtime_ns, found.st_ino)


class _Settled:
    """The settled trials of a `trials.jsonl`, of which each look reads the lines that are new."""

    def __init__(self, file: Path) -> None:
        self._file, self._inode, self._read = file, 0, 0
        self._names: set[str] = set()

    def read(self) -> set[str]:
        """Return the trials whose last line says that they have settled."""
        try:
            with self._file.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self._inode or found.st_size < self._read:  # it was written anew
                    self._inode, self._read, self._names = found.st_ino, 0, set()
                file.seek(self._read)
                lines = file.read()
        except FileNotFoundError:
            self._read, self._names = 0, set()
            return self._names
        lines = lines[: lines.rfind(b"\n") + 1]
        self._read += len(lines)
        for line in lines.splitlines():
            with suppress(ValueError, KeyError, TypeError):  # a damaged line is told by those who read rows
                row = json.loads(line)
                (self._names.add if row["status"] in SETTLED else self._names.discard)(row["id"])
        return self._names
