"""Ray's session folders of runs of ours: marked, removed at the end, and found after a run that was killed.

Ray makes one below its folder of temporary files for its sockets and logs, and leaves it there.
"""

import contextlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from hybridtune.runtime.processes import is_running, start_time

_MARK = "hybridtune.json"  # in a session's folder: the process that started that Ray
_LATEST = "session_latest"  # Ray's link to the session that began last


def sessions_folder() -> Path:
    """Return the folder that Ray's sessions are in where nothing else is said, as Ray finds it."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"  # nosec B108 # as Ray has it


def socket_path_mistake(folder: Path) -> str | None:
    """Return what is wrong with a folder of sessions, below which Ray could not open its sockets; None: nothing.

    A system takes paths of sockets of so many bytes; Ray's longest is that of a node's object store.
    """
    most = 103 if sys.platform == "darwin" else 107
    session = f"session_2026-01-01_00-00-00_000000_{os.getpid()}"
    size = len(os.fsencode(folder / session / "sockets" / "plasma_store"))
    if size <= most:
        return None
    return f"Ray's sockets below {folder} would have paths of {size} bytes where {most} are allowed"


@contextlib.contextmanager
def own_session() -> Iterator[Callable[[Path], None]]:
    """Yield what marks the folder of a session that the block starts; it goes after the block, unless that failed."""
    marked: list[Path] = []

    def mark(session: Path) -> None:
        mark_session(session)
        marked.append(session)

    try:
        yield mark
    except Exception:  # its logs may say why
        marked.clear()
        raise
    finally:
        for session in marked:
            remove_session(session)


def mark_session(session: Path) -> None:
    """Note in a session's folder that this process started it."""
    owner = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "host": socket.gethostname()}
    (session / _MARK).write_text(json.dumps(owner), encoding="utf-8")


def marked_sessions() -> Iterator[tuple[Path, bool]]:
    """Yield the folders of sessions that runs of ours started, and whether the run may still be there.

    Folders of other users, links and sessions of other programs are passed over.
    """
    for session in sorted(sessions_folder().glob("session_*")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if session.is_symlink() or session.lstat().st_uid != os.getuid():
                continue
            owner = json.loads((session / _MARK).read_text(encoding="utf-8"))
            elsewhere = owner["host"] != socket.gethostname()
            yield session, elsewhere or is_running(int(owner["pid"]), owner["start_time"])


def remove_session(session: Path) -> None:
    """Remove the folder of a session that has ended, and Ray's link to it."""
    latest = session.with_name(_LATEST)
    with contextlib.suppress(OSError):
        if latest.is_symlink() and latest.readlink().name == session.name:
            latest.unlink()
    # Processes that are just ending write their last lines; under another name they make no file any more.
    ended = session.with_name(f".ended-{session.name}")
    with contextlib.suppress(OSError):
        session.rename(ended)
        shutil.rmtree(ended, ignore_errors=True)
