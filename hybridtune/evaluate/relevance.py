"""The relevance of a benchmark: which pairs are scored, which no ranking can hold, and what a reader should know.

`BenchmarkRows` and what the corpus was found to hold go in, one `Relevance` comes out, for every way of ranking. A
published benchmark may judge passages that its corpus lacks, and its queries may be passages themselves: both are
treated as in trec_eval and BEIR. Next: `benchmark` (in memory) and `corpus_scan` (any size), which build it.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hybridtune.data.readers.records import BenchmarkRows
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Float32, Float64, Int64
from hybridtune.metrics.metrics import NOTHING_LOST, UNKNOWN, Columns, Lost, Ranked
from hybridtune.metrics.per_query import write_per_query
from hybridtune.metrics.topics import topic_numbers


@dataclass(frozen=True)
class Relevance:
    """Which passage answers which query: Q queries, P numbered passages, R pairs, L languages; no text.

    The numbered passages are all of a benchmark in memory, and of a scanned corpus those that the pairs name.

    Attributes:
        digest: equal for equal benchmarks.
        languages: the L codes, sorted.
        query_language: [Q] in [0, L).
        passage_language: [P] in [0, L), or UNKNOWN: not in the corpus.
        order: [P] tie order of the passages: of equal scores the smaller wins.
        query_index: [R] query of each pair that is scored, not decreasing.
        passage_index: [R] number of its passage.
        grades: float64 [R], > 0; 0 marks the passage with the query's own id, which is left out of its ranking.
        lost: relevant pairs that no ranking can hold.
        documents: [Q] ids of the queries' documents; None: the benchmark names none.
    """

    name: str
    digest: str
    query_ids: tuple[str, ...]
    languages: tuple[str, ...]
    query_language: Int64
    passage_language: Int64
    order: Int64
    query_index: Int64
    passage_index: Int64
    grades: Float64
    lost: Lost = NOTHING_LOST
    documents: tuple[str, ...] | None = None

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings that some query can be scored in: of ``mono``, ``cross`` and ``multi``."""
        if len(self.languages) == 1:
            return ("mono",)
        of_query = self.query_language[np.concatenate([self.query_index, self.lost.query_index])]
        of_passage = np.concatenate([self.passage_language[self.passage_index], self.lost.language])
        same = (of_query == of_passage)[np.concatenate([self.grades > 0, self.lost.language != UNKNOWN])]
        return (*(["mono"] if same.any() else []), *(["cross"] if not same.all() else []), "multi")

    def ranked(self, counts: Int64, scores: Float32, passages: Int64, thresholds: Int64 | None = None) -> Ranked:
        """Return the ranking that the counts give, without the passages that are left out of their query's.

        Args:
            counts: int64 [R, L], passages per language that outrank each pair's, all counted.
            scores: float32 [R], of the pairs.
            passages: int64 [L], sizes of the pools.
            thresholds: what the counter counted against, see `RankCounter`.
        """
        import torch  # which reading a benchmark does not need

        from hybridtune.metrics.ranks import leave_out

        language, order = self.passage_language[self.passage_index], self.order[self.passage_index]
        against = () if thresholds is None else (thresholds,)
        arrays = (counts, self.query_index, scores, order, language, self.grades == 0, *against)
        return Ranked(
            counts=leave_out(*map(torch.tensor, arrays)).numpy(),
            query_index=self.query_index,
            passage_language=language,
            query_language=self.query_language,
            languages=self.languages,
            passages=passages,
            grades=self.grades,
            lost=self.lost,
            passage_index=self.passage_index,
        )

    def write_per_query(self, file: Path, columns: Columns, **about: str) -> None:
        """Write the values of every ranking for ``hybridtune compare``; ``about`` may name the model."""
        relevant = self.grades > 0
        queries = np.concatenate([self.query_index[relevant], self.lost.query_index])
        passages = np.concatenate([self.passage_index[relevant], self.lost.passage_index])
        topics = topic_numbers(queries, passages, len(self.query_ids))
        about |= {"benchmark": self.name, "benchmark_digest": self.digest}
        write_per_query(file, columns, self.query_ids, self.languages, topics, about, self.documents)


def check_corpus(
    rows: BenchmarkRows,
    language: Mapping[str, str],
    languages: int,
    alike: Collection[str],
    empty: int,
    first_empty: str | None,
) -> tuple[frozenset[str], tuple[str, ...]]:
    """Check that judgements and corpus belong together.

    Args:
        rows: the benchmark.
        language: of every relevant passage that is in the corpus and of every id that a query has too.
        languages: the number of those of queries and passages.
        alike: ids whose passage holds the text of the query of the same id, see `query_texts`.
        empty: number of passages without a text. first_empty: the id of one.

    Returns:
        The ids of the queries whose passage of the same id is left out of their ranking, and the notices for a user.

    Raises:
        InputError: no relevant passage can be found, or, where the benchmark is strict, one of them is missing.
    """
    own, of_own = _own_passages(rows, language, alike)
    relevant = [(query, name) for query, name, grade in rows.judged if grade > 0]
    missing = {name for _, name in relevant} - language.keys()
    notices = _of_missing(rows, missing, languages)
    if empty:
        notices.append(f"{empty:,} passages have no text (first: {first_empty!r}); they stay in the pool, as in BEIR")
    if not any(_can_be_found(rows, query, name, language, own) for query, name in relevant):
        raise InputError(
            f"{rows.name}: none of the {len(relevant):,} relevant passages can be found in the corpus; do qrels and "
            "corpus belong together, and is every corpus file there?"
        )
    return own, (*notices, *of_own)


def build_relevance(
    rows: BenchmarkRows,
    digest: str,
    languages: tuple[str, ...],
    number: Mapping[str, int],
    language: Mapping[str, str],
    order: Int64,
    own: Collection[str],
) -> Relevance:
    """Sort the judgements of a benchmark into pairs that are scored and pairs that no ranking can hold.

    Args:
        rows: the benchmark. digest: of rows and corpus. own: from `check_corpus`.
        languages: the L codes, sorted.
        number: of every passage by id, in their order; of relevant ones that are not in the corpus too.
        language: of those that are in the corpus.
        order: [P] tie order of the first P of them.
    """
    column = {code: index for index, code in enumerate(languages)}
    unknown = UNKNOWN if len(languages) > 1 else 0
    spoken = [column[language[name]] if name in language else UNKNOWN for name in number]
    pairs: list[tuple[int, int, int]] = []
    lost: list[tuple[int, int, int, int]] = []
    for query, name, grade in rows.judged:
        if grade > 0 and _can_be_found(rows, query, name, language, own):
            pairs.append((query, number[name], grade))
        elif grade > 0:
            lost.append((query, number[name], grade, column[language[name]] if name in language else unknown))
    pairs += [(index, number[query.text_id], 0) for index, query in enumerate(rows.queries) if query.text_id in own]
    table, gone = np.array(sorted(pairs), np.int64), np.array(lost, np.int64).reshape(-1, 4)
    return Relevance(
        name=rows.name,
        digest=digest,
        query_ids=tuple(query.text_id for query in rows.queries),
        languages=languages,
        query_language=np.array([column[text.language] for text in rows.queries], np.int64),
        passage_language=np.array(spoken[: len(order)], np.int64),
        order=order,
        query_index=table[:, 0],
        passage_index=table[:, 1],
        grades=table[:, 2].astype(np.float64),
        lost=Lost(gone[:, 0], gone[:, 1], gone[:, 2].astype(np.float64), gone[:, 3]),
        documents=None if rows.documents is None else tuple(rows.documents),
    )


def query_texts(rows: BenchmarkRows) -> dict[str, str]:
    """Return the texts to compare with passages of the same ids, by query id; none where ids are not compared.

    BEIR's evaluator drops a query's own id from its ranking. Ids alone do not tell whether that is meant: in MS MARCO
    queries and passages are both counted from 0, in ArguAna and Quora the query itself lies in the corpus.
    """
    return {} if rows.ignore_identical_ids is False else {text.text_id: _plain(text.text) for text in rows.queries}


def holds_query(text: str, query: str) -> bool:
    """Return whether a passage holds a text of `query_texts`."""
    return query in _plain(text)


def digest_without(digest: str, own: Collection[str]) -> str:
    """Return another digest where rankings leave own passages out: figures with and without them do not compare."""
    return hashlib.sha256(f"{digest} without identical ids".encode()).hexdigest() if own else digest


def _can_be_found(rows: BenchmarkRows, query: int, name: str, there: Collection[str], own: Collection[str]) -> bool:
    return name in there and not (name in own and name == rows.queries[query].text_id)


def _of_missing(rows: BenchmarkRows, missing: Collection[str], languages: int) -> list[str]:
    """Return the notice of relevant passages that are not in the corpus; an error where the benchmark is strict."""
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


def _own_passages(
    rows: BenchmarkRows, language: Mapping[str, str], alike: Collection[str]
) -> tuple[frozenset[str], Sequence[str]]:
    """Return the queries whose own passages are left out of their rankings, and a notice where any id is shared."""
    shared = query_texts(rows).keys() & language.keys()
    if not shared:
        return frozenset(), ()
    judged = {name for query, name, grade in rows.judged if grade > 0 and name == rows.queries[query].text_id}
    of = f"{len(shared):,} of {len(rows.queries):,} queries have the id of a passage"
    shown = 2 * len(set(alike) - judged) >= len(rows.queries)
    if not (shown if rows.ignore_identical_ids is None else rows.ignore_identical_ids):
        why = "in most not the query itself, or judged relevant: it stays in their rankings"
        return frozenset(), [f"{of}, {why} (benchmark.ignore_identical_ids=true leaves it out)"]
    lost = f"; {len(judged):,} of them are judged relevant and count as not found" * bool(judged)
    out = f"{of}: it is left out of their rankings, as in BEIR{lost} (benchmark.ignore_identical_ids)"
    return frozenset(shared), [out]


def _plain(text: str) -> str:
    return text_key(text).casefold()
