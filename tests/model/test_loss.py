import math

import pytest
import torch
import torch.nn.functional as F

from hybridtune.model.loss import LearnedTemperature, align, info_nce

ANSWER_SETS = torch.tensor([0, 1, 2, 1, 3, 4, 0, 1, 5, 6, 3, 7])  # equal ones stand in different workers' slices
NEAR = 0.5  # some of the vectors here are nearer than this, some are not


def unit(rows, width, seed):
    vectors = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(vectors, dim=1)


def naive(
    queries,
    passages,
    answer_sets,
    temperature,
    symmetric=False,
    negatives=(),
    negative_answer_sets=(),
    matryoshka=(),
    near_duplicate=None,
):
    """The definition, one row and one column at a time: the loss, with a gradient, and the share of hits."""
    texts = [*passages, *negatives]
    of_texts = [*answer_sets.tolist(), *negative_answer_sets]
    losses, hits = [], []
    for width in (queries.shape[1], *matryoshka):
        for rows, columns in [(queries, texts), (passages, [*queries])][: 1 + symmetric]:
            for i in range(len(rows)):
                scores = {}
                for j in range(len(columns)):  # column j of either side is text j
                    near = near_duplicate is not None and (passages[i] @ texts[j]).item() > near_duplicate
                    if i == j or (of_texts[j] != of_texts[i] and not near):
                        one, other = rows[i][:width], columns[j][:width]
                        if width < len(rows[i]):
                            one, other = one / (one @ one) ** 0.5, other / (other @ other) ** 0.5
                        scores[j] = one @ other / temperature
                losses.append(torch.log(sum(torch.exp(score) for score in scores.values())) - scores[i])
                hits.append(max(scores, key=scores.__getitem__) == i)
    return sum(losses) / len(losses), sum(hits[: len(queries)]) / len(queries)


def assert_equals_the_definition(queries, passages, answer_sets, temperature, *rest, held=None, **more):
    """Loss, accuracy and all gradients; `held`: so many of the slots for negatives hold one."""
    mine = [tensor.clone().requires_grad_() for tensor in (queries, passages, *rest[1:2])]
    theirs = [tensor.clone().requires_grad_() for tensor in (queries, passages, *rest[1:2])]
    output = info_nce(*mine[:2], answer_sets, temperature, *rest[:1], *mine[2:], *rest[2:], **more)
    owners = [tensor[:held].tolist() for tensor in rest[2:]]
    loss, hits = naive(*theirs[:2], answer_sets, temperature, *rest[:1], *theirs[2:], *owners, **more)
    output.loss.backward()
    loss.backward()
    assert output.loss.item() == pytest.approx(loss.item(), rel=1e-12, abs=1e-14)
    assert float(output.accuracy) == pytest.approx(hits)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.grad, torch.zeros_like(one) if other.grad is None else other.grad)
    return loss.item()


@pytest.mark.parametrize("temperature", [0.02, 0.2, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_definition(seed, temperature):
    queries, passages = unit(12, 6, seed), unit(12, 6, seed + 100)
    for answer_sets in (ANSWER_SETS, torch.arange(12)):
        for symmetric in (False, True):
            assert_equals_the_definition(queries, passages, answer_sets, temperature, symmetric)


def test_known_answer():
    """Two pairs at right angles, temperature 1/2: each row is -log(e^2 / (e^2 + e^0))."""
    vectors = torch.eye(2)
    output = info_nce(vectors, vectors, torch.tensor([0, 1]), 0.5)
    assert float(output.loss) == pytest.approx(math.log1p(math.exp(-2)), rel=1e-6)
    assert float(output.accuracy) == 1
    assert float(output.spread) == pytest.approx(0.5)  # each of 2 dimensions is 0 or 1 half the time: variance 1/4


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("held", [0, 1, 7])
@pytest.mark.parametrize("slots", [7, 12])
def test_hard_negatives_equal_the_definition(slots, held, symmetric):
    queries, passages, negatives = unit(12, 6, 0), unit(12, 6, 1), unit(held, 6, 2)
    of_negatives = torch.tensor([-1, 1, 9, 0, -1, 3, 5] + [0] * 5)[:slots]  # those of empty slots are not read
    loss = assert_equals_the_definition(
        queries, passages, ANSWER_SETS, 0.1, symmetric, negatives, of_negatives, held=held
    )
    assert held or loss == pytest.approx(float(info_nce(queries, passages, ANSWER_SETS, 0.1, symmetric).loss))


def test_known_answer_with_a_hard_negative():
    """The first query meets its own passage again as a negative: -log(e^2 / (2 e^2 + e^0)), and no hit if it is last.

    The second query does not see it (answer set 1 answers it): -log(e^2 / (e^2 + e^0)) as without.
    """
    vectors = torch.eye(2)
    output = info_nce(vectors, vectors, torch.tensor([0, 1]), 0.5, False, vectors[:1], torch.tensor([1, 0]))
    expected = (math.log(2 + math.exp(-2)) + math.log1p(math.exp(-2))) / 2
    assert float(output.loss) == pytest.approx(expected, rel=1e-6)
    far = F.normalize(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), dim=1)
    output = info_nce(vectors, far, torch.tensor([0, 1]), 0.5, False, vectors[:1], torch.tensor([-1]))
    assert float(output.accuracy) == 0.5  # the negative is nearer to the first query than its passage does


def test_a_negative_without_an_answer_set():
    vectors = torch.eye(2)
    for answer_sets in (None, torch.tensor([0])):
        with pytest.raises(ValueError, match="every negative needs an answer set"):
            info_nce(vectors, vectors, torch.tensor([0, 1]), 0.5, False, vectors, answer_sets)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("widths", [[1], [3], [2, 5]])
def test_matryoshka_equals_the_definition(widths, symmetric):
    queries, passages = unit(12, 6, 0), unit(12, 6, 1)
    loss = assert_equals_the_definition(queries, passages, ANSWER_SETS, 0.1, symmetric, matryoshka=widths)
    full = info_nce(queries, passages, ANSWER_SETS, 0.1, symmetric)
    nested = info_nce(queries, passages, ANSWER_SETS, 0.1, symmetric, matryoshka=widths)
    assert abs(loss - float(full.loss)) > 1e-3
    assert (nested.accuracy, nested.spread) == (full.accuracy, full.spread)  # both are the full width's


@pytest.mark.parametrize("width", [0, -1, 6, 7])
def test_a_width_that_does_not_cut(width):
    with pytest.raises(ValueError, match=f"matryoshka width {width} does not cut vectors of 6 dimensions"):
        info_nce(unit(3, 6, 0), unit(3, 6, 1), torch.arange(3), 0.1, matryoshka=[2, width])


@pytest.mark.parametrize("symmetric", [False, True])
def test_near_duplicates_equal_the_definition(symmetric):
    queries, passages, negatives = unit(12, 6, 0), unit(12, 6, 1), unit(7, 6, 2)
    of_negatives = torch.tensor([-1, 1, 9, 0, -1, 3, 5])
    arguments = (queries, passages, torch.arange(12), 0.1, symmetric, negatives, of_negatives)
    losses = {limit: assert_equals_the_definition(*arguments, near_duplicate=limit) for limit in (None, NEAR, 0.999)}
    assert losses[NEAR] < losses[None] - 1e-3  # fewer columns
    assert losses[0.999] == losses[None]


def test_known_answer_with_a_near_duplicate():
    """The second passage is as good as the first: neither query sees the other's, nor the negative that copies it."""
    passages = F.normalize(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0.0, 0.0, 1.0]]), dim=1)
    arguments = (passages, passages, torch.arange(3), 0.5, True, passages[:1], torch.tensor([-1]))
    output = info_nce(*arguments, near_duplicate=0.9)
    alone = math.log1p(math.exp(-2))  # of the other columns only one is left, at a right angle
    third = math.log1p(3 * math.exp(-2))  # the third query sees all three
    third_back = math.log1p(2 * math.exp(-2))  # backwards there are no negatives
    assert float(output.loss) == pytest.approx((2 * alone + third + 2 * alone + third_back) / 6, rel=1e-6)
    assert float(output.accuracy) == 1


def test_everything_at_once_equals_the_definition():
    queries, passages, negatives = unit(12, 6, 0), unit(12, 6, 1), unit(5, 6, 2)
    of_negatives = torch.tensor([-1, 1, 9, 0, -1, 3])
    more = {"matryoshka": [2, 4], "near_duplicate": NEAR}
    assert_equals_the_definition(queries, passages, ANSWER_SETS, 0.1, True, negatives, of_negatives, held=5, **more)


def test_a_masked_batch_has_nothing_to_learn():
    vectors = unit(4, 3, 0).requires_grad_()
    output = info_nce(vectors, unit(4, 3, 1), torch.zeros(4, dtype=torch.int64), 0.05)
    output.loss.backward()
    assert output.loss.item() == 0
    assert float(output.accuracy) == 1
    assert not vectors.grad.any()


def test_a_collapsed_encoder_has_no_spread():
    vectors = unit(1, 5, 0).expand(8, 5)
    output = info_nce(vectors, vectors, torch.arange(8), 0.05)
    assert float(output.spread) == pytest.approx(0, abs=1e-12)
    assert float(output.loss) == pytest.approx(math.log(8))


def test_a_temperature_gets_a_gradient():
    queries, passages = unit(12, 6, 0), unit(12, 6, 1)
    found, expected = (torch.tensor(0.1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    info_nce(queries, passages, ANSWER_SETS, found, True, matryoshka=[3]).loss.backward()
    naive(queries, passages, ANSWER_SETS, expected, True, matryoshka=[3])[0].backward()
    torch.testing.assert_close(found.grad, expected.grad)
    assert abs(float(found.grad)) > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_does_not_reach_the_loss(dtype):
    queries, passages = unit(12, 6, 0).to(dtype), unit(12, 6, 1).to(dtype)
    negatives, of_negatives = unit(3, 6, 2).to(dtype), torch.full((3,), -1)
    arguments = (ANSWER_SETS, 0.02, True, negatives, of_negatives, [3], NEAR)
    expected = info_nce(queries.float(), passages.float(), *arguments[:3], negatives.float(), *arguments[4:]).loss
    with torch.autocast("cpu", torch.bfloat16):
        found = info_nce(queries, passages, *arguments).loss
        pulled = align(queries, passages, passages).loss
    assert found.dtype == pulled.dtype == torch.float32
    assert float(found) == float(expected)
    assert float(pulled) == float(align(queries.float(), passages.float(), passages.float()).loss)


def test_align_equals_the_definition():
    one, other, teachers = (unit(6, 4, seed).requires_grad_() for seed in range(3))
    output = align(one, other, teachers)
    output.loss.backward()
    cosines = [float(v @ t) for side in (one, other) for v, t in zip(side, teachers, strict=True)]
    assert float(output.loss) == pytest.approx(1 - sum(cosines) / 12, rel=1e-12)
    for side in (one, other):
        torch.testing.assert_close(side.grad, -teachers.detach() / 12)
    assert teachers.grad is None
    nearest = [max(range(6), key=lambda j: float(v @ teachers[j])) for v in other]
    assert float(output.accuracy) == pytest.approx(sum(i == j for i, j in enumerate(nearest)) / 6)
    spread = torch.cat([one, other]).detach().var(0, unbiased=False).sum()
    assert float(output.spread) == pytest.approx(float(spread))


def test_align_is_half_the_squared_distance_and_done_when_both_have_arrived():
    one, other, teachers = (unit(6, 4, seed) for seed in range(3))
    distance = ((one - teachers).square().sum() + (other - teachers).square().sum()) / 12
    assert float(align(one, other, teachers).loss) == pytest.approx(float(distance) / 2, rel=1e-12)
    arrived = align(teachers, teachers, teachers)
    assert float(arrived.loss) == pytest.approx(0, abs=1e-12)
    assert float(arrived.accuracy) == 1


def test_a_teacher_of_another_width():
    with pytest.raises(ValueError, match=r"vectors \[6, 8\] do not fit \[6, 4\]"):
        align(unit(6, 4, 0), unit(6, 4, 1), unit(6, 8, 2))


def test_a_temperature_starts_as_given():
    for start in (0.05, 0.02, 0.37, 0.005, 1.0):
        value = LearnedTemperature(start, 0.005, 1.0).value()
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert value.item() == float(torch.tensor(start))


def test_a_temperature_keeps_its_bounds_and_comes_back_from_them():
    temperature = LearnedTemperature(0.05, 0.02, 0.2)
    optimizer = torch.optim.SGD(temperature.parameters(), lr=1000.0)
    for sign, bound in ((1, 0.02), (-1, 0.2), (1, 0.02)):
        optimizer.zero_grad()
        (sign * temperature.value()).backward()
        assert float(temperature.log_ratio.grad) == pytest.approx(sign * temperature.value().item())  # also at a bound
        optimizer.step()
        temperature.project()
        assert temperature.value().item() == pytest.approx(bound, rel=1e-6)
    temperature.average_gradient()  # one worker: nothing changes
    assert float(temperature.log_ratio.grad) == pytest.approx(0.2, rel=1e-6)


@pytest.mark.parametrize("range_", [(0.1, 0.2), (0.01, 0.04), (0.0, 1.0)])
def test_a_temperature_outside_its_bounds(range_):
    with pytest.raises(ValueError, match="is outside"):
        LearnedTemperature(0.05, *range_)
