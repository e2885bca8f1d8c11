import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.errors import InputError
from hybridtune.metrics import resampling
from hybridtune.metrics.metrics import SETTINGS, Ranked, per_query, score
from hybridtune.metrics.per_query import PerQuery, read_per_query, write_per_query
from hybridtune.metrics.resampling import bootstrap_means, interval, sign_flip_p
from hybridtune.metrics.significance import compare, holm
from hybridtune.metrics.topics import topic_numbers

LANGUAGES = ["de", "en", "fr"]


def of_values(values, topic=None, measure="AP", **about):
    """One setting's rankings: float [questions, languages], every question a topic with its translations."""
    rows, languages = values.shape
    names = np.array(LANGUAGES)[np.tile(np.arange(languages), rows)]
    ids = np.array([f"{row}:{language}" for row in range(rows) for language in range(languages)])
    topic = np.repeat(np.arange(rows), languages) if topic is None else topic
    setting = "multi" if measure == "rank_distance" else "mono"
    return PerQuery(np.full(len(ids), setting), ids, topic, names, names, {measure: values.ravel()}, about)


def permutation_p(contributions, draws, seed=0):
    return sign_flip_p(lambda sums: sums[:, 0], contributions[:, None], draws, seed)


def only(comparison):
    (row,) = comparison.differences
    return row


@pytest.mark.parametrize(
    ("contributions", "p"),
    [
        ([1, 2, 3], 2 / 8),  # 6, of 6 4 2 0 and their negatives
        ([4, -1, 2], 4 / 8),  # 5, of 7 5 3 1
        ([1, 2, -3], 8 / 8),  # 0
        ([0.1, 0.1, 0.1, -0.1], 10 / 16),  # 0.2: all but the six ways to 0; ties differ in their last bits
        ([0.1, 0.2, -0.3, 0.7], 10 / 16),  # 0.7, beside sums of 0 0 .2 -.2 .4 -.4 .6 -.6: not for the three below 0
        ([0, 5, 0], 1),  # one topic that differs
        ([0, 0], 1),
    ],
)
def test_permutation_p_by_hand(contributions, p):
    assert permutation_p(np.array(contributions, float), draws=1) == p


@pytest.mark.parametrize("seed", range(5))
def test_enumeration_equals_its_naive_twin(seed):
    values = np.random.default_rng(seed).integers(-3, 4, 1 + 2 * seed).astype(float)
    every = itertools.product((-1, 1), repeat=len(values))
    sums = [abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in every]
    assert permutation_p(values, 1) == np.mean([one >= abs(values.sum()) for one in sums])


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.5])
def test_draws_agree_with_enumeration(shift, monkeypatch):
    values, draws = np.random.default_rng(3).normal(shift, 1, 14), 4000
    exact = permutation_p(values, draws)
    monkeypatch.setattr(resampling, "EXACT_UNITS", 13)
    drawn = permutation_p(values, draws)
    assert drawn != exact
    assert abs(drawn - exact) < 5 * math.sqrt(exact * (1 - exact) / draws) + 1 / draws
    monkeypatch.setattr(resampling, "_ELEMENTS", 200)  # in many small blocks: still a sound p
    assert abs(permutation_p(values, draws) - exact) < 5 * math.sqrt(exact * (1 - exact) / draws) + 1 / draws


def test_p_is_never_zero():
    assert permutation_p(np.ones(200), 99) == 1 / 100


def test_bootstrap_equals_its_naive_twin_in_any_blocks(monkeypatch):
    random, draws = np.random.default_rng(1), 60
    topic = np.concatenate([np.arange(6), random.integers(6, size=20)])
    cell = np.concatenate([random.integers(4, size=22), np.arange(4)])  # sparse: some draw misses some cell
    values = random.normal(size=26)
    drawn = np.random.default_rng([7, 1]).integers(6, size=(draws, 6))
    means = []
    for one in drawn:
        rows = np.concatenate([np.flatnonzero(topic == t) for t in one])
        means.append(np.mean([values[rows[cell[rows] == c]].mean() for c in range(4) if (cell[rows] == c).any()]))
    assert any(len({*cell[np.isin(topic, one)]}) < 4 for one in drawn)
    expected = pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))
    assert interval(bootstrap_means(values, topic, cell, draws, 7)) == expected
    monkeypatch.setattr(resampling, "_ELEMENTS", 13)
    assert interval(bootstrap_means(values, topic, cell, draws, 7)) == expected


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3 * .01, then 2 * .03, then .04 raised
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(p):
    corrected = holm(p)
    for (x, new_x), (y, new_y) in itertools.product(zip(p, corrected, strict=True), repeat=2):
        assert x <= new_x <= min(1, len(p) * x)
        assert not x < y or new_x <= new_y


@st.composite
def two_models(draw):
    """Ranked of two models on one benchmark: 2 or 3 languages, queries that translate each other, ragged."""
    languages = draw(st.integers(2, 3))
    groups = draw(st.lists(st.lists(st.booleans(), min_size=languages, max_size=languages), min_size=1, max_size=4))
    pairs, asked = [], []
    for number, here in enumerate(groups):
        for language in range(languages):
            relevant = [number * languages + other for other in range(languages) if here[other]]
            pairs += [(len(asked), passage) for passage in relevant or [number * languages]]
            asked.append(language)
    query, passage = np.array(pairs).T
    spoken = np.arange((len(groups) + 4) * languages) % languages
    models = []
    for _ in range(2):
        scores = np.random.default_rng(draw(st.integers(0, 2**32))).random((len(asked), len(spoken)))
        above = scores[query] > scores[query, passage][:, None]  # [R, P]
        counts = np.stack([above[:, spoken == code].sum(1) for code in range(languages)], 1)
        names, sizes = LANGUAGES[:languages], np.bincount(spoken)
        models.append(Ranked(counts, query, spoken[passage], np.array(asked), names, sizes))
    return models, topic_numbers(query, passage, len(asked))


@given(two_models())
def test_the_statistic_is_the_difference_of_the_means_of_score(tmp_path_factory, drawn):
    models, topics = drawn
    folder, sides, means = tmp_path_factory.mktemp("pairs"), [], []
    for number, ranked in enumerate(models):
        columns = per_query(ranked)
        ids = [f"q{row}" for row in range(len(topics))]
        write_per_query(folder / f"{number}", columns, ids, ranked.languages, topics, {})
        sides.append(read_per_query(folder / f"{number}"))
        means.append(score(ranked, columns).metrics)
    measures = ["AP", "R@1", "rank_distance", "language_preference"]
    comparison = compare(*sides, measures, seed=0, draws=10)
    expected = {f"{setting}/{measure}" for setting in SETTINGS for measure in measures} & set(means[0])
    assert {f"{row.setting}/{row.measure}" for row in comparison.differences} == expected
    for row in comparison.differences:
        name = f"{row.setting}/{row.measure}"
        assert row.a == pytest.approx(means[0][name], abs=1e-12)
        assert row.b == pytest.approx(means[1][name], abs=1e-12)
        assert row.difference == pytest.approx(means[1][name] - means[0][name], abs=1e-12)
        assert row.better == ("min" if row.measure == "rank_distance" else "max")


def test_a_model_against_itself():
    side = of_values(np.random.default_rng(0).random((30, 3)))
    row = only(compare(side, side, ["AP"]))
    assert (row.difference, row.low, row.high, row.p, row.p_holm) == (0, 0, 0, 1, 1)
    assert (row.verdict, row.rankings, row.units) == ("no difference shown", 90, 30)


@pytest.mark.parametrize(("measure", "names"), [("AP", "AB"), ("rank_distance", "BA")])
def test_swapping_the_models_negates(measure, names):
    random = np.random.default_rng(2)
    low = random.random((40, 3))
    one, other = of_values(low, measure=measure), of_values(low + 0.1 + 0.1 * random.random((40, 3)), measure=measure)
    forth, back = (only(compare(*pair, [measure], seed=5)) for pair in ((one, other), (other, one)))
    assert forth.difference == -back.difference
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert (forth.p, forth.p_holm) == (back.p, back.p_holm)
    # More AP in the second is good news for it, more rank distance is bad.
    assert (back.verdict, forth.verdict) == (f"{names[0]} ahead", f"{names[1]} ahead")
    assert only(compare(one, other, [measure], seed=5)) == forth
    assert only(compare(one, other, [measure], seed=6)) != forth


def test_translations_are_one_draw_not_several():
    random = np.random.default_rng(4)
    question = random.normal(0.0, 1, (40, 1))  # what the translations of a question have in common
    a = np.zeros((40, 3))
    b = question + random.normal(0, 0.1, (40, 3))
    together = only(compare(of_values(a), of_values(b), ["AP"]))
    apart = np.arange(120)
    alone = only(compare(of_values(a, apart), of_values(b, apart), ["AP"]))
    assert together.difference == alone.difference
    assert together.p > alone.p
    # Three copies of one draw look like three draws: the interval shrinks by about sqrt(3).
    assert 1.5 < (together.high - together.low) / (alone.high - alone.low) < 2


def test_without_a_difference_p_is_uniform_and_the_interval_covers():
    random, p, covered = np.random.default_rng(11), [], []
    for number in range(200):
        b = random.normal(0, 1, (25, 1)) + random.normal(0, 0.5, (25, 2))
        row = only(compare(of_values(np.zeros((25, 2))), of_values(b), ["AP"], seed=number, draws=400))
        p.append(row.p)
        covered.append(row.low <= 0 <= row.high)
    for level in (0.05, 0.2, 0.5, 0.8):  # within 4 standard errors of uniform
        assert abs(np.mean(np.array(p) <= level) - level) < 4 * math.sqrt(level * (1 - level) / 200)
    assert 0.88 < np.mean(covered) < 0.99


def test_what_is_left_out_is_counted():
    a = of_values(np.array([[0.1], [0.2], [0.3], [np.nan], [0.5]]))
    b = of_values(np.array([[np.nan], [0.4], [0.4], [np.nan], [0.9]]))
    kept_a, kept_b = np.array([0, 1, 2, 3]), np.array([4, 3, 2, 1, 0])  # another order, one more
    row = only(compare(a.part(kept_a), b.part(kept_b), ["AP"]))
    assert (row.rankings, row.units, row.undefined, row.only_a, row.only_b) == (2, 2, 2, 0, 1)
    assert (row.a, row.b, row.difference) == pytest.approx((0.25, 0.4, 0.15))
    assert (row.p, row.exact) == (0.5, True)


def test_too_little_for_a_verdict():
    a, b = of_values(np.array([[0.1, 0.3]])), of_values(np.array([[0.2, 0.4]]))
    row = only(compare(a, b, ["AP"]))
    assert (row.p, row.p_holm, row.low, row.high, row.verdict) == (None, None, None, None, "only one topic")
    assert row.difference == pytest.approx(0.1)
    never = of_values(np.array([[np.nan, np.nan]]))
    row = only(compare(a, never, ["AP"]))
    assert (row.a, row.difference, row.rankings, row.undefined) == (None, None, 0, 2)
    assert row.verdict == "nothing in common"
    with pytest.raises(InputError, match="no ranking of A or B defines AP"):
        compare(never, never, ["AP"])


def test_what_cannot_be_compared_is_refused():
    values = np.random.default_rng(0).random((4, 2))
    a = of_values(values, benchmark="one", benchmark_digest="11")
    with pytest.raises(InputError, match=r"other benchmarks: one \(digest 11\) and two \(digest 22\)"):
        compare(a, of_values(values, benchmark="two", benchmark_digest="22"), ["AP"])
    a = of_values(values)
    with pytest.raises(InputError, match=r"do not both have RR; both have: AP"):
        compare(a, a, ["AP", "RR"])
    with pytest.raises(InputError, match=r"no ranking .* in common"):
        compare(a.part([0, 1]), a.part([2, 3]), ["AP"])
    with pytest.raises(InputError, match="B: a query and pool occur twice"):
        compare(a, a.part([0, 1, 1]), ["AP"])
    with pytest.raises(InputError, match="their relevant passages differ"):
        compare(a, of_values(values, np.arange(8)), ["AP"])
    for wrong in ({"draws": 0}, {"seed": -1}):
        with pytest.raises(InputError, match="draws is at least 1 and seed at least 0"):
            compare(a, a, ["AP"], **wrong)
