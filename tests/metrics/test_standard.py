"""Standardised scores: what they do to the ranks, against a full sort; moments, against numpy, in any partition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridtune.errors import InputError
from hybridtune.metrics.ranks import leave_out, outranking
from hybridtune.metrics.scores import pair_scores
from hybridtune.metrics.standard import Moments, Standard, standard_of, thresholds, thresholds_in_memory


class Pool:
    """Queries and passages of several languages, on a coarse grid: equal scores are common."""

    def __init__(self, seed, languages=3, queries=4, passages=20, dim=3):
        random = np.random.default_rng(seed)
        grid = random.integers(-2, 3, (queries + passages, dim)).astype(np.float64)
        grid[~grid.any(1), 0] = 1
        unit = (grid / np.linalg.norm(grid, axis=1, keepdims=True)).astype(np.float32)
        self.queries, self.passages = unit[:queries], unit[queries:]
        self.language = random.integers(languages, size=passages)
        self.order = random.permutation(passages)
        relevant = random.random((queries, passages)) < 0.3
        relevant[0, 0] = True
        self.query_index, self.passage_index = relevant.nonzero()
        self.languages = languages
        # Few different means and deviations: equal standardised scores are common too.
        self.standard = Standard(
            random.integers(-2, 3, (queries, languages)) / 4, 2.0 ** random.integers(-2, 3, (queries, languages))
        )

    def scores(self):
        every = [index.ravel() for index in np.indices((len(self.queries), len(self.passages)))]
        arrays = self.queries, self.passages, *every
        return pair_scores(*map(torch.tensor, arrays)).numpy().reshape(len(self.queries), -1)

    def thresholds(self):
        scores = self.scores()[self.query_index, self.passage_index]
        language, order = self.language[self.passage_index], self.order[self.passage_index]
        return thresholds(self.standard, self.query_index, scores, order, language)

    def counts(self):
        known = self.query_index, self.passage_index, self.order, self.language, self.languages
        return outranking(self.queries, self.passages, *known, self.thresholds())[1]

    def sorted_counts(self, standard):
        """The naive twin: every ranking sorted by standardised score, then score, then tie order."""
        scores, counts = self.scores(), np.zeros((len(self.query_index), self.languages), np.int64)
        for pair, (query, passage) in enumerate(zip(self.query_index, self.passage_index, strict=True)):
            mean, deviation = standard.mean[query][self.language], standard.deviation[query][self.language]
            standardised = (scores[query].astype(np.float64) - mean) / deviation
            ranking = sorted(
                range(len(self.passages)), key=lambda p: (-standardised[p], -scores[query, p], self.order[p])
            )
            for above in ranking[: ranking.index(passage)]:
                counts[pair, self.language[above]] += 1
        return counts


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_counts_equal_a_full_sort_by_standardised_scores(seed):
    pool = Pool(seed)
    np.testing.assert_array_equal(pool.counts(), pool.sorted_counts(pool.standard))


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_the_order_inside_a_language_does_not_change(seed):
    pool = Pool(seed)
    known = pool.query_index, pool.passage_index, pool.order, pool.language, pool.languages
    _, plain = outranking(pool.queries, pool.passages, *known)
    own = np.arange(len(plain)), pool.language[pool.passage_index]
    np.testing.assert_array_equal(pool.counts()[own], plain[own])


@given(st.integers(0, 2**32))
def test_mean_and_deviation_are_those_of_the_scores(seed):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(60, 7))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    queries, passages, language = unit[:10], unit[10:], random.integers(2, size=50)
    found = standard_of(queries, [Moments.of(passages[language == code]) for code in range(3)])
    for code in range(2):
        scores = queries.astype(np.float64) @ passages[language == code].T.astype(np.float64)
        np.testing.assert_allclose(found.mean[:, code], scores.mean(1), atol=1e-6)
        np.testing.assert_allclose(found.deviation[:, code], scores.std(1), atol=1e-6)
    assert (found.mean[:, 2] == 0).all()
    assert (found.deviation > 0).all()


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_moments_and_what_follows_have_the_same_bits_in_any_partition(seed, parts):
    random = np.random.default_rng(seed)
    vectors = random.uniform(-1, 1, size=(40, 9)).astype(np.float32)
    whole = Moments.of(vectors)
    shuffled = np.array_split(vectors[random.permutation(40)], parts)
    added = sum((Moments.of(part) for part in shuffled[1:]), Moments.of(shuffled[0]))
    for name in ("sums", "high", "mixed", "low"):
        np.testing.assert_array_equal(getattr(added, name), getattr(whole, name))
    together = standard_of(vectors, [whole])
    apart = [standard_of(part, [added]) for part in np.array_split(vectors, parts)]
    for name in ("mean", "deviation"):
        np.testing.assert_array_equal(np.concatenate([getattr(one, name) for one in apart]), getattr(together, name))


def test_a_language_of_one_passage_or_of_equal_ones_has_a_rank_like_any_other():
    vectors = np.array([[1, 0], [0.6, 0.8], [0.6, 0.8], [0.8, 0.6]], np.float32)
    pairs = np.array([0, 0]), np.array([0, 1])
    known = np.arange(4), np.array([0, 1, 1, 2])
    against = thresholds_in_memory(vectors[:1], vectors, *pairs, *known, 3)
    _, counts = outranking(vectors[:1], vectors, *pairs, *known, 3, against)
    assert counts[1].tolist()[1] == 0
    assert (counts.sum(1) < 4).all()


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.data())
def test_a_passage_left_out_counts_nowhere(seed, data):
    pool = Pool(seed)
    left = np.zeros(len(pool.query_index), bool)
    left[data.draw(st.integers(0, len(left) - 1))] = True
    counts, against = pool.counts(), pool.thresholds()
    (out,) = left.nonzero()[0]
    scores = pool.scores()[pool.query_index, pool.passage_index]
    language, order = pool.language[pool.passage_index], pool.order[pool.passage_index]
    arrays = counts, pool.query_index, scores, order, language, left
    found = leave_out(*map(torch.tensor, arrays), thresholds=torch.tensor(against)).numpy()
    mean, deviation = (of[pool.query_index, language] for of in pool.standard)
    keys = list(zip((scores.astype(np.float64) - mean) / deviation, scores, -order, strict=True))
    above = [
        (row, language[out])
        for row, query in enumerate(pool.query_index)
        if query == pool.query_index[out] and keys[out] > keys[row]
    ]
    expected = counts.copy()
    for row, column in above:
        expected[row, column] -= 1
    np.testing.assert_array_equal(found, expected)


def test_vectors_beyond_unit_length_are_refused():
    with pytest.raises(InputError, match="unit length; one has the number 2"):
        Moments.of(np.array([[2.0, 0]], np.float32))
