"""Checks of a translation that need no reader: the reason to refuse each text, if there is one."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from hybridtune.translate.engine import TOO_LONG, Translation

# Letters that stand for several of an alphabet's: lengths are compared in the latter.
_WEIGHTS = (("CJK UNIFIED", 3.0), ("HIRAGANA", 2.0), ("KATAKANA", 2.0), ("HANGUL", 2.0), ("ETHIOPIC", 1.5))
_SLACK = 20  # letters added to both lengths: short texts differ by more
_URL = r"https?://[^\s<>\"')\]]+|www\.[^\s<>\"')\]]+|[\w.+-]+@[\w-]+\.[\w.]+"
_MARKUP = re.compile(
    rf"(?P<url>{_URL})|(?P<tag></?[A-Za-z][\w-]*(?:\s[^<>]*)?/?>|&[a-z]+;)"
    r"|(?P<slot>\{\{?[\w.:!]*\}?\}|\$\{\w+\}|%\(\w+\)[sdif]|%[sdif]\b)"
)
_PIECE = 60  # characters of a piece that is repeated, at most


@dataclass(frozen=True)
class Checks:
    """The bounds of the checks."""

    ratio: float = 3.0  # the longer of source and translation over the shorter
    repeats: int = 4  # times that a piece of a text stands there in a row, if it does not in the source

    def reason(self, source: str, translation: Translation) -> str:
        """Return why a translation is refused; empty where nothing is wrong with it."""
        text = translation.text
        if translation == TOO_LONG:
            return "source too long"
        if not any(map(str.isalnum, text)):
            return "empty"
        if not translation.finished:
            return "not finished"
        if text.casefold() == source.casefold():
            return "copy of the source"
        loop = rf"(?s)(.{{2,{_PIECE}}}?)\1{{{self.repeats - 1},}}"
        if re.search(loop, text) and not re.search(loop, source):
            return "repetition"
        lengths = sorted((weighed_length(source) + _SLACK, weighed_length(text) + _SLACK))
        if lengths[1] > self.ratio * lengths[0]:
            return "length ratio"
        if _markup(source) != _markup(text):
            return "markup lost"
        return ""


def weighed_length(text: str) -> float:
    """Return the length of a text in letters of an alphabet.

    Example:
        >>> weighed_length("Beijing"), weighed_length("北京")
        (7.0, 6.0)
    """
    if text.isascii():
        return float(len(text))
    counts = Counter(text)
    return sum(count * _weight(character) for character, count in counts.items())


def _weight(character: str) -> float:
    if character.isascii() or not character.isalpha():
        return 0.0 if unicodedata.combining(character) else 1.0
    name = unicodedata.name(character, "")
    return next((weight for script, weight in _WEIGHTS if name.startswith(script)), 1.0)


def _markup(text: str) -> Counter[str]:
    """Count what must come through unchanged: URLs, addresses, tags (without their attributes), placeholders."""
    found = (match[0] if match.lastgroup != "tag" else match[0].split()[0] for match in _MARKUP.finditer(text))
    return Counter(piece.rstrip(".,;:!?>/") for piece in found)
