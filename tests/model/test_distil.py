"""Losses on a batch's scores: against loops written from their definition, and what they must be zero for."""

import math

import pytest
import torch
from test_loss import ANSWER_SETS, unit

from hybridtune.model.distil import consistency, distil, divergence, scores_of_margins, teacher_scores
from hybridtune.model.loss import Scored, info_nce

KINDS = ("kl", "margin_mse")
NEGATIVES = torch.tensor([-1, 1, 9, 0])  # answer sets of the hard negatives
TEMPERATURE, WEIGHT = 0.2, 0.7


def naive_distil(kind, queries, texts, of_rows, of_texts, teachers, temperature, target_temperature):
    """The loss by loops over rows and columns; `teachers` are those of queries and texts, None where there is none."""
    total = 0.0
    taught, taught_texts = teachers
    for i, query in enumerate(queries):
        seen = [j for j in range(len(texts)) if j == i or of_texts[j] != of_rows[i]]
        seen = [j for j in seen if taught_texts[j] is not None]
        if taught[i] is None or i not in seen:
            continue
        theirs = {j: taught[i] @ taught_texts[j] / target_temperature for j in seen}
        total = total + naive_row(kind, {j: query @ texts[j] / temperature for j in seen}, theirs, i)
    return total / len(queries)


def naive_row(kind, ours, theirs, own):
    """The loss of one row, by loops over the columns of two dictionaries of scores."""
    if kind == "kl":
        log_p, log_q = (
            {
                j: one[j]
                - torch.log(sum(torch.exp(torch.as_tensor(score, dtype=torch.float64)) for score in one.values()))
                for j in one
            }
            for one in (theirs, ours)
        )
        return sum(torch.exp(log_p[j]) * (log_p[j] - log_q[j]) for j in ours)
    errors = [((ours[own] - ours[j]) - (theirs[own] - theirs[j])) ** 2 for j in ours if j != own]
    return sum(errors) / max(1, len(errors))


def naive_margins(kind, queries, texts, of_rows, of_texts, owners, margins, temperature):
    """The loss by loops; ``margins`` are those of the hard negatives behind the passages, NaN for none."""
    total = 0.0
    for i, query in enumerate(queries):
        theirs = {i: 0.0}
        for n, (owner, margin) in enumerate(zip(owners, margins, strict=True)):
            if owner == i and not math.isnan(margin) and of_texts[len(queries) + n] != of_rows[i]:
                theirs[len(queries) + n] = -margin
        ours = {j: query @ texts[j] / temperature for j in theirs}
        total = total + naive_row(kind, ours, theirs, i)
    return total / len(queries)


def naive_consistency(queries, seconds, rows, texts, of_rows, of_texts, temperature):
    """Half of both divergences, by loops over the second queries and the columns that their row may see."""
    total = 0.0
    for i, second in zip(rows, seconds, strict=True):
        seen = [j for j in range(len(texts)) if j == i or of_texts[j] != of_rows[i]]
        both = []
        for query in (queries[i], second):
            scores = {j: query @ texts[j] / temperature for j in seen}
            whole = torch.log(sum(torch.exp(score) for score in scores.values()))
            both.append({j: scores[j] - whole for j in seen})
        for p, q in (both, both[::-1]):
            total = total + sum(torch.exp(p[j]) * (p[j] - q[j]) for j in seen) / 2
    return total / len(queries)


def teachers_of(*parts, unread=()):
    """Unit vectors of texts in a row, zeros for those that are not read; and as a list with None for these."""
    vectors = torch.cat(parts).clone()
    vectors[list(unread)] = 0
    return vectors, [None if row in unread else vector for row, vector in enumerate(vectors)]


def texts_of(seed):
    return [unit(count, 6, seed + n).requires_grad_() for n, count in enumerate((12, 12, 4))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unread", [(), (0, 3, 14, 25), (*range(12, 28),), (*range(12),)])
@pytest.mark.parametrize("symmetric", [False, True])
def test_equals_the_definition_with_masks_and_texts_that_are_not_read(kind, unread, symmetric):
    mine, theirs = texts_of(0), texts_of(0)
    taught, listed = teachers_of(unit(12, 8, 7), unit(12, 8, 8), unit(4, 8, 9), unread=unread)
    slots = torch.cat([NEGATIVES, torch.tensor([-1, 5])])  # two that hold none
    targets, known = teacher_scores(taught, 12, len(slots), TEMPERATURE)
    beside = {"distil_loss": (WEIGHT, lambda scored: distil(kind, scored, targets, known))}
    more = (symmetric, mine[2], slots)
    output = info_nce(*mine[:2], ANSWER_SETS, 0.1, *more, beside=beside)
    output.loss.backward()
    texts = [*theirs[1], *theirs[2]]
    of_texts = [*ANSWER_SETS.tolist(), *NEGATIVES.tolist()]
    sides = listed[:12], listed[12:]
    added = naive_distil(kind, theirs[0], texts, ANSWER_SETS.tolist(), of_texts, sides, 0.1, TEMPERATURE)
    plain = info_nce(*theirs[:2], ANSWER_SETS, 0.1, symmetric, theirs[2], slots).loss
    (plain + WEIGHT * added).backward()
    assert output.beside["distil_loss"].item() == pytest.approx(
        float(torch.as_tensor(added).detach()), rel=1e-10, abs=1e-12
    )
    assert output.loss.item() == pytest.approx((plain + WEIGHT * added).item(), rel=1e-10)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert (float(torch.as_tensor(added).detach()) > 0.01) == (len(unread) < 12)


OWNERS = torch.tensor([0, 3, 3, 11])  # the rows that the hard negatives are of; of the last, it is an answer
MARGINS = {
    "all": [1.5, -2.0, 3.0, 1.0],
    "some": [1.5, math.nan, 3.0, 1.0],
    "none": [math.nan] * 4,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", MARGINS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_scores_of_the_data_equal_the_definition(kind, given, symmetric):
    """A row learns of its own passage and its own hard negatives, in-batch ones and slots without a text stay out."""
    mine, theirs = texts_of(0), texts_of(0)
    of_negatives = torch.tensor([-1, 1, 9, int(ANSWER_SETS[11])])
    slots, rows = torch.cat([of_negatives, torch.tensor([-1, 5])]), torch.cat([OWNERS, torch.tensor([0, 0])])
    margins = torch.tensor([*MARGINS[given], math.nan, math.nan], dtype=torch.float64)
    targets, known = scores_of_margins(margins, rows.int(), 12)
    beside = {"distil_loss": (WEIGHT, lambda scored: distil(kind, scored, targets, known))}
    output = info_nce(*mine[:2], ANSWER_SETS, 0.1, symmetric, mine[2], slots, beside=beside)
    output.loss.backward()
    of_texts = [*ANSWER_SETS.tolist(), *of_negatives.tolist()]
    texts, rest = [*theirs[1], *theirs[2]], (OWNERS.tolist(), MARGINS[given], 0.1)
    added = torch.as_tensor(naive_margins(kind, theirs[0], texts, ANSWER_SETS.tolist(), of_texts, *rest))
    plain = info_nce(*theirs[:2], ANSWER_SETS, 0.1, symmetric, theirs[2], slots).loss
    (plain + WEIGHT * added).backward()
    alone = added.detach().item()
    assert output.beside["distil_loss"].item() == pytest.approx(alone, rel=1e-10, abs=1e-12)
    assert output.loss.item() == pytest.approx((plain + WEIGHT * added).item(), rel=1e-10)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert (alone > 0.01) == (given != "none")


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_with_the_margins_of_the_data_has_nothing_to_learn(kind):
    queries, passages, negatives = unit(12, 6, 0), unit(12, 6, 1), unit(4, 6, 2)
    margins = ((queries[OWNERS] * passages[OWNERS]).sum(1) - (queries[OWNERS] * negatives).sum(1)) / 0.1
    told = []
    for given in (margins, margins + 1):
        targets, known = scores_of_margins(given, OWNERS, 12)
        beside = {"distil_loss": (1.0, lambda scored, t=targets, k=known: distil(kind, scored, t, k))}
        more = (False, negatives, torch.full((4,), -1))
        told.append(info_nce(queries, passages, ANSWER_SETS, 0.1, *more, beside=beside).beside["distil_loss"].item())
    assert told[0] == pytest.approx(0, abs=1e-12)
    assert told[1] > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_with_its_teachers_scores_has_nothing_to_learn(kind):
    queries, passages = unit(12, 6, 0), unit(12, 6, 1)
    turn = torch.linalg.qr(unit(6, 6, 5)).Q  # another space with the same cosines
    targets, known = teacher_scores(torch.cat([queries @ turn, passages @ turn]), 12, 0, 0.1)
    beside = {"distil_loss": (1.0, lambda scored: distil(kind, scored, targets, known))}
    told = info_nce(queries, passages, ANSWER_SETS, 0.1, beside=beside)
    assert told.beside["distil_loss"].item() == pytest.approx(0, abs=1e-12)
    shifted = {"distil_loss": (1.0, lambda scored: distil(kind, scored, targets + 3, known))}
    assert info_nce(queries, passages, ANSWER_SETS, 0.1, beside=shifted).loss.item() == pytest.approx(told.loss.item())


def test_known_answers():
    """Two columns: the student has 0 and 0, the teacher log 3 and 0, so its softmax is 3/4 and 1/4."""
    scores, targets = torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]])
    scored = Scored(scores, torch.tensor([0]), torch.eye(2), 1.0)
    known = torch.ones(1, 2, dtype=torch.bool)
    kl = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert distil("kl", scored, targets, known).item() == pytest.approx(kl)
    assert distil("margin_mse", scored, targets, known).item() == pytest.approx(math.log(3) ** 2)
    back = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert divergence(scores, targets, ~known).tolist() == pytest.approx([back])


def test_a_learned_temperature_gets_the_gradient_of_the_student_alone():
    temperature = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    queries, passages = unit(12, 6, 0), unit(12, 6, 1)
    targets, known = teacher_scores(torch.cat([unit(12, 8, 7), unit(12, 8, 8)]), 12, 0, TEMPERATURE)
    assert not targets.requires_grad
    beside = {"distil_loss": (1.0, lambda scored: distil("kl", scored, targets, known))}
    info_nce(queries, passages, ANSWER_SETS, temperature, beside=beside).loss.backward()
    step = 1e-6
    higher, lower = (
        info_nce(queries, passages, ANSWER_SETS, 0.1 + change, beside=beside).loss.item() for change in (step, -step)
    )
    assert temperature.grad.item() == pytest.approx((higher - lower) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("rows", [[], [3], [0, 5, 11], list(range(12))])
def test_consistency_equals_the_definition(rows):
    mine, theirs = ([*texts_of(0), unit(len(rows), 6, 30).requires_grad_()] for _ in range(2))
    slots = torch.cat([NEGATIVES, torch.tensor([-1, 5])])  # two that hold none

    def agree(scored):
        return consistency(scored, mine[3], torch.tensor(rows, dtype=torch.int64))

    output = info_nce(*mine[:2], ANSWER_SETS, 0.1, False, mine[2], slots, beside={"consistency_loss": (WEIGHT, agree)})
    output.loss.backward()
    of_texts = [*ANSWER_SETS.tolist(), *NEGATIVES.tolist()]
    texts = [*theirs[1], *theirs[2]]
    added = naive_consistency(theirs[0], theirs[3], rows, texts, ANSWER_SETS.tolist(), of_texts, 0.1)
    loss = info_nce(*theirs[:2], ANSWER_SETS, 0.1, False, theirs[2], slots).loss + WEIGHT * added
    loss.backward()
    assert output.loss.item() == pytest.approx(loss.item(), rel=1e-10)
    alone = torch.as_tensor(added).item()
    assert output.beside["consistency_loss"].item() == pytest.approx(alone, rel=1e-10, abs=1e-12)
    assert (alone > 0) == bool(rows)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.grad, torch.zeros_like(one) if other.grad is None else other.grad)


def test_one_query_twice_is_consistent_and_the_order_of_the_languages_is_nothing():
    queries, passages, others = unit(12, 6, 0), unit(12, 6, 1), unit(12, 6, 2)
    rows = torch.arange(12)

    def apart(firsts, seconds):
        beside = {"consistency_loss": (1.0, lambda scored: consistency(scored, seconds, rows))}
        return info_nce(firsts, passages, ANSWER_SETS, 0.1, beside=beside).beside["consistency_loss"].item()

    assert apart(queries, queries) == pytest.approx(0, abs=1e-12)
    assert apart(queries, others) == pytest.approx(apart(others, queries), rel=1e-10)
    assert apart(queries, others) > 0.1
