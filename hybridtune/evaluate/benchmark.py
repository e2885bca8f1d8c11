"""A benchmark in memory: queries, passages, which passage answers which query, and their languages.

The three settings are views of it (arXiv 2004.05484, arXiv 2408.10536): mono, the pool of the query's own language;
cross, the pool of one other language; multi, one pool of all languages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hybridtune.config.study import BenchmarkSource
from hybridtune.data.readers.benchmarks import notices_of_languages, read_benchmark
from hybridtune.data.readers.languages import mixed_up
from hybridtune.data.readers.records import BenchmarkRows, PartDigest, Text, TextList, benchmark_digest
from hybridtune.errors import InputError
from hybridtune.evaluate.blocks import blocks_of
from hybridtune.evaluate.relevance import (
    CorpusFacts,
    Relevance,
    build_relevance,
    check_corpus,
    digest_without,
    holds_query,
    query_texts,
)
from hybridtune.metrics.arrays import Int64
from hybridtune.metrics.ranks import tie_order


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
        """Return the settings that some query of the benchmark can be scored in."""
        return self.relevance.settings()


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
    relevance, notices = _relevance(rows, passages, benchmark_digest(rows, digests))
    notices = (*rows.notices, *notices, *notices_of_languages(relevance.languages))
    return Benchmark(rows.name, rows.queries, passages, relevance, _blocks(rows.queries, 0), blocks, notices)


def _blocks(texts: Sequence[Text], first: int) -> list[Int64]:
    """The blocks of a part of the corpus, by position; ``first`` is that of its first text."""
    numbered = [text._replace(text_id=str(first + place)) for place, text in enumerate(texts)]
    return [
        np.array([int(text.text_id) for text in block], np.int64) for _, block in blocks_of(TextList("", numbered), 0)
    ]


def _relevance(rows: BenchmarkRows, passages: Sequence[Text], digest: str) -> tuple[Relevance, tuple[str, ...]]:
    """The relevance, and the notices of it."""
    order = tie_order([text.text_id for text in passages]).numpy()  # before ids are looked up: each stands once
    number = {text.text_id: place for place, text in enumerate(passages)}
    language = {text.text_id: text.language for text in passages}
    languages = tuple(sorted({text.language for text in [*rows.queries, *passages]}))
    empty = [text.text_id for text in passages if not text.text]
    asked = query_texts(rows)
    alike = [name for name in asked.keys() & number.keys() if holds_query(passages[number[name]].text, asked[name])]
    facts = CorpusFacts(language, languages, alike, len(empty), next(iter(empty), None))
    own, notices = check_corpus(rows, facts)
    missing = sorted({pair.passage_id for pair in rows.judged if pair.grade > 0} - number.keys())
    number |= {name: len(passages) + place for place, name in enumerate(missing)}
    return build_relevance(rows, digest_without(digest, own), languages, number, language, order, own), notices
