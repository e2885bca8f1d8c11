"""Rows that an earlier one says already: in the same texts, or in nearly the same.

Nearly the same are rows of which both the queries and the passages share `SHARED` of their runs of words (the pieces of
`hybridtune.data.fingerprints`), estimated by MinHash, as ``rensa`` computes it, and found by equal bands of it (Broder
1997; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3). A question that is asked on a passage
that others ask on too is no duplicate of theirs, whatever share of the row the passage is.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hybridtune.data.digests import Digests, digests_of, first_seen, is_new
from hybridtune.data.fingerprints import UInt64, fingerprints
from hybridtune.data.readers.native import Group
from hybridtune.metrics.arrays import Bool, Int64

SHARED = 0.8  # of the runs of words of two rows, on either side

_VALUES = 64  # of a signature: the share of them that two texts have in common is within 0.1 of the share of their runs
_BANDS = 16  # of so many, one is equal for 99 in 100 of the rows that share 0.8 on one side and all on the other
_SEED = 0
_ROWS_AT_ONCE = 1 << 18  # pairs of rows that are compared in one go
_FACTORS = np.random.default_rng(_SEED).integers(0, 1 << 63, 2 * _VALUES // _BANDS).astype(np.uint64) * 2 + 1


class Signatures(NamedTuple):
    """The digests and MinHash signatures of n rows, by which duplicates are found."""

    digests: Digests  # [n, 2] equal for equal rows
    bands: UInt64  # [n, B] one is equal for nearly equal rows
    values: npt.NDArray[np.uint8]  # [n, 2, V] of the queries and of the passages; how many are equal, so much is shared

    def take(self, rows: Int64) -> "Signatures":
        """Return the signatures of some of the rows."""
        return Signatures(self.digests[rows], self.bands[rows], self.values[rows])


def signatures(groups: Sequence[Group]) -> Signatures:
    """Return the signatures of some rows, whose texts are clean: equal ones are equal in every character."""
    digests = digests_of(_whole(group) for group in groups)
    texts: dict[str, int] = {}
    sides = [[_numbers(group.queries.values(), texts), _numbers(group.passages.values(), texts)] for group in groups]
    pieces, starts = _pieces(list(texts))
    hashed = _minima([side for row in sides for side in row], pieces, starts).reshape(len(groups), 2, _VALUES)
    by_band = hashed.reshape(len(groups), 2, _BANDS, _VALUES // _BANDS).transpose(0, 2, 1, 3)
    banded = by_band.reshape(len(groups), _BANDS, 2 * _VALUES // _BANDS)
    said = [_languages(tuple(sorted(group.queries)), tuple(sorted(group.passages))) for group in groups]
    mixed = (banded.astype(np.uint64) * _FACTORS).sum(axis=2, dtype=np.uint64) + np.array(said, np.uint64)[:, None]
    return Signatures(digests, mixed ^ (mixed >> np.uint64(29)), hashed.astype(np.uint8))


def joined(parts: Sequence[Signatures]) -> Signatures:
    """Return the signatures of the rows of all parts, in their order."""
    digests, bands, values = zip(*parts, strict=True)
    return Signatures(np.concatenate(digests), np.concatenate(bands), np.concatenate(values))


def equal_rows(found: Signatures) -> Bool:
    """Return which rows [n] an earlier one is equal to."""
    repeated: Bool = ~is_new(first_seen(found.digests))
    return repeated


def near_rows(found: Signatures) -> Bool:
    """Return which rows [n] an earlier one is nearly equal to.

    Of the rows with one band in common each is compared with the first.
    """
    repeated = np.zeros(len(found.digests), bool)
    for band in range(found.bands.shape[1]):
        for first, row in _candidates(found.bands[:, band]):
            same = found.values[first] == found.values[row]  # [pairs, 2, V]
            repeated[row[(same.mean(axis=2) >= SHARED).all(axis=1)]] = True
    return repeated


def _candidates(keys: UInt64) -> Iterator[tuple[Int64, Int64]]:
    """Yield rows with equal keys: the first one, and a later one."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order[:1]] + np.uint64(1)) != 0)
    first = np.repeat(order[starts], np.diff(starts, append=len(order)))
    later = np.flatnonzero(first != order)
    for start in range(0, len(later), _ROWS_AT_ONCE):
        chosen = later[start : start + _ROWS_AT_ONCE]
        yield first[chosen], order[chosen]


@functools.cache
def _languages(queries: tuple[str, ...], passages: tuple[str, ...]) -> int:
    """Return a number for the languages of a row: only rows of the same ones are compared."""
    return int(digests_of([repr((queries, passages)).encode()])[0, 0])


def _whole(group: Group) -> bytes:
    """Return what two equal rows have in common: their texts by side and language."""
    sides = (sorted(group.queries.items()), sorted(group.passages.items()))
    return "\0\0".join(["\0".join(chain.from_iterable(side)) for side in sides]).encode()  # no clean text has a NUL


def _numbers(texts: Iterable[str], numbers: dict[str, int]) -> list[int]:
    return [numbers.setdefault(text, len(numbers)) for text in texts]


def _pieces(texts: Sequence[str]) -> tuple[UInt64, Int64]:
    """Return the pieces of texts, one text after the other, and where each of them begins; of a short one its key."""
    prints = fingerprints(texts)
    short = np.flatnonzero(np.bincount(prints.of, minlength=len(texts)) == 0)
    of = np.concatenate([prints.of, short])
    order = np.argsort(of, kind="stable")
    starts = np.searchsorted(of[order], np.arange(len(texts) + 1))
    return np.concatenate([prints.pieces, prints.keys[short]])[order], starts


def _minima(sides: Sequence[Sequence[int]], pieces: UInt64, starts: Int64) -> npt.NDArray[np.uint32]:
    """Return the signature [s, V] of each side, of the pieces of all its texts."""
    from rensa import RMinHash

    texts = np.array([text for side in sides for text in side], np.int64)
    lengths = np.diff(starts)[texts]
    ends = np.cumsum(lengths)
    taken = np.arange(int(lengths.sum())) - np.repeat(ends - lengths - starts[texts], lengths)
    per_side = np.cumsum([0, *map(len, sides)])
    offsets = np.concatenate([[0], ends])[per_side].astype(np.uint64)
    rows = RMinHash.digest_matrix_from_flat_token_hashes(pieces[taken], offsets, _VALUES, _SEED).to_rows()
    return np.array(rows, np.uint32).reshape(len(sides), _VALUES)
