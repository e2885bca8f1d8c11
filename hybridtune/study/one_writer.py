"""One writer in a folder at a time: its lock held, and renewed, while a block runs."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from hybridtune.callbacks import every
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.storage.files import explain_error
from hybridtune.storage.writer_lock import BEAT_SECONDS, WRITER, TakenOverError, acquire


@contextlib.contextmanager
def one_writer(
    location: str, on_message: Callable[[str], object], shown: str | None = None, name: str = WRITER
) -> Iterator[None]:
    """Hold the lock of a folder, a path or URL, while the block runs.

    Where another host has taken the lock over, since this one was not heard of for long, the block is interrupted.

    Raises:
        InputError: somebody holds the lock, or it cannot be written; names the folder as ``shown``.
        HybridtuneError: the lock was taken over.
    """
    shown = shown or f"--out {location}"
    try:
        lock = acquire(location, name, shown)
    except OSError as error:
        raise InputError(f"{shown}: {explain_error(error)}") from None
    if lock.found is not None:
        on_message(f"{shown}: was left by {lock.found}, which is gone; taken over")
    in_main, lost = threading.current_thread() is threading.main_thread(), list[str]()

    def beat() -> None:
        if lost:
            return
        try:
            lock.renew()
        except TakenOverError as error:
            lost.append(f"{shown}: {error}; this run has ended, and what it did is kept")
            on_message(lost[0])
            if in_main:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        except OSError:
            pass  # the storage may answer the next time; until then the lock grows old

    try:
        with every(BEAT_SECONDS, beat):
            yield
    except KeyboardInterrupt:
        if lost:
            raise HybridtuneError(lost[0]) from None
        raise
    finally:
        lock.release()
    if lost:
        raise HybridtuneError(lost[0])
