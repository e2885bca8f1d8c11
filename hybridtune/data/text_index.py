"""Many texts as fingerprints, among which other texts are looked up: whole by their keys, in part by their pieces.

An index is bounded: where it would hold more, it keeps every n-th key or piece by its value, whichever text has it, so
that two texts still share what is kept of both.
"""

from dataclasses import dataclass, field

import numpy as np

from hybridtune.data.fingerprints import Fingerprints, UInt64
from hybridtune.metrics.arrays import Bool, Int64

_FILTER_BITS = 22  # a piece is looked up by so many bits first: most pieces of other texts end there


@dataclass(frozen=True)
class TextIndex:
    """The keys and pieces of n texts."""

    keys: UInt64  # [k] ascending
    key_of: Int64  # [k] the text of each
    pieces: UInt64  # [m] ascending
    piece_of: Int64  # [m] the text of each
    texts: int  # n
    key_step: int = 1  # of the keys, one in so many is kept
    piece_step: int = 1  # of the pieces, one in so many is kept
    _filter: Bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        seen = np.zeros(1 << _FILTER_BITS, bool)
        seen[_low_bits(self.pieces)] = True
        object.__setattr__(self, "_filter", seen)

    def piece_counts(self) -> Int64:
        """Count the pieces that are kept of each text [n]."""
        return np.bincount(self.piece_of, minlength=self.texts).astype(np.int64)

    def same(self, prints: Fingerprints) -> tuple[Int64, Int64]:
        """Return which of some texts are equal to which of the index: [e] numbers of theirs, [e] of the index."""
        which, positions = _found(self.keys, prints.keys)
        return which, self.key_of[positions]

    def shared(self, prints: Fingerprints) -> tuple[Int64, Int64, Int64]:
        """Return which texts have pieces in common: [s] numbers of theirs, [s] of the index, [s] common pieces."""
        likely = np.flatnonzero(self._filter[_low_bits(prints.pieces)])
        which, positions = _found(self.pieces, prints.pieces[likely])
        theirs = prints.of[likely][which]
        once = np.unique(theirs * len(self.pieces) + positions)  # a piece that a text has twice counts once
        theirs, positions = np.divmod(once, max(1, len(self.pieces)))
        both, common = np.unique(theirs * self.texts + self.piece_of[positions], return_counts=True)
        theirs, ours = np.divmod(both, max(1, self.texts))
        return theirs, ours, common


class TextIndexBuilder:
    """Gathers the fingerprints of texts, at most ``most_keys`` and ``most_pieces``, for a `TextIndex`."""

    def __init__(self, most_keys: int, most_pieces: int) -> None:
        self._keys, self._pieces = _Kept(most_keys), _Kept(most_pieces)
        self._texts = 0

    def add(self, prints: Fingerprints) -> None:
        """Take the next texts."""
        written = np.flatnonzero(prints.keys)
        self._keys.add(prints.keys[written], written + self._texts)
        pieces, of = distinct_pieces(prints)
        self._pieces.add(pieces, of + self._texts)
        self._texts += len(prints.keys)

    def add_index(self, index: TextIndex) -> None:
        """Take all texts of an index."""
        self._keys.add(index.keys, index.key_of + self._texts, index.key_step)
        self._pieces.add(index.pieces, index.piece_of + self._texts, index.piece_step)
        self._texts += index.texts

    def finish(self) -> TextIndex:
        """Return the index of all that was added."""
        keys, pieces = self._keys, self._pieces
        return TextIndex(*keys.ordered(), *pieces.ordered(), self._texts, keys.step, pieces.step)


class _Kept:
    """Values and the texts that they are of; every ``step``-th by value, so that no more than ``most`` are kept."""

    def __init__(self, most: int) -> None:
        self.step = 1
        self._most, self._count = most, 0
        self._blocks: list[tuple[UInt64, Int64]] = []

    def add(self, values: UInt64, of: Int64, step: int = 1) -> None:
        """Take more values, of which one in ``step`` was kept before."""
        self._append(values, of)
        while self._count > self._most or self.step < step:
            self.step *= 2
            blocks, self._blocks, self._count = self._blocks, [], 0
            for block in blocks:
                self._append(*block)

    def _append(self, values: UInt64, of: Int64) -> None:
        kept = is_kept(values, self.step)
        self._blocks.append((values[kept], of[kept]))
        self._count += int(np.count_nonzero(kept))

    def ordered(self) -> tuple[UInt64, Int64]:
        """Return the values kept, ascending, and the text of each."""
        if not self._blocks:
            return np.zeros(0, np.uint64), np.zeros(0, np.int64)
        values, of = (np.concatenate(parts) for parts in zip(*self._blocks, strict=True))
        order = np.argsort(values, kind="stable")
        return values[order], of[order]


def distinct_pieces(prints: Fingerprints) -> tuple[UInt64, Int64]:
    """Return the pieces of texts, each once a text, and the text of each, ascending."""
    order = np.lexsort((prints.pieces, prints.of))
    pieces, of = prints.pieces[order], prints.of[order]
    new = np.ones(len(of), bool)
    new[1:] = (pieces[1:] != pieces[:-1]) | (of[1:] != of[:-1])
    return pieces[new], of[new]


def is_kept(values: UInt64, step: int) -> Bool:
    """Return which values an index keeps that keeps one in ``step``."""
    kept: Bool = values <= np.uint64((2**64 - 1) // step)
    return kept


def _found(ordered: UInt64, wanted: UInt64) -> tuple[Int64, Int64]:
    """Find values in ascending ones: [f] which is found, [f] where; one that occurs there n times is found n times."""
    first = np.searchsorted(ordered, wanted)
    count = np.searchsorted(ordered, wanted, "right") - first
    which = np.repeat(np.arange(len(wanted)), count)
    before = np.repeat(np.cumsum(count) - count, count)
    return which, first[which] + np.arange(len(which)) - before


def _low_bits(values: UInt64) -> Int64:
    return (values & np.uint64((1 << _FILTER_BITS) - 1)).astype(np.int64)
