"""The scores of a reranker or teacher in rows of pairs, as margins: how much higher its passage is than a negative.

FlagEmbedding has a list of scores for the passages and one for the negatives (pos_scores, neg_scores);
sentence-transformers one list for all texts of a row, or their margins, or of a triplet the margin as a number (label).
A loss on scores takes differences within a row alone, so a margin says all that there is to learn.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hybridtune.errors import InputError

PASSAGE_SCORES = ("pos_scores", "positive_scores", "passage_scores", "pos_score", "positive_score", "passage_score")
NEGATIVE_SCORES = ("neg_scores", "negative_scores", "neg_score", "negative_score")
SCORES = ("scores", "labels")

Margins = list[float | None]


class ScoreColumns(NamedTuple):
    """The columns that hold scores: one for the passages and one for the negatives, or one for all; None: none does."""

    passages: str | None
    negatives: str | None
    all: str | None

    def margins(self, row: Mapping[str, Any], passages: int, negatives: int, where: str) -> list[Margins]:
        """Return the margins of a row with so many texts: a list for each passage, of a number for each negative.

        Raises:
            InputError: there are more or fewer scores than texts, or one is no number.
        """
        own: Sequence[float | None] = [None] * passages
        others: Sequence[float | None] = [None] * negatives
        if self.passages is not None and self.negatives is not None:
            given, hard = _scores(row, self.passages, where), _scores(row, self.negatives, where)
            own = own if given is None else _as_many(given, passages, f"{where}: {self.passages}", "passages")
            others = others if hard is None else _as_many(hard, negatives, f"{where}: {self.negatives}", "negatives")
        elif self.all is not None and (scores := _scores(row, self.all, where)) is not None and negatives:
            own, others = _split(scores, passages, negatives, f"{where}: {self.all}")
        return [[_difference(one, other) for other in others] for one in own]


def holds_scores(value: Any, negatives: Sequence[Any]) -> bool:
    """Return whether a column named ``label`` or ``score`` is a teacher's, by the cells of it and of the negatives.

    A list is; a number is the margin of a triplet, whose one negative is a text. Any other number judges the pair.
    """
    if isinstance(value, list):
        return True
    return _is_number(value) and len(negatives) == 1 and isinstance(negatives[0], str) and bool(negatives[0].strip())


def _scores(row: Mapping[str, Any], column: str, where: str) -> list[float | None] | None:
    """Return the numbers of a cell, one or a list of them; None where it is empty."""
    value = row.get(column)
    if value is None or value == "":
        return None
    numbers = value if isinstance(value, list) else [value]
    for number in numbers:
        if number is not None and not _is_number(number):
            raise InputError(f"{where}: {column}: a score is a finite number, or null (got {number!r})")
    return [None if number is None else float(number) for number in numbers]


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _as_many(scores: list[float | None], texts: int, where: str, of: str) -> list[float | None]:
    if len(scores) != texts:
        raise InputError(f"{where}: {len(scores)} scores for {texts} {of}; give one for each, null where there is none")
    return scores


def _split(
    scores: list[float | None], passages: int, negatives: int, where: str
) -> tuple[Sequence[float | None], Sequence[float | None]]:
    """Return the scores of the passages and of the negatives, of one list for all or of the margins of one passage."""
    if len(scores) == passages + negatives:
        return scores[:passages], scores[passages:]
    if passages == 1 and len(scores) == negatives:
        return [0.0], [None if margin is None else -margin for margin in scores]
    raise InputError(
        f"{where}: {len(scores)} scores for {passages} passages and {negatives} negatives; give one for each, "
        "passages first, or of one passage the margin over each negative"
    )


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
