"""Hard negatives for a training file, chosen from what the current model retrieves for its queries.

A passage that the model ranks high for a query and that does not answer it teaches most. Many that rank high do answer
it, unlabelled: what scores nearly as high as the query's own passage is left out.

Source: arXiv 2007.00808 (ANCE: negatives from the model's own retrieval); arXiv 2407.15831 (NV-Retriever, TopK-PercPos:
a negative scores at most 95 % of the positive).
"""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Float32, Int64
from hybridtune.metrics.ranks import tie_order

CHUNK_ENTRIES = 2**21  # candidates looked at together; whole groups

_PASSES, _SAME_GROUP, _SAME_ANSWERS, _IN_SKIP, _TOO_CLOSE = range(5)


@dataclass(frozen=True)
class Passages:
    """All P passages of the training file, in G groups.

    Attributes:
        ids: the P ids, each once.
        group: int64 [P] in [0, G).
        text: int64 [P]; equal where the texts are.
        answer_set: int64 [G], ``Corpus.answer_sets``: equal where groups share a passage text or a query text, so that
            each of them answers the other's queries.

    Example: see `choose_negatives`.
    """

    ids: Sequence[str]
    group: Int64
    text: Int64
    answer_set: Int64


@dataclass(frozen=True)
class Retrieved:
    """What the model retrieves for Q queries from the passages of one language.

    Attributes:
        group: int64 [Q], the query's group; a group has a row for each language of its queries.
        positive: float32 [Q], score of the query with its own group's passage in the language; NaN where the group
            has none: then nothing is chosen for the query.
        passages: int64 [Q, k], rows of ``Passages``, best first; -1 beyond the list.
        scores: float32 [Q, k].

    Example: see `choose_negatives`.
    """

    group: Int64
    positive: Float32
    passages: Int64
    scores: Float32


@dataclass(frozen=True)
class Counts:
    """The candidates of one passage language by what became of them; a candidate is a passage retrieved for a group.

    A candidate that several rules exclude counts at the first of them, in this order.

    Attributes:
        groups: groups that have a passage in the language, and a query.
        candidates: all of them: excluded by the four rules below, chosen, or passing and not among the n hardest.
        same_group: from the group itself.
        same_answers: from another group of its answer set.
        in_skip: among the first ``skip`` of a query's list.
        too_close: above ``margin`` of the positive for a query.
        chosen: negatives.
        short: groups with fewer than n negatives.

    Example: see `choose_negatives`.
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
    """Hard negatives of G groups: for each {language: passage ids}, hardest first, and `Counts` by passage language.

    Example: see `choose_negatives`.
    """

    negatives: list[dict[str, list[str]]]
    counts: dict[str, Counts]


def choose_negatives(
    passages: Passages, retrieved: Mapping[str, Retrieved], n: int, margin: float = 0.95, skip: int = 0
) -> Mined:
    """Choose up to n negatives for every group and passage language.

    A candidate of several queries of a group is kept if it passes for every query in whose list it stands; it counts
    with its highest score. Ties go to the greater id. Of candidates with one text the best is kept.

    Args:
        passages: of the training file.
        retrieved: by passage language.
        n: negatives a group and language, >= 1.
        margin: a candidate that scores above this share of the positive is taken for a false negative; in (0, 1].
        skip: ranks at the head of each list, own passages counted, that are no candidates; >= 0.

    Raises:
        InputError: n, margin or skip is out of its range, or a passage id stands twice.

    Example:
        >>> two = np.arange(2)  # two groups of a passage each, which share no answer
        >>> passages = Passages(["a", "b"], group=two, text=two, answer_set=two)
        >>> lists = np.array([[0, 1]]), np.array([[0.9, 0.5]], np.float32)
        >>> found = Retrieved(np.array([0]), np.array([0.9], np.float32), *lists)
        >>> choose_negatives(passages, {"en": found}, n=1).negatives
        [{'en': ['b']}, {}]
    """
    if n < 1 or skip < 0 or not 0 < margin <= 1:
        raise InputError(
            f"hard negatives: n must be at least 1 (got {n}), margin above 0 and at most 1 (got {margin:g}), "
            f"skip at least 0 (got {skip})"
        )
    order = tie_order(passages.ids).numpy()
    ids = np.array(passages.ids, object)
    negatives: list[dict[str, list[str]]] = [{} for _ in passages.answer_set]
    counts = {}
    for language in sorted(retrieved):
        rows = retrieved[language]
        fates = np.zeros(5, np.int64)
        chosen = np.zeros(len(passages.answer_set), np.int64)  # [G]
        for part in _whole_groups(rows):
            candidates = _candidates(passages, rows, part, margin, skip)
            fates += np.bincount(candidates.fate, minlength=5)
            groups, found = _hardest(passages, candidates, order, n)
            for group, names in _by_group(groups, ids[found]):
                negatives[group][language] = names
            chosen += np.bincount(groups, minlength=len(chosen))
        with_query = np.unique(rows.group[~np.isnan(rows.positive)])
        counts[language] = Counts(
            groups=len(with_query),
            candidates=int(fates.sum()),
            same_group=int(fates[_SAME_GROUP]),
            same_answers=int(fates[_SAME_ANSWERS]),
            in_skip=int(fates[_IN_SKIP]),
            too_close=int(fates[_TOO_CLOSE]),
            chosen=int(chosen.sum()),
            short=int((chosen[with_query] < n).sum()),
        )
    return Mined(negatives, counts)


def write_with_negatives(
    rows: Iterable[Mapping[str, Any]], negatives: Mapping[str, Mapping[str, Sequence[str]]], path: Path
) -> None:
    """Write a native training file with hard negatives; whoever sees the file sees all of it.

    Args:
        rows: the groups as they were read, every key of them; order and keys stay, ``negatives`` is set.
        negatives: texts by group_id and language; a group that is not in it gets none.
        path: of the new file; ``.jsonl`` or ``.jsonl.gz``.

    Raises:
        InputError: another suffix.

    Example:
        >>> write_with_negatives(rows, {"g1": {"en": ["a text"]}}, Path("mined.jsonl"))  # doctest: +SKIP
    """
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise InputError(f"{path}: groups with negatives are written as .jsonl or .jsonl.gz; change the file's name")
    temporary = path.with_name(f"{path.name}.new")
    try:
        with temporary.open("wb") as file, _packed(file, path) as sink:
            for row in rows:
                line = json.dumps({**row, "negatives": negatives.get(row["group_id"], {})}, ensure_ascii=False)
                sink.write(f"{line}\n".encode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class _Candidates(NamedTuple):
    """[N] passages retrieved for groups, each once a group; by group, then passage."""

    group: Int64
    passage: Int64
    score: Float32
    fate: Int64


def _whole_groups(rows: Retrieved) -> Iterator[Int64]:
    """Row numbers in parts of bounded size that never split a group; queries without a positive are left out."""
    usable = np.flatnonzero(~np.isnan(rows.positive))
    usable = usable[np.argsort(rows.group[usable], kind="stable")]
    begins = np.flatnonzero(np.diff(rows.group[usable], prepend=-1))  # of each group
    step = max(1, CHUNK_ENTRIES // max(1, rows.passages.shape[1]))
    wanted = np.searchsorted(begins, np.arange(step, len(usable), step))
    yield from np.split(usable, np.unique(begins[wanted[wanted < len(begins)]]))


def _candidates(passages: Passages, rows: Retrieved, part: Int64, margin: float, skip: int) -> _Candidates:
    """The candidates of some groups, the lists of each group's queries merged, and which rule excludes them."""
    listed = rows.passages[part]
    query, rank = np.nonzero(listed >= 0)
    passage, score = listed[query, rank], rows.scores[part][query, rank]
    close = score > margin * rows.positive[part].astype(np.float64)[query]
    key = rows.group[part][query] * len(passages.ids) + passage
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    group, passage = np.divmod(key[first], len(passages.ids))
    source = passages.group[passage]
    rules = [
        source == group,
        passages.answer_set[source] == passages.answer_set[group],
        np.logical_or.reduceat((rank < skip)[order], first),
        np.logical_or.reduceat(close[order], first),
    ]
    fate = np.select(rules, [_SAME_GROUP, _SAME_ANSWERS, _IN_SKIP, _TOO_CLOSE], _PASSES)
    return _Candidates(group, passage, np.maximum.reduceat(score[order], first), fate)


def _hardest(passages: Passages, candidates: _Candidates, tie: Int64, n: int) -> tuple[Int64, Int64]:
    """Groups, ascending, and the passages chosen for each, hardest first."""
    passing = candidates.fate == _PASSES
    group, passage = candidates.group[passing], candidates.passage[passing]
    order = np.lexsort((tie[passage], -candidates.score[passing], group))
    group, passage = group[order], passage[order]
    text = group * (passages.text.max(initial=0) + 1) + passages.text[passage]
    best = np.sort(np.unique(text, return_index=True)[1])  # the first of each text
    group, passage = group[best], passage[best]
    hardest = np.arange(len(group)) - np.searchsorted(group, group) < n
    return group[hardest], passage[hardest]


def _by_group(group: Int64, names: npt.NDArray[np.object_]) -> Iterator[tuple[int, list[str]]]:
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    for first, part in zip(begins.tolist(), np.split(names, begins[1:]), strict=False):
        yield int(group[first]), part.tolist()


def _packed(file: IO[bytes], path: Path) -> AbstractContextManager[IO[bytes]]:
    """What packs into ``file`` if ``path`` says so; without the time, so that equal groups are equal bytes."""
    if path.suffix == ".gz":
        return cast(AbstractContextManager[IO[bytes]], gzip.GzipFile("", "wb", fileobj=file, mtime=0))
    return nullcontext(file)
