"""Watches a worker from inside: one that makes no step, or never ends a score, is told with its stack and ended."""

import contextlib
import faulthandler
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Literal

SECONDS_BETWEEN_LOOKS = 1.0
FACTOR = 10.0  # of the slowest step or score so far
LEAST = {"step": 60.0, "score": 600.0}  # seconds
FIRST = 600.0  # of what has no measure yet: a compilation, the start of the feed, a first score
_PY_SPY_SECONDS = 20.0

Phase = Literal["step", "score"]


class HangWatch:
    """Ends a training whose worker hangs; what it waits for between two scores is not counted.

    Args:
        timeout: seconds a step may take; None: `FACTOR` times the slowest so far, at least `LEAST`.
        hung: called by a thread of the watch with a line and the stacks of all threads; ends the process.

    Example:
        >>> with HangWatch(None, lambda line, stacks: os._exit(1)) as watch:
        ...     watch.begin("step")
        ...     watch.step_done(1)
    """

    def __init__(self, timeout: float | None, hung: Callable[[str, str], None]) -> None:
        self._timeout, self._hung = timeout, hung
        self._slowest: dict[Phase, float] = {}
        self._now: tuple[Phase, float] | None = None  # what is under way, and since when
        self._step = 0
        self._over = threading.Event()

    def __enter__(self) -> "HangWatch":
        """Begin to look."""
        threading.Thread(target=self._look, daemon=True, name="hang-watch").start()
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Look no more."""
        self._over.set()

    def begin(self, phase: Phase) -> None:
        """Count the time from now on for the next step, or for a score."""
        self._now = phase, time.monotonic()

    def step_done(self, step: int) -> None:
        """Note a step, and count for the next one."""
        self._ended()
        self._step = step
        self.begin("step")

    @contextlib.contextmanager
    def score(self) -> Iterator[None]:
        """Count the block for a score; behind it nothing is counted until the next `begin`."""
        self.begin("score")
        try:
            yield
        finally:
            self.rest()

    def rest(self) -> None:
        """Count nothing: others are waited for."""
        self._ended()
        self._now = None

    def limit(self, phase: Phase) -> float:
        """Return the seconds that a step or a score may take now."""
        slowest = self._slowest.get(phase)
        if phase == "step" and self._timeout is not None:
            return self._timeout if slowest is not None else max(self._timeout, FIRST)
        return max(LEAST[phase], FACTOR * slowest) if slowest is not None else FIRST

    def _ended(self) -> None:
        now = self._now
        if now is not None:
            self._slowest[now[0]] = max(self._slowest.get(now[0], 0.0), time.monotonic() - now[1])

    def _look(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_LOOKS):
            now = self._now
            if now is None:
                continue
            phase, since = now
            limit = self.limit(phase)
            if time.monotonic() - since > limit and self._now == now:
                behind = f"behind step {self._step}"
                what = f"made no step for {limit:.0f} s" if phase == "step" else f"did not end a score in {limit:.0f} s"
                self._hung(f"{what} {behind}", stacks())
                return


def stacks() -> str:
    """Return the stacks of all threads of this process: Python's and, where py-spy is installed, the native ones."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        found = file.read().decode(errors="replace")
    if (command := shutil.which("py-spy")) is not None:
        asked = [command, "dump", "--native", "--pid", str(os.getpid())]
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # it may not be allowed to look
            seen = subprocess.run(asked, capture_output=True, text=True, timeout=_PY_SPY_SECONDS, check=False)
            found += f"\n{' '.join(asked)}\n{seen.stdout or seen.stderr}"
    return found
