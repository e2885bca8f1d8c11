"""PURE. From ranks to the figures of the mono, cross and multi setting: per query, then means, with their counts.

A *ranking* is one query against one pool: the passages of its own language (mono), of one other language
(cross), of all languages (multi). It is scored where the pool holds a relevant passage, else counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Bool, Float64, Int64
from hybridtune.metrics.measures import (
    BIAS,
    MEASURES,
    UNRETRIEVED,
    Lists,
    is_measure,
    language_preference,
    peer,
    rank_correlation,
    rank_distance,
)
from hybridtune.metrics.names import parse_metric
from hybridtune.metrics.topics import topic_numbers

Columns = dict[str, NDArray[Any]]
Table = dict[str, dict[str, float]]  # row name -> measure -> mean

SETTINGS = ("mono", "cross", "multi")
UNKNOWN = -1  # the language of a relevant passage that is not in the corpus
INDEX_COLUMNS = ("setting", "query", "query_language", "pool_language")


class Lost(NamedTuple):
    """N relevant pairs that no ranking can hold: they count as not found at any depth, and in no measure of bias.

    ``grades`` are > 0; a ``language`` of UNKNOWN belongs to the multi pool alone.
    """

    query_index: Int64
    passage_index: Int64
    grades: Float64
    language: Int64


NOTHING_LOST = Lost(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))


@dataclass(eq=False)
class Ranked:
    """The relevant pairs of a benchmark and what outranks them.

    Args:
        counts: int64 [R, L], ``RankCounter.counts``: passages per language that outrank the pair's passage.
        query_index: int64 [R], in [0, Q), any order; a (query, passage) pair occurs once.
        passage_language: int64 [R], in [0, L).
        query_language: int64 [Q], in [0, L).
        languages: the L codes.
        passages: int64 [L], the sizes of the pools.
        grades: float64 [R], gain of the pair; pairs at 0 or below are not relevant. None: all 1.
        retrieved: bool [R], False where a truncated run lacks the passage: it adds nothing to any measure, and its row
            of ``counts`` is not read. None: the ranking is at full depth.
        settings: those that are scored; one language has mono alone.
        lost: relevant pairs that are not among the R.
        passage_index: int64 [R], the number of the pair's passage. None: not known, and no rank correlation is defined.

    Raises:
        ValueError: shapes that disagree, or an index out of range.
    """

    counts: Int64
    query_index: Int64
    passage_language: Int64
    query_language: Int64
    languages: Sequence[str]
    passages: Int64
    grades: Float64 | None = None
    retrieved: Bool | None = None
    settings: Sequence[str] = SETTINGS
    lost: Lost = NOTHING_LOST
    passage_index: Int64 | None = None
    gains: Float64 = field(init=False, repr=False)  # grades of the relevant pairs, [R]

    def __post_init__(self) -> None:
        pairs, languages = len(self.query_index), len(self.languages)
        grades = np.ones(pairs) if self.grades is None else self.grades
        found = np.ones(pairs, bool) if self.retrieved is None else self.retrieved
        shapes = self.counts.shape, self.passages.shape, self.passage_language.shape, grades.shape, found.shape
        if shapes != ((pairs, languages), (languages,), (pairs,), (pairs,), (pairs,)):
            raise ValueError(f"{pairs} pairs, {languages} languages, but counts, passages, .. are {shapes}")
        spoken = np.concatenate([self.passage_language, self.query_language])
        for index, end in ((self.query_index, len(self.query_language)), (spoken, languages)):
            if len(index) and not 0 <= index.min() <= index.max() < end:
                raise ValueError(f"an index of a query or a language lies outside [0, {end})")
        if languages == 1:
            self.settings = ("mono",)
        relevant = grades > 0
        self.counts, self.gains = self.counts[relevant], grades[relevant]
        self.query_index, self.passage_language = self.query_index[relevant], self.passage_language[relevant]
        self.retrieved = None if self.retrieved is None else found[relevant]
        self.passage_index = None if self.passage_index is None else self.passage_index[relevant]


@dataclass(frozen=True)
class Scores:
    """Means and the counts they rest on; ``dataclasses.asdict`` of it is JSON.

    Attributes:
        metrics: "mono/AP", "balanced/AP", ..: means of means; one that no query defines is left out.
        per_language: "mono", "multi" -> query language -> measure -> mean over its queries; under "queries", their
            number.
        per_pair: "en-de" (query language first; "en-en" is mono) -> the same.
        counts: queries scored and without a relevant passage per setting, queries that have each name of BIAS,
            relevant pairs, passages in total and per language (the pool that a rank distance is to be read with);
            where there are any, also the relevant pairs that no ranking can hold (``relevant_not_in_pool``), and of a
            truncated run those not retrieved.
        outranked: "en-de" -> mean number of de passages that outrank a relevant passage of an en query in the
            multi pool. A row that leans to its own language shows language bias.
        over_represented: "en-de" -> log2 of the share of de among the irrelevant passages that outrank relevant
            ones of en queries in the multi pool over its share of the pool: +1 twice, 0 neutral (what a random order
            gives on average), -1 half.
        notes: what is not shown, and why; one sentence each.
    """

    metrics: dict[str, float]
    per_language: dict[str, Table]
    per_pair: Table
    counts: dict[str, Any]
    outranked: dict[str, float]
    over_represented: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def metric_names(measures: Iterable[str] = MEASURES) -> list[str]:
    """Return the names that ``score`` gives for these measures; each is a possible objective of a study."""
    names = [f"{setting}/{measure}" for setting in SETTINGS for measure in measures]
    return [*names, *(f"multi/{measure}" for measure in BIAS), "balanced/AP"]


def measures_of(metrics: Iterable[str]) -> tuple[str, ...]:
    """Return the measures of scores that hold these metrics: the usual ones, and those that the metrics add.

    Those of a group keep it, ``AP@low-resource``, as `breakdown.score_measures` takes them.
    """
    named = (name.partition("/")[2] for name in metrics)
    return tuple(dict.fromkeys([*MEASURES, *(name for name in named if name not in BIAS)]))


def direction(name: str) -> Literal["max", "min"]:
    """Return whether more or less of a metric is better; any cutoff and any measure of one's own is a valid name.

    So is any group, which is looked up where its languages are known (`groups`).

    Raises:
        InputError: not a metric.
    """
    setting, measure, _ = parse_metric(name)
    if f"{setting}/{measure}" not in metric_names() and not (setting in SETTINGS and is_measure(measure)):
        raise InputError(
            f"unknown metric {name!r}; known: {', '.join(metric_names())}, other cutoffs, and each with @GROUP"
        )
    return "min" if measure == "rank_distance" else "max"


def per_query(ranked: Ranked, measures: Sequence[str] = MEASURES) -> Columns:
    """Return one row per scored ranking, the values that ``score`` takes means of (and a significance test pairs).

    Returns:
        Columns of one length: ``setting`` (str), ``query`` (row of query_language), ``query_language``,
        ``pool_language`` (-1: all, the multi pool), then float64 per measure and per name of BIAS; NaN where not
        defined: BIAS outside multi, and where `measures` says so of each.
    """
    found, lost, language = len(ranked.query_index), ranked.lost, ranked.passage_language
    pairs = np.arange(found)
    # First half: each pair in its own language's pool (mono or cross). Second half: in the multi pool.
    ranks = np.concatenate([ranked.counts[pairs, language], ranked.counts.sum(1)]) + 1
    if ranked.retrieved is not None:
        ranks[np.tile(~ranked.retrieved, 2)] = UNRETRIEVED
    # After the ranked pairs come those that cannot be ranked, in the pools that they would be in.
    known = np.flatnonzero(lost.language != UNKNOWN)
    pair = np.concatenate([pairs, pairs, found + known, found + np.arange(len(lost.grades))])
    pool = np.concatenate([language, np.full(found, -1), lost.language[known], np.full(len(lost.grades), -1)])
    ranks = np.concatenate([ranks, np.full(len(pair) - 2 * found, UNRETRIEVED)])
    query = np.concatenate([ranked.query_index, lost.query_index])[pair]
    order = np.lexsort((ranks, query, pool))
    ranks, query, pool, pair = ranks[order], query[order], pool[order], pair[order]
    starts = np.flatnonzero(np.diff(query, prepend=-1) | np.diff(pool, prepend=-2))
    gains = np.concatenate([ranked.gains, lost.grades])[pair]
    lists = Lists(ranks, gains, starts)
    owner, query, pool = lists.owner, query[starts], pool[starts]
    query_language, multi = ranked.query_language[query], pool == -1
    setting = np.where(multi, "multi", np.where(pool == query_language, "mono", "cross"))
    columns: Columns = dict(zip(INDEX_COLUMNS, (setting, query, query_language, pool), strict=True))
    for measure in measures:
        columns[measure] = lists.values(measure)
    # Bias is read off the multi rankings, pool -1, without what no ranking can hold.
    held = np.flatnonzero(multi[owner] & (pair < found))
    rows, starts = np.unique(owner[held], return_index=True)
    lists, language = Lists(ranks[held], gains[held], starts), language[pair[held]]
    own = language == query_language[owner[held]]
    correlation = np.full(len(rows), np.nan)
    if ranked.passage_index is not None:
        topic = topic_numbers(ranked.query_index, ranked.passage_index, len(ranked.query_language))
        correlation = rank_correlation(
            lists, ranked.passage_index[pair[held]], topic[query[rows]], query_language[rows]
        )
    fair = peer(lists, language, len(ranked.languages))
    bias = rank_distance(lists), language_preference(lists, own), correlation, fair
    for name, values in zip(BIAS, bias, strict=True):
        columns[name] = np.full(len(setting), np.nan)
        columns[name][rows] = values
    scored = np.isin(setting, list(ranked.settings))
    return {key: values[scored] for key, values in columns.items()}


def score(ranked: Ranked, columns: Mapping[str, NDArray[Any]]) -> Scores:
    """Return the means of ``per_query(ranked)`` as the paper takes them: over queries, then over languages or pairs.

    A language or pair without a scored query is left out of the second mean. balanced/AP is the harmonic mean
    of the three settings' AP, left out where one of them is.

    Source: arXiv 2408.10536: mono over languages, cross over ordered pairs, multi over query languages.
    """
    size, setting, query_language = len(ranked.languages), columns["setting"], columns["query_language"]
    # A cell is (query language, pool language); multi rankings are on its diagonal.
    cell = query_language * size + np.where(setting == "multi", query_language, columns["pool_language"])
    metrics: dict[str, float] = {}
    tables: dict[str, Table] = {}
    for one in SETTINGS:
        rankings = setting == one
        cells = cell[rankings]
        names = [f"{x}-{y}" if one == "cross" else x for x in ranked.languages for y in ranked.languages]
        queries = np.bincount(cells, minlength=size * size)
        table = tables[one] = {names[code]: {"queries": int(queries[code])} for code in np.flatnonzero(queries)}
        for measure in (key for key in columns if key not in INDEX_COLUMNS):
            values = columns[measure][rankings]
            defined = ~np.isnan(values)
            counts = np.bincount(cells[defined], minlength=size * size)
            codes = np.flatnonzero(counts)
            means = np.bincount(cells[defined], values[defined], minlength=size * size)[codes] / counts[codes]
            for code, mean in zip(codes.tolist(), means.tolist(), strict=True):
                table[names[code]][measure] = mean
            if len(codes):
                metrics[f"{one}/{measure}"] = float(means.mean())
    if all(f"{one}/AP" in metrics for one in SETTINGS):
        metrics["balanced/AP"] = balanced([metrics[f"{one}/AP"] for one in SETTINGS])
    own = {f"{name}-{name}": dict(values) for name, values in tables["mono"].items()}
    found = np.ones(len(ranked.query_index), bool) if ranked.retrieved is None else ranked.retrieved
    multi = "multi" in ranked.settings
    correlation_known = multi and ranked.passage_index is not None and len(found) > 0
    lacks_correlation = correlation_known and bool(np.isnan(columns["rank_correlation"]).all())
    lacks_peer = multi and len(found) > 0 and len(ranked.languages) > 1 and bool(np.isnan(columns["PEER"]).all())
    return Scores(
        metrics=metrics,
        per_language={"mono": tables["mono"], "multi": tables["multi"]},
        per_pair=dict(sorted((own | tables["cross"]).items())),
        counts=_counts(ranked, columns),
        outranked=_outranked(ranked, found) if multi else {},
        over_represented=_over_represented(ranked, found) if multi else {},
        notes=([_why_no_peer(ranked)] if lacks_peer else []) + [_NO_CORRELATION] * lacks_correlation,
    )


def balanced(values: Sequence[float]) -> float:
    """Return the harmonic mean of the settings' means; 0 where one is 0."""
    return len(values) / sum(1 / value for value in values) if all(values) else 0.0


def trec_eval_means(ranked: Ranked, columns: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Return the means of ``per_query(ranked)`` as trec_eval takes them (of a run that lacks queries, with ``-c``).

    They are over all judged queries at once: one without a relevant passage counts 0, and languages are not averaged
    first.

    Returns:
        "multi/AP", .. of the pool of all passages, which in one language is "mono"; nothing where that is not scored.
    """
    setting = "mono" if len(ranked.languages) == 1 else "multi"
    if setting not in ranked.settings:
        return {}
    rankings, queries = columns["setting"] == setting, len(ranked.query_language)
    measures = [name for name in columns if name not in (*INDEX_COLUMNS, *BIAS)]
    return {f"{setting}/{name}": float(columns[name][rankings].sum() / queries) for name in measures}


def _counts(ranked: Ranked, columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Count what the means rest on: a figure without its count is not printed."""
    queries = {one: len(np.unique(columns["query"][columns["setting"] == one])) for one in ranked.settings}
    counts: dict[str, Any] = {
        "queries": queries,
        "queries_without_relevant": {one: len(ranked.query_language) - queries[one] for one in ranked.settings},
        "queries_with": {key: int(np.sum(~np.isnan(columns[key]))) for key in BIAS},
        "relevant_pairs": len(ranked.query_index),
        "passages": int(ranked.passages.sum()),
        "passages_per_language": dict(zip(ranked.languages, ranked.passages.tolist(), strict=True)),
    }
    if len(ranked.lost.grades):
        counts["relevant_not_in_pool"] = len(ranked.lost.grades)
    if ranked.retrieved is not None:
        counts["not_retrieved"] = int(np.sum(~ranked.retrieved))
    return counts


def _outranked(ranked: Ranked, found: Bool) -> dict[str, float]:
    """Return ``Scores.outranked``; a language without passages has no column."""
    languages, query_language = ranked.languages, ranked.query_language[ranked.query_index[found]]
    sums, pairs = _sums_by(query_language, ranked.counts[found]), np.bincount(query_language, minlength=len(languages))
    return {
        f"{languages[x]}-{languages[y]}": float(sums[x, y] / pairs[x])
        for x in np.flatnonzero(pairs).tolist()
        for y in np.flatnonzero(ranked.passages).tolist()
    }


def _over_represented(ranked: Ranked, found: Bool) -> dict[str, float]:
    """Return ``Scores.over_represented``, over the pairs that were found; what is above the others is not known.

    Relevant passages of the query count on neither side: they belong above. One passage, spread over the languages as
    the pool is, is added to those above, so that a language never seen there gives a finite value; it moves no neutral
    one. Languages without an irrelevant passage, and query languages with nothing irrelevant above a relevant passage
    (0/0), are left out.
    """
    languages, size, every = ranked.languages, len(ranked.languages), ranked.query_language
    relevant = np.bincount(ranked.query_index * size + ranked.passage_language, minlength=len(every) * size)
    counts, query, language = ranked.counts[found], ranked.query_index[found], ranked.passage_language[found]
    order = np.lexsort((counts.sum(1), query))
    query, language, query_language = query[order], language[order], every[query[order]]
    n = np.bincount(query, minlength=len(every))
    below = np.cumsum(n)[query] - 1 - np.arange(len(query))  # relevant passages of the query ranked after it
    right = np.bincount(query_language * size + language, below, minlength=size * size).reshape(size, size)
    seen = _sums_by(query_language, counts[order]) - right  # [L, L] irrelevant passages above relevant ones
    # [L, L] the irrelevant passages that could be above, summed over the same relevant pairs
    all_passages = np.bincount(query_language, minlength=size)[:, None] * ranked.passages
    offered = all_passages - _sums_by(every, relevant.reshape(-1, size) * n[:, None])
    share = offered / np.maximum(offered.sum(1, keepdims=True), 1)
    total = seen.sum(1, keepdims=True)
    ratio = (seen + share) / (total + 1) / np.where(share > 0, share, 1)
    return {
        f"{languages[row]}-{languages[column]}": float(np.log2(ratio[row, column]))
        for row, column in zip(*(axis.tolist() for axis in np.nonzero((total > 0) & (share > 0))), strict=True)
    }


def _sums_by(row: Int64, values: Int64) -> Float64:
    """Add [R, L] up into [L, L] by the first index."""
    sums = np.zeros((values.shape[1], values.shape[1]))
    for column in range(values.shape[1]):  # a bincount a column: many times faster than np.add.at over rows
        sums[:, column] = np.bincount(row, values[:, column], minlength=values.shape[1])
    return sums


_NO_CORRELATION = (
    "multi/rank_correlation is not shown: no question is asked in two languages with the same relevant passages, two or"
    " more"
)


def _why_no_peer(ranked: Ranked) -> str:
    size = len(ranked.languages)
    relevant = np.bincount(ranked.query_index)
    spoken = np.bincount(np.unique(ranked.query_index * size + ranked.passage_language) // size)
    if spoken.max() < 2:
        reason = "the relevant passages of every query are in one language"
    elif (relevant == spoken).all():
        reason = (
            "every query has one relevant passage per language, and Kruskal-Wallis is then the same constant for all "
            "rankings"
        )
    else:
        reason = "no query has relevant passages of one grade in two languages and two of them in one language"
    return f"multi/PEER is not shown: {reason}"
