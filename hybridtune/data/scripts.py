"""The scripts of many texts at once: of each the letters of every script, counted."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hybridtune.data.readers.languages import script_of
from hybridtune.metrics.arrays import Float64, Int64

_POINTS = 0x110000
_UNKNOWN = 255  # a character that no text has had yet
_numbers: dict[str, int] = {"": 0}  # by the name of a script; 0: no letter
_script_of_point = np.full(_POINTS, _UNKNOWN, np.uint8)  # filled as characters come


class Scripts(NamedTuple):
    """The letters of n texts by S scripts."""

    names: tuple[str, ...]  # [S] as the names of letters in Unicode begin: LATIN, CYRILLIC, CJK, ...
    letters: Int64  # [n, S]

    def take(self, rows: Sequence[int]) -> "Scripts":
        """Return the letters of some of the texts."""
        return Scripts(self.names, self.letters[list(rows)])

    def shares(self, scripts: Sequence[str]) -> Float64:
        """Return which share [n] of each text's letters is of some scripts; 0 of a text without letters."""
        columns = [self.names.index(name) for name in scripts if name in self.names]
        found: Float64 = self.letters[:, columns].sum(axis=1) / np.maximum(1, self.letters.sum(axis=1))
        return found


def count_scripts(texts: Sequence[str]) -> Scripts:
    """Count the letters of each text by script.

    Example:
        >>> found = count_scripts(["Кто? Who?", "12 %"])
        >>> [dict(zip(found.names, row)) for row in found.letters[:, [found.names.index("LATIN")]].tolist()]
        [{'LATIN': 3}, {'LATIN': 0}]
    """
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    scripts = _script_of_point[points]
    new = np.unique(points[scripts == _UNKNOWN])
    if len(new):
        for point in new.tolist():
            letter = chr(point)
            name = script_of(letter) if letter.isalpha() else ""
            _script_of_point[point] = _numbers.setdefault(name, len(_numbers) if len(_numbers) < _UNKNOWN else 0)
        scripts = _script_of_point[points]
    text = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    width = len(_numbers)
    counts = np.bincount(text * width + scripts, minlength=len(texts) * width).reshape(len(texts), width)
    return Scripts(tuple(_numbers)[1:], counts[:, 1:])
