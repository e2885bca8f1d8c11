"""What the control groups of this process leave it of the machine, as ``docker --cpus --memory`` sets them.

A group is bound by its own limits and by those of all groups that it is in. Below ``root`` are ``proc/self/cgroup`` and
``sys/fs/cgroup`` (version 1 or 2).
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def cpu_quota(root: Path = _ROOT) -> float | None:
    """Return the CPUs that the control groups of this process leave it; None: no bound."""
    return min((quota for folder in _folders("cpu", root) if (quota := _quota(folder)) is not None), default=None)


def memory_left(root: Path = _ROOT) -> tuple[int, int] | None:
    """Return the bytes that the tightest control group of this process has left, and its limit; None: no bound.

    What files occupy until something else needs the room counts as left.
    """
    found = (left for folder in _folders("memory", root) if (left := _left(folder)) is not None)
    return min(found, default=None)


def _folders(controller: str, root: Path) -> Iterator[Path]:
    """Yield the folders that may hold a group's limits or those of one above: ``0::/a/b``, ``4:cpu,cpuacct:/a/b``.

    Inside a container the group itself is often mounted where the uppermost would be, and its path is not there.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        mounted = root / "sys/fs/cgroup"
        if not controllers:  # version 2
            mounts = [mounted]
        elif controller in controllers.split(","):
            mounts = [mounted / controllers, mounted / controller]
        else:
            continue
        group = Path(path.lstrip("/"))
        for mount in mounts:
            yield from (mount / part for part in (group, *group.parents) if ".." not in part.parts)


def _quota(folder: Path) -> float | None:
    """Return the CPUs of one group; None where it sets no bound."""
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        if (folder / "cpu.max").exists():
            quota, period = map(float, (folder / "cpu.max").read_text(encoding="utf-8").split())
        else:
            quota = float((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
            period = float((folder / "cpu.cfs_period_us").read_text(encoding="utf-8"))
        if quota > 0 and period > 0:  # -1: no bound
            return quota / period
    return None


def _left(folder: Path) -> tuple[int, int] | None:
    """Return the bytes that one group has left, and its limit; None where it sets none."""
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        first = (folder / "memory.max").exists()
        limit, used = ("memory.max", "memory.current") if first else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        most = int((folder / limit).read_text(encoding="utf-8"))
        if most >= 2**60:  # version 1 writes no bound as the largest number of pages
            return None
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        files = int(stat.get("inactive_file" if first else "total_inactive_file", 0))
        return max(0, most - int((folder / used).read_text(encoding="utf-8")) + files), most
    return None
