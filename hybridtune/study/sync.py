"""A study with a URL as `--out`: it works in a home on this machine, which is copied to the URL while it runs.

The copy is one that the study can go on from at any moment. A database is copied by SQLite itself, whole at one moment;
what records ended trials is read before that moment and sent after it, so the copy's ``trials.jsonl`` never holds a
trial that the copy's database does not know. `fetch_study` brings a study to any local folder.
"""

import hashlib
import json
import shutil
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridtune.callbacks import every
from hybridtune.config.study import Study
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.storage import files
from hybridtune.storage.events import EVENTS
from hybridtune.storage.records import parse_object
from hybridtune.storage.study_folder import check_format
from hybridtune.storage.trial_rows import ENDED, RUNNING
from hybridtune.storage.writer_lock import LOCKS
from hybridtune.study.folder import (
    check_study_folder,
    make_folder,
    new_folder,
    open_study_folder,
    same_study,
    write_json,
)
from hybridtune.study.home_files import PARTS, STAMP, HomeFiles, Stat, is_synced
from hybridtune.study.one_writer import one_writer

_TRIALS = tuple(f"{folder}{name}" for folder in PARTS for name in (RUNNING, ENDED))  # they change with every trial
_RECORDS = (*_TRIALS, "screening.json", "repeats.json", "result.json", EVENTS)  # they record ended trials
_DATABASE, _JOURNAL = ".db", "optuna.log"
_OWN_STAMP = ".mirror.json"  # in the home: its id
EVERY_SECONDS, LOOK_SECONDS = 30.0, 1.0
LAST_TRIES = 3


@dataclass(frozen=True)
class Home:
    """The folders and the cluster of a study.

    Attributes:
        folder: the study folder on this machine.
        location: what ``--out`` names, a URL or the folder itself; checkpoints go there, and nodes fetch from there.
        address: of the Ray cluster that it joins, ``auto`` or ``HOST:PORT``; None: Ray starts on this machine.
    """

    folder: Path
    location: str
    address: str | None = None

    def inside(self, *names: str) -> str:
        """Return a location below the study's."""
        return files.join(self.location, *names)


@contextmanager
def study_home(study: Study, out: str | None, on_message: Callable[[str], object]) -> Iterator[Home]:
    """Open the folder that a study works in while the block runs, with all that the study has done before.

    A remote ``out`` follows the folder until the block has ended, well or not. While it cannot be reached, the study
    goes on.

    Raises:
        InputError: ``out`` cannot be used, holds something else, or another run works there, see `one_writer`.
        HybridtuneError: the last changes could not be copied, or another run has taken over.
    """
    if out is None or not files.is_remote(out):
        folder = new_folder(study) if out is None else files.local_path(out).absolute()
        check_study_folder(study, folder)
        make_folder(folder)
        with one_writer(str(folder), on_message):
            open_study_folder(study, folder)
            yield Home(folder, str(folder))
        return
    files.check_location(out, "--out")
    check_format(out, f"--out {out}")
    if not files.exists(files.join(out, "study.yaml")) and set(files.list_names(out)).difference(LOCKS):
        raise InputError(f"--out {out}: is not empty and holds no study; choose a new folder")
    folder = home_folder(out)
    with one_writer(out, on_message):
        sync = StudySync(folder, out, on_message)
        with one_writer(str(folder), on_message):  # for those who look into the home
            open_study_folder(study, folder, out)
            sync.copy_with_retries()
            with sync.running():
                yield Home(folder, out)


def home_folder(location: str) -> Path:
    """Return the home of a study at a remote location, whatever its query: the same for every run on this machine."""
    digest = hashlib.sha256(location.partition("?")[0].rstrip("/").encode()).hexdigest()[:16]
    return files.cache_folder() / "studies" / f"{files.base_name(location)}-{digest}"


class StudySync:
    """Copies a home to its location, again and again.

    A location that follows this very home has what the home had, or less. Else the home is made anew from it.
    """

    def __init__(self, folder: Path, location: str, on_message: Callable[[str], object]) -> None:
        self._folder, self._location, self._on_message = folder, location, on_message
        there, here = _read_stamp(files.join(location, STAMP)), _read_stamp(str(folder / _OWN_STAMP))
        self._home, self._before = uuid.uuid4().hex, there.get("home")
        if there and here and there["home"] == here["home"]:
            self._home, self._before = here["home"], None
        else:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            if files.exists(location):
                files.download(location, folder, lambda name: not is_synced(name))
        self._sent: dict[str, Stat | None] = dict.fromkeys(there.get("files", []))  # all that came from a home
        self._files = HomeFiles(folder)
        self._stamped: set[str] | None = None  # the files that the location's stamp names
        self._seen: list[int | None] = []
        self._copied, self._failing, self._taken_over = time.monotonic(), False, False

    def copy(self, whole: bool = False) -> None:
        """Copy what changed since the last call, and remove there what went here.

        Args:
            whole: walk the folders of all trials, also of those that settled long ago.

        Raises:
            OSError: the location could not be written; the next call goes on.
            HybridtuneError: it follows another run's home by now.
        """
        stamp = _read_stamp(files.join(self._location, STAMP)).get("home")
        if stamp != self._home and (self._stamped is not None or stamp != self._before):
            self._taken_over = True
            raise HybridtuneError(
                f"--out {self._location}: another run of this study has taken over; what this one did since is in "
                f"{self._folder} alone"
            )
        self._copy_files(whole)
        if self._stamped != self._sent.keys():
            written = {"home": self._home, "files": sorted(self._sent)}
            files.write_file(files.join(self._location, STAMP), json.dumps(written).encode())
            write_json({"home": self._home}, self._folder / _OWN_STAMP)
            self._stamped = set(self._sent)

    def copy_with_retries(self) -> None:
        """Copy what changed, in several tries.

        Raises:
            HybridtuneError: it cannot be done; the message names the folder with the results.
        """
        for left in reversed(range(LAST_TRIES)):
            try:
                self.copy(whole=True)
                return
            except OSError as error:
                if not left:
                    raise HybridtuneError(
                        f"the results could not be copied to {self._location} ({files.explain_error(error)}): they are "
                        f"in {self._folder}; the same command on this machine copies them"
                    ) from None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Copy while the block runs, in a thread, and once more when it has ended."""
        self._seen = self._changes()
        try:
            with every(LOOK_SECONDS, self._look):
                yield
        except BaseException:
            try:
                self.copy_with_retries()
            except HybridtuneError as error:
                self._on_message(str(error))  # the study's own end matters more
            raise
        self.copy_with_retries()

    def _look(self) -> None:
        changes = self._changes()
        unchanged = changes == self._seen and time.monotonic() - self._copied < EVERY_SECONDS
        if unchanged or self._taken_over:
            return
        self._seen = changes
        try:
            self.copy()
        except HybridtuneError as error:
            self._on_message(str(error))
            return
        except Exception as error:  # whatever a provider's client raises: the study goes on
            if not self._failing:
                self._on_message(
                    f"{self._location}: cannot be written now ({files.explain_error(error)}); tried again until it can"
                )
            self._failing = True
        else:
            if self._failing:
                self._on_message(f"{self._location}: is written again")
            self._failing = False
        self._copied = time.monotonic()

    def _changes(self) -> list[int | None]:
        """Return when the files that change with every trial were written."""
        paths = [self._folder / name for name in _TRIALS]
        return [path.stat().st_mtime_ns if path.exists() else None for path in paths]

    def _copy_files(self, whole: bool) -> None:
        now = self._files.find(whole)
        changed = [name for name, stat in now.items() if self._sent.get(name) != stat]
        with tempfile.TemporaryDirectory(prefix="hybridtune-sync-") as work:
            staged = Path(work)
            records = [name for name in _RECORDS if name in changed and _stage(self._folder / name, staged / name)]
            storages = [name for name in changed if _is_storage(name) and _stage(self._folder / name, staged / name)]
            others = [name for name in changed if name not in _RECORDS and not _is_storage(name)]
            for root, names in ((staged, storages), (self._folder, others), (staged, records)):
                for name in names:
                    self._send(root / name, name, now[name])
        for name in self._sent.keys() - now.keys():
            files.remove(files.join(self._location, *name.split("/")))
            del self._sent[name]

    def _send(self, file: Path, name: str, stat: Stat) -> None:
        try:
            files.upload(file, files.join(self._location, *name.split("/")))
        except FileNotFoundError:
            if file.exists():
                raise
            return  # it went in between
        self._sent[name] = stat


def _read_stamp(location: str) -> dict[str, Any]:
    """Return what a stamp says; nothing where there is none. Raises DamagedError."""
    return parse_object(files.read_file(location) or b"{}", location, "remove it to go on from what is at the --out")


def _is_of_checkpoint(name: str) -> bool:
    return "fit" in name.split("/")[:-1]


def _is_score(name: str) -> bool:
    """Return whether a file is one of a checkpoint, but not its weights, which are the heavy part."""
    return _is_of_checkpoint(name) and not name.endswith(".safetensors")


def _is_storage(name: str) -> bool:
    """Return whether a file is Optuna's."""
    return name.endswith(_DATABASE) or name == _JOURNAL


def _stage(file: Path, copy: Path) -> bool:
    """Copy a file as it is at one moment; False where it is gone."""
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


def fetch_study(location: str, into: Path, checkpoints: bool = False) -> None:
    """Copy a study to a local folder, where it can be reported on, watched and exported; again: what has changed.

    Args:
        location: of the study, remote or not.
        into: the folder; it may hold an earlier copy, and other files.
        checkpoints: the weights of all trials too; else their scores alone come, beside the best model.

    Raises:
        InputError: there is no study, it cannot be reached, or ``into`` holds another one.
    """
    try:
        study = files.read_file(files.join(location, "study.yaml"))
        if study is None:
            raise InputError(f"{location}: holds no study (no study.yaml)")
        check_format(location)
        here = into / "study.yaml"
        if here.exists() and not same_study(here.read_text(encoding="utf-8"), study.decode()):
            raise InputError(f"{into}: holds another study; choose a new folder for that of {location}")
        wanted = _is_of_checkpoint if checkpoints else _is_score
        files.download(location, into, lambda name: not (is_synced(name) or wanted(name)))
        there = files.list_files(location)
    except (OSError, ValueError) as error:
        raise InputError(f"{location}: {files.explain_error(error)}") from None
    for name in _RECORDS:
        if name not in there:
            (into / name).unlink(missing_ok=True)  # of a search that ran when the copy before was made


def fetch_scores(location: str, folder: Path) -> None:
    """Copy to a study's home what nodes wrote beside the weights of their checkpoints, which a report shows."""
    if files.is_remote(location):
        files.download(location, folder, lambda name: not _is_score(name))
