"""A benchmark in memory: queries, passages, which passage answers which query, and their languages.

The three settings are views of it (arXiv 2004.05484, arXiv 2408.10536): mono, the pool of the query's own language;
cross, the pool of one other language; multi, one pool of all languages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hybridtune.config.study import BenchmarkSource
from hybridtune.data.readers.benchmarks import notices_of_languages, read_benchmark
from hybridtune.data.readers.languages import mixed_up
from hybridtune.data.readers.records import BenchmarkRows, PartDigest, Text, TextList, benchmark_digest
from hybridtune.errors import InputError
from hybridtune.evaluate.blocks import blocks_of
from hybridtune.evaluate.judged import (
    Judged,
    check_found,
    digest_without,
    empty_passages,
    holds_query,
    judge,
    missing_passages,
    own_passages,
    query_texts,
)
from hybridtune.metrics.metrics import NOTHING_LOST, UNKNOWN, Lost
from hybridtune.metrics.ranks import tie_order

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Relevance:
    """The judged side of a benchmark: Q queries, P passages, R relevant pairs, L languages; no text.

    Attributes:
        name: of the benchmark.
        digest: equal for equal benchmarks.
        query_ids: the Q ids.
        languages: the L codes, sorted.
        query_language: [Q] in [0, L).
        passage_language: [P] in [0, L).
        order: [P] position of the passage's id in descending order, which breaks ties.
        query_index: [R] query of each relevant pair, not decreasing.
        passage_index: [R] its passage.
        grades: [R] how relevant, > 0; 0 marks the passage with the query's own id, which is left out of its ranking.
        lost: relevant pairs that no ranking can hold.
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
    grades: npt.NDArray[np.float64]
    lost: Lost = NOTHING_LOST

    def judged(self) -> Judged:
        """The pairs alone."""
        return Judged(self.query_index, self.passage_index, self.grades, self.lost)


@dataclass(frozen=True)
class Benchmark:
    """Texts and relevance.

    Attributes:
        name: what it was read from, and which part.
        queries: Q texts with id and language.
        passages: P texts with id and language.
        relevance: which passage answers which query.
        query_blocks: positions of the queries that are encoded together; the blocks of ``hybridtune evaluate``, so
            that a study gives its figures to the last digit.
        passage_blocks: the same of the passages.
        notices: what the user should know of it, one line each.
    """

    name: str
    queries: Sequence[Text]
    passages: Sequence[Text]
    relevance: Relevance
    query_blocks: Sequence[Int64]
    passage_blocks: Sequence[Int64]
    notices: tuple[str, ...] = ()

    def settings(self) -> tuple[str, ...]:
        """The settings that some query of the benchmark can be scored in."""
        r = self.relevance
        asked = r.query_language[np.concatenate([r.query_index, r.lost.query_index])]
        spoken = np.concatenate([r.passage_language[r.passage_index], r.lost.language])
        relevant = np.concatenate([r.grades > 0, r.lost.language != UNKNOWN])
        return settings_of((asked == spoken)[relevant], len(r.languages))


def settings_of(same_language: npt.NDArray[np.bool_], languages: int) -> tuple[str, ...]:
    """The settings that some query of a benchmark can be scored in.

    Args:
        same_language: [R] whether query and passage of each relevant pair are in one language.
        languages: how many its queries and passages have.
    """
    if languages == 1:
        return ("mono",)
    return (
        *(["mono"] if same_language.any() else []),
        *(["cross"] if not same_language.all() else []),
        "multi",
    )


def load_benchmark(source: BenchmarkSource) -> Benchmark:
    """Read a benchmark, or the part of it that the study names, with all its passages.

    Raises:
        InputError: what ``read_benchmark`` finds wrong, a passage id that stands twice, passages of another language
            than they say, or, where the benchmark is to be strict, a relevant passage that is not in the corpus.
    """
    rows = read_benchmark(source)
    passages: list[Text] = []
    digests, blocks = [], []
    for part in rows.corpus:
        digest, first = PartDigest(), len(passages)
        for text in part.read():
            digest.add(text)
            passages.append(text)
        digests.append(digest.hexdigest())
        blocks += _blocks(passages[first:], first)
    exchanged = mixed_up(passages)
    if exchanged is not None:
        raise InputError(f"{rows.name}: {exchanged}")
    relevance, told = _relevance(rows, passages, benchmark_digest(rows, digests))
    notices = (*rows.notices, *told, *notices_of_languages(relevance.languages))
    return Benchmark(rows.name, rows.queries, passages, relevance, _blocks(rows.queries, 0), blocks, notices)


def _blocks(texts: Sequence[Text], first: int) -> list[Int64]:
    """The blocks of a part of the corpus, by position; ``first`` is that of its first text."""
    numbered = [text._replace(text_id=str(first + place)) for place, text in enumerate(texts)]
    return [
        np.array([int(text.text_id) for text in block], np.int64) for _, block in blocks_of(TextList("", numbered), 0)
    ]


def _relevance(rows: BenchmarkRows, passages: Sequence[Text], digest: str) -> tuple[Relevance, list[str]]:
    """What answers what, and what to tell of it."""
    order = tie_order([text.text_id for text in passages]).numpy()  # before ids are looked up: each stands once
    number = {text.text_id: place for place, text in enumerate(passages)}
    languages = sorted({text.language for text in [*rows.queries, *passages]})
    column = {language: place for place, language in enumerate(languages)}
    spoken = {text.text_id: column[text.language] for text in passages}
    missing = {pair.passage_id for pair in rows.judged if pair.grade > 0} - spoken.keys()
    empty = [text.text_id for text in passages if not text.text]
    asked = query_texts(rows)
    shared = asked.keys() & spoken.keys()
    alike = [name for name in shared if holds_query(passages[number[name]].text, asked[name])]
    own, of_own = own_passages(rows, shared, alike)
    notices = [
        *missing_passages(rows, missing, len(languages)),
        *empty_passages(len(empty), next(iter(empty), None)),
        *of_own,
    ]
    check_found(rows, spoken.keys(), own)
    number |= {name: len(passages) + place for place, name in enumerate(sorted(missing))}
    judged = judge(rows, number, spoken, len(languages), own)
    relevance = Relevance(
        name=rows.name,
        digest=digest_without(digest, own),
        query_ids=tuple(query.text_id for query in rows.queries),
        languages=tuple(languages),
        query_language=np.array([column[text.language] for text in rows.queries], np.int64),
        passage_language=np.array([column[text.language] for text in passages], np.int64),
        order=order,
        query_index=judged.query_index,
        passage_index=judged.passage_index,
        grades=judged.grades,
        lost=judged.lost,
    )
    return relevance, notices
