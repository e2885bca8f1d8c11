"""Ends what is left of a Ray whose run was killed: Ray's agents look for their raylet once a minute only.

A process of its own waits for the end of the run, which it sees by a pipe that the run holds open.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

_SECONDS = 10.0  # for it to end, once the run lets it


@contextlib.contextmanager
def remains_ended(session: Path) -> Iterator[None]:
    """End the processes of a session of Ray's when the block has ended, or this process, however it does."""
    command = [sys.executable, "-P", "-m", __name__, str(session)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    waiting = subprocess.Popen(command, stdin=subprocess.PIPE, **quiet)  # type: ignore[call-overload]
    try:
        yield
    finally:
        waiting.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            waiting.wait(_SECONDS)


def processes_of(session: Path) -> Iterator[psutil.Process]:
    """Yield the processes of this user that have a file of a session's folder open: their log, at least."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.uids().real == os.getuid() and any(
                Path(file.path).is_relative_to(session) for file in process.open_files()
            ):
                yield process


def end_processes(session: Path, but: int) -> None:
    """End the processes of a session but one, which may be its run itself."""
    for process in processes_of(session):
        with contextlib.suppress(psutil.Error):
            if process.pid != but:
                process.kill()


if __name__ == "__main__":
    run = os.getppid()
    sys.stdin.buffer.read()  # nothing is ever written: it returns when the run closes its end, or has gone
    end_processes(Path(sys.argv[1]), run)
