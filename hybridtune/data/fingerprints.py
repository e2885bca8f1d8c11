"""Fingerprints of texts: 64-bit numbers by which a text is found again, whole or in pieces, and that hold no text.

A text's key is equal for texts that differ in nothing but case, punctuation, white space and Unicode form. Its pieces
are its runs of `WORDS` words; where a script has no spaces between words, of `CHARACTERS` characters. A text that
stands in a longer one shares its pieces with it (Broder 1997, "On the resemblance and containment of documents").
"""

import functools
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hybridtune.metrics.arrays import Int64

WORDS = 4  # of a piece
CHARACTERS = 12  # of a piece, where words are not apart
RULES = 1  # of how a key and pieces are made: raise it with any change, and older fingerprints are not compared

_CHARACTERS_A_WORD = CHARACTERS // WORDS
_BETWEEN = "\uffff"  # no character: no text has it for a letter
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so it has an inverse
_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))
_WORD, _CHARACTER = 1, 2  # kinds of characters: of a word between spaces, a word by itself; 0: of no word
_WITHOUT_SPACES = (  # blocks of Unicode
    *((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x19DF), (0x1A20, 0x1AAF), (0x1B00, 0x1B7F)),
    *((0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA980, 0xA9FF), (0xAA60, 0xAADF)),
    *((0xF900, 0xFAFF), (0x20000, 0x33FFF)),
)
_LAST = 0x33FFF  # no letter has a higher number

UInt64 = npt.NDArray[np.uint64]


class Fingerprints(NamedTuple):
    """The fingerprints of n texts: of each its key and its length, and all their m pieces."""

    keys: UInt64  # [n]; 0 of a text without a letter or a digit
    lengths: npt.NDArray[np.float64]  # [n] in words
    pieces: UInt64  # [m] in any order
    of: Int64  # [m] the text of each piece


def fingerprints(texts: Sequence[str]) -> Fingerprints:
    """Make the fingerprints of some texts.

    Example:
        >>> one, other = fingerprints(["Who won the 2010 final?", "who won — the “2010” FINAL"]).keys.tolist()
        >>> one == other
        True
    """
    folded = "".join([_folded(text) + _BETWEEN for text in texts])
    points = np.frombuffer(folded.encode("utf-32-le"), np.uint32)
    kinds = _kinds()[np.minimum(points, _LAST)]
    ends = np.flatnonzero(points == ord(_BETWEEN))
    kept = np.flatnonzero(kinds)
    runs = _Runs(_scattered(points[kept]))
    last = np.searchsorted(kept, ends)  # of each text, the end of its characters among those kept
    first = np.concatenate([[0], last[:-1]])
    keys = np.where(last > first, np.maximum(_scattered(runs.hashes(first, last)), np.uint64(1)), np.uint64(0))
    # A word begins where its character follows one of another kind, or one that was left out.
    kind = kinds[kept]
    begins = (kind == _CHARACTER) | (np.diff(kept, prepend=-2) > 1) | (np.diff(kind, prepend=np.uint8(0)) != 0)
    starts = np.flatnonzero(begins)
    words = _scattered(runs.hashes(starts, np.append(starts[1:], len(kept))[: len(starts)]))
    is_character = kind[starts] == _CHARACTER
    of = np.searchsorted(last, starts, "right")  # [words] the text of each
    weights = np.where(is_character, 1, _CHARACTERS_A_WORD)
    lengths = np.bincount(of, weights, minlength=len(texts)) / _CHARACTERS_A_WORD
    return Fingerprints(keys, lengths, *_pieces(words, is_character, of))


def _pieces(words: UInt64, is_character: npt.NDArray[np.bool_], of: Int64) -> tuple[UInt64, Int64]:
    """Return the pieces of all texts, and the text of each."""
    runs, pieces, texts = _Runs(words), [], []
    for length, wanted in ((WORDS, ~is_character), (CHARACTERS, is_character)):
        starts = np.flatnonzero(wanted[: max(0, len(words) - length + 1)])
        starts = starts[of[starts] == of[starts + length - 1]]  # within one text
        pieces.append(_scattered(runs.hashes(starts, starts + length)))
        texts.append(of[starts])
    return np.concatenate(pieces), np.concatenate(texts)


def _folded(text: str) -> str:
    """Return a text without the differences of case and of Unicode form, and without the mark between texts."""
    composed = unicodedata.normalize("NFKC", text)
    folded = composed.casefold()
    if folded != composed:  # the same in scripts without case
        folded = unicodedata.normalize("NFKC", folded)
    # The two letters that Turkish makes of an i have other capitals in other languages: all are one here.
    return folded.replace("ı", "i").replace("i\u0307", "i").replace(_BETWEEN, " ")


class _Runs:
    """Hashes of any runs of a sequence of numbers, equal for equal runs wherever they stand."""

    def __init__(self, values: UInt64) -> None:
        powers = np.full(len(values) + 1, _BASE)
        inverses = np.full(len(values) + 1, _INVERSE)
        powers[0] = inverses[0] = 1
        self._inverses = np.multiply.accumulate(inverses)
        weighted = values * np.multiply.accumulate(powers)[:-1]
        self._sums = np.concatenate([np.zeros(1, np.uint64), np.add.accumulate(weighted)])

    def hashes(self, starts: Int64, ends: Int64) -> UInt64:
        """Return the hashes [n] of the runs from ``starts`` [n] to before ``ends`` [n]."""
        found: UInt64 = (self._sums[ends] - self._sums[starts]) * self._inverses[starts]
        return found


def _scattered(values: npt.NDArray[np.unsignedinteger]) -> UInt64:
    """Return numbers in which every bit of the given ones tells on every bit, one for one (splitmix64)."""
    mixed = values.astype(np.uint64) + _BASE
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    scattered: UInt64 = mixed ^ (mixed >> np.uint64(31))
    return scattered


@functools.cache
def _kinds() -> npt.NDArray[np.uint8]:
    """Return the kind of every character of Unicode: letters, marks and numbers are of words."""
    kinds = np.array([unicodedata.category(chr(point))[0] in "LMN" for point in range(_LAST + 1)], np.uint8)
    for first, last in _WITHOUT_SPACES:
        kinds[first : last + 1] *= _CHARACTER
    return kinds
