import dataclasses
import json

import ir_measures
import numpy as np
import pytest
import torch

from hybridtune.errors import InputError
from hybridtune.metrics.measures import BIAS, MEASURES, parse_measure
from hybridtune.metrics.metrics import NOTHING_LOST, Lost, Ranked, direction, metric_names, per_query, score
from hybridtune.metrics.ranks import RankCounter
from hybridtune.metrics.scores import pair_scores
from hybridtune.metrics.ties import tie_order

ALL_MEASURES = (*MEASURES, "nDCG", "nDCG@20", "AP@3", "R@5", "Success@1", "Success@5")


def ranked_by_ir_measures(setting, pools, grades, scores, ids, asked, lost):
    """(query, pool language) -> measure -> value, of every ranking with a relevant passage, in its pool or lost."""
    values = {}
    for query in range(len(scores)):
        for code, pool in pools.items():
            kind = "multi" if code == -1 else "mono" if code == asked[query] else "cross"
            if kind != setting or not (grades[query, pool].any() or lost.get((query, code))):
                continue
            qrels = {"q": {ids[p]: int(grades[query, p]) for p in pool} | lost.get((query, code), {})}
            run = {"q": {ids[p]: scores[query, p].item() for p in pool}}
            measures = [ir_measures.parse_measure(name) for name in ALL_MEASURES]
            found = ir_measures.iter_calc(measures, qrels, run)
            values[query, code] = {str(value.measure): value.value for value in found}
    return values


def lose(random, queries, languages):
    """Relevant passages in no pool, of known languages and not, and ``{(query, pool): {id: grade}}`` of them."""
    known = random.integers(-1, languages, 3 * queries)
    lost = Lost(
        random.integers(queries, size=len(known)), np.arange(len(known)), random.integers(1, 4, len(known)), known
    )
    by_pool = {}
    for query, number, grade, language in zip(*map(np.ndarray.tolist, lost), strict=True):
        for pool in {language, -1}:
            by_pool.setdefault((query, pool), {})[f"gone{number}"] = int(grade)
    return lost._replace(grades=lost.grades.astype(float)), by_pool


@pytest.mark.parametrize("some_lost", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_every_setting_equals_ir_measures_with_ties_and_grades(seed, some_lost):
    random = np.random.default_rng(seed)
    queries, passages, languages = 8, 130, 3
    vectors = random.integers(-1, 2, (queries + passages, 4)).astype(np.float32) + np.float32(0.25)
    unit = torch.nn.functional.normalize(torch.from_numpy(vectors), dim=1)
    q, p = unit[:queries], unit[queries:]
    ids = [f"{number}" for number in random.permutation(passages)]
    spoken, asked = random.integers(languages, size=passages), random.integers(languages, size=queries)
    grades = random.integers(1, 4, (queries, passages)) * (random.random((queries, passages)) < 0.06)
    judged = (random.random((queries, passages)) < 0.1) | (grades > 0)  # some at grade 0: not relevant
    query_index, passage_index = (torch.from_numpy(index) for index in judged.nonzero())
    order = torch.from_numpy(tie_order(ids))
    pairs = pair_scores(q, p, query_index, passage_index)
    counter = RankCounter(query_index, pairs, order[passage_index], languages)
    counter.add(q, p, order, torch.from_numpy(spoken))
    every = torch.ones(queries, passages).nonzero(as_tuple=True)
    scores = pair_scores(q, p, *every).view(queries, passages)
    assert len(scores.unique()) < queries * passages / 3  # ties are common

    lost, by_pool = lose(random, queries + 1, languages) if some_lost else (NOTHING_LOST, {})
    asked = np.append(asked, 0)  # a query that has nothing in the pools
    grades, scores = np.vstack([grades, 0 * grades[:1]]), torch.vstack([scores, scores[:1]])
    shuffled = random.permutation(len(pairs))
    ranked = Ranked(
        counts=counter.counts.numpy()[shuffled],
        query_index=query_index.numpy()[shuffled],
        passage_language=spoken[passage_index][shuffled],
        query_language=asked,
        languages=["aa", "bb", "cc"],
        passages=counter.passages.numpy(),
        grades=grades[:-1][judged].astype(float)[shuffled],
        lost=lost,
    )
    columns = per_query(ranked, (*ALL_MEASURES, "RR@2"))
    # ir_measures takes RR@k from another provider than RR, one that breaks ties otherwise than trec_eval.
    assert np.array_equal(columns["RR@2"], np.where(columns["RR"] >= 1 / 2, columns["RR"], 0))
    pools = {code: np.flatnonzero(spoken == code) for code in range(languages)} | {-1: np.arange(passages)}
    for setting in ("mono", "cross", "multi"):
        expected = ranked_by_ir_measures(setting, pools, grades, scores, ids, asked, by_pool)
        rows = np.flatnonzero(columns["setting"] == setting)
        keys = [(int(columns["query"][row]), int(columns["pool_language"][row])) for row in rows]
        assert sorted(keys) == sorted(expected)
        for row, key in zip(rows, keys, strict=True):
            for measure in ALL_MEASURES:
                assert columns[measure][row] == pytest.approx(expected[key][measure], abs=1e-9), measure
    bias_alone = per_query(dataclasses.replace(ranked, grades=ranked.gains, lost=NOTHING_LOST))
    for name in BIAS:  # what is in no pool says nothing of the order in it
        values = columns[name][~np.isnan(columns[name])]
        assert np.array_equal(values, bias_alone[name][~np.isnan(bias_alone[name])])


@pytest.fixture
def known():
    """Three queries of en, one of de, one of fr without any relevant passage; pools en 10, de 20, fr 0.

    query 0 (en): en passage outranked by 0 en, 0 de; de passage by 1 en, 3 de.
    query 1 (en): en passage outranked by 3 en, 1 de; de passage by 0 en, 0 de.
    query 2 (en): de passage outranked by 4 en, 1 de. No relevant passage in en.
    query 3 (de): en passage outranked by 0 en, 1 de; de passage by 0 en, 0 de; a de passage of grade 0.
    """
    return Ranked(
        counts=np.array([[0, 0, 0], [1, 3, 0], [3, 1, 0], [0, 0, 0], [4, 1, 0], [0, 1, 0], [0, 0, 0], [7, 7, 0]]),
        query_index=np.array([0, 0, 1, 1, 2, 3, 3, 3]),
        passage_language=np.array([0, 1, 0, 1, 1, 0, 1, 1]),
        query_language=np.array([0, 0, 0, 1, 2]),
        languages=["en", "de", "fr"],
        passages=np.array([10, 20, 0]),
        grades=np.array([1.0, 1, 1, 1, 1, 1, 1, 0]),
    )


def test_means_of_means_by_hand(known):
    scores = score(known, per_query(known))
    # mono AP: en ranks 1 and 4, de rank 1. cross AP: en-de ranks 4, 1, 2; de-en rank 1.
    en, en_de = (1 + 1 / 4) / 2, (1 / 4 + 1 + 1 / 2) / 3
    mono, cross = (en + 1) / 2, (en_de + 1) / 2
    # multi ranks: query 0: 1, 5; query 1: 1, 5; query 2: 6; query 3: 1, 2.
    multi_en = ((1 + 2 / 5) / 2 + (1 + 2 / 5) / 2 + 1 / 6) / 3
    multi = (multi_en + 1) / 2
    assert scores.metrics["mono/AP"] == pytest.approx(mono)
    assert scores.metrics["cross/AP"] == pytest.approx(cross)
    assert scores.metrics["multi/AP"] == pytest.approx(multi)
    assert scores.metrics["balanced/AP"] == pytest.approx(3 / (1 / mono + 1 / cross + 1 / multi))
    assert scores.per_language["mono"]["en"]["AP"] == pytest.approx(en)
    assert scores.per_language["multi"]["en"]["AP"] == pytest.approx(multi_en)
    assert scores.per_pair["en-de"]["AP"] == pytest.approx(en_de)
    assert scores.per_pair["en-en"] == scores.per_language["mono"]["en"]
    assert sorted(scores.per_pair) == ["de-de", "de-en", "en-de", "en-en"]
    assert list(scores.metrics) == sorted(scores.metrics, key=metric_names().index)
    assert set(scores.metrics) == set(metric_names()) - {"multi/PEER", "multi/rank_correlation"}


def test_language_bias_by_hand(known):
    scores = score(known, per_query(known))
    # Last minus first: en 4, 4 (query 2 has one relevant passage: none); de 1. Not (4 + 4 + 1) / 3.
    assert scores.metrics["multi/rank_distance"] == pytest.approx((4 + 1) / 2)
    # Best relevant passage in the query's language: en yes, no (query 2 has none in en); de yes.
    assert scores.metrics["multi/language_preference"] == pytest.approx((1 / 2 + 1) / 2)
    # Over relevant pairs: en passages 0 + 1 + 3 + 0 + 4, de passages 0 + 3 + 1 + 0 + 1, for 5 pairs of en.
    assert scores.outranked == {"en-en": 8 / 5, "en-de": 5 / 5, "de-en": 0.0, "de-de": 1 / 2}


def test_every_figure_has_its_count(known):
    scores = score(known, per_query(known))
    assert scores.counts == {
        "queries": {"mono": 3, "cross": 4, "multi": 4},
        "queries_without_relevant": {"mono": 2, "cross": 1, "multi": 1},
        "queries_with": {"rank_distance": 3, "language_preference": 3, "rank_correlation": 0, "PEER": 0},
        "relevant_pairs": 7,
        "passages": 30,
        "passages_per_language": {"en": 10, "de": 20, "fr": 0},
    }
    assert {pair: row["queries"] for pair, row in scores.per_pair.items()} == {
        "de-de": 1,
        "de-en": 1,
        "en-de": 3,
        "en-en": 2,
    }
    assert {name: row["queries"] for name, row in scores.per_language["multi"].items()} == {"en": 3, "de": 1}
    assert json.loads(json.dumps(dataclasses.asdict(scores))) == dataclasses.asdict(scores)


def test_columns_are_what_the_means_are_made_of(known):
    columns = per_query(known, ["RR"])
    rows = list(zip(*(columns[key].tolist() for key in ("setting", "query", "pool_language", "RR")), strict=True))
    assert sorted(rows) == [
        ("cross", 0, 1, 1 / 4),
        ("cross", 1, 1, 1.0),
        ("cross", 2, 1, 1 / 2),
        ("cross", 3, 0, 1.0),
        ("mono", 0, 0, 1.0),
        ("mono", 1, 0, 1 / 4),
        ("mono", 3, 1, 1.0),
        ("multi", 0, -1, 1.0),
        ("multi", 1, -1, 1.0),
        ("multi", 2, -1, 1 / 6),
        ("multi", 3, -1, 1.0),
    ]
    assert np.isnan(columns["rank_distance"][columns["setting"] != "multi"]).all()


def test_one_language_has_the_mono_setting_alone():
    ranked = Ranked(np.array([[2]]), np.array([0]), np.array([0]), np.array([0]), ["en"], np.array([5]))
    scores = score(ranked, per_query(ranked))
    assert scores.metrics["mono/AP"] == pytest.approx(1 / 3)
    assert not [name for name in scores.metrics if not name.startswith("mono/")]
    assert scores.counts["queries_without_relevant"] == {"mono": 0}


def test_nothing_relevant_gives_counts_and_no_figure():
    none = np.empty(0, np.int64)
    ranked = Ranked(np.empty((0, 2), np.int64), none, none, np.array([0, 1]), ["en", "de"], np.array([3, 4]))
    scores = score(ranked, per_query(ranked))
    assert scores.metrics == {}
    assert scores.per_pair == {}
    assert scores.counts["queries_without_relevant"] == {"mono": 2, "cross": 2, "multi": 2}


def test_names_and_directions():
    assert [name for name in metric_names() if direction(name) == "min"] == ["multi/rank_distance"]
    assert direction("cross/R@5") == "max"
    assert (parse_measure("nDCG@10"), parse_measure("AP")) == (("nDCG", 10), ("AP", None))
    for name in ("AP", "mono/R", "mono/R@0", "bi/AP", "balanced/RR", "mono/rank_distance", "cross/ap", ""):
        with pytest.raises(InputError, match="unknown"):
            direction(name)


@pytest.mark.parametrize(
    "change",
    [
        {"query_index": np.array([5])},
        {"passage_language": np.array([-1])},
        {"query_language": np.array([2])},
        {"counts": np.array([[0, 0, 0]])},
        {"passages": np.array([1])},
        {"grades": np.array([1.0, 1.0])},
        {"retrieved": np.array([True, True])},
    ],
)
def test_inputs_that_disagree_raise(change):
    given = {
        "counts": np.array([[0, 0]]),
        "query_index": np.array([0]),
        "passage_language": np.array([1]),
        "query_language": np.array([0]),
        "languages": ["en", "de"],
        "passages": np.array([1, 1]),
    }
    assert len(per_query(Ranked(**given))["AP"]) == 2
    with pytest.raises(ValueError):
        Ranked(**(given | change))
