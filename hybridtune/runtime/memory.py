"""Memory that was freed, given back to the system."""

import ctypes
import gc
import sys


def release_memory() -> None:
    """Collect what is garbage, and give the freed memory of all threads back to the system.

    glibc keeps what a thread has freed for that thread's own use. Each training has threads of its own, so that workers
    that take one training after another would grow by some 200 MB at each, of nothing.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
        if trim is not None:
            trim(0)
