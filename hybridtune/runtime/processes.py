"""Whether a process that wrote a file is still there: numbers are given again, times of birth are not."""

import os
from pathlib import Path


def born(pid: int) -> str | None:
    """When a process started, in ticks since boot; None where the system does not tell (no /proc)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *after = stat.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    return None if state == "Z" else after[18]


def lives(pid: int, birth: str | None) -> bool:
    """Whether this very process is there.

    Args:
        pid: its number.
        birth: what `born` told when it lived; None: unknown, and then any process of the number is taken for it.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and another user's
    return birth is None or born(pid) == birth
