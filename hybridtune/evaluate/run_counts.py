"""Somebody else's run, of any depth, as the counts that ``metrics`` scores."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hybridtune.errors import InputError
from hybridtune.evaluate.measures import Ints
from hybridtune.evaluate.ranks import tie_order

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Run:
    """A run file as read: N lines.

    Attributes:
        name: the file.
        query_ids: ids of the queries, in order of appearance.
        passage_ids: ids of the passages, in order of appearance.
        query: int64 [N], rows of ``query_ids``.
        passage: int64 [N], rows of ``passage_ids``; a (query, passage) pair occurs once.
        scores: float32 [N], finite.
    """

    name: str
    query_ids: list[str]
    passage_ids: list[str]
    query: Ints
    passage: Ints
    scores: Float32


@dataclass(frozen=True)
class RunCounts:
    """A run seen from the relevant pairs of a benchmark; the fields of ``metrics.Ranked`` that depend on the run.

    Attributes:
        counts: int64 [R, L], passages per language above the pair's passage in its query's list; 0 where the
            passage is not in the list.
        retrieved: bool [R], whether it is.
        settings: the settings that the lists can be read in: all, or mono alone.
        depth: passages of the longest list.
        notes: what a reader of the figures has to know; one sentence each.
    """

    counts: Ints
    retrieved: NDArray[np.bool_]
    settings: tuple[str, ...]
    depth: int
    notes: list[str]


def run_counts(
    run: Run,
    query_ids: Sequence[str],
    query_language: Ints,
    passage_language: Mapping[str, int],
    query_index: Ints,
    passage_ids: Sequence[str],
    passages: Ints,
    own: Collection[str] = (),
) -> RunCounts:
    """What stands above each relevant pair in a run, with trec_eval's order.

    A retrieved passage has its exact rank in every setting's pool, whatever the depth: all that is above it is in
    the list. Queries that the run lacks count as lists without a relevant passage (``trec_eval -c``).

    Args:
        run: any depth; the lists may differ in length.
        query_ids: the Q ids of the benchmark.
        query_language: int64 [Q], in [0, L).
        passage_language: language in [0, L) by passage id; at least of every passage of the run that there is.
        query_index: int64 [R], in [0, Q), of each relevant pair.
        passage_ids: [R], id of its passage.
        passages: int64 [L], passages of the whole corpus per language.
        own: ids of the queries whose passage of the same id is left out of their lists.

    Raises:
        InputError: the run has no query of the benchmark, or a passage that the benchmark does not have: its
            language is unknown.
    """
    query_row = _rows(run.query_ids, query_ids)
    if (query_row < 0).all():
        raise InputError(
            f"{run.name}: none of its {len(query_row)} queries is in the benchmark (the run has {run.query_ids[0]!r}, "
            f"the benchmark {query_ids[0]!r})"
        )
    spoken = np.array([passage_language.get(name, -1) for name in run.passage_ids])
    left_out = _left_out(run, own)
    kept = (query_row[run.query] >= 0) & ~left_out
    query, passage = query_row[run.query[kept]], run.passage[kept]
    _refuse_unknown(run, passage[spoken[passage] < 0])
    order = np.lexsort((tie_order(run.passage_ids).numpy()[passage], -run.scores[kept], query))
    query, passage = query[order], passage[order]
    language, length = spoken[passage], np.bincount(query, minlength=len(query_ids))
    width = len(run.passage_ids) + 1  # one more for the relevant passages that are in no list: row -1
    at = _places(query * width + passage, query_index * width + _rows(passage_ids, run.passage_ids) % width)
    retrieved = at >= 0
    counts = np.zeros((len(at), len(passages)), np.int64)
    start = (np.cumsum(length) - length)[query_index[retrieved]]
    for column in range(len(passages)):
        above = np.concatenate([[0], np.cumsum(language == column)])  # of the first n entries of all lists
        counts[retrieved, column] = above[at[retrieved]] - above[start]
    alone = int((passages > 0).sum()) > 1 and bool((language == query_language[query]).all())
    pool = (passages[query_language] if alone else passages.sum()) - np.isin(query_ids, list(own))
    return RunCounts(
        counts=counts,
        retrieved=retrieved,
        settings=("mono",) if alone else ("mono", "cross", "multi"),
        depth=int(length.max()),
        notes=[*_notes(run, query_ids, query_row, length, pool, alone), *_own_note(int(left_out.sum()))],
    )


def _left_out(run: Run, own: Collection[str]) -> NDArray[np.bool_]:
    """[N] whether an entry is the passage with its query's own id, where that is left out."""
    rows = np.where(np.isin(run.query_ids, list(own)), _rows(run.query_ids, run.passage_ids), -1)
    left: NDArray[np.bool_] = rows[run.query] == run.passage
    return left


def _own_note(entries: int) -> list[str]:
    return [f"{entries:,} lists hold the passage with their query's own id, which is left out"] * (entries > 0)


def _refuse_unknown(run: Run, passage: Ints) -> None:
    unknown = np.unique(passage)
    if len(unknown):
        raise InputError(
            f"{run.name}: {len(unknown)} of its passages are not in the benchmark (first: "
            f"{run.passage_ids[unknown[0]]!r}), so their language is unknown; score it on the corpus it was made with"
        )


def _rows(names: Sequence[str], known: Sequence[str]) -> Ints:
    """Row of each name among the known ones; -1 where it is not there."""
    row = {name: place for place, name in enumerate(known)}
    return np.array([row.get(name, -1) for name in names], np.int64)


def _places(keys: Ints, wanted: Ints) -> Ints:
    """Place of each wanted key among the keys, each of which occurs once; -1 where it is not there."""
    order = np.argsort(keys)
    found = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    return np.where(keys[order[found]] == wanted, order[found], -1)


def _notes(run: Run, query_ids: Sequence[str], query_row: Ints, length: Ints, pool: Ints, alone: bool) -> list[str]:
    notes = []
    foreign, missing = np.flatnonzero(query_row < 0), np.flatnonzero(length == 0)
    if len(foreign):
        first = run.query_ids[foreign[0]]
        notes.append(f"{len(foreign)} queries of the run are not in the benchmark and left out (first: {first!r})")
    if len(missing):
        first, total = query_ids[missing[0]], len(length)
        notes.append(f"{len(missing)} of {total} benchmark queries are not in the run and score 0 (first: {first!r})")
    if alone:
        notes.append("every list holds passages of its query's own language alone, so only mono is shown")
    if ((length > 0) & (length < pool)).any():
        read = "" if alone else "; mono and cross are read off the same lists"
        notes.append(f"the lists are of depth at most {length.max()}, of {pool.max()} passages{read}")
    return notes
