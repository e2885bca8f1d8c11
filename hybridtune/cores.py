"""The cores that this process may use: fewer than the machine has under ``taskset`` or in a container."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def cores() -> int:
    """The cores that this process may use, at least 1; of a quota of 2.5 CPUs there are 2."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return there if quota is None else max(1, min(there, int(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs that the control groups of this process leave it, as ``docker --cpus`` sets them; None: no bound.

    A group is bound by its own quota and by those of all groups that it is in.

    Args:
        root: of the file system whose ``proc/self/cgroup`` and ``sys/fs/cgroup`` (version 1 or 2) are read.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    folders = (folder for line in lines for folder in _folders(line, root / "sys/fs/cgroup"))
    return min((quota for folder in folders if (quota := _quota(folder)) is not None), default=None)


def _folders(line: str, mounted: Path) -> Iterator[Path]:
    """Where the quotas of a group may stand, its own and those above: ``0::/a/b``, ``4:cpu,cpuacct:/a/b``.

    Inside a container the group itself is often mounted where the uppermost would be, and its path is not there.
    """
    _, controllers, path = line.split(":", 2)
    if not controllers:  # version 2
        mounts = [mounted]
    elif "cpu" in controllers.split(","):
        mounts = [mounted / controllers, mounted / "cpu"]
    else:
        return
    group = Path(path.lstrip("/"))
    for mount in mounts:
        yield from (mount / part for part in (group, *group.parents) if ".." not in part.parts)


def _quota(folder: Path) -> float | None:
    """The CPUs of one group; None where it sets no bound."""
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        if (folder / "cpu.max").exists():
            quota, period = map(float, (folder / "cpu.max").read_text(encoding="utf-8").split())
        else:
            quota = float((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
            period = float((folder / "cpu.cfs_period_us").read_text(encoding="utf-8"))
        if quota > 0 and period > 0:  # -1: no bound
            return quota / period
    return None
