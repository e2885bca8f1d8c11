"""Segments: the stretches of a training between two dev scores, each with its own mixing ratio and pair weights. PURE.

`learned_mix` makes the next one of the scores so far, a `HybridPlan` draws its batches by them, and a checkpoint holds
them, so that a training that goes on draws what it would have drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SETTINGS = ("mono", "cross", "multi")


@dataclass(frozen=True)
class DevScores:
    """The dev scores that a segment is made of.

    Attributes:
        settings: AP by setting, ``mono``, ``cross`` and ``multi``.
        pairs: AP by language pair, query language first, ``en-de``; ``en-en`` is the mono setting of one language.
    """

    settings: Mapping[str, float]
    pairs: Mapping[str, float]

    @classmethod
    def of(cls, metrics: Mapping[str, float], per_pair: Mapping[str, Mapping[str, float]]) -> "DevScores":
        """Take them out of an evaluation: its metrics and its table of pairs, as `Scores` has them."""
        settings = {name: metrics[f"{name}/AP"] for name in SETTINGS if f"{name}/AP" in metrics}
        return cls(settings, {pair: row["AP"] for pair, row in per_pair.items() if "AP" in row})


@dataclass(frozen=True)
class Segment:
    """A stretch of a training.

    Attributes:
        start: its first step; it ends where the next begins.
        mixing_ratio: share of its question-passage batches that are mono, in [0, 1].
        weights: factor > 0 on how often a pair, ``en-de``, is drawn in its mono and cross batches; left out: 1.
        scores: what it was made of; None of the first segment, which nothing was scored before.
    """

    start: int
    mixing_ratio: float
    weights: Mapping[str, float] = field(default_factory=dict)
    scores: DevScores | None = None


def read_segments(rows: Sequence[Mapping[str, Any]]) -> tuple[Segment, ...]:
    """Read segments back from the plain values that ``dataclasses.asdict`` made of them."""
    return tuple(
        Segment(**{**row, "scores": DevScores(**row["scores"]) if row["scores"] is not None else None}) for row in rows
    )
