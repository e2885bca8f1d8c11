"""Bitext mining by margins, on vectors whose translations are known."""

import itertools

import numpy as np
import pytest

from hybridtune.evaluate.blocks import write_block
from hybridtune.prepare.margin import NEIGHBOURS, candidates, choose_threshold, neighbours


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def languages(tmp_path, count, alone=0, noise=0.3, seed=0):
    """Vectors of two languages: ``count`` texts with translations, ``alone`` without; with their neighbours."""
    rng = np.random.default_rng(seed)
    meaning = rng.normal(size=(count + 2 * alone, 32))
    kept = np.arange(count + 2 * alone)
    sides = [meaning[kept[: count + alone]], meaning[np.r_[kept[:count], kept[count + alone :]]]]
    sides = [unit(side + noise * rng.normal(size=side.shape)) for side in sides]
    numbers = {str(n): n for n in range(count + alone)}
    blocks = [[write_block(tmp_path / str(n), "all", "xy"[n], list(numbers), side)] for n, side in enumerate(sides)]
    near = [neighbours(sides[n], blocks[1 - n], numbers, NEIGHBOURS + 1) for n in range(2)]
    return sides, near


def test_margins_are_those_of_the_definition(tmp_path):
    (ones, others), near = languages(tmp_path, 30, 10)
    cosines = ones.astype(np.float64) @ others.T.astype(np.float64)
    mean_of = [np.sort(side, axis=1)[:, -NEIGHBOURS:].mean(axis=1) for side in (cosines, cosines.T)]
    margins = cosines / ((mean_of[0][:, None] + mean_of[1]) / 2)
    expected = {
        (x, y) for x, y in itertools.product(range(len(ones)), range(len(others))) if _is_best(margins, cosines, x, y)
    }
    found = candidates(*(side.first(NEIGHBOURS) for side in near))
    assert set(zip(found.ones.tolist(), found.others.tolist(), strict=True)) == expected
    assert found.margins == pytest.approx([margins[x, y] for x, y in zip(found.ones, found.others, strict=True)], 1e-5)
    assert (np.diff(found.margins) <= 0).all()


def _is_best(margins, cosines, x, y):
    """Whether two texts have each other's largest margin among their nearest ones."""
    near_x, near_y = np.argsort(-cosines[x])[:NEIGHBOURS], np.argsort(-cosines[:, y])[:NEIGHBOURS]
    return near_x[margins[x, near_x].argmax()] == y and near_y[margins[near_y, y].argmax()] == x


def test_a_chosen_threshold_keeps_translations_and_few_others(tmp_path):
    _, near = languages(tmp_path, 300, 300)
    threshold = choose_threshold(*near)
    found = candidates(*(side.first(NEIGHBOURS) for side in near))
    kept = found.margins >= threshold
    right = (found.ones == found.others) & (found.ones < 300)
    assert right[kept].mean() > 0.9
    assert right[kept].sum() > 270


@pytest.mark.parametrize("count", [1, 2, 3])
def test_languages_of_a_few_texts_have_a_threshold(tmp_path, count):
    _, near = languages(tmp_path, count)
    assert choose_threshold(*near) > 0
