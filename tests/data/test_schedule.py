import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.data.schedule import Schedule

SHAPES = ("constant", "linear", "cosine", "step")
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
shares = st.floats(0, 1) | st.sampled_from([0.0, 1.0, math.nextafter(1, 0), 5e-324, 1e-300, 1e-17, 0.1, 0.3, 0.9])
phases = st.integers(0, 2**20 - 1).map(lambda n: n / 2**20)


@st.composite
def schedules(draw):
    shape, start, end = draw(st.sampled_from(SHAPES)), draw(shares), draw(shares)
    batches = draw(st.integers(1, 50) | st.integers(1, 10**7) | st.just(2**31))
    options = {"shape": shape, "end": end, "batches": batches, "step_at": draw(shares)}
    return Schedule(start, draw(phases), **options), start, options


@given(schedules(), st.data())
def test_the_count_grows_by_one_or_not_at_all_and_stays_within_one_of_what_is_asked(made, data):
    schedule, _, options = made
    length = options["batches"]
    jump = int(length * options["step_at"])
    places = (
        st.integers(0, 2 * length) | st.sampled_from([0, jump, length // 2, length - 1, length]) | st.integers(0, 99)
    )
    n = data.draw(places)
    counts = [schedule.count(place) for place in range(n, n + 20)]  # twenty looks at a schedule cost less than another
    assert {after - before for before, after in itertools.pairwise(counts)} <= {0, 1}
    assert all(abs(count - schedule.requested(place)) <= 1 for place, count in enumerate(counts, n))
    assert schedule.count(0) == 0
    further = data.draw(st.integers(n, 2 * length + 99))
    assert 0 <= schedule.count(further) - schedule.count(n) <= further - n


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("phase", [0.0, 0.5, 1 - 2**-20])
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.0), (1.0, math.nextafter(1, 0))])
def test_no_batch_is_counted_twice_at_the_flat_ends_of_ten_million_steps(shape, phase, start, end):
    """Where a share is next to 0 or 1, sums of floating-point numbers would rise by 2 or fall."""
    schedule = Schedule(start, phase, shape=shape, end=end, batches=10**7)
    for around in (0, 5 * 10**6, 10**7):
        counts = [schedule.count(n) for n in range(max(0, around - 300), around + 300)]
        assert {after - before for before, after in itertools.pairwise(counts)} <= {0, 1}


@pytest.mark.parametrize("batches", [1, 2, 7, 12])
@pytest.mark.parametrize("phase", [0.0, 0.375])
def test_linear_and_step_are_the_floor_of_the_exact_integral(batches, phase):
    for start, end, step_at in itertools.product(QUARTERS, QUARTERS, QUARTERS):
        options = {"end": end, "batches": batches, "step_at": step_at}
        linear = Schedule(start, phase, shape="linear", **options)
        step = Schedule(start, phase, shape="step", **options)
        jump = math.floor(Fraction(step_at) * batches + Fraction(1, 2))
        for n in range(2 * batches + 1):
            rise, inside, beyond = Fraction(end) - Fraction(start), min(n, batches), max(0, n - batches)
            integral = n * Fraction(start) + rise * Fraction(inside**2, 2 * batches) + rise * beyond
            assert linear.count(n) == math.floor(integral + Fraction(phase))
            jumped = min(n, jump) * Fraction(start) + max(0, n - jump) * Fraction(end)
            assert step.count(n) == math.floor(jumped + Fraction(phase))


@given(start=st.floats(0, 1), end=st.floats(0, 1), batches=st.integers(1, 10**7), place=st.floats(0, 2))
def test_cosine_is_half_a_wave(start, end, batches, place):
    n = int(place * batches)
    inside, beyond = min(n, batches), max(0, n - batches)
    wave = inside / 2 - batches * math.sin(math.pi * inside / batches) / (2 * math.pi)
    expected = start * n + (end - start) * (wave + beyond)
    schedule = Schedule(start, 0.0, shape="cosine", end=end, batches=batches)
    assert schedule.requested(n) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_shares_of_zero_and_one_are_exact(shape):
    for phase in (0.0, 0.5, 1 - 2**-20):
        for n in (0, 1, 99, 10**7, 10**9):
            assert Schedule(0.0, phase, shape=shape, end=0.0, batches=99).count(n) == 0
            assert Schedule(1.0, phase, shape=shape, end=1.0, batches=99).count(n) == n


def test_a_constant_share_is_the_number_that_was_written():
    """Three tenths of ten batches are three, though the floating-point number 0.3 is a little less."""
    assert [Schedule(0.3, 0.0).count(n) for n in (3, 4, 9, 10, 10**15)] == [0, 1, 2, 3, 3 * 10**14]


@pytest.mark.parametrize(
    ("shape", "kinds"),
    [
        ("constant", "0000000000" + "0000000000"),
        ("linear", "0000100101" + "0101101111"),  # the floor of n^2 / 40 + 1/2
        ("cosine", "0000001001" + "0110111111"),  # of n/2 - 10 sin(pi n / 20) / pi + 1/2
        ("step", "0000000000" + "1111111111"),
    ],
)
def test_known_batches_of_a_rise_from_none_to_all(shape, kinds):
    schedule = Schedule(0.0, 0.5, shape=shape, end=1.0, batches=20)
    found = [schedule.count(n + 1) - schedule.count(n) for n in range(20)]
    assert "".join(map(str, found)) == kinds
    assert [schedule.count(n + 1) - schedule.count(n) for n in range(20, 40)] == [int(shape != "constant")] * 20


@pytest.mark.parametrize(("step_at", "jump"), [(0.0, 0), (0.04, 0), (0.05, 1), (0.5, 5), (0.96, 10), (1.0, 10)])
def test_the_jump_comes_before_the_nearest_batch(step_at, jump):
    schedule = Schedule(1.0, 0.0, shape="step", end=0.0, batches=10, step_at=step_at)
    assert [schedule.count(n) for n in range(15)] == [min(n, jump) for n in range(15)]
