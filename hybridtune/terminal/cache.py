"""What `hybridtune cache` prints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybridtune.report.text import counted
from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import plain_table


def cache_table(cache: str, entries: Sequence[Mapping[str, Any]], screen: Screen) -> None:
    """Print the entries of a cache, by `study.cache.to_dict`."""
    total = sum(entry["bytes"] for entry in entries)
    title = f"{cache}: {counted(len(entries), 'entry')}, {_size(total)}"
    screen.console.print(plain_table([_row(cache, entry) for entry in entries], title))


def pruned_table(result: Mapping[str, Any], screen: Screen) -> None:
    """Print what a prune has removed, or would remove."""
    done = "would be removed" if result["dry_run"] else "removed"
    removed = result["removed"]
    title = f"{counted(len(removed), 'entry')} {done}, {_size(result['freed'])}; {_size(result['left'])} left"
    screen.console.print(plain_table([_row(result["cache"], entry) for entry in removed], title))


def _row(cache: str, entry: Mapping[str, Any]) -> dict[str, str]:
    path = Path(entry["path"])
    shown = path.relative_to(cache) if path.is_relative_to(cache) else path
    return {
        "what": entry["kind"],
        "size": _size(entry["bytes"]),
        "not used for": _age(entry["unused_seconds"]),
        "state": entry["state"],
        "where": str(shown),
    }


def _size(count: int) -> str:
    """Return a number of bytes as people say it.

    Example:
        >>> [_size(count) for count in (900, 1_500_000, 20_000_000_000)]
        ['900 B', '1.5 MB', '20.0 GB']
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} B"


def _age(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
