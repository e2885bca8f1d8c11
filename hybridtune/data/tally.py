"""What a plan holds, counted: per kind and language pair (and data set) batches, pairs, distinct groups and epochs."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from hybridtune.data.draws import Draws

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


class Tally:
    """Counts the batches of one kind, by cell and data set, while they are drawn.

    Args:
        draws: where the batches come from.
        sources: [G] the data set of every group; None: there is one.
        data_sets: how many there are.
    """

    def __init__(self, draws: Draws, sources: Int32 | None, data_sets: int) -> None:
        self._draws, self._sources, self._data_sets = draws, sources, data_sets
        pairs = len(draws.cells.pairs) * data_sets
        self._batches, self._pairs = np.zeros((2, pairs), np.int64)  # [P * data sets] each

    def add(self, groups: Int32, cells: Int64) -> None:
        """Count a batch: its groups [B] and the cells [B] that they came from."""
        counts = np.bincount(self._keys(groups, self._draws.cells.pair_of[cells]), minlength=len(self._pairs))
        self._pairs += counts
        self._batches += counts > 0

    def rows(self) -> Iterator[tuple[list[int], dict[str, Any]]]:
        """Of every pair and data set that was seen: the pair's columns [2], and its row of the table."""
        cells = self._draws.cells
        there, visited = np.zeros((2, len(self._pairs)), np.int64)
        for cell in range(len(cells.sizes)):
            members = self._draws.queues.members(cell)
            keys = self._keys(members, np.full(len(members), cells.pair_of[cell]))
            there += np.bincount(keys, minlength=len(there))
            visited += np.bincount(keys[self._draws.queues.visited(cell)], minlength=len(there))
        for key in np.flatnonzero(self._pairs).tolist():
            pair, data_set = divmod(key, self._data_sets)
            yield (
                cells.pairs[pair].tolist(),
                {
                    **({"data_set": data_set} if self._data_sets > 1 else {}),
                    "batches": int(self._batches[key]),
                    "pairs": int(self._pairs[key]),
                    "groups": int(visited[key]),
                    "epochs": round(int(self._pairs[key]) / int(there[key]), 3),
                },
            )

    def _keys(self, groups: Int32, pairs: Int64) -> Int64:
        return pairs if self._sources is None else pairs * self._data_sets + self._sources[groups]
