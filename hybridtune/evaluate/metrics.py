"""Ranks in; the figures of the mono, cross and multi setting out: per query, then means, with their counts.

A *ranking* is one query against one pool: the passages of its own language (mono), of one other language
(cross), of all languages (multi). It is scored where the pool holds a relevant passage, else counted.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hybridtune.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Columns = dict[str, NDArray[Any]]
Table = dict[str, dict[str, float]]  # row name -> measure -> mean

SETTINGS = ("mono", "cross", "multi")
MEASURES = ("AP", "RR", "nDCG@10", "R@1", "R@10", "R@100")
BIAS = ("rank_distance", "language_preference")  # of the multi setting alone
_INDEX_COLUMNS = ("setting", "query", "query_language", "pool_language")
_MEASURE = re.compile(r"(?:(AP|RR|nDCG)(?:@([1-9]\d*))?|(R|Success)@([1-9]\d*))")


@dataclass(eq=False)
class Ranked:
    """The relevant pairs of a benchmark and what outranks them.

    Args:
        counts: int64 [R, L], ``RankCounter.counts``: passages per language that outrank the pair's passage.
        query_index: int64 [R], in [0, Q), any order; a (query, passage) pair occurs once.
        passage_language: int64 [R], in [0, L).
        query_language: int64 [Q], in [0, L).
        languages: the L names, ISO 639-1.
        passages: int64 [L], passages per language: the sizes of the pools.
        grades: float64 [R], gain of the pair; pairs at 0 or below are not relevant. None: all 1.

    Raises:
        ValueError: shapes that disagree, or an index out of range.
    """

    counts: Ints
    query_index: Ints
    passage_language: Ints
    query_language: Ints
    languages: Sequence[str]
    passages: Ints
    grades: Floats | None = None
    gains: Floats = field(init=False, repr=False)  # grades of the pairs kept, [R]

    def __post_init__(self) -> None:
        pairs, languages = len(self.query_index), len(self.languages)
        grades = np.ones(pairs) if self.grades is None else self.grades
        shapes = self.counts.shape, self.passages.shape, self.passage_language.shape, grades.shape
        if shapes != ((pairs, languages), (languages,), (pairs,), (pairs,)):
            raise ValueError(f"{pairs} pairs, {languages} languages, but counts, passages, .. are {shapes}")
        spoken = np.concatenate([self.passage_language, self.query_language])
        for index, end in ((self.query_index, len(self.query_language)), (spoken, languages)):
            if len(index) and not 0 <= index.min() <= index.max() < end:
                raise ValueError(f"an index of a query or a language lies outside [0, {end})")
        relevant = grades > 0
        self.counts, self.gains = self.counts[relevant], grades[relevant]
        self.query_index, self.passage_language = self.query_index[relevant], self.passage_language[relevant]


@dataclass(frozen=True)
class Scores:
    """Means and the counts they rest on; ``dataclasses.asdict`` of it is JSON.

    Attributes:
        metrics: "mono/AP", "balanced/AP", ..: means of means; one that no query defines is left out.
        per_language: "mono", "multi" -> query language -> measure -> mean over its queries; under "queries",
            their number.
        per_pair: "en-de" (query language first; "en-en" is mono) -> the same.
        counts: queries scored and without a relevant passage per setting, queries that have a rank distance and
            a language preference, relevant pairs, passages in total and per language.
        outranked: "en-de" -> mean number of de passages that outrank a relevant passage of an en query in the
            multi pool. A row that leans to its own language shows language bias.
    """

    metrics: dict[str, float]
    per_language: dict[str, Table]
    per_pair: Table
    counts: dict[str, Any]
    outranked: dict[str, float]


def metric_names(measures: Iterable[str] = MEASURES) -> list[str]:
    """Names that ``score`` gives for these measures; each is a possible objective of a study."""
    names = [f"{setting}/{measure}" for setting in SETTINGS for measure in measures]
    return [*names, *(f"multi/{measure}" for measure in BIAS), "balanced/AP"]


def direction(name: str) -> Literal["max", "min"]:
    """Whether more or less of a metric is better; any cutoff is a valid name ("cross/R@5").

    Raises:
        InputError: not a metric.
    """
    setting, _, measure = name.partition("/")
    if name not in metric_names() and not (setting in SETTINGS and _MEASURE.fullmatch(measure)):
        raise InputError(f"unknown metric {name!r}; known: {', '.join(metric_names())}, and other cutoffs")
    return "min" if measure == "rank_distance" else "max"


def parse_measure(measure: str) -> tuple[str, int | None]:
    """Splits an ir_measures name: "nDCG@10" -> ("nDCG", 10), "AP" -> ("AP", None).

    Raises:
        InputError: not one of AP, RR, nDCG (cutoff optional), R@k, Success@k with k >= 1.
    """
    found = _MEASURE.fullmatch(measure)
    if found is None:
        raise InputError(f"unknown measure {measure!r}; known: AP, RR, nDCG (or with @k), R@k, Success@k")
    cutoff = found[2] or found[4]
    return found[1] or found[3], int(cutoff) if cutoff else None


def per_query(ranked: Ranked, measures: Sequence[str] = MEASURES) -> Columns:
    """One row per scored ranking, the values that ``score`` takes means of (and a significance test pairs).

    Returns:
        Columns of one length: ``setting`` (str), ``query`` (row of query_language), ``query_language``,
        ``pool_language`` (-1: all, the multi pool), then float64 per measure and per name of BIAS; NaN where
        not defined: BIAS outside multi, rank_distance with one relevant passage, language_preference without
        a relevant passage in the query's language.

    Source: trec_eval's definitions; rank distance as in arXiv 2408.10536, last minus first relevant rank.
    """
    query, language = ranked.query_index, ranked.passage_language
    pairs = np.arange(len(query))
    # First half: each pair in its own language's pool (mono or cross). Second half: in the multi pool.
    ranks = np.concatenate([ranked.counts[pairs, language], ranked.counts.sum(1)]) + 1
    query, pair = np.tile(query, 2), np.tile(pairs, 2)
    pool = np.concatenate([language, np.full(len(pairs), -1)])
    order = np.lexsort((ranks, query, pool))
    ranks, query, pool, pair = ranks[order], query[order], pool[order], pair[order]
    starts = np.flatnonzero(np.diff(query, prepend=-1) | np.diff(pool, prepend=-2))
    lists = _Lists(ranks, ranked.gains[pair], starts)
    query, pool = query[starts], pool[starts]
    asked, multi = ranked.query_language[query], pool == -1
    setting = np.where(multi, "multi", np.where(pool == asked, "mono", "cross"))
    columns: Columns = dict(zip(_INDEX_COLUMNS, (setting, query, asked, pool), strict=True))
    for measure in measures:
        columns[measure] = lists.values(*parse_measure(measure))
    own = language[pair] == asked[lists.owner]
    columns["rank_distance"] = np.where(multi & (lists.sizes >= 2), lists.last - lists.first, np.nan)
    columns["language_preference"] = np.where(multi & (lists.sums(own) > 0), own[starts], np.nan)
    return columns


def score(ranked: Ranked, columns: Mapping[str, NDArray[Any]]) -> Scores:
    """Means of ``per_query(ranked)``, as the paper takes them: over queries, then over languages or pairs.

    A language or pair without a scored query is left out of the second mean. balanced/AP is the harmonic mean
    of the three settings' AP, left out where one of them is.

    Source: arXiv 2408.10536: mono over languages, cross over ordered pairs, multi over query languages.
    """
    size, setting, asked = len(ranked.languages), columns["setting"], columns["query_language"]
    # A cell is (query language, pool language); multi rankings stand on its diagonal.
    cell = asked * size + np.where(setting == "multi", asked, columns["pool_language"])
    metrics: dict[str, float] = {}
    tables: dict[str, Table] = {}
    for one in SETTINGS:
        here = setting == one
        queries = np.bincount(cell[here], minlength=size * size)
        names = [f"{x}-{y}" if one == "cross" else x for x in ranked.languages for y in ranked.languages]
        rows = np.flatnonzero(queries).tolist()
        table = tables[one] = {names[code]: {"queries": int(queries[code])} for code in rows}
        for measure in (key for key in columns if key not in _INDEX_COLUMNS):
            means = _means(cell[here], columns[measure][here], size * size)
            defined = np.flatnonzero(~np.isnan(means)).tolist()
            for code in defined:
                table[names[code]][measure] = float(means[code])
            if defined:
                metrics[f"{one}/{measure}"] = float(means[defined].mean())
    if all(f"{one}/AP" in metrics for one in SETTINGS):
        metrics["balanced/AP"] = len(SETTINGS) / sum(1 / metrics[f"{one}/AP"] for one in SETTINGS)
    own = {f"{name}-{name}": dict(values) for name, values in tables["mono"].items()}
    return Scores(
        metrics=metrics,
        per_language={"mono": tables["mono"], "multi": tables["multi"]},
        per_pair=dict(sorted((own | tables["cross"]).items())),
        counts=_counts(ranked, columns),
        outranked=_outranked(ranked),
    )


class _Lists:
    """Ranked lists end to end, ranks ascending within a list, none empty: what the measures are made of."""

    def __init__(self, ranks: Ints, gains: Floats, starts: Ints) -> None:
        self.ranks, self.gains, self.starts = ranks, gains, starts
        self.sizes = np.diff(starts, append=len(ranks))
        self.owner = np.repeat(np.arange(len(starts)), self.sizes)  # the list of each entry
        self.place = np.arange(len(ranks)) - starts[self.owner] + 1  # 1 for the best ranked relevant passage
        self.first, self.last = ranks[starts], ranks[starts + self.sizes - 1]

    def sums(self, values: NDArray[Any]) -> Floats:
        """Sum of one value per entry over each list."""
        return np.bincount(self.owner, values, minlength=len(self.starts)).astype(np.float64)

    def values(self, name: str, cutoff: int | None) -> Floats:
        """A measure of each list; ``cutoff`` None means full depth."""
        depth = np.iinfo(np.int64).max if cutoff is None else cutoff
        within = self.ranks <= depth
        if name == "AP":
            return self.sums(within * self.place / self.ranks) / self.sizes
        if name == "R":
            return self.sums(within) / self.sizes
        if name == "nDCG":
            best_first = self.gains[np.lexsort((-self.gains, self.owner))]
            ideal = self.sums((self.place <= depth) * best_first / np.log2(self.place + 1))
            return self.sums(within * self.gains / np.log2(self.ranks + 1)) / ideal
        return (self.first <= depth) / (self.first if name == "RR" else 1)


def _means(cell: Ints, values: Floats, cells: int) -> Floats:
    """Mean of the defined values of each cell; NaN where it has none."""
    defined = ~np.isnan(values)
    sums = np.bincount(cell[defined], values[defined], minlength=cells)
    counts = np.bincount(cell[defined], minlength=cells)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _counts(ranked: Ranked, columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """What the means rest on: a figure without its count is not printed."""
    queries = {one: len(np.unique(columns["query"][columns["setting"] == one])) for one in SETTINGS}
    return {
        "queries": queries,
        "queries_without_relevant": {one: len(ranked.query_language) - queries[one] for one in SETTINGS},
        "queries_with": {key: int(np.sum(~np.isnan(columns[key]))) for key in BIAS},
        "relevant_pairs": len(ranked.query_index),
        "passages": int(ranked.passages.sum()),
        "passages_per_language": dict(zip(ranked.languages, ranked.passages.tolist(), strict=True)),
    }


def _outranked(ranked: Ranked) -> dict[str, float]:
    """Mean count per (query language, passage language), over the relevant pairs of the query language."""
    size = len(ranked.languages)
    sums, asked = np.zeros((size, size)), ranked.query_language[ranked.query_index]
    np.add.at(sums, asked, ranked.counts)
    pairs = np.bincount(asked, minlength=size)
    return {
        f"{ranked.languages[x]}-{ranked.languages[y]}": float(sums[x, y] / pairs[x])
        for x in np.flatnonzero(pairs).tolist()
        for y in np.flatnonzero(ranked.passages).tolist()
    }
