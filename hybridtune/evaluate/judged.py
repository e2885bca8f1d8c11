"""What the judgements of a benchmark mean for its ranks: which pairs are scored, and which no ranking can hold.

A benchmark as it is published may judge passages that are not in its corpus, and its queries may be passages
themselves. What trec_eval and BEIR make of that is done here, for every way of ranking alike.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from hybridtune.data.readers.records import BenchmarkRows
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError
from hybridtune.metrics.metrics import NOTHING_LOST, UNKNOWN, Lost
from hybridtune.metrics.per_query import topic_numbers
from hybridtune.metrics.ranks import leave_out

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """The judgements of a benchmark, as the ranks need them; passages go by number.

    Attributes:
        query_index: [R] position of the query of each pair that is scored, not decreasing.
        passage_index: [R] number of its passage.
        grades: float64 [R], > 0; 0 marks the passage with the query's own id, which is left out of its ranking.
        lost: relevant pairs that no ranking can hold.
    """

    query_index: Int64
    passage_index: Int64
    grades: npt.NDArray[np.float64]
    lost: Lost = NOTHING_LOST

    def topics(self, queries: int) -> Int64:
        """[queries] the topic of each query: those with the same relevant passages share one."""
        relevant = self.grades > 0
        asked = np.concatenate([self.query_index[relevant], self.lost.query_index])
        return topic_numbers(asked, np.concatenate([self.passage_index[relevant], self.lost.passage_index]), queries)


def judge(
    rows: BenchmarkRows, number: Mapping[str, int], language: Mapping[str, int], languages: int, own: Collection[str]
) -> Judged:
    """Sort out the judgements of a benchmark.

    Args:
        rows: the benchmark.
        number: of every relevant and every own passage, its number; of those that are not in the corpus too.
        language: of those that are in the corpus, in [0, languages).
        languages: how many the benchmark has.
        own: ids of the queries whose passage of the same id is left out of their ranking, ``own_passages``.
    """
    unknown = UNKNOWN if languages > 1 else 0
    pairs: list[tuple[int, int, int]] = []
    lost: list[tuple[int, int, int, int]] = []
    for query, name, grade in rows.judged:
        if grade <= 0:
            continue
        if _can_be_found(rows, query, name, language, own):
            pairs.append((query, number[name], grade))
        else:
            lost.append((query, number[name], grade, language.get(name, unknown)))
    pairs += [(place, number[query.text_id], 0) for place, query in enumerate(rows.queries) if query.text_id in own]
    table, gone = np.array(sorted(pairs), np.int64), np.array(lost, np.int64).reshape(-1, 4)
    away = Lost(gone[:, 0], gone[:, 1], gone[:, 2].astype(np.float64), gone[:, 3])
    return Judged(table[:, 0], table[:, 1], table[:, 2].astype(np.float64), away)


def check_found(rows: BenchmarkRows, there: Collection[str], own: Collection[str]) -> None:
    """See that some relevant passage can be found.

    Args:
        rows: the benchmark.
        there: ids of the relevant passages that are in the corpus, and maybe others.
        own: as ``judge`` takes it.

    Raises:
        InputError: none can.
    """
    relevant = [(query, name) for query, name, grade in rows.judged if grade > 0]
    if not any(_can_be_found(rows, query, name, there, own) for query, name in relevant):
        raise InputError(
            f"{rows.name}: none of the {len(relevant):,} relevant passages can be found in the corpus; do qrels and "
            "corpus belong together, and is every corpus file there?"
        )


def _can_be_found(rows: BenchmarkRows, query: int, name: str, there: Collection[str], own: Collection[str]) -> bool:
    return name in there and not (name in own and name == rows.queries[query].text_id)


def without_own(counts: Int64, judged: Judged, scores: npt.NDArray[np.float32], order: Int64, language: Int64) -> Int64:
    """[R, L] counts of what outranks each pair, without the passages that are left out of their query's ranking.

    Args:
        counts: int64 [R, L], over all passages.
        judged: the R pairs.
        scores: [R]. order: [R] tie order of each pair's passage. language: [R] its language.
    """
    arrays = (counts, judged.query_index, scores, order, language, judged.grades == 0)
    left: Int64 = leave_out(*map(torch.tensor, arrays)).numpy()
    return left


def missing_passages(rows: BenchmarkRows, missing: Collection[str], languages: int) -> list[str]:
    """What to tell of relevant passages that are not in the corpus.

    Args:
        rows: the benchmark.
        missing: their ids.
        languages: how many the benchmark has.

    Raises:
        InputError: the benchmark is to be strict.
    """
    if not missing:
        return []
    first, more = min(missing), f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
    if rows.strict:
        raise InputError(
            f"{rows.name}: the qrels name passage {first!r}{more}, which is not in the corpus; do qrels and corpus "
            "belong together, and is every corpus file there? Without benchmark.strict they count as not found"
        )
    where = "" if languages == 1 else ", in the multi setting alone, for their language is not known"
    return [
        f"{len(missing):,} relevant passages are not in the corpus (first: {first!r}): they count as not found, as in "
        f"trec_eval{where}"
    ]


def empty_passages(empty: int, first: str | None) -> list[str]:
    """What to tell of passages without a text; ``first`` is the id of one."""
    return [f"{empty:,} passages have no text (first: {first!r}); they stay in the pool, as in BEIR"] * (empty > 0)


def query_texts(rows: BenchmarkRows) -> dict[str, str]:
    """The texts to compare with passages of the same ids, ``{query id: text}``; none where ids are not looked at.

    BEIR's evaluator drops a query's own id from its ranking. Ids alone do not tell whether that is meant: in MS MARCO
    queries and passages are both counted from 0, in ArguAna and Quora the query itself lies in the corpus.
    """
    return {} if rows.ignore_identical_ids is False else {text.text_id: _plain(text.text) for text in rows.queries}


def holds_query(text: str, query: str) -> bool:
    """Whether a passage holds a text of ``query_texts``."""
    return query in _plain(text)


def own_passages(
    rows: BenchmarkRows, shared: Collection[str], alike: Collection[str]
) -> tuple[frozenset[str], list[str]]:
    """Which queries' own passages are left out of their rankings, and what to tell of it.

    Args:
        rows: the benchmark.
        shared: ids that a query and a passage have.
        alike: those whose passage holds the query's text.

    Returns:
        The ids, and a line; none where no id is shared.
    """
    if not shared:
        return frozenset(), []
    judged = {
        pair.passage_id
        for pair in rows.judged
        if pair.grade > 0 and pair.passage_id == rows.queries[pair.query].text_id
    }
    of = f"{len(shared):,} of {len(rows.queries):,} queries have the id of a passage"
    shown = 2 * len(set(alike) - judged) >= len(rows.queries)
    if not (shown if rows.ignore_identical_ids is None else rows.ignore_identical_ids):
        kept = "in most not the query itself, or judged relevant: it stays in their rankings"
        return frozenset(), [f"{of}, {kept} (benchmark.ignore_identical_ids=true leaves it out)"]
    lost = f"; {len(judged):,} of them are judged relevant and count as not found" * bool(judged)
    out = f"{of}: it is left out of their rankings, as in BEIR{lost} (benchmark.ignore_identical_ids)"
    return frozenset(shared), [out]


def digest_without(digest: str, own: Collection[str]) -> str:
    """The digest of a benchmark whose rankings leave own passages out: figures with and without do not compare."""
    return hashlib.sha256(f"{digest} without identical ids".encode()).hexdigest() if own else digest


def _plain(text: str) -> str:
    return text_key(text).casefold()
