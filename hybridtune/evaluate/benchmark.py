"""A benchmark in memory: queries, passages, which passage answers which query, and their languages.

The three settings are views of it (arXiv 2004.05484, arXiv 2408.10536): mono, the pool of the query's own language;
cross, the pool of one other language; multi, one pool of all languages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hybridtune.config import BenchmarkSource
from hybridtune.data.benchmark_formats import notices_of_languages, read_benchmark
from hybridtune.data.benchmark_rows import BenchmarkRows, PartDigest, Text, TextList, benchmark_digest
from hybridtune.data.scripts import mixed_up
from hybridtune.errors import InputError
from hybridtune.evaluate.blocks import blocks_of
from hybridtune.evaluate.ranks import tie_order

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
        grades: [R] how relevant, > 0.
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
        same = r.query_language[r.query_index] == r.passage_language[r.passage_index]
        return settings_of(same, len(r.languages))


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
        InputError: what ``read_benchmark`` finds wrong, a passage id that stands twice, a relevant passage that is
            not in the corpus, or passages of another language than they say.
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
    relevance = _relevance(rows, passages, benchmark_digest(rows, digests))
    notices = (*rows.notices, *notices_of_languages(relevance.languages))
    return Benchmark(rows.name, rows.queries, passages, relevance, _blocks(rows.queries, 0), blocks, notices)


def _blocks(texts: Sequence[Text], first: int) -> list[Int64]:
    """The blocks of a part of the corpus, by position; ``first`` is that of its first text."""
    numbered = [text._replace(text_id=str(first + place)) for place, text in enumerate(texts)]
    return [
        np.array([int(text.text_id) for text in block], np.int64) for _, block in blocks_of(TextList("", numbered), 0)
    ]


def _relevance(rows: BenchmarkRows, passages: Sequence[Text], digest: str) -> Relevance:
    order = tie_order([text.text_id for text in passages]).numpy()  # before ids are looked up: each stands once
    position = {text.text_id: place for place, text in enumerate(passages)}
    relevant = [judgement for judgement in rows.judged if judgement.grade > 0]
    for judgement in relevant:
        if judgement.passage_id not in position:
            query = rows.queries[judgement.query].text_id
            raise InputError(
                f"{rows.name}: passage {judgement.passage_id!r}, relevant to query {query!r}, is not in the corpus"
            )
    pairs = sorted((judgement.query, position[judgement.passage_id], judgement.grade) for judgement in relevant)
    found = np.array(pairs, np.int64).reshape(-1, 3)  # [R, 3]
    languages = sorted({text.language for text in [*rows.queries, *passages]})
    column = {language: place for place, language in enumerate(languages)}
    return Relevance(
        name=rows.name,
        digest=digest,
        query_ids=tuple(query.text_id for query in rows.queries),
        languages=tuple(languages),
        query_language=np.array([column[text.language] for text in rows.queries], np.int64),
        passage_language=np.array([column[text.language] for text in passages], np.int64),
        order=order,
        query_index=found[:, 0],
        passage_index=found[:, 1],
        grades=found[:, 2].astype(np.float64),
    )
