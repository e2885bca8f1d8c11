"""A sample of the texts of training data, a language and side at a time."""

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from hybridtune.data.readers.native import Group

SAMPLE = 1000  # texts of a language and side
SIDES: tuple[Literal["queries", "passages"], ...] = ("queries", "passages")


@dataclass
class TextSample:
    """A sample of at most ``size`` distinct texts of every language and side: those with the smallest digests."""

    size: int = SAMPLE
    counts: dict[tuple[str, str], int] = field(default_factory=dict)  # (side, language) -> texts, repeated ones too
    _kept: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=dict)
    _held: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def add(self, group: Group) -> None:
        """Take the texts of the next group."""
        for side in SIDES:
            for language, text in getattr(group, side).items():
                key = side, language
                self.counts[key] = self.counts.get(key, 0) + 1
                kept, held = self._kept.setdefault(key, []), self._held.setdefault(key, set())
                digest = -int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
                if text in held or (len(kept) == self.size and digest < kept[0][0]):
                    continue
                held.add(text)
                if len(kept) < self.size:
                    heapq.heappush(kept, (digest, text))
                else:
                    held.discard(heapq.heapreplace(kept, (digest, text))[1])

    def texts(self, side: str, language: str) -> list[str]:
        """Return the texts of one language and side, in a fixed order."""
        return [text for _, text in sorted(self._kept.get((side, language), ()), reverse=True)]

    @classmethod
    def of(cls, groups: Iterable[Group], size: int = SAMPLE) -> "TextSample":
        """Return the sample of some groups."""
        sample = cls(size)
        for group in groups:
            sample.add(group)
        return sample

    @property
    def languages(self) -> list[str]:
        """The languages, sorted."""
        return sorted({language for _, language in self.counts})
