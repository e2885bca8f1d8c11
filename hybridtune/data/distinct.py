"""Which of many texts stood there before: found by their digests, on disk, in memory that hardly grows."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hybridtune.data.arrays import CHUNK, forget, scratch_array

Int32 = npt.NDArray[np.int32]
Digests = npt.NDArray[np.void]

_DIGEST = np.dtype([("high", np.uint64), ("low", np.uint64)])
_RECORD = np.dtype([*_DIGEST.descr, ("place", np.int32)])
_AT_ONCE = 4096  # places written between two calls of `forget`
_PARTS = 64  # files, once there is more than a chunk; one of them at a time is read into memory


def digests(texts: Iterable[bytes]) -> Digests:
    """[n] 128 bits of BLAKE2b of each text: any two of n that differ are told apart, but for n^2 in 2^129 cases."""
    joined = b"".join([hashlib.blake2b(text, digest_size=16).digest() for text in texts])
    return np.frombuffer(joined, _DIGEST)


class Distinct:
    """Finds for each of n digests the first that is equal to it.

    Args:
        folder: made here; takes 24 bytes a digest where there are many.
    """

    def __init__(self, folder: Path) -> None:
        self.count = 0
        folder.mkdir()
        self._firsts = folder / "firsts.npy"
        self._paths = [folder / str(part) for part in range(_PARTS)]
        self._waiting: list[npt.NDArray[np.void]] = []
        self._spilled = False

    def add(self, found: Digests) -> None:
        """Take the next digests; the n-th of all has place n."""
        records = np.empty(len(found), _RECORD)
        records["high"], records["low"] = found["high"], found["low"]
        records["place"] = np.arange(self.count, self.count + len(found))
        self.count += len(found)
        self._waiting.append(records)
        if sum(map(len, self._waiting)) > CHUNK:
            self._spill()

    def firsts(self) -> Int32:
        """Look for them all.

        Returns:
            [n] the place of the first digest that equals the one at each place: its own where there is none before;
            to write to, and mapped from a file in the folder.
        """
        first = scratch_array(self._firsts, self.count, None)
        for records in self._parts():
            order = np.lexsort((records["low"], records["high"]))  # stable: equal ones stay in the order of places
            high, low, places = (records[name][order] for name in ("high", "low", "place"))
            again = np.zeros(len(order), bool)
            again[1:] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
            of_run = places[np.flatnonzero(~again)]  # a run of equal digests: the first place
            runs = np.cumsum(~again) - 1
            repeated = np.flatnonzero(again)
            repeated = repeated[np.argsort(places[repeated])]  # by place: what is written together lies together
            for start in range(0, len(repeated), _AT_ONCE):
                some = repeated[start : start + _AT_ONCE]
                first[places[some]] = of_run[runs[some]]
                forget(first)
        return first

    def _spill(self) -> None:
        """Write what waits to files, equal digests to the same one."""
        records = np.concatenate([np.empty(0, _RECORD), *self._waiting])
        parts = (records["high"] % _PARTS).astype(np.uint8)
        records = records[np.argsort(parts, kind="stable")]
        ends = np.cumsum(np.bincount(parts, minlength=_PARTS)).tolist()
        for path, start, end in zip(self._paths, [0, *ends[:-1]], ends, strict=True):
            with path.open("ab") as file:
                file.write(records[start:end].tobytes())
        self._waiting, self._spilled = [], True

    def _parts(self) -> Iterator[npt.NDArray[np.void]]:
        if not self._spilled:
            yield np.concatenate([np.empty(0, _RECORD), *self._waiting])
            return
        self._spill()
        for path in self._paths:
            yield np.fromfile(path, _RECORD)
            path.unlink()
