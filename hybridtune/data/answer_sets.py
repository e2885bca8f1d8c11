"""Answer sets: which groups answer each other's queries. A union-find on arrays, many edges at a time."""

from pathlib import Path

import numpy as np

from hybridtune.data.arrays import CHUNK, forget, scratch_array
from hybridtune.metrics.arrays import Int32


class AnswerSets:
    """Join n groups; each is an answer set of its own until then. An answer set is named by its smallest group.

    Args:
        count: n.
        file: what they are kept in: 4 bytes each.
    """

    def __init__(self, count: int, file: Path) -> None:
        self._parents = scratch_array(file, count, None)  # of each group: itself, or a smaller one of its set

    def join(self, ones: Int32, others: Int32) -> None:
        """Make one answer set of those of ``ones[i]`` and ``others[i]``, for every i.

        Args:
            ones: [E] ends of edges.
            others: [E] their other ends.
        """
        while len(ones):
            ones, others = self.roots(ones), self.roots(others)
            low, high = np.minimum(ones, others), np.maximum(ones, others)
            apart = low < high
            ones, others = low[apart], high[apart]
            np.minimum.at(self._parents, others, ones)
        forget(self._parents)

    def roots(self, groups: Int32) -> Int32:
        """Return the name [n] of the answer set of each group, and shorten the ways there."""
        while True:
            parents = self._parents[groups]
            above = self._parents[parents]
            if (parents == above).all():
                return parents
            self._parents[groups] = above

    def names(self) -> Int32:
        """Return the answer set [n] of every group, mapped from the file."""
        for start in range(0, len(self._parents), CHUNK):  # in order: what lies before a chunk points to its root
            places = np.arange(start, min(start + CHUNK, len(self._parents)), dtype=np.int32)
            self._parents[places] = self.roots(places)
            forget(self._parents)
        return self._parents
