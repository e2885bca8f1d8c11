"""PURE. Hard negatives for a training file, chosen from what the current model retrieves for its queries.

A passage that the model ranks high for a query and that does not answer it teaches most. Many that rank high do answer
it, unlabelled: what scores nearly as high as the query's own passage is left out.

Source: arXiv 2007.00808 (ANCE: negatives from the model's own retrieval); arXiv 2407.15831 (NV-Retriever, TopK-PercPos:
a negative scores at most 95 % of the positive).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Float32, Int64
from hybridtune.metrics.ties import tie_order

CHUNK_ENTRIES = 2**21  # candidates looked at together; whole groups


@dataclass(frozen=True)
class Passages:
    """All P passages of the training file, in G groups.

    Attributes:
        ids: the P ids, each once.
        group: int64 [P] in [0, G).
        text: int64 [P]; equal where the texts are.
        answer_set: int64 [G], ``Corpus.answer_sets``: equal where groups answer each other's queries.
    """

    ids: Sequence[str]
    group: Int64
    text: Int64
    answer_set: Int64


@dataclass(frozen=True)
class Retrieved:
    """The passages retrieved for Q queries from the passages of one language.

    Attributes:
        group: int64 [Q], the query's group; a group has a row for each language of its queries.
        positive: float32 [Q], score of the query with its own group's passage in the language; NaN where the group
            has none: then nothing is chosen for the query.
        passages: int64 [Q, k], rows of ``Passages``, best first; -1 beyond the list.
        scores: float32 [Q, k].
    """

    group: Int64
    positive: Float32
    passages: Int64
    scores: Float32


@dataclass(frozen=True)
class Counts:
    """The candidates of one passage language by what became of them; a candidate is a passage retrieved for a group.

    A candidate that several rules exclude counts at the first of them, in this order: from the group itself, from
    another group of its answer set, among the first ``skip`` of a query's list, above ``margin`` of the positive for a
    query. ``groups`` have a passage in the language and a query; ``short`` of them got fewer than n negatives.
    """

    groups: int
    candidates: int
    same_group: int
    same_answers: int
    in_skip: int
    too_close: int
    chosen: int
    short: int


class Mined(NamedTuple):
    """Hard negatives of G groups: for each {language: passage ids}, hardest first, and `Counts` by passage language."""

    negatives: list[dict[str, list[str]]]
    counts: dict[str, Counts]


def choose_negatives(
    passages: Passages, retrieved: Mapping[str, Retrieved], n: int, margin: float = 0.95, skip: int = 0
) -> Mined:
    """Choose up to n negatives for every group and passage language.

    A candidate of several queries of a group must pass for every query that retrieves it; it counts with its highest
    score. Ties go to the greater id. Of candidates with one text the best is chosen.

    Args:
        passages: of the training file. retrieved: by passage language.
        n: negatives a group and language, >= 1.
        margin: a candidate that scores above this share of the positive is taken for a false negative; in (0, 1].
        skip: ranks at the head of each list, own passages counted, that are no candidates; >= 0.

    Raises:
        InputError: n, margin or skip is out of its range, or a passage id occurs twice.
    """
    if n < 1 or skip < 0 or not 0 < margin <= 1:
        raise InputError(
            f"hard negatives: n must be at least 1 (got {n}), margin above 0 and at most 1 (got {margin:g}), "
            f"skip at least 0 (got {skip})"
        )
    order = tie_order(passages.ids)
    negatives: list[dict[str, list[str]]] = [{} for _ in passages.answer_set]
    counts = {}
    for language, rows in sorted(retrieved.items()):
        fates, chosen = np.zeros(5, np.int64), np.zeros(len(negatives), np.int64)
        for part in _whole_groups(rows):
            group, passage, score, fate = _candidates(passages, rows, part, margin, skip)
            fates += np.bincount(fate, minlength=5)
            passing = fate == 0
            group, passage = _hardest(passages, group[passing], passage[passing], score[passing], order, n)
            for one, name in zip(group.tolist(), passage.tolist(), strict=True):
                negatives[one].setdefault(language, []).append(passages.ids[name])
            chosen += np.bincount(group, minlength=len(chosen))
        with_query = np.unique(rows.group[~np.isnan(rows.positive)])
        numbers = len(with_query), fates.sum(), *fates[1:], chosen.sum(), (chosen[with_query] < n).sum()
        counts[language] = Counts(*map(int, numbers))
    return Mined(negatives, counts)


def _whole_groups(rows: Retrieved) -> Iterator[Int64]:
    """Yield row numbers in parts of bounded size that never split a group; queries without a positive are left out."""
    usable = np.flatnonzero(~np.isnan(rows.positive))
    usable = usable[np.argsort(rows.group[usable], kind="stable")]
    begins = np.flatnonzero(np.diff(rows.group[usable], prepend=-1))  # of each group
    step = max(1, CHUNK_ENTRIES // max(1, rows.passages.shape[1]))
    wanted = np.searchsorted(begins, np.arange(step, len(usable), step))
    yield from np.split(usable, np.unique(begins[wanted[wanted < len(begins)]]))


def _candidates(
    passages: Passages, rows: Retrieved, part: Int64, margin: float, skip: int
) -> tuple[Int64, Int64, Float32, Int64]:
    """Merge the lists of each group's queries into candidates, by group, then passage.

    Returns:
        [N] group, passage, highest score, and 0 where it passes, else the number of the first rule that excludes it,
        in the order of `Counts`.
    """
    listed = rows.passages[part]
    query, rank = np.nonzero(listed >= 0)
    passage, score = listed[query, rank], rows.scores[part][query, rank]
    close = score > margin * rows.positive[part].astype(np.float64)[query]
    key = rows.group[part][query] * len(passages.ids) + passage
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    group, passage = np.divmod(key[order][first], len(passages.ids))
    source = passages.group[passage]
    rules = [
        source == group,
        passages.answer_set[source] == passages.answer_set[group],
        np.logical_or.reduceat((rank < skip)[order], first),
        np.logical_or.reduceat(close[order], first),
    ]
    return group, passage, np.maximum.reduceat(score[order], first), np.select(rules, [1, 2, 3, 4])


def _hardest(
    passages: Passages, group: Int64, passage: Int64, score: Float32, tie: Int64, n: int
) -> tuple[Int64, Int64]:
    """Return groups, ascending, and the passages chosen for each from its candidates, hardest first."""
    order = np.lexsort((tie[passage], -score, group))
    group, passage = group[order], passage[order]
    text = group * (passages.text.max(initial=0) + 1) + passages.text[passage]
    best = np.sort(np.unique(text, return_index=True)[1])  # the first of each text
    group, passage = group[best], passage[best]
    hardest = np.arange(len(group)) - np.searchsorted(group, group) < n
    return group[hardest], passage[hardest]
