"""What seeds alone change and what topics alone change, against tables, twins and enumeration."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from hybridtune.metrics.metrics import Ranked, per_query, score
from hybridtune.metrics.per_query import read_per_query, write_per_query
from hybridtune.metrics.significance import averaged, compare, paired_by_seed, paired_by_unit, welch

LANGUAGES = ["de", "en", "sw"]


def ranked(worst, seed, questions=8):
    """Questions in three languages, each with its three answers; ranks up to ``worst``."""
    queries = np.arange(3 * questions)
    counts = np.random.default_rng(seed).integers(0, worst, (9 * questions, 3))
    pools = np.array([999, 999, 999])
    return Ranked(counts, np.repeat(queries, 3), np.tile([0, 1, 2], len(queries)), queries % 3, LANGUAGES, pools)


def values(folder, worst, seed, questions=8, each=3):
    """Per-query values of such a model; ``each`` questions in turn are of one document."""
    path, found = folder / f"{worst}-{seed}-{questions}.parquet", ranked(worst, seed, questions)
    ids, topics = [f"q{n}" for n in range(3 * questions)], np.arange(3 * questions) // 3
    documents = [str(topic // each) for topic in topics]
    write_per_query(path, per_query(found), ids, LANGUAGES, topics, {"benchmark_digest": "d"}, documents)
    return read_per_query(path)


@pytest.mark.parametrize(("each", "expected"), [(2, 4.3027), (3, 2.7764), (6, 2.2281), (16, 2.0423), (61, 1.9799)])
def test_students_t_is_that_of_the_tables(each, expected):
    values = np.arange(each)  # equal sizes and spreads: 2 * each - 2 degrees of freedom
    low, high, error = welch(values, values + 1.0)
    assert (high - low) / 2 / error == pytest.approx(expected, abs=6e-5)


def test_welchs_interval_of_a_known_case():
    # Equal sizes and spreads: the pooled t test, 4 degrees of freedom; both variances 1, error sqrt(2/3).
    low, high, error = welch([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert error == pytest.approx((2 / 3) ** 0.5)
    assert (low, high) == pytest.approx((3 - 2.7764451 * error, 3 + 2.7764451 * error))


def test_welchs_degrees_of_freedom_lie_between_the_smaller_side_and_both():
    # One side does not vary: the degrees of freedom are those of the other, 2.
    low, high, error = welch([1.0, 2.0, 3.0], [7.0, 7.0, 7.0, 7.0])
    assert (high - low) / 2 / error == pytest.approx(4.302653)
    assert welch([0.5, 0.5], [0.75, 0.75]) == (0.25, 0.25, 0.0)  # nothing varies
    assert welch([1.0], [1.0, 2.0]) is None


def test_seeds_are_paired_exactly():
    assert paired_by_seed([1.0, 2.0, 3.0], [1.5, 2.25, 4.0]) == 0.25  # all one way: 2 of 8 assignments
    assert paired_by_seed([1.0, 2.0], [1.5, 1.5]) == 1.0
    assert paired_by_seed([1.0], [2.0]) is None


@pytest.mark.parametrize("unit", ["topic", "document"])
@pytest.mark.parametrize("metric", ["mono/AP", "cross/nDCG@10", "multi/AP", "multi/rank_distance"])
def test_a_mean_is_tested_as_compare_does(tmp_path, metric, unit):
    a, b = values(tmp_path, 40, 1), values(tmp_path, 25, 2)
    setting, measure = metric.split("/")
    twin = next(one for one in compare(a, b, [measure], unit=unit, draws=10).differences if one.setting == setting)
    assert twin.exact
    assert paired_by_unit(a, b, metric, unit) == (pytest.approx(twin.p, abs=1e-12), twin.units)


@pytest.mark.parametrize(("unit", "each", "count"), [("topic", 1, 5), ("document", 2, 3)])
def test_balanced_is_computed_anew_for_every_assignment(tmp_path, unit, each, count):
    """Its naive twin swaps the units of two rankings and scores both, for all assignments."""
    questions = 5
    one, other = ranked(40, 3, questions), ranked(25, 4, questions)
    number = one.query_index // 3 // each
    gaps = []
    for swapped in itertools.product([False, True], repeat=count):
        swap = np.array(swapped)[number][:, None]
        sides = [
            replace(one, counts=np.where(swap, other.counts, one.counts)),
            replace(one, counts=np.where(swap, one.counts, other.counts)),
        ]
        a, b = (score(side, per_query(side)).metrics["balanced/AP"] for side in sides)
        gaps.append(b - a)
    expected = np.mean(np.abs(gaps) >= abs(gaps[0]) - 1e-12)
    sides = [values(tmp_path, worst, seed, questions, each) for worst, seed in ((40, 3), (25, 4))]
    p, units = paired_by_unit(*sides, "balanced/AP", unit)
    assert (p, units) == (pytest.approx(expected), count)
    assert 0 < p < 1


def test_many_topics_are_drawn_and_a_clear_gain_is_seen(tmp_path):
    worse, better, same = (values(tmp_path, worst, seed, 40) for worst, seed in ((60, 1), (6, 2), (60, 3)))
    assert paired_by_unit(worse, better, "balanced/AP", "topic")[0] == pytest.approx(1 / 10_001)
    p, topics = paired_by_unit(worse, same, "balanced/AP", "topic")
    assert p > 0.05
    assert topics == 40
    assert paired_by_unit(worse, same, "balanced/AP", "topic") == (p, topics)  # drawn with a seed
    assert paired_by_unit(worse, worse, "multi/AP", "topic")[0] == 1.0


def test_what_cannot_be_tested_is_none(tmp_path):
    a, b = values(tmp_path, 9, 1, questions=1), values(tmp_path, 9, 2, questions=1)
    assert paired_by_unit(a, b, "mono/AP", "topic") is None  # one topic
    assert paired_by_unit(a, b, "mono/R@7", "topic") is None  # no such column
    assert (
        paired_by_unit(*(values(tmp_path, 9, seed) for seed in (1, 2)), "mono/rank_distance", "topic") is None
    )  # undefined


def test_seeds_are_averaged_query_by_query(tmp_path):
    seeds = [values(tmp_path, 20, seed) for seed in (1, 2, 3)]
    mean = averaged(seeds)
    assert len(mean.topic) == len(seeds[0].topic)
    for name in ("AP", "rank_distance"):
        expected = np.mean([one.measures[name] for one in seeds], axis=0)
        order = np.lexsort((mean.pool_language, mean.query_id, mean.setting))
        twin = np.lexsort((seeds[0].pool_language, seeds[0].query_id, seeds[0].setting))
        np.testing.assert_allclose(mean.measures[name][order], expected[twin])
    assert averaged(seeds[:1]) is seeds[0]
