"""The notes of readers on data besides its groups: how it was read, and what was left out."""

from collections import Counter


class Notes:
    """Notes on each source: its format, and what was left out of it, by reason with the first place."""

    def __init__(self) -> None:
        self._how: dict[str, str] = {}  # by source
        self._left_out: dict[str, Counter[str]] = {}  # by source
        self._first: dict[str, str] = {}  # by reason

    def begin(self, source: str) -> None:
        """Take note that a source is read, from its start: what was counted before counts no more."""
        self._left_out[source] = Counter()

    def read_as(self, source: str, how: str) -> None:
        """Take note of the format of a source, and of what was taken for what."""
        self._how[source] = how

    def leave_out(self, source: str, reason: str, where: str, count: int = 1) -> None:
        """Count something that is left out; the reason reads on after its number: ``rows without a passage``."""
        self._left_out.setdefault(source, Counter())[reason] += count
        self._first.setdefault(reason, where)

    def formats(self) -> list[str]:
        """Return how the sources were read, a line for those that were read alike."""
        sources: dict[str, list[str]] = {}
        for source, how in self._how.items():
            sources.setdefault(how, []).append(source)
        alike = {how: f" and {len(names) - 1:,} more" * (len(names) > 1) for how, names in sources.items()}
        return [f"{names[0]}{alike[how]}: {how}" for how, names in sources.items()]

    def left_out(self) -> dict[str, int]:
        """Return what was left out of all sources, by reason."""
        return dict(sum(self._left_out.values(), Counter[str]()))

    def lines(self) -> list[str]:
        """Return all that there is to tell, one line each."""
        counts = self.left_out().items()
        dropped = [f"left out: {count:,} {reason} (first: {self._first[reason]})" for reason, count in counts]
        return [*self.formats(), *dropped]
