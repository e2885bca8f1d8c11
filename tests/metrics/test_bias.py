import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from hybridtune.metrics import measures as bias
from hybridtune.metrics.measures import UNRETRIEVED, Lists
from hybridtune.metrics.metrics import Ranked, direction, per_query, score


def lists_of(ranks, gains=None, sizes=None):
    sizes = [len(ranks)] if sizes is None else sizes
    starts = np.cumsum([0, *sizes[:-1]])
    return Lists(np.array(ranks), np.ones(len(ranks)) if gains is None else np.array(gains, float), starts)


def chi_square_tail(h, freedom):
    """P(chi-square > h) in closed form, by the recurrence in steps of two degrees of freedom."""
    tail, have = (math.exp(-h / 2), 2) if freedom % 2 == 0 else (math.erfc(math.sqrt(h / 2)), 1)
    while have < freedom:
        tail += (h / 2) ** (have / 2) * math.exp(-h / 2) / math.gamma(have / 2 + 1)
        have += 2
    return tail


def naive_peer(entries):
    """(rank or None, language, grade) of the relevant passages of one query -> PEER, from the definition."""
    total = weights = 0.0
    for grade in {grade for _, _, grade in entries}:
        sample = [(math.inf if rank is None else rank, language) for rank, language, own in entries if own == grade]
        spoken = {language for _, language in sample}
        if len(spoken) < 2 or len(sample) == len(spoken):
            continue
        every = [rank for rank, _ in sample]
        mid = [sum(other < rank for other in every) + (every.count(rank) + 1) / 2 for rank in every]
        mean = sum(mid) / len(mid)
        spread = sum((value - mean) ** 2 for value in mid)
        between = 0.0
        for language in spoken:
            own = [value for value, (_, other) in zip(mid, sample, strict=True) if other == language]
            between += len(own) * (sum(own) / len(own) - mean) ** 2
        h = (len(mid) - 1) * between / spread if spread else 0.0
        total += grade * chi_square_tail(h, len(spoken) - 1)
        weights += grade
    return total / weights if weights else math.nan


@pytest.mark.parametrize("seed", range(40))
def test_peer_equals_the_definition_graded_and_truncated(seed):
    random = np.random.default_rng(seed)
    languages, queries = int(random.integers(2, 6)), 12
    entries, ranks, gains, spoken, sizes = [], [], [], [], []
    for _ in range(queries):
        n = int(random.integers(1, 12))
        found = np.sort(random.choice(60, n, replace=False) + 1).tolist()
        lost = int(random.integers(0, n + 1)) if seed % 2 else 0
        found = [*found[: n - lost], *[None] * lost]
        own = random.integers(1, 4 if seed % 3 else 2, n).tolist()
        tongue = random.integers(languages, size=n).tolist()
        entries.append(list(zip(found, tongue, own, strict=True)))
        ranks += [UNRETRIEVED if rank is None else rank for rank in found]
        gains, spoken, sizes = gains + own, spoken + tongue, [*sizes, n]
    values = bias.peer(lists_of(ranks, gains, sizes), np.array(spoken), languages)
    assert values.tolist() == pytest.approx([naive_peer(query) for query in entries], abs=1e-12, nan_ok=True)
    assert (np.isnan(values) | ((values > 0) & (values <= 1))).all()


def test_peer_agrees_with_scipy():
    from scipy import stats

    random = np.random.default_rng(0)
    for _ in range(20):
        language, lost = random.integers(3, size=15), int(random.integers(0, 8))
        ranks = np.array([*range(1, 16 - lost), *[UNRETRIEVED] * lost])
        expected = stats.kruskal(*(ranks[language == one] for one in np.unique(language))).pvalue
        assert bias.peer(lists_of(ranks), language, 3)[0] == pytest.approx(expected, abs=1e-9)


def test_peer_is_not_defined_where_the_order_cannot_matter():
    # One passage a language; one language; and, beside them, a query that can be tested.
    lists = lists_of([1, 5, 2, 3, 4, 6, 7], sizes=[2, 2, 3])
    values = bias.peer(lists, np.array([0, 1, 1, 1, 0, 0, 1]), 2)
    assert np.isnan(values[:2]).all()
    assert 0 < values[2] < 1
    # Nothing retrieved: all tied, and nothing ranked by language.
    assert bias.peer(lists_of([UNRETRIEVED] * 3), np.array([0, 0, 1]), 2)[0] == 1.0


def test_grades_that_cannot_be_tested_carry_no_weight():
    language = np.array([0, 0, 1, 1, 0, 1])
    graded = lists_of([1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 3, 3])
    alone = lists_of([1, 2, 3, 4])
    assert bias.peer(graded, language, 2)[0] == pytest.approx(bias.peer(alone, language[:4], 2)[0])


def ranking(pools, relevant, order, **more):
    """A query, an order of (language, number) passages, and the relevant ones -> Ranked."""
    counts = [[sum(one == lang for one, _ in order[: order.index(p)]) for lang in range(len(pools))] for p in relevant]
    return Ranked(
        counts=np.array(counts),
        query_index=np.zeros(len(relevant), np.int64),
        passage_language=np.array([language for language, _ in relevant]),
        query_language=np.array([0]),
        languages=["en", "de", "fr"][: len(pools)],
        passages=np.array(pools),
        **more,
    )


def test_over_representation_by_hand():
    # Pool: 4 en, 2 de; relevant en 0 and de 0. Irrelevant: 3 en, 1 de, for each of the two relevant passages.
    order = [(0, 1), (0, 2), (0, 0), (0, 3), (1, 0), (1, 1)]
    scores = score(one := ranking([4, 2], [(0, 0), (1, 0)], order), per_query(one))
    # Above en 0: en 2. Above de 0: en 3 (and the relevant en 0, which does not count). So en 5 of 5, de 0 of 5.
    assert scores.over_represented == {
        "en-en": pytest.approx(math.log2((5 + 3 / 4) / 6 / (3 / 4))),
        "en-de": pytest.approx(math.log2((0 + 1 / 4) / 6 / (1 / 4))),
    }
    assert scores.outranked == {"en-en": 3.0, "en-de": 0.0}


def test_over_representation_leaves_out_what_is_not_defined():
    perfect = ranking([3, 2], [(0, 0)], [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)])
    assert score(perfect, per_query(perfect)).over_represented == {}  # nothing above: 0/0
    only = ranking([2, 1, 0], [(0, 0), (1, 0)], [(0, 1), (0, 0), (1, 0)])  # de has no irrelevant passage, fr none
    assert score(only, per_query(only)).over_represented == {"en-en": 0.0}


def test_over_representation_is_neutral_over_all_orders():
    # Every order of 3 en and 2 de passages, one of each relevant, a query each: sums are exactly the pool's shares.
    passages = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    parts = [ranking([3, 2], [(0, 0), (1, 0)], list(order)) for order in permutations(passages)]
    every = replace(
        parts[0],
        counts=np.concatenate([part.counts for part in parts]),
        query_index=np.repeat(np.arange(len(parts)), 2),
        passage_language=np.tile([0, 1], len(parts)),
        query_language=np.zeros(len(parts), np.int64),
    )
    found = score(every, per_query(every)).over_represented
    assert found == {"en-en": pytest.approx(0, abs=1e-12), "en-de": pytest.approx(0, abs=1e-12)}


def test_peer_reaches_the_scores_or_a_note_says_why_not():
    order = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (1, 2)]
    fair = ranking([3, 3], [(0, 0), (0, 1), (1, 0), (1, 1)], order)
    scores = score(fair, per_query(fair))
    assert scores.metrics["multi/PEER"] == pytest.approx(chi_square_tail(2.4, 1))
    assert scores.per_language["multi"]["en"]["PEER"] == scores.metrics["multi/PEER"]
    assert scores.counts["queries_with"]["PEER"] == 1
    assert scores.notes == []
    assert direction("multi/PEER") == "max"
    for relevant, reason in (
        ([(0, 0), (1, 0)], "one relevant passage per language"),
        ([(0, 0), (0, 1)], "in one language"),
    ):
        constant = ranking([3, 3], relevant, order)
        scores = score(constant, per_query(constant))
        assert "multi/PEER" not in scores.metrics
        assert len(scores.notes) == 1
        assert "multi/PEER is not shown" in scores.notes[0]
        assert reason in scores.notes[0]


def test_one_grade_a_language_is_explained():
    order = [(0, 0), (0, 1), (1, 0)]
    graded = ranking([2, 1], order, order, grades=np.array([1.0, 2, 1]))
    assert "one grade" in score(graded, per_query(graded)).notes[0]


def test_a_truncated_list_leaves_bias_open_where_ranks_are_unknown():
    # en 0 at 2 of a list of three, de 0 not in it.
    order = [(0, 1), (0, 0), (0, 2), (1, 0), (0, 3), (1, 1)]
    cut = ranking([4, 2], [(0, 0), (1, 0)], order, retrieved=np.array([True, False]))
    columns = per_query(cut, ["AP", "nDCG", "R@100", "RR"])
    assert columns["setting"].tolist() == ["multi", "mono", "cross"]
    assert np.isnan(columns["rank_distance"]).all()
    assert columns["language_preference"][0] == 1
    ideal = 1 + 1 / math.log2(3)
    assert columns["AP"].tolist() == [1 / 2 / 2, 1 / 2, 0.0]
    assert columns["nDCG"].tolist() == pytest.approx([1 / math.log2(3) / ideal, 1 / math.log2(3), 0.0])
    assert columns["R@100"].tolist() == [0.5, 1, 0]
    assert columns["RR"].tolist() == [0.5, 0.5, 0]
    scores = score(cut, columns)
    assert scores.metrics["balanced/AP"] == 0.0
    assert scores.counts["not_retrieved"] == 1
    assert scores.outranked == {"en-en": 1.0, "en-de": 0.0}
    # Above en 0: one en of one; the irrelevant pool is 3 en and 1 de.
    assert scores.over_represented["en-en"] == pytest.approx(math.log2((1 + 3 / 4) / 2 / (3 / 4)))


def test_a_run_of_mono_lists_has_no_other_figure():
    order = [(0, 1), (0, 0), (0, 2), (1, 0), (0, 3), (1, 1)]
    mono = ranking([4, 2], [(0, 0)], order, settings=("mono",))
    columns = per_query(mono)
    assert columns["setting"].tolist() == ["mono"]
    scores = score(mono, columns)
    assert {name.split("/")[0] for name in scores.metrics} == {"mono"}
    assert scores.counts["queries"] == {"mono": 1}
    assert scores.outranked == scores.over_represented == {}
