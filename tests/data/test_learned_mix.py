"""The rule of a learned mix, on response surfaces made by hand, whose best constant ratio is known."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.config.fields import Mix
from hybridtune.data.learned_mix import first_segment, next_segment, pair_weights, wanted_ratio
from hybridtune.data.segments import DevScores, Segment
from hybridtune.metrics.metrics import balanced

STEPS = 150
MIX = Mix(schedule="learned")
aps = st.floats(0.001, 1.0)
settings_scores = st.fixed_dictionaries({"mono": aps, "cross": aps, "multi": aps})


def powers(heights, slopes):
    """AP of each setting as a power of the batches of its own kind."""

    def surface(mono, cross):
        return [
            min(0.99, height * n**slope) for height, slope, n in zip(heights, slopes, (mono, cross, cross), strict=True)
        ]

    return surface


def saturating(tops, rates, shared):
    """AP that nears a top; a batch of the other kind counts as some part of one's own."""

    def surface(mono, cross):
        own, other = (mono, cross, cross), (cross, mono, mono)
        return [
            top * (1 - math.exp(-rate * (n + part * m)))
            for top, rate, part, n, m in zip(tops, rates, shared, own, other, strict=True)
        ]

    return surface


SURFACES = {
    "all alike": (powers((0.1, 0.04, 0.03), (0.4, 0.4, 0.4)), 0.99),
    "mono is the weakest": (powers((0.02, 0.2, 0.15), (0.5, 0.25, 0.25)), 0.99),
    "mono comes by itself": (powers((0.45, 0.03, 0.02), (0.12, 0.45, 0.5)), 0.98),
    "mono is done early": (saturating((0.85, 0.6, 0.5), (0.05, 0.012, 0.012), (0.3, 0.1, 0.15)), 0.96),
}


def noise(step, setting):
    """Errors of scores, at most 0.008 and without a pattern, the same at every run of the tests."""
    return 0.008 * math.sin(1000 * (step + 1) * (setting + 1))


def trained(surface, evaluations, mix=MIX, error=0.0):
    """Balanced AP at the end, and the path of the ratio."""
    segments, mono, cross = [first_segment(mix)], 0.0, 0.0
    for index in range(evaluations):
        step = STEPS * (index + 1) // evaluations
        length = step - segments[-1].start
        mono, cross = (
            total + length * share
            for total, share in ((mono, segments[-1].mixing_ratio), (cross, 1 - segments[-1].mixing_ratio))
        )
        found = [max(0.001, value + error * noise(step, i)) for i, value in enumerate(surface(mono, cross))]
        scores = DevScores(dict(zip(("mono", "cross", "multi"), found, strict=True)), {})
        segments.append(next_segment(mix, segments, step, scores))
    return balanced(surface(mono, cross)), [segment.mixing_ratio for segment in segments]


def best_constant(surface):
    ratios = [index / 40 for index in range(1, 40)]
    return max((balanced(surface(STEPS * ratio, STEPS * (1 - ratio))), ratio) for ratio in ratios)


@pytest.mark.parametrize(("surface", "share"), SURFACES.values(), ids=SURFACES)
@pytest.mark.parametrize("evaluations", [10, 30])
@pytest.mark.parametrize("error", [0.0, 1.0])
def test_one_training_comes_near_the_best_constant_ratio_without_a_search(surface, share, evaluations, error):
    best, ratio = best_constant(surface)
    reached, path = trained(surface, evaluations, error=error)
    half = balanced(surface(STEPS / 2, STEPS / 2))
    assert reached > share * best
    assert reached > half
    assert abs(path[-1] - ratio) < abs(path[0] - ratio)


@pytest.mark.parametrize(("surface", "_"), SURFACES.values(), ids=SURFACES)
@pytest.mark.parametrize("error", [0.0, 1.0])
def test_the_ratio_settles_and_does_not_swing(surface, _, error):
    _, path = trained(surface, 30, error=error)
    late = path[15:]
    assert max(abs(after - before) for before, after in itertools.pairwise(late)) < 0.04
    assert max(late) - min(late) < 0.15


def test_the_best_ratio_of_settings_that_grow_alike_is_the_fixed_point():
    """By the first-order condition: r = (1 / mono) / (1 / mono + 1 / cross + 1 / multi)."""
    surface = powers((0.1, 0.04, 0.03), (0.4, 0.4, 0.4))
    _, ratio = best_constant(surface)
    values = surface(STEPS * ratio, STEPS * (1 - ratio))
    scores = dict(zip(("mono", "cross", "multi"), values, strict=True))
    assert wanted_ratio([Segment(0, ratio)], STEPS, scores) == pytest.approx(ratio, abs=0.02)
    assert trained(surface, 30)[1][-1] == pytest.approx(ratio, abs=0.02)


def test_a_known_step():
    """mono .8, cross .5, multi .4 ask for (1 / .8) / (1 / .8 + 2 + 2.5) = .2174; half of the way from even odds."""
    scores = DevScores({"mono": 0.8, "cross": 0.5, "multi": 0.4}, {})
    assert wanted_ratio([Segment(0, 0.5)], 15, scores.settings) == pytest.approx(1.25 / 5.75)
    odds = math.sqrt(1.25 / 4.5)
    assert next_segment(MIX, [Segment(0, 0.5)], 15, scores) == Segment(15, round(odds / (1 + odds), 4), {}, scores)


def test_a_setting_that_has_stopped_growing_is_given_less():
    def after(mono):
        earlier = DevScores({"mono": mono, "cross": 0.25, "multi": 0.2}, {})
        segments = [Segment(0, 0.5), Segment(10, 0.5, {}, earlier)]
        return wanted_ratio(segments, 20, {"mono": 0.8, "cross": 0.5, "multi": 0.4})

    assert after(0.8) < after(0.6) < after(0.4)
    assert after(0.4) == pytest.approx(1.25 / 5.75)  # all three have doubled
    assert after(0.8) > 0  # drawn to the mean of the three


@given(st.floats(0.001, 0.5), st.floats(0.5, 0.999), st.floats(0, 1), st.lists(settings_scores, max_size=6))
def test_the_ratio_stays_in_its_range_whatever_the_scores(low, high, start, found):
    if low >= high:
        return
    mix = Mix(schedule="learned", mixing_ratio=start, learned_range=(low, high))
    segments = [first_segment(mix)]
    for index, scores in enumerate(found):
        segments.append(next_segment(mix, segments, 10 * (index + 1), DevScores(scores, {})))
    assert all(low - 1e-4 <= segment.mixing_ratio <= high + 1e-4 for segment in segments)
    assert [segment.start for segment in segments] == list(range(0, 10 * len(segments), 10))


@given(st.dictionaries(st.sampled_from(["en-en", "de-de", "zh-tw-zh-tw", "en-de", "de-en", "en-zh-tw"]), aps))
def test_weak_pairs_are_drawn_more_within_bounds_and_each_kind_by_itself(pairs):
    found = pair_weights(pairs, 2.0)
    assert found.keys() == pairs.keys()
    assert all(0.5 <= value <= 2.0 for value in found.values())
    mono = {"en-en", "de-de", "zh-tw-zh-tw"}
    for kind in (mono, found.keys() - mono):
        ordered = sorted((pair for pair in found if pair in kind), key=pairs.__getitem__)
        assert [found[pair] for pair in ordered] == sorted((found[pair] for pair in ordered), reverse=True)
        if len(ordered) == 1:
            assert found[ordered[0]] == 1
    assert pair_weights(pairs, 1.0) == {}


def test_known_weights():
    assert pair_weights({"en-en": 0.9, "de-de": 0.4, "en-de": 0.1, "de-en": 0.001}, 2.0) == {
        "en-en": 0.8165,  # (0.6 / 0.9) ** 0.5
        "de-de": 1.2247,
        "en-de": 0.5,  # 0.1 ** 0.5, bounded
        "de-en": 2.0,
    }


def test_the_first_ratio_is_brought_into_the_range():
    assert first_segment(Mix(schedule="learned", mixing_ratio=0.0)) == Segment(0, 0.05)
    assert first_segment(Mix(schedule="learned", mixing_ratio=0.3)) == Segment(0, 0.3)
