"""Digests of many texts, by which equal ones are found in numpy without keeping the texts."""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from hybridtune.metrics.arrays import Bool, Int32

Digests = npt.NDArray[np.uint64]  # [n, 2]


def digests_of(texts: Iterable[bytes]) -> Digests:
    """Return 128 bits of BLAKE2b of each text: of n, any two that differ have different ones but for n^2 in 2^129."""
    joined = b"".join([hashlib.blake2b(text, digest_size=16).digest() for text in texts])
    return np.frombuffer(joined, np.uint64).reshape(-1, 2)


def first_seen(digests: Digests) -> Int32:
    """Return the number [n] of each digest among the different ones, in the order in which they are first seen."""
    order = np.lexsort(digests.T)  # stable: equal ones stay in their order
    ordered = digests[order]
    starts = np.ones(len(order), bool)  # of a run of equal ones
    starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    firsts = np.empty(len(order), np.int64)
    firsts[order] = order[starts][np.cumsum(starts) - 1]
    numbers = np.cumsum(firsts == np.arange(len(order)), dtype=np.int32) - 1
    return numbers[firsts].astype(np.int32)


def is_new(numbers: Int32) -> Bool:
    """Return which of the numbers [n] that `first_seen` gave are the first of their kind."""
    new: Bool = np.diff(np.maximum.accumulate(numbers), prepend=-1) > 0
    return new
