"""TREC runs and qrels: the files that other retrieval tools read and write.

A run line is ``query Q0 passage rank score tag``, separated by white space. As in trec_eval the order comes from
the scores (as float32), then the passage ids, both descending; the rank column and the order of lines say nothing.
"""

import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np

from hybridtune.errors import InputError
from hybridtune.evaluate.run_counts import Float32, Run

_LARGEST = float(np.finfo(np.float32).max)


def read_run(path: Path) -> Run:
    """Reads a TREC run, plain or ``.gz``.

    Raises:
        InputError: unreadable or empty; a line without six columns or with a score that is not a finite float32;
            a passage twice in one list.
    """
    queries: dict[bytes, int] = {}
    passages: dict[bytes, int] = {}
    query, passage, scores = [], [], []
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(cast("IO[bytes]", file), 1):
                try:
                    asked, _, found, _, text, _ = line.split()
                    value = float(text)
                    if not -_LARGEST <= value <= _LARGEST:
                        raise ValueError
                except ValueError:
                    if line.strip():
                        raise _bad_line(f"{path}:{number}", line) from None
                    continue
                query.append(queries.setdefault(asked, len(queries)))
                passage.append(passages.setdefault(found, len(passages)))
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
    """Writes a TREC run, ``.gz`` if so named; whoever reads it gets the same float32 scores back.

    Args:
        path: replaced once it is complete.
        query_ids: one per ranking.
        rankings: passage ids and their scores, best first; ties by descending id, the order of every reader.
        tag: the name of the run.

    Raises:
        InputError: an id or the tag is empty or holds white space, which separates the columns.
        ValueError: scores that rise or are not finite, or of another number than the ids.
    """
    checked: set[str] = set()
    _check_ids({tag}, "tag")
    with _replaced(path) as file:
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
    """Writes TREC qrels, one judged pair a line, ``.gz`` if so named.

    Args:
        path: replaced once it is complete.
        query_ids: [R]. passage_ids: [R]. grades: [R], whole numbers, as the readers of qrels ask.

    Raises:
        InputError: an id is empty or holds white space, or a grade is not whole.
    """
    _check_ids(set(query_ids), "query id")
    _check_ids(set(passage_ids), "passage id")
    with _replaced(path) as file:
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
            raise InputError(
                f"{what} {name!r} is empty or holds white space, which separates the columns of TREC files"
            )


@contextmanager
def _replaced(path: Path) -> Iterator[IO[str]]:
    """A text file that takes the place of ``path`` when it is complete; a failure leaves ``path`` as it was."""
    part = path.with_name(f"{path.name}.part")
    try:
        with (
            gzip.open(part, "wt", encoding="utf-8") if path.suffix == ".gz" else part.open("w", encoding="utf-8")
        ) as file:
            yield cast("IO[str]", file)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
