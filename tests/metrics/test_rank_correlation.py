"""Rank correlation of a question asked in several languages: by its definition, scipy, by hand, in the scores."""

import math

import numpy as np
import pytest

from hybridtune.config.fields import BenchmarkSource
from hybridtune.evaluate.benchmark import load_benchmark, score_vectors
from hybridtune.metrics.measures import UNRETRIEVED, Lists, rank_correlation
from hybridtune.metrics.metrics import Ranked, direction, metric_names, per_query, score


def spearman(one, other):
    """Spearman's correlation from its definition: Pearson's of the mid-ranks; NaN where one is constant."""

    def places(values):
        return [sum(x < value for x in values) + (values.count(value) + 1) / 2 for value in values]

    a, b = places(one), places(other)
    centre = (len(one) + 1) / 2
    product = sum((x - centre) * (y - centre) for x, y in zip(a, b, strict=True))
    size = math.sqrt(sum((x - centre) ** 2 for x in a) * sum((y - centre) ** 2 for y in b))
    return product / size if size else math.nan


def made(seed):
    """Random questions, each asked by queries in several languages that rank its passages; some are not retrieved."""
    random = np.random.default_rng(seed)
    queries = []  # (topic, language, {passage: rank})
    for topic in range(8):
        passages = random.choice(100, int(random.integers(1, 8)), replace=False)
        for _ in range(int(random.integers(1, 6))):
            ranks = random.choice(500, len(passages), replace=False) + 1
            if seed % 2:
                ranks = np.where(random.random(len(ranks)) < 0.3, UNRETRIEVED, ranks)
            queries.append((topic, int(random.integers(3)), dict(zip(passages.tolist(), ranks.tolist(), strict=True))))
    random.shuffle(queries)
    return queries


def lists_of(queries):
    entries = [sorted(ranks.items(), key=lambda item: item[1]) for _, _, ranks in queries]
    starts = np.cumsum([0, *map(len, entries)])[:-1]
    rank, passage = (np.array([entry[place] for one in entries for entry in one], np.int64) for place in (1, 0))
    return Lists(rank, np.ones(len(rank)), starts), passage


@pytest.mark.parametrize("seed", range(30))
def test_it_is_the_mean_of_spearman_over_the_other_languages(seed):
    queries = made(seed)
    lists, passage = lists_of(queries)
    topic, language = (np.array([query[place] for query in queries]) for place in (0, 1))
    found = rank_correlation(lists, passage, topic, language)
    for (own_topic, own_language, ranks), value in zip(queries, found.tolist(), strict=True):
        others = [
            spearman([ranks[name] for name in other], [*other.values()])
            for other_topic, other_language, other in queries
            if other_topic == own_topic and other_language != own_language
        ]
        defined = [one for one in others if not math.isnan(one)]
        assert value == pytest.approx(np.mean(defined) if defined else math.nan, abs=1e-9, nan_ok=True)
        assert math.isnan(value) or -1 - 1e-9 <= value <= 1 + 1e-9


def test_it_agrees_with_scipy():
    from scipy import stats

    random = np.random.default_rng(0)
    one, other = (random.permutation(9) + 1 for _ in range(2))
    queries = [(0, 0, dict(enumerate(one.tolist()))), (0, 1, dict(enumerate(other.tolist())))]
    lists, passage = lists_of(queries)
    found = rank_correlation(lists, passage, np.zeros(2, np.int64), np.array([0, 1]))
    assert found.tolist() == pytest.approx([stats.spearmanr(one, other).statistic] * 2)


def test_one_order_opposite_orders_and_a_third_between():
    up, down = {0: 1, 1: 5, 2: 9}, {0: 30, 1: 20, 2: 10}
    queries = [(0, 0, up), (0, 1, {0: 2, 1: 3, 2: 700}), (0, 2, down)]
    lists, passage = lists_of(queries)
    found = rank_correlation(lists, passage, np.zeros(3, np.int64), np.arange(3))
    assert found.tolist() == pytest.approx([(1 - 1) / 2, (1 - 1) / 2, -1])


def test_the_scores_have_it_a_query_and_in_the_mean():
    # A question in en (query 0) and de (1) with passages 0 (en), 1 (de), 2 (de); query 2 stands alone.
    ranks = np.array([[1, 4, 6], [7, 2, 5]])
    query_index, passage_index = np.array([0, 0, 0, 1, 1, 1, 2]), np.array([0, 1, 2, 0, 1, 2, 3])
    counts = np.zeros((7, 2), np.int64)
    counts[:6, 0] = ranks.ravel() - 1  # of these, in German, the relevant ones that stand above
    counts[:6, 1] = [sum(other < rank for other in row[1:]) for row in ranks.tolist() for rank in row]
    counts[:6, 0] -= counts[:6, 1]
    ranked = Ranked(
        counts,
        query_index,
        np.array([0, 1, 1, 0, 1, 1, 0]),
        np.array([0, 1, 0]),
        ["en", "de"],
        np.array([40, 40]),
        passage_index=passage_index,
    )
    columns = per_query(ranked)
    multi = columns["setting"] == "multi"
    rho = spearman(ranks[0].tolist(), ranks[1].tolist())
    assert columns["rank_correlation"][multi].tolist() == pytest.approx([rho, rho, math.nan], nan_ok=True)
    assert np.isnan(columns["rank_correlation"][~multi]).all()
    scores = score(ranked, columns)
    assert scores.metrics["multi/rank_correlation"] == pytest.approx(rho)
    assert scores.counts["queries_with"]["rank_correlation"] == 2
    assert "multi/rank_correlation" in metric_names()
    assert direction("multi/rank_correlation") == "max"


def test_without_translated_questions_a_note_says_why():
    counts = np.array([[0, 0], [1, 0], [2, 1]])
    ranked = Ranked(
        counts,
        np.array([0, 0, 1]),
        np.array([0, 1, 1]),
        np.array([0, 1]),
        ["en", "de"],
        np.array([9, 9]),
        passage_index=np.array([0, 1, 2]),
    )
    scores = score(ranked, per_query(ranked))
    assert "multi/rank_correlation" not in scores.metrics
    assert any(
        note.startswith("multi/rank_correlation is not shown: no question is asked in two") for note in scores.notes
    )


def test_vectors_that_know_no_language_rank_alike():
    benchmark = load_benchmark(BenchmarkSource(path="newsroom:dev", languages=["en", "de", "fr"], documents=(0, 6)))
    names = sorted({text.text_id.rpartition(":")[0] for text in [*benchmark.queries, *benchmark.passages]})
    draw = np.random.default_rng(0).normal(size=(len(names), 16))

    def vectors(texts, apart):
        """The group's own direction; ``apart`` pulls each passage to its language."""
        shift = {language: apart * np.eye(16)[n] for n, language in enumerate(["de", "en", "fr"])}
        rows = [draw[names.index(text.text_id.rpartition(":")[0])] + shift[text.language] for text in texts]
        return (np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    passages = vectors(benchmark.passages, 1.0)
    agnostic = score_vectors(benchmark, vectors(benchmark.queries, 0.0), passages).metrics
    biased = score_vectors(benchmark, vectors(benchmark.queries, 4.0), passages).metrics
    assert agnostic["multi/rank_correlation"] == pytest.approx(1)
    assert biased["multi/rank_correlation"] < agnostic["multi/rank_correlation"]
