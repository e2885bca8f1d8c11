"""The paired test of a race: on shares it is the test on all values, and equals are seldom stopped."""

import numpy as np
import pytest

from hybridtune.metrics.per_query import PerQuery
from hybridtune.metrics.racing import is_behind, leader, look_level, shares_value, unit_shares
from hybridtune.metrics.resampling import cell_weights, cells
from hybridtune.metrics.significance import DRAWS, flip_p, harmonic_mean, paired_by_unit

LANGUAGES = ("de", "en")
TOPICS = 30


def values(seed, shift=0.0, topics=TOPICS, noise=0.1):
    """Made rankings of two languages in all settings; the topics have a level of their own, the same for all seeds."""
    level, random = np.random.default_rng(0).uniform(0.2, 0.6, topics), np.random.default_rng([1, seed])
    rows = [
        (setting, f"q{topic}-{asked}", topic, asked, pool)
        for topic in range(topics)
        for asked in LANGUAGES
        for setting, pool in (("mono", asked), ("cross", LANGUAGES[asked == "de"]), ("multi", "*"))
    ]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    ap = (level[columns[2]] + shift + random.normal(0, noise, len(rows))).clip(0.01, 1)
    distance = np.where(columns[0] == "multi", random.integers(0, 9, len(rows)), np.nan)
    return PerQuery(*columns, {"AP": ap, "rank_distance": distance}, {"benchmark_digest": "made"})


def naive(file, setting, measure):
    rows = np.flatnonzero((file.setting == setting) & ~np.isnan(file.measures[measure]))
    return float(cell_weights(cells(file, rows)) @ file.measures[measure][rows])


@pytest.mark.parametrize("metric", ["balanced/AP", "multi/AP", "cross/AP", "multi/rank_distance", "cross/AP@en-de"])
def test_shares_add_up_to_the_metric_and_are_one_row_a_unit(metric):
    file = values(1)
    shares = unit_shares(file, metric, "topic")
    assert shares.shape == (TOPICS, 3 if metric == "balanced/AP" else 1)
    assert shares.dtype == np.float32
    if metric == "balanced/AP":
        expected = harmonic_mean(np.array([[naive(file, one, "AP") for one in ("mono", "cross", "multi")]]))[0]
    elif metric == "cross/AP@en-de":
        expected = file.measures["AP"][(file.setting == "cross") & (file.query_language == "en")].mean()
    else:
        expected = naive(file, *metric.split("/"))
    assert shares_value(shares) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("metric", ["balanced/AP", "multi/AP", "multi/rank_distance"])
def test_the_test_on_shares_is_that_on_all_values(metric):
    a, b = values(1), values(2, shift=0.02)
    one, other = (unit_shares(file, metric, "topic").astype(np.float64) for file in (a, b))
    p = flip_p(other - one, one.sum(0) + other.sum(0), DRAWS, 0)
    assert p == pytest.approx(paired_by_unit(a, b, metric, "topic")[0], abs=0.01)  # float32 may break a tie of signs


@pytest.mark.parametrize("metric", ["balanced/AP", "multi/AP"])
def test_only_who_is_worse_is_behind(metric):
    best, equal, worse = (unit_shares(values(*one), metric, "topic") for one in ((1, 0.0), (2, 0.0), (3, -0.15)))
    assert is_behind(worse, best, metric, 0.001)
    assert not is_behind(best, worse, metric, 0.5)
    assert not is_behind(best, best, metric, 0.5)
    assert not is_behind(equal, best, metric, 0.001)
    assert not is_behind(worse, best, metric, 1e-7)  # no test of so few draws can say that


def test_of_a_distance_more_is_behind():
    near, far = (values(one) for one in (1, 2))
    far.measures["rank_distance"][:] += 5
    shares = {name: unit_shares(file, "multi/rank_distance", "topic") for name, file in (("near", near), ("far", far))}
    assert leader(shares, "multi/rank_distance") == "near"
    assert is_behind(shares["far"], shares["near"], "multi/rank_distance", 0.001)
    assert not is_behind(shares["near"], shares["far"], "multi/rank_distance", 0.001)


def test_of_equals_no_more_are_stopped_than_asked_for():
    """Six equals at three looks, all afresh: what is stopped at any look stays under alpha, though the best is met."""
    alpha, looks, studies, stopped = 0.2, 3, 40, 0
    for study in range(studies):
        gone = set()
        for look in range(looks):
            field = {n: unit_shares(values(1000 * study + 10 * look + n), "multi/AP", "topic") for n in range(6)}
            for name in field.keys() - gone:
                rivals = {str(other): shares for other, shares in field.items() if other != name}
                best = rivals[leader(rivals, "multi/AP")]
                if is_behind(field[name], best, "multi/AP", look_level(alpha, looks, len(rivals))):
                    gone.add(name)
        stopped += len(gone)
    assert stopped / (6 * studies) < alpha


def test_levels_share_out_alpha():
    assert look_level(0.06, 3, 4) * 12 == pytest.approx(0.06)
    assert look_level(0.06, 0, 0) == 0.06
