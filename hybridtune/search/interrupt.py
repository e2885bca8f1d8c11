"""Ctrl-C during a search, which ends it even where Python has dropped the exception."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from ray import tune


class Interrupts(tune.Callback):  # type: ignore[misc]
    """Ends the search at Tune's next step where the `KeyboardInterrupt` of a Ctrl-C did not.

    Python only prints an exception that is raised in a destructor or in the callback of a weak reference, of which Ray
    and SQLAlchemy have many: a Ctrl-C that comes just then would be lost.
    """

    pressed = False

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note each Ctrl-C while the block runs, and then do what is done without this.

        Nothing is noted where Ctrl-C raises nothing anyway: outside the main thread, and where it is ignored.
        """
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            yield
            return

        def note(number: int, frame: FrameType | None) -> None:
            self.pressed = True
            before(number, frame)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Raise the exception that was lost."""
        if self.pressed:
            raise KeyboardInterrupt
