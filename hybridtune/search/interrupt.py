"""Ctrl-C or SIGTERM during a search, which ends it even where Python has dropped the exception."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from ray import tune


class Interrupts(tune.Callback):  # type: ignore[misc]
    """Ends the search at Tune's next step where the exception of a Ctrl-C or a SIGTERM did not.

    Python only prints an exception that is raised in a destructor or in the callback of a weak reference, of which Ray
    and SQLAlchemy have many: a signal that comes just then would be lost.
    """

    lost: KeyboardInterrupt | None = None

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note each Ctrl-C and SIGTERM while the block runs, and then do what is done without this.

        Nothing is noted where a signal raises nothing anyway: outside the main thread, and where it is ignored.
        """
        with contextlib.ExitStack() as handlers:
            if threading.current_thread() is threading.main_thread():
                for number in (signal.SIGINT, signal.SIGTERM):
                    handlers.enter_context(self._noted(number))
            yield

    @contextlib.contextmanager
    def _noted(self, number: signal.Signals) -> Iterator[None]:
        before = signal.getsignal(number)
        if not callable(before):
            yield
            return

        def note(number: int, frame: FrameType | None) -> None:
            try:
                before(number, frame)
            except KeyboardInterrupt as raised:
                self.lost = raised
                raise

        signal.signal(number, note)
        try:
            yield
        finally:
            signal.signal(number, before)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Raise the exception that was lost."""
        if self.lost is not None:
            raise type(self.lost)
