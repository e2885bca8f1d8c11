"""A benchmark in memory: queries, passages, which passage answers which query, and their languages.

The three settings are views of it (arXiv 2004.05484, arXiv 2408.10536): mono, the pool of the query's own language;
cross, the pool of one other language; multi, one pool of all languages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hybridtune.config import BenchmarkSource
from hybridtune.data.benchmark_formats import BenchmarkRows, Text, read_benchmark
from hybridtune.errors import InputError
from hybridtune.evaluate.ranks import tie_order

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Relevance:
    """The judged side of a benchmark: Q queries, P passages, R relevant pairs, L languages; no text.

    Attributes:
        languages: the L codes, sorted.
        query_language: [Q] in [0, L).
        passage_language: [P] in [0, L).
        order: [P] position of the passage's id in descending order, which breaks ties.
        query_index: [R] query of each relevant pair, not decreasing.
        passage_index: [R] its passage.
        grades: [R] how relevant, > 0.
    """

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
    """

    name: str
    queries: Sequence[Text]
    passages: Sequence[Text]
    relevance: Relevance

    def settings(self) -> tuple[str, ...]:
        """The settings that some query of the benchmark can be scored in."""
        r = self.relevance
        same = r.query_language[r.query_index] == r.passage_language[r.passage_index]
        if len(r.languages) == 1:
            return ("mono",)
        return (*(["mono"] if same.any() else []), *(["cross"] if not same.all() else []), "multi")


def load_benchmark(source: BenchmarkSource) -> Benchmark:
    """Read a benchmark, or the part of it that the study names.

    Raises:
        InputError: unreadable, empty, a query without a relevant passage, a passage id that stands twice.
    """
    rows = read_benchmark(source.path, source.documents)
    name = source.path if source.documents is None else f"{source.path} documents {list(source.documents)}"
    if source.languages is not None:
        rows = _only(rows, set(source.languages))
        name += f" languages {','.join(source.languages)}"
    if not rows.relevant:
        raise InputError(f"{name}: no query has a relevant passage")
    languages = sorted({text.language for text in [*rows.queries, *rows.passages]})
    column = {language: place for place, language in enumerate(languages)}
    relevant = np.array(sorted(rows.relevant), np.int64)
    relevant = relevant[relevant[:, 2] > 0]
    relevance = Relevance(
        languages=tuple(languages),
        query_language=np.array([column[text.language] for text in rows.queries], np.int64),
        passage_language=np.array([column[text.language] for text in rows.passages], np.int64),
        order=tie_order([text.text_id for text in rows.passages]).numpy(),
        query_index=relevant[:, 0],
        passage_index=relevant[:, 1],
        grades=relevant[:, 2].astype(np.float64),
    )
    return Benchmark(name, rows.queries, rows.passages, relevance)


def _only(rows: BenchmarkRows, languages: set[str]) -> BenchmarkRows:
    """The part of a benchmark in some languages; judged pairs that lose a side go."""
    kept_q = [i for i, text in enumerate(rows.queries) if text.language in languages]
    kept_p = [i for i, text in enumerate(rows.passages) if text.language in languages]
    new_q, new_p = {old: new for new, old in enumerate(kept_q)}, {old: new for new, old in enumerate(kept_p)}
    relevant = [(new_q[q], new_p[p], grade) for q, p, grade in rows.relevant if q in new_q and p in new_p]
    return BenchmarkRows([rows.queries[i] for i in kept_q], [rows.passages[i] for i in kept_p], relevant)
