"""The lock of a folder, which one process writes at a time: on this machine, on a shared file system, or at a URL.

The lock is a file that names its holder, who renews it every `BEAT_SECONDS`. A holder of this system is gone when its
process is, any other one when it has not renewed the lock for `STALE_SECONDS`, both times by the clock of the storage.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hybridtune.errors import HybridtuneError, InUseError
from hybridtune.runtime.processes import is_running, start_time
from hybridtune.storage import files

WRITER = ".writer.lock"  # of the run that works in a study folder
LAUNCH = ".launch.lock"  # of the command that launches a study from, or to, a folder
BEAT_SECONDS, STALE_SECONDS = 15.0, 120.0
SETTLE_SECONDS = 2.0  # in which a rival that saw the same free lock has written it too
LOCKS = (WRITER, LAUNCH)

_held: set[str] = set()  # the keys of this process: what it could not remove at the end, it holds no more


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        key: made at random for this holding.
        system: of the process; within one, numbers of processes mean the same.
        since: in seconds of the epoch.
    """

    key: str
    pid: int
    start_time: str | None
    host: str
    system: str
    since: float

    def __str__(self) -> str:
        began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        return f"process {self.pid} on {self.host}, since {began}"

    @property
    def is_here(self) -> bool:
        """Return whether its process would be seen from this one."""
        return self.system == _system()

    @property
    def runs(self) -> bool:
        """Return whether it holds the lock yet, where its process would be seen."""
        return self.key in _held if self.pid == os.getpid() else is_running(self.pid, self.start_time)


class TakenOverError(HybridtuneError):
    """The lock has another holder by now."""


@dataclass(frozen=True)
class Lock:
    """A lock that this process holds."""

    file: str  # its location
    holder: Holder
    found: Holder | None  # the holder that had left it behind

    def renew(self) -> None:
        """Say that the holder is alive.

        Raises:
            TakenOverError: another one has the lock; it is not touched.
            OSError: the storage does not answer.
        """
        there = _read(self.file)
        if there is not None and there.key != self.holder.key:
            raise TakenOverError(f"{there} has taken the folder over")
        if there is not None and not files.is_remote(self.file):
            os.utime(files.local_path(self.file))
        else:  # an object has no time but that of its writing; a lock that somebody removed is made again
            files.write_file(self.file, _text(self.holder))

    def release(self) -> None:
        """Remove the lock, unless another holder has it; where the storage does not answer it grows stale."""
        _held.discard(self.holder.key)
        with contextlib.suppress(OSError):
            there = _read(self.file)
            if there is not None and there.key == self.holder.key:
                files.remove(self.file)


def acquire(location: str, name: str, shown: str) -> Lock:
    """Take the lock of a folder that exists, also from a holder that is gone.

    Args:
        location: of the folder, a path or URL.
        name: `WRITER` or `LAUNCH`.
        shown: begins the message, like ``--out studies/one``.

    Raises:
        InUseError: somebody holds it; names who, where, and since when.
        OSError: the storage cannot be written.
    """
    file, me = files.join(location, name), _this_process()
    _held.add(me.key)  # before another thread can see the file
    try:
        return _take(location, file, me, shown)
    except BaseException:
        _held.discard(me.key)
        raise


def _take(location: str, file: str, me: Holder, shown: str) -> Lock:
    with _taking(location):
        found = _create(file, me)
        if found is not None:
            _refuse_alive(file, found, shown)
            files.write_file(file, _text(me))
    if files.is_remote(file) or (found is not None and not found.is_here):
        time.sleep(SETTLE_SECONDS)
        there = _read(file)
        if there is None or there.key != me.key:
            raise InUseError(f"{shown}: {there or 'another process'} has just begun to write there; wait for it")
    return Lock(file, me, found)


def read_holder(location: str, name: str = WRITER) -> tuple[Holder, bool] | None:
    """Return who holds the lock of a folder and whether it is alive; None: nobody. Nothing is written.

    Of another host's holder the clocks of both hosts decide.
    """
    file = files.join(location, name)
    holder = _read(file)
    if holder is None:
        return None
    if holder.is_here:
        return holder, holder.runs
    return holder, time.time() - _written(file, time.time()) < STALE_SECONDS


def refuse_held(location: str, name: str, shown: str) -> None:
    """Raise InUseError as `acquire` does, and take nothing."""
    file = files.join(location, name)
    holder = _read(file)
    if holder is not None:
        _refuse_alive(file, holder, shown)


def _refuse_alive(file: str, holder: Holder, shown: str) -> None:
    if holder.is_here:
        if holder.runs:
            raise InUseError(f"{shown}: is in use by {holder}; wait for its end, or stop it (Ctrl-C there)")
        return
    probe = files.with_name(file, f".probe-{uuid.uuid4().hex}")
    files.write_file(probe, b"")  # by its time, this machine's clock does not matter
    try:
        now = _written(probe, time.time())
    finally:
        files.remove(probe)
    age = now - _written(file, now)
    if age < STALE_SECONDS:
        raise InUseError(
            f"{shown}: is in use by {holder}, last seen {max(age, 0):.0f} s ago; wait for its end, or stop it there; "
            f"if it is gone, the same command goes on {STALE_SECONDS:.0f} s after it was seen last"
        )


def _create(file: str, me: Holder) -> Holder | None:
    """Write a lock where there is none; else return its holder."""
    found = _read(file)
    if found is not None:
        return found
    if files.is_remote(file):
        files.write_file(file, _text(me))
        return None
    try:
        opened = os.open(files.local_path(file), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return _read(file) or _create(file, me)
    with os.fdopen(opened, "wb") as sink:
        sink.write(_text(me))
    return None


@contextlib.contextmanager
def _taking(location: str) -> Iterator[None]:
    """Let one process of this machine at a time look at the lock and take it."""
    if files.is_remote(location):
        yield
        return
    folder = os.open(files.local_path(location), os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # NFS locks no folders; there the lock is read again after a while
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _read(file: str) -> Holder | None:
    """Return the holder that a lock names; None where there is no lock. One that is no lock's text is nobody's."""
    content = files.read_file(file)
    if content is None:
        return None
    try:
        said = json.loads(content)
        number, system = int(said["pid"]), str(said["system"])
        birth, began = said["start_time"], float(said["since"])
        host = "".join(c for c in str(said["host"])[:253] if c.isprintable())
        time.gmtime(began)
        return Holder(str(said["key"]), number, None if birth is None else str(birth), host, system, began)
    except (ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError):
        return Holder("", 0, None, "an unknown host", "", 0.0)


def _written(file: str, otherwise: float) -> float:
    """Return when a file was written, in seconds of the epoch by the storage's clock."""
    entry = files.list_files(file).get("")
    return entry[1] / 1e9 if entry is not None else otherwise


def _text(holder: Holder) -> bytes:
    return json.dumps(dataclasses.asdict(holder)).encode()


def _this_process() -> Holder:
    return Holder(
        key=uuid.uuid4().hex,
        pid=os.getpid(),
        start_time=start_time(os.getpid()),
        host=socket.gethostname(),
        system=_system(),
        since=time.time(),
    )


def _system() -> str:
    """Return what tells this host, since its boot, and this container apart from others."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join(parts)
