"""TREC files: reading somebody's run and counting what `metrics` scores in it, writing runs and qrels.

A run of any depth becomes a `metrics.Ranked`; lists of `top_k` become a run.
"""

import gzip
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np

from hybridtune.errors import InputError
from hybridtune.evaluate.relevance import Relevance
from hybridtune.metrics.arrays import Float32, Int64
from hybridtune.metrics.metrics import SETTINGS, Ranked
from hybridtune.metrics.ties import tie_order
from hybridtune.storage.files import replacing


@dataclass(frozen=True)
class Run:
    """A run file as read: N lines.

    ``query`` and ``passage`` are rows of the ids, which are in order of appearance; a (query, passage) pair occurs
    once.
    """

    name: str
    query_ids: list[str]
    passage_ids: list[str]
    query: Int64
    passage: Int64
    scores: Float32


class RankedRun(NamedTuple):
    """A run seen from the relevant pairs of a benchmark.

    The settings of ``ranked`` are those that the lists can be read in: all, or mono alone; ``depth`` is that of the
    longest list; ``notes`` say what a reader of the figures has to know.
    """

    ranked: Ranked
    depth: int
    notes: list[str]


def rank_run(
    run: Run,
    relevance: Relevance,
    passage_ids: Sequence[str],
    passage_language: Mapping[str, int],
    passages: Int64,
    own: Collection[str] = (),
) -> RankedRun:
    """Count what is above each relevant pair in a run, with trec_eval's order.

    A retrieved passage has its exact rank in every setting's pool, whatever the depth: all that is above it is in
    the list. Queries that the run lacks count as lists without a relevant passage (``trec_eval -c``).

    Args:
        run: any depth; the lists may differ in length.
        relevance: of the benchmark.
        passage_ids: [P] id of each passage that the relevance numbers.
        passage_language: language in [0, L) by passage id; at least of the passages of the run.
        passages: int64 [L], passages of the whole corpus per language.
        own: ids of the queries whose passage of the same id is left out of their lists.

    Raises:
        InputError: no query of the benchmark, or a passage that the benchmark does not have.
    """
    query_ids, query_language = relevance.query_ids, relevance.query_language
    query_row = _rows(run.query_ids, query_ids)
    if (query_row < 0).all():
        raise InputError(
            f"{run.name}: none of its {len(query_row)} queries is in the benchmark (the run has {run.query_ids[0]!r}, "
            f"the benchmark {query_ids[0]!r})"
        )
    spoken = np.array([passage_language.get(name, -1) for name in run.passage_ids])
    own_row = np.where(np.isin(run.query_ids, list(own)), _rows(run.query_ids, run.passage_ids), -1)
    left_out = own_row[run.query] == run.passage  # [N] entries that are the passage with their query's own id
    known = (query_row[run.query] >= 0) & ~left_out
    query, passage = query_row[run.query[known]], run.passage[known]
    _check_known(run, np.unique(passage[spoken[passage] < 0]))
    order = np.lexsort((tie_order(run.passage_ids)[passage], -run.scores[known], query))
    query, passage = query[order], passage[order]
    language, length = spoken[passage], np.bincount(query, minlength=len(query_ids))
    width = len(run.passage_ids) + 1  # one more for the relevant passages that are in no list: row -1
    query_index, row = relevance.query_index, _rows(passage_ids, run.passage_ids)[relevance.passage_index]
    at = _positions(query * width + passage, query_index * width + row % width)
    retrieved = at >= 0
    counts = np.zeros((len(at), len(passages)), np.int64)
    counts[retrieved] = _counts_above(language, at[retrieved], length, query_index[retrieved], len(passages))
    alone = int((passages > 0).sum()) > 1 and bool((language == query_language[query]).all())
    pool = (passages[query_language] if alone else passages.sum()) - np.isin(query_ids, list(own))
    ranked = Ranked(
        counts=counts,
        query_index=query_index,
        passage_language=relevance.passage_language[relevance.passage_index],
        query_language=query_language,
        languages=relevance.languages,
        passages=passages,
        grades=relevance.grades,
        retrieved=retrieved,
        settings=("mono",) if alone else SETTINGS,
        lost=relevance.lost,
        passage_index=relevance.passage_index,
    )
    notes = _notes(run, query_ids, query_row, length, pool, alone)
    if left_out.any():
        notes.append(f"{left_out.sum():,} lists hold the passage with their query's own id, which is left out")
    return RankedRun(ranked, int(length.max()), notes)


def _check_known(run: Run, unknown: Int64) -> None:
    """Raise InputError if passages of a run are not in the benchmark."""
    if len(unknown):
        raise InputError(
            f"{run.name}: {len(unknown)} of its passages are not in the benchmark (first: "
            f"{run.passage_ids[unknown[0]]!r}), so their language is unknown; score it on the corpus it was made with"
        )


def _counts_above(language: Int64, at: Int64, length: Int64, query: Int64, languages: int) -> Int64:
    """Count [M, L] the entries above positions ``at`` [M] in their queries' lists, by language."""
    start = (np.cumsum(length) - length)[query]
    counts = np.zeros((len(at), languages), np.int64)
    for column in range(languages):
        above = np.concatenate([[0], np.cumsum(language == column)])  # of the first n entries of all lists
        counts[:, column] = above[at] - above[start]
    return counts


def _rows(names: Sequence[str], known: Sequence[str]) -> Int64:
    """Return the row of each name among the known ones; -1 where it is missing."""
    row = {name: index for index, name in enumerate(known)}
    return np.array([row.get(name, -1) for name in names], np.int64)


def _positions(keys: Int64, wanted: Int64) -> Int64:
    """Return the position of each wanted key among the keys, each of which occurs once; -1 where it is missing."""
    order = np.argsort(keys)
    found = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    return np.where(keys[order[found]] == wanted, order[found], -1)


def _notes(run: Run, query_ids: Sequence[str], query_row: Int64, length: Int64, pool: Int64, alone: bool) -> list[str]:
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


def read_run(path: Path) -> Run:
    """Read a TREC run, plain or ``.gz``.

    Raises:
        InputError: unreadable or empty; a line without six columns or with a score that is not a finite float32;
            a passage twice in one list.
    """
    queries: dict[bytes, int] = {}
    passages: dict[bytes, int] = {}
    query, passage, scores = [], [], []
    largest = float(np.finfo(np.float32).max)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(cast("IO[bytes]", file), 1):
                try:
                    query_id, _, passage_id, _, text, _ = line.split()
                    value = float(text)
                    if not -largest <= value <= largest:
                        raise ValueError
                except ValueError:
                    if line.strip():
                        raise _bad_line(f"{path}:{number}", line) from None
                    continue
                query.append(queries.setdefault(query_id, len(queries)))
                passage.append(passages.setdefault(passage_id, len(passages)))
                scores.append(value)
        query_ids, passage_ids = ([name.decode() for name in names] for names in (queries, passages))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: the run cannot be read ({error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: an id is not UTF-8 ({error.object!r})") from error
    if not scores:
        raise InputError(f"{path}: the run is empty")
    run = Run(str(path), query_ids, passage_ids, np.array(query), np.array(passage), np.array(scores, np.float32))
    _refuse_repeats(run)
    return run


def write_run(
    path: Path, query_ids: Iterable[str], rankings: Iterable[tuple[Sequence[str], Float32]], tag: str
) -> None:
    """Write a TREC run, ``.gz`` if so named; whoever reads it gets the same float32 scores back.

    Each query has passage ids and their scores, best first; ties by descending id, the order of every reader. The file
    is replaced once it is complete.

    Raises:
        InputError: an id or the tag is empty or holds white space, which separates the columns.
        ValueError: scores that rise or are not finite, or of another number than the ids.
    """
    checked: set[str] = set()
    _check_ids({tag}, "tag")
    with replacing(path) as part, _open(part, path.suffix == ".gz") as file:
        for query, (passages, scores) in zip(query_ids, rankings, strict=True):
            _check_ids({query}, "query id")
            _check_ids(set(passages) - checked, "passage id")
            checked.update(passages)
            if not np.isfinite(scores).all() or (np.diff(scores) > 0).any():
                raise ValueError(f"the scores of query {query!r} rise or are not finite")
            ranked = enumerate(zip(passages, np.asarray(scores, np.float32).tolist(), strict=True), 1)
            # Nine digits give every float32 back.
            file.write("".join(f"{query} Q0 {name} {rank} {value:.9g} {tag}\n" for rank, (name, value) in ranked))


def write_qrels(path: Path, query_ids: Sequence[str], passage_ids: Sequence[str], grades: Sequence[float]) -> None:
    """Write TREC qrels, one judged pair a line, ``.gz`` if so named; the file is replaced once it is complete.

    Raises:
        InputError: an id is empty or holds white space, or a grade is not whole, as readers of qrels expect.
    """
    _check_ids(set(query_ids), "query id")
    _check_ids(set(passage_ids), "passage id")
    with replacing(path) as part, _open(part, path.suffix == ".gz") as file:
        for query, passage, grade in zip(query_ids, passage_ids, grades, strict=True):
            if grade != int(grade):
                raise InputError(f"grade {grade} of {query!r}, {passage!r}: TREC qrels hold whole numbers")
            file.write(f"{query} 0 {passage} {int(grade)}\n")


def _bad_line(where: str, line: bytes) -> InputError:
    columns = line.split()
    if len(columns) != 6:
        return InputError(f"{where}: {len(columns)} columns; a TREC run has six: query Q0 passage rank score tag")
    score = columns[4].decode(errors="replace")
    return InputError(f"{where}: score {score!r} is not a finite float32 number")


def _refuse_repeats(run: Run) -> None:
    keys = run.query * len(run.passage_ids) + run.passage
    _, first, times = np.unique(keys, return_index=True, return_counts=True)
    if (times > 1).any():
        entry = first[times > 1].min()
        raise InputError(
            f"{run.name}: query {run.query_ids[run.query[entry]]!r} has passage "
            f"{run.passage_ids[run.passage[entry]]!r} more than once ({int((times > 1).sum())} such pairs)"
        )


def _check_ids(names: Iterable[str], what: str) -> None:
    for name in names:
        if len(name.split()) != 1 or name.strip() != name:
            raise InputError(f"{what} {name!r} is empty or holds white space, which separates columns of TREC files")


def _open(path: Path, packed: bool) -> IO[str]:
    return cast("IO[str]", gzip.open(path, "wt", encoding="utf-8")) if packed else path.open("w", encoding="utf-8")
