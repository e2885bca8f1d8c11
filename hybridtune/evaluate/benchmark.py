"""A benchmark in memory: queries, passages, which passage answers which query, and exact scores of vectors for them.

`load_benchmark` reads one; `score_vectors` scores one's own vectors on it, `service` an encoder's weights. The three
settings are views of it (arXiv 2004.05484, arXiv 2408.10536): mono, the pool of the query's own language; cross, the
pool of one other language; multi, one pool of all languages.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybridtune.config.fields import BenchmarkSource
from hybridtune.config.validation import check
from hybridtune.data.readers.benchmarks import notices_of_languages, read_benchmark
from hybridtune.data.readers.languages import mixed_up
from hybridtune.data.readers.records import BenchmarkRows, Text, TextList, benchmark_digest
from hybridtune.errors import InputError
from hybridtune.evaluate.blocks import blocks_of
from hybridtune.evaluate.relevance import (
    Relevance,
    build_relevance,
    check_corpus,
    digest_without,
    holds_query,
    query_texts,
)
from hybridtune.metrics.arrays import Float32, Int64
from hybridtune.metrics.measures import MEASURES
from hybridtune.metrics.metrics import Ranked, Scores, per_query, score
from hybridtune.metrics.ties import tie_order


class Texts(list[Text]):
    """The queries or passages of a benchmark, each with ``text_id``, ``language`` and ``text``."""

    @property
    def texts(self) -> list[str]:
        """The texts, in their order."""
        return [text.text for text in self]

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        return [text.text_id for text in self]

    @property
    def languages(self) -> list[str]:
        """Their languages."""
        return [text.language for text in self]


@dataclass(frozen=True)
class Benchmark:
    """Queries and passages with id and language, and which passage answers which query.

    ``name`` says what it was read from, and which part. The blocks hold the positions of texts that are encoded
    together, as in ``hybridtune evaluate``, so that a study gives its figures to the last digit. ``notices`` are for
    the user, one line each.
    """

    name: str
    queries: Texts
    passages: Texts
    relevance: Relevance
    query_blocks: Sequence[Int64]
    passage_blocks: Sequence[Int64]
    notices: tuple[str, ...] = ()

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings that some query can be scored in: of ``mono``, ``cross`` and ``multi``."""
        return self.relevance.settings


def load_benchmark(path: str | Path | BenchmarkSource, **settings: Any) -> Benchmark:
    """Read a benchmark, or a part of it, with all its passages.

    Args:
        path: a file, folder or glob of a known format, ``newsroom:dev``, or a study's ``benchmarks`` field.
        settings: the other fields of a study's ``benchmarks.dev``, such as ``languages``, ``split`` or ``strict``.

    Raises:
        InputError: an unknown field, what ``read_benchmark`` finds wrong, a passage id that occurs twice, passages in
            another language than they say, or, where the benchmark is strict, a relevant passage that the corpus lacks.

    Example:
        >>> benchmark = load_benchmark("newsroom:dev", languages=["en", "de"])
        >>> benchmark.settings, benchmark.queries.languages[0]
        (('mono', 'cross', 'multi'), 'en')
    """
    source = path if isinstance(path, BenchmarkSource) else BenchmarkSource(path=str(path))
    if settings:
        given = source.model_dump(include=source.model_fields_set)
        source = check(BenchmarkSource, {**given, **settings}, "benchmark")
    return benchmark_of_rows(read_benchmark(source))


def benchmark_of_rows(rows: BenchmarkRows) -> Benchmark:
    """Return a benchmark that was read, with all its passages; errors are those of `load_benchmark`."""
    passages = Texts()
    digests, blocks = [], []
    for part in rows.corpus:
        digest, first = hashlib.sha256(), len(passages)
        for text in part.read():
            digest.update(text.to_bytes())
            passages.append(text)
        digests.append(digest.hexdigest())
        blocks += _blocks(passages[first:], first)
    if (exchanged := mixed_up(passages)) is not None:
        raise InputError(f"{rows.name}: {exchanged}")
    relevance, notices = _relevance(rows, passages, benchmark_digest(rows, digests))
    notices = (*rows.notices, *notices, *notices_of_languages(relevance.languages))
    return Benchmark(rows.name, Texts(rows.queries), passages, relevance, _blocks(rows.queries, 0), blocks, notices)


def score_vectors(
    benchmark: Benchmark,
    queries: Float32,
    passages: Float32,
    measures: Sequence[str] = MEASURES,
    *,
    standardised: bool = False,
) -> Scores:
    """Return all metrics of one's own vectors on a benchmark, exactly, at full depth.

    Args:
        benchmark: from `load_benchmark`.
        queries: float32 [Q, D] in the order of ``benchmark.queries``; unit length where the score is the cosine.
        passages: float32 [P, D] in the order of ``benchmark.passages``.
        measures: ir_measures names, or one's own as ``package.module:function`` (`metrics.measures`).
        standardised: rank by scores less the mean of the query's scores over the passages of a language, over their
            deviation (`metrics.standard`); mono and cross do not change.

    Raises:
        InputError: vectors of other numbers or widths, or a measure that is not known.
        FitError: a vector is not finite.

    Example:
        >>> benchmark = load_benchmark("newsroom:dev", languages=["en"])
        >>> draw = np.random.default_rng(0).normal
        >>> queries, passages = (draw(size=(len(of), 8)) for of in (benchmark.queries, benchmark.passages))
        >>> 0 < score_vectors(benchmark, queries, passages).metrics["mono/AP"] < 0.5
        True
    """
    ranked = rank_vectors(benchmark, queries, passages, standardised)
    return score(ranked, per_query(ranked, measures))


def rank_vectors(benchmark: Benchmark, queries: Float32, passages: Float32, standardised: bool = False) -> Ranked:
    """Return the relevant pairs of a benchmark and what outranks them; the arguments are those of `score_vectors`."""
    from hybridtune.metrics.ranks import outranking  # imports torch, which reading a benchmark does not need
    from hybridtune.metrics.standard import thresholds_in_memory

    for name, vectors, texts in (("queries", queries, benchmark.queries), ("passages", passages, benchmark.passages)):
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise InputError(f"{name}: vectors of shape {vectors.shape}; give [{len(texts)}, D], one a text, in order")
    known, languages = benchmark.relevance, len(benchmark.relevance.languages)
    pool = known.query_index, known.passage_index, known.order, known.passage_language, languages
    against = thresholds_in_memory(queries, passages, *pool) if standardised else None
    scores, counts = outranking(queries, passages, *pool, against)
    return known.ranked(counts, scores, np.bincount(known.passage_language, minlength=languages), against)


def _blocks(texts: Sequence[Text], first: int) -> list[Int64]:
    """Return the blocks of a part of the corpus, by position; ``first`` is that of its first text."""
    numbered = [text._replace(text_id=str(first + index)) for index, text in enumerate(texts)]
    return [
        np.array([int(text.text_id) for text in block], np.int64) for _, block in blocks_of(TextList("", numbered), 0)
    ]


def _relevance(rows: BenchmarkRows, passages: Texts, digest: str) -> tuple[Relevance, tuple[str, ...]]:
    """Return the relevance, and the notices of it."""
    order = tie_order(passages.ids)  # before ids are looked up: each occurs once
    number = {name: index for index, name in enumerate(passages.ids)}
    language = dict(zip(passages.ids, passages.languages, strict=True))
    languages = tuple(sorted({text.language for text in [*rows.queries, *passages]}))
    empty = [text.text_id for text in passages if not text.text]
    queries = query_texts(rows)
    shared = queries.keys() & number.keys()
    alike = [name for name in shared if holds_query(passages[number[name]].text, queries[name])]
    own, notices = check_corpus(rows, language, len(languages), alike, len(empty), next(iter(empty), None))
    missing = sorted({pair.passage_id for pair in rows.judged if pair.grade > 0} - number.keys())
    number |= {name: len(passages) + index for index, name in enumerate(missing)}
    return build_relevance(rows, digest_without(digest, own), languages, number, language, order, own), notices
