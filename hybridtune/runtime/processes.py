"""The identity of a process that wrote a file: its number and its start, since a system gives numbers again.

And what keeps a Python process that we start from importing what lies in the folder that it is started in.
"""

import psutil

SAFE_PATH = {"PYTHONSAFEPATH": "1"}  # in its environment, and in that of all that it starts


def start_time(pid: int) -> str | None:
    """Return when a process started, in seconds since the system did; None of one that has ended."""
    try:
        process = psutil.Process(pid)
        ended = process.status() == psutil.STATUS_ZOMBIE
        # Both times move with the system's clock, their difference does not.
        return None if ended else f"{process.create_time() - psutil.boot_time():.2f}"
    except psutil.NoSuchProcess:
        return None


def is_running(pid: int, started: str | None) -> bool:
    """Return whether the process that had this `start_time` still runs; None: any process of the number counts."""
    return psutil.pid_exists(pid) if started is None else start_time(pid) == started
