"""SIGTERM, which Slurm, Kubernetes and `kill` send: it ends a command as Ctrl-C does."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_came = threading.Event()  # SIGTERM, in the last `sigterm_raises`


class Terminated(KeyboardInterrupt):
    """SIGTERM came. Whatever handles Ctrl-C handles it, too."""


@contextlib.contextmanager
def sigterm_raises() -> Iterator[Callable[[], None]]:
    """Let SIGTERM raise `Terminated` in the main thread while the block runs.

    Yields what sets the handler again: `ray.init` replaces it by one of its own, which ends the process without a word.
    Outside the main thread, where no handler can be set, it does nothing.

    Example:
        >>> with sigterm_raises():
        ...     try:
        ...         signal.raise_signal(signal.SIGTERM)
        ...     except KeyboardInterrupt as stop:
        ...         print(type(stop).__name__)
        Terminated
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def end(number: int, frame: FrameType | None) -> None:
        _came.set()
        raise Terminated

    def set_handler() -> None:
        signal.signal(signal.SIGTERM, end)

    before = signal.getsignal(signal.SIGTERM)
    _came.clear()
    set_handler()
    try:
        yield set_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def was_terminated(error: BaseException | None) -> bool:
    """Return whether SIGTERM is what raised an error; Ray makes a plain `KeyboardInterrupt` of a `Terminated`."""
    return isinstance(error, Terminated) or _came.is_set()
