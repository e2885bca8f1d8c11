"""The check that texts are in their stated languages: it finds a column of two languages and a wrong code."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from hybridtune.data.language_id import mistaken, unknown
from hybridtune.data.text_sample import SIDES, TextSample

GROUPS = 50_000  # the first ones of the training data, from which a study takes its sample
TEXTS = 200  # of a language and side
ENOUGH = 20  # texts of which a language is said to be another

# Languages that are so alike that a model which tells most others is no judge.
_ALIKE = [{"bs", "hr", "sh", "sr"}, {"da", "nb", "nn", "no"}, {"id", "ms"}, {"xh", "zu"}, {"gl", "pt"}]


class Mislabelled(NamedTuple):
    """The texts of one side that are said to be in a language, and are in another."""

    side: str
    language: str
    other: str  # the most common of the others
    texts: int  # in the other
    of: int  # that were looked at
    example: str

    def describe(self) -> str:
        """Return this in one line, with what to write."""
        return (
            f"{self.side} that are said to be in {self.language!r}: {self.texts} of {self.of} that were looked at are "
            f"in {self.other!r}, like {self.example[:60]!r}; where a column holds several languages, name the column "
            f"that says which (columns: {{language: NAME}}), else correct the code (language: {self.other})"
        )


def mislabelled(sample: TextSample) -> Iterator[Mislabelled]:
    """Yield the sides and languages of a sample of which some texts are in another language, by the most common one."""
    not_judged = unknown(sample.languages)
    for side in SIDES:
        for language in sample.languages:
            texts = [] if language in not_judged else sample.texts(side, language)
            found: dict[str, list[str]] = {}
            for text, other in zip(texts, mistaken(texts, [language] * len(texts)), strict=True):
                if other is not None and not any({language, other} <= alike for alike in _ALIKE):
                    found.setdefault(other, []).append(text)
            if found:
                ((other, count),) = Counter({other: len(some) for other, some in found.items()}).most_common(1)
                yield Mislabelled(side, language, other, count, len(texts), found[other][0])


def mostly_mislabelled(sample: TextSample) -> Mislabelled | None:
    """Return the first side and language of which most texts are in one other language; None if there is none."""
    some = (found for found in mislabelled(sample) if found.of >= ENOUGH)
    return next((found for found in some if 2 * found.texts > found.of), None)
