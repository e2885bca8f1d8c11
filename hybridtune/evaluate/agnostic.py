"""Direct measures of the vectors of an encoded benchmark, beside its rankings: `metrics.agnostic` of its blocks."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hybridtune.callbacks import Progress
from hybridtune.data.readers.records import BenchmarkRows
from hybridtune.evaluate.corpus_scan import CorpusScan
from hybridtune.evaluate.relevance import Relevance
from hybridtune.evaluate.sweep import Pool
from hybridtune.metrics.agnostic import measure_agnosticism
from hybridtune.metrics.arrays import Float32, Int64
from hybridtune.metrics.topics import topic_numbers
from hybridtune.model.language_vectors import LanguageVectors

MOST_PASSAGES = 100_000  # that are held in memory for this


def measure_encoded(
    folder: Path,
    rows: BenchmarkRows,
    scan: CorpusScan,
    progress: Progress = lambda done, total: None,
    moved_by: LanguageVectors | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the direct measures of the queries and of the passages of an encoded benchmark.

    Left out is a side in one language, and a corpus of more than 100,000 passages. ``moved_by`` moves the vectors.

    Returns:
        "queries", "passages" -> the fields of `Agnosticism`.
    """
    pool, relevance, found = Pool(folder, moved_by), scan.relevance(rows), {}
    queries, passages = parallel_groups(relevance)
    wanted = [len(np.unique(relevance.query_language)) > 1, len(scan.passages) > 1]
    wanted[1] &= sum(scan.passages.values()) <= MOST_PASSAGES
    progress(0, sum(wanted))
    if wanted[0]:
        documents = None if relevance.documents is None else _documents(relevance.documents)
        languages = [query.language for query in rows.queries]
        vectors = pool.queries(languages)
        found["queries"] = asdict(measure_agnosticism(vectors, languages, queries, documents))
        progress(1, sum(wanted))
    if wanted[1]:
        vectors, languages, groups = _passages(pool, passages)
        found["passages"] = asdict(measure_agnosticism(vectors, languages, groups))
        progress(sum(wanted), sum(wanted))
    return found


def parallel_groups(relevance: Relevance) -> tuple[Int64, Int64]:
    """Return which texts of a benchmark translate each other, as far as its judgements show.

    Queries do that have the same relevant passages; passages that are relevant to the same queries, where no language
    has two of them: several answers to one question are no translations of each other.

    Returns:
        int64 [Q] and int64 [P], equal for translations; below 0: not known of this text.
    """
    relevant = relevance.grades > 0
    query, passage = relevance.query_index[relevant], relevance.passage_index[relevant]
    of_queries = topic_numbers(query, passage, len(relevance.query_language))
    language = relevance.passage_language
    of_passages = topic_numbers(passage, query, len(language))
    width = int(language.max(initial=0)) + 2
    cells, sizes = np.unique(of_passages * width + language + 1, return_counts=True)  # UNKNOWN is -1
    several = np.isin(of_passages, cells[sizes > 1] // width)
    answers = np.bincount(passage, minlength=len(language)) > 0
    return of_queries, np.where(answers & ~several, of_passages, -1)


def _documents(names: tuple[str, ...]) -> Int64:
    """Number the documents; a query that names none is alone."""
    _, numbers = np.unique(np.array([name or f"\0{n}" for n, name in enumerate(names)]), return_inverse=True)
    return numbers.astype(np.int64)


def _passages(pool: Pool, groups: Int64) -> tuple[Float32, list[str], Int64]:
    """Read all passages: vectors [P, D], languages, and the groups of those that are relevant, by their tie order."""
    vectors, languages, found = [], [], []
    for block in pool.blocks():
        of_block, order = pool.passages(block), block.order()
        numbers = np.minimum(order // 2, max(0, len(groups) - 1))
        vectors.append(of_block)
        languages += [block.language()] * len(of_block)
        found.append(np.where(order % 2 == 1, groups[numbers], -1))
    return np.concatenate(vectors), languages, np.concatenate(found)
