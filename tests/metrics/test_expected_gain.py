"""What further trials may bring, against draws of a known law, and the noise, against its formula."""

import numpy as np
import pytest

from hybridtune.metrics.expected_gain import expected_gain, paired_noise, seed_noise


@pytest.mark.parametrize(("count", "ahead"), [(8, 1), (8, 5), (20, 5)])
def test_of_exponential_values_it_is_what_further_draws_gain(count, ahead):
    random = np.random.default_rng(0)
    draws = random.exponential(0.1, (4000, count + ahead))
    gains = draws.max(1) - draws[:, :count].max(1)
    expected = np.mean([expected_gain(row, ahead) for row in draws[:, :count].tolist()])
    assert expected == pytest.approx(gains.mean(), rel=0.1)


def test_of_values_with_an_upper_bound_it_is_rather_too_much():
    random = np.random.default_rng(1)
    draws = random.uniform(0, 1, (2000, 15))
    expected = np.mean([expected_gain(row, 5) for row in draws[:, :10].tolist()])
    assert (draws.max(1) - draws[:, :10].max(1)).mean() < expected


def test_it_moves_with_the_scale_and_not_with_the_level_or_the_order():
    values = [0.1, 0.5, 0.2, 0.45, 0.3]
    gain = expected_gain(values, 3)
    assert expected_gain([10 * value + 7 for value in values], 3) == pytest.approx(10 * gain)
    assert expected_gain(values[::-1], 3) == gain
    assert expected_gain([0.4] * 6, 3) == pytest.approx(0, abs=1e-12)
    assert expected_gain(values, 4) > gain
    assert expected_gain([1.0, 0.0, 0.0, 0.0], 1) == pytest.approx(0.5 / 5)  # two above the third: 0.5 on average


def test_noise_of_one_setting_is_the_standard_error_of_the_difference():
    random = np.random.default_rng(2)
    one, other = (random.normal(0.5, 0.1, (200, 1)).astype(np.float32) / 200 for _ in range(2))
    apart = (one - other).astype(np.float64)[:, 0]
    assert paired_noise(one, other, 0) == pytest.approx(apart.std() * np.sqrt(200), rel=0.05)
    assert paired_noise(one, one, 0) == 0
    assert paired_noise(one, other, 0) == paired_noise(one, other, 0)


def test_noise_of_seeds_is_that_of_a_difference():
    assert seed_noise([0.03]) == pytest.approx(0.03 * 2**0.5)
    assert seed_noise([0.03, 0.04]) == pytest.approx((0.03**2 + 0.04**2) ** 0.5)
