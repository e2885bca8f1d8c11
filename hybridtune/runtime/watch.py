"""Watches the two processes of Ray on this machine that a run cannot go on without: its raylet, and the head's GCS.

Without a raylet a driver waits for ever, without a GCS it ends after a minute without a word.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil

from hybridtune.errors import RayLostError
from hybridtune.runtime.ray_private import raylet_socket

SECONDS_BETWEEN_LOOKS = 0.5
GRACE = 8.0  # seconds in which the main thread may end by itself; a call into Ray may never come back
_SECONDS = 5.0  # for a process that is there to take a connection; a busy one that does not is not lost
_GOES_ON = "; the same command with the same --out goes on from what is stored"


class Watch:
    """Looks after Ray's processes in a thread of its own; ``line`` says what is gone."""

    def __init__(self, lost: Callable[[str], None]) -> None:
        self.line = ""
        self._lost = lost
        self._addresses: list[tuple[str, int, Any]] = []
        self._leaving = threading.Event()  # Ray is about to be shut down
        self._left = threading.Event()

    def begin(self) -> None:
        """Begin to look after the Ray that this process has joined."""
        self._addresses = _addresses()
        threading.Thread(target=self._look, daemon=True, name="ray-watch").start()

    def leave(self) -> None:
        """Look a last time: what goes from now on is meant to."""
        self.line = self.line or self.gone()
        self._leaving.set()

    def gone(self) -> str:
        """Return what is gone in a line, now; empty: nothing is."""
        return _gone(self._addresses)

    def end(self) -> None:
        """End the watch; the main thread has come out of Ray."""
        self._left.set()
        self._leaving.set()

    def _look(self) -> None:
        now = ""
        while not self._leaving.wait(SECONDS_BETWEEN_LOOKS):
            before, now = now, self.gone()
            if before and now and not self._leaving.is_set():  # twice in a row
                self.line = now
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                if not self._left.wait(GRACE):
                    self._end_all()
                return

    def _end_all(self) -> None:
        """End this process, whose main thread waits for what is gone, and what it has started."""
        with contextlib.suppress(Exception):  # whatever it is, this process ends
            self._lost(self.line + _GOES_ON)
        print(f"hybridtune: {self.line}{_GOES_ON}", file=sys.__stderr__, flush=True)
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
        os._exit(1)


@contextlib.contextmanager
def ray_watched(lost: Callable[[str], None] = lambda line: None) -> Iterator[Watch]:
    """Watch Ray while the block runs, from its ``begin()`` on until its ``leave()``, behind which Ray is shut down.

    Args:
        lost: called with a line before this process ends itself, since its main thread does not come back from Ray.

    Raises:
        RayLostError: a process is gone, whatever the block raised then.
    """
    watch = Watch(lost)
    try:
        yield watch
    except BaseException:
        if not watch.line:
            raise
        raise RayLostError(watch.line + _GOES_ON) from None
    finally:
        watch.end()


def is_ray_there() -> bool:
    """Return whether the Ray that this process has joined answers now."""
    return not _gone(_addresses())


def _gone(addresses: Sequence[tuple[str, int, Any]]) -> str:
    for what, family, address in addresses:
        with socket.socket(family) as probe:
            probe.settimeout(_SECONDS)
            try:
                probe.connect(address)
            except (ConnectionRefusedError, FileNotFoundError) as error:
                return f"{what} is gone ({error.strerror}): killed, or the machine ran out of memory"
            except OSError:  # a busy process lets connections wait, or has no room for another
                continue
    return ""


def _addresses() -> list[tuple[str, int, Any]]:
    import ray

    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return [  # the head first: a raylet does not outlive it
        (f"the head of the Ray cluster ({host}:{port})", family, (host.strip("[]"), int(port))),
        ("the raylet of this machine", socket.AF_UNIX, raylet_socket()),
    ]
