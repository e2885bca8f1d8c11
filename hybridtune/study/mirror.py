"""Copying what changed in a study's home to its place, such that the copy is one that the study can go on from.

A database is copied by SQLite itself, whole at one moment. What tells of ended trials is read before that moment and
sent after it: the copy's ``trials.jsonl`` never tells of a trial that the copy's database does not know.
"""

import fcntl
import hashlib
import json
import shutil
import sqlite3
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridtune.config.study import Study
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.storage.files import (
    base_name,
    cache_folder,
    check_location,
    download,
    exists,
    explain_error,
    is_remote,
    join,
    list_files,
    list_names,
    local_path,
    read_file,
    remove,
    upload,
    write_file,
)
from hybridtune.storage.study_folder import check_format
from hybridtune.storage.trial_rows import ENDED, RUNNING
from hybridtune.study.folder import open_study_folder, same_study, write_json

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
            upload(file, join(self._place, *name.split("/")))
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


EVERY_SECONDS, LOOK_SECONDS = 30.0, 1.0
LAST_TRIES = 3
_OWN_STAMP = ".mirror.json"  # in the home: its id
_FOLLOWED = tuple(name for name in TOLD if name.endswith((RUNNING, ".jsonl")))  # change with every trial


@dataclass(frozen=True)
class Home:
    """Where a study works, and where it is kept.

    Attributes:
        folder: on this machine.
        place: what ``--out`` names; the folder itself where that is local.
    """

    folder: Path
    place: str


@contextmanager
def study_home(study: Study, out: str | None, tell: Callable[[str], object]) -> Iterator[Home]:
    """The folder that a study works in while the block runs, with all that the study has done before.

    A remote ``out`` follows the folder until the block has ended, well or not. While it cannot be reached, the study
    goes on.

    Args:
        study: resolved.
        out: as the user gave it, a path or a URL; None: a new local folder, see `open_study_folder`.
        tell: takes lines for the screen.

    Raises:
        InputError: ``out`` cannot be used, holds something else, or a run of this study is under way on this machine.
        HybridtuneError: the last changes could not be copied, or another run has taken over.
    """
    if out is None or not is_remote(out):
        folder = open_study_folder(study, local_path(out) if out is not None else None)
        yield Home(folder, str(folder))
        return
    check_location(out, "--out")
    check_format(out, f"--out {out}")
    if not exists(join(out, "study.yaml")) and list_names(out):
        raise InputError(f"--out {out}: is not empty and holds no study; choose a new folder")
    folder = twin(out)
    with _alone(folder, out):
        mirror = Mirror(folder, out, tell, _take_over(out, folder))
        open_study_folder(study, folder, out)
        mirror.copy_surely()
        with mirror.running():
            yield Home(folder, out)


def twin(place: str) -> Path:
    """The home of a study at a remote place: the same for every run on this machine."""
    digest = hashlib.sha256(place.partition("?")[0].rstrip("/").encode()).hexdigest()[:16]
    return cache_folder() / "studies" / f"{base_name(place)}-{digest}"


@contextmanager
def _alone(folder: Path, place: str) -> Iterator[None]:
    """One run of a study at a time on this machine; the system frees the lock when its holder dies."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"--out {place}: a run of this study is under way on this machine; wait for it") from None
        yield


def _take_over(place: str, folder: Path) -> dict[str, Any]:
    """Make the home hold what the study has done; gives the stamp of this run.

    Where the place follows this very home, the home is what it follows, and maybe further. Else it is made anew.
    """
    there = json.loads(read_file(join(place, STAMP)) or b"{}")
    here = json.loads(read_file(str(folder / _OWN_STAMP)) or b"{}")
    if there and here and there["home"] == here["home"]:
        return {"home": here["home"], "files": there["files"]}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if exists(place):
        download(place, folder, exclude=lambda name: not is_mirrored(name))
    return {"home": uuid.uuid4().hex, "before": there.get("home"), "files": there.get("files", [])}


class Mirror:
    """Copies a home to its place, again and again.

    Args:
        folder: the home.
        place: where it goes.
        tell: takes lines for the screen.
        stamp: of this run, see `_take_over`.
    """

    def __init__(self, folder: Path, place: str, tell: Callable[[str], object], stamp: dict[str, Any]) -> None:
        self._folder, self._place, self._tell = folder, place, tell
        self._home, self._before = stamp["home"], stamp.get("before")
        self._changes = Changes(folder, place, set(stamp["files"]))
        self._over, self._failing = threading.Event(), False
        self._stamped: set[str] | None = None  # the files that the place's stamp tells of

    def copy(self) -> None:
        """Copy what changed.

        Raises:
            OSError: the place could not be written.
            HybridtuneError: it follows another run's home by now.
        """
        stamp = json.loads(read_file(join(self._place, STAMP)) or b"{}").get("home")
        if stamp not in (self._home, *(() if self._stamped is not None else (self._before,))):
            raise HybridtuneError(
                f"--out {self._place}: another run of this study has taken over; what this one did since is in "
                f"{self._folder} alone"
            )
        self._changes.copy()
        if self._stamped != self._changes.there:
            told = {"home": self._home, "files": sorted(self._changes.there)}
            write_file(join(self._place, STAMP), json.dumps(told).encode())
            write_json({"home": self._home}, self._folder / _OWN_STAMP)
            self._stamped = self._changes.there

    def copy_surely(self) -> None:
        """Copy what changed, in several tries.

        Raises:
            HybridtuneError: it cannot be done, and where the results are.
        """
        for left in reversed(range(LAST_TRIES)):
            try:
                self.copy()
                return
            except OSError as error:
                if not left:
                    raise HybridtuneError(
                        f"the results could not be copied to {self._place} ({explain_error(error)}): they are in "
                        f"{self._folder}; the same command on this machine copies them"
                    ) from None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Copy while the block runs, in a thread, and once more when it has ended."""
        thread = threading.Thread(target=self._follow, name="mirror", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            self._stop(thread)
            try:
                self.copy_surely()
            except HybridtuneError as error:
                self._tell(str(error))  # the study's own end matters more
            raise
        self._stop(thread)
        self.copy_surely()

    def _stop(self, thread: threading.Thread) -> None:
        self._over.set()
        thread.join()

    def _follow(self) -> None:
        seen, copied = self._look(), time.monotonic()
        while not self._over.wait(LOOK_SECONDS):
            now = self._look()
            if now == seen and time.monotonic() - copied < EVERY_SECONDS:
                continue
            seen = now
            try:
                self.copy()
            except HybridtuneError as error:
                self._tell(str(error))
                return
            except Exception as error:  # whatever a provider's client raises: the study goes on
                if not self._failing:
                    reason = explain_error(error)
                    self._tell(f"{self._place}: cannot be written now ({reason}); tried again until it can")
                self._failing = True
            else:
                if self._failing:
                    self._tell(f"{self._place}: is written again")
                self._failing = False
            copied = time.monotonic()

    def _look(self) -> list[int | None]:
        return [_changed(self._folder / name) for name in _FOLLOWED]


def _changed(file: Path) -> int | None:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def fetch_study(place: str, into: Path, checkpoints: bool = False) -> None:
    """Copy a study to a local folder, where it can be reported on, watched and exported; again: what has changed.

    Args:
        place: of the study, remote or not.
        into: the folder; it may hold an earlier copy, and files that are none of the study's.
        checkpoints: the weights of all trials too; else their scores alone come, beside the best model.

    Raises:
        InputError: there is no study, it cannot be reached, or ``into`` holds another one.
    """
    try:
        study = read_file(join(place, "study.yaml"))
        if study is None:
            raise InputError(f"{place}: holds no study (no study.yaml)")
        check_format(place)
        here = into / "study.yaml"
        if here.exists() and not same_study(here.read_text(encoding="utf-8"), study.decode()):
            raise InputError(f"{into}: holds another study; choose a new folder for that of {place}")
        download(place, into, lambda name: not _is_fetched(name, checkpoints))
        there = list_files(place)
    except (OSError, ValueError) as error:
        raise InputError(f"{place}: {explain_error(error)}") from None
    for name in TOLD:
        if name not in there:
            (into / name).unlink(missing_ok=True)  # of a search that ran when the copy before was made


def bring_scores(place: str, folder: Path) -> None:
    """Fetch what nodes wrote at a study's place beside the weights of their checkpoints: a report shows it.

    Args:
        place: of the study; nothing happens where it is local.
        folder: its home.
    """
    if is_remote(place):
        download(place, folder, lambda name: "fit" not in name.split("/")[:-1] or is_weights(name))


def _is_fetched(name: str, checkpoints: bool) -> bool:
    if "fit" in name.split("/")[:-1]:
        return checkpoints or not is_weights(name)
    return is_mirrored(name)
