import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridtune.errors import FitError, InputError
from hybridtune.evaluate import ann as approximate
from hybridtune.evaluate import top_k as shard
from hybridtune.evaluate.ann import Index, shard_approximate
from hybridtune.evaluate.blocks import write_block
from hybridtune.evaluate.top_k import TopK, merged, moved, shard_top_k
from hybridtune.metrics.scores import pair_scores


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Pool:
    """Queries, and passages with duplicates among them; ids in no order."""

    def __init__(self, seed, queries, passages, dim, grid=False):
        self.random = random = np.random.default_rng(seed)
        vectors = random.integers(-1, 2, (queries + passages, dim)) + (0.0 if grid else 1e-3) * random.normal(
            size=(queries + passages, dim)
        )
        vectors[:, 0] += 3  # no vector of zeros
        self.queries, self.passages = np.split(unit(vectors), [queries])
        copied = random.random(passages) < 0.4
        self.passages[copied] = self.passages[random.integers(passages, size=passages)[copied]]
        self.ids = [f"p{number}" for number in random.permutation(passages)]

    @classmethod
    def around(cls, seed, queries, passages, dim, spread=None):
        """Vectors drawn without a grid; with a spread, that near to one direction."""
        pool = cls(seed, queries, passages, dim)
        centre = 0 if spread is None else pool.random.normal(size=dim)
        drawn = pool.random.normal(size=(queries + passages, dim)) * (1 if spread is None else spread)
        pool.queries, pool.passages = np.split(unit(centre + drawn), [queries])
        return pool

    def written(self, folder, sizes):
        """Its passages as blocks of these sizes, in order; what is left is the last one."""
        cuts = np.cumsum([0, *sizes]).clip(max=len(self.ids)).tolist()
        parts = zip(cuts, [*cuts[1:], len(self.ids)], strict=True)
        return [
            write_block(folder, f"{number:03}", "en", self.ids[first:last], self.passages[first:last])
            for number, (first, last) in enumerate(parts)
            if first < last
        ]

    def sorted_lists(self, k):
        """The naive twin: every passage scored, sorted by id, then by score."""
        lists = []
        by_id = sorted(range(len(self.ids)), key=self.ids.__getitem__, reverse=True)
        every = torch.arange(len(self.ids))
        for q in range(len(self.queries)):
            scores = pair_scores(
                torch.tensor(self.queries), torch.tensor(self.passages), torch.full_like(every, q), every
            ).tolist()
            best = sorted(by_id, key=lambda p: -scores[p])[:k]
            lists.append([(self.ids[p], scores[p]) for p in best])
        return lists


def listed(top: TopK, blocks):
    scores = [[score for score in row if score > -math.inf] for row in top.scores.tolist()]
    return [list(zip(*pair, strict=True)) for pair in zip(top.ids(blocks), scores, strict=True)]


def in_shards(pool, blocks, k, cuts):
    """The lists of shards, merged."""
    top = TopK.empty(len(pool.queries), k)
    for first, last in zip([0, *cuts], [*cuts, len(blocks)], strict=True):
        top = merged(moved(shard_top_k(pool.queries, blocks[first:last], k), first), top, blocks)
    return top


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    queries=st.integers(1, 5),
    passages=st.integers(1, 40),
    dim=st.integers(1, 6),
    k=st.integers(1, 45),
    grid=st.booleans(),
    sizes=st.lists(st.integers(1, 12), max_size=6),
    margin=st.integers(0, 3),
    slab=st.sampled_from([1, 5, 2**14]),
    data=st.data(),
)
def test_lists_equal_a_full_sort_for_any_partition(
    tmp_path_factory, seed, queries, passages, dim, k, grid, sizes, margin, slab, data
):
    pool = Pool(seed, queries, passages, dim, grid)
    blocks = pool.written(tmp_path_factory.mktemp("pool"), sizes)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(blocks)), max_size=3)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard, "MARGIN", margin)
        patch.setattr(shard, "SLAB_PASSAGES", slab)
        patch.setattr(shard, "SWEEP_ENTRIES", 3 * slab)
        top = in_shards(pool, blocks, k, cuts)
    assert listed(top, blocks) == pool.sorted_lists(k)
    assert top.scores.shape == top.blocks.shape == top.rows.shape == (queries, k)
    assert (top.scores.dtype, top.blocks.dtype, top.rows.dtype) == (np.float32, np.int32, np.int32)
    beyond = np.arange(k) >= passages
    assert (top.blocks[:, beyond] == -1).all()
    assert (top.rows[:, beyond] == -1).all()
    assert (top.scores[:, beyond] == -np.inf).all()


@pytest.mark.parametrize("spread", [1.0, 1e-6, 0.0])
def test_near_equal_scores_are_those_of_a_full_sort(tmp_path, spread):
    # A collapsed encoder: at 1e-6 float32 products put the passages in a wrong order, at 0 all scores tie.
    pool = Pool.around(1, 7, 400, 48, spread)
    blocks = pool.written(tmp_path, [90, 150])
    expected = pool.sorted_lists(10)
    assert listed(shard_top_k(pool.queries, blocks, 10), blocks) == expected
    assert listed(in_shards(pool, blocks, 10, [1]), blocks) == expected


@pytest.mark.parametrize("spread", [None, 1e-6])
@pytest.mark.parametrize("queries", [3, 40])  # faiss multiplies few queries by itself, many by BLAS
def test_products_that_are_off_within_the_bound_change_nothing(tmp_path, monkeypatch, queries, spread):
    # Grid vectors: many scores in the middle of a list are 0, where the smallest error shows. At 1e-6 float32 errs.
    random = np.random.default_rng(0)
    pool = Pool.around(2, queries, 300, 16, spread) if spread else Pool(2, queries, 300, 16, grid=True)
    if not spread:
        pool.queries[:, 0] = 0
    blocks = pool.written(tmp_path, [100])
    expected = {k: pool.sorted_lists(k) for k in (8, 140, 170)}
    knn, matmul = shard.faiss.knn, torch.Tensor.__matmul__

    def knn_off(queries, passages, k, metric):
        products, labels = knn(queries, passages, len(passages), metric)
        products = (products + random.uniform(-1, 1, products.shape) * 16 * 2.0**-24).astype(np.float32)
        order = np.argsort(-products, axis=1)[:, :k]
        return np.take_along_axis(products, order, 1), np.take_along_axis(labels, order, 1)

    def matmul_off(one, other):
        product = matmul(one, other)
        return product + torch.from_numpy(random.uniform(-1, 1, product.shape)) * 16 * 2.0**-53

    monkeypatch.setattr(shard.faiss, "knn", knn_off)
    monkeypatch.setattr(torch.Tensor, "__matmul__", matmul_off)
    monkeypatch.setattr(shard, "MARGIN", 2)
    assert {k: listed(shard_top_k(pool.queries, blocks, k), blocks) for k in expected} == expected


def test_only_open_queries_are_swept(tmp_path, monkeypatch):
    pool = Pool.around(4, 2, 200, 24)
    pool.passages[:60] = pool.queries[1]  # the second query has more ties than candidates
    blocks = pool.written(tmp_path, [64])
    swept, original = [], shard._swept

    def seen(queries, *rest):
        swept.append(queries)
        return original(queries, *rest)

    monkeypatch.setattr(shard, "_swept", seen)
    assert listed(shard_top_k(pool.queries, blocks, 5), blocks) == pool.sorted_lists(5)
    assert np.array_equal(np.concatenate(swept), pool.queries[1:])


def test_known_lists_with_ties(tmp_path):
    queries = np.array([[1, 0]], np.float32)
    blocks = [
        write_block(tmp_path, "one", "en", ["a", "b"], np.array([[0.6, 0.8], [0.6, 0.8]], np.float32)),
        write_block(tmp_path, "two", "de", ["é", "e"], np.array([[0.6, -0.8], [1, 0]], np.float32)),
    ]
    top = shard_top_k(queries, blocks, 3)
    assert top.ids(blocks) == [["e", "é", "b"]]
    assert top.scores.tolist() == [[1, np.float32(0.6), np.float32(0.6)]]
    assert (top.blocks.tolist(), top.rows.tolist()) == ([[1, 1, 0]], [[1, 0, 1]])
    assert top.numbers(blocks, {"a": 10, "b": 11, "é": 12, "e": 13}).tolist() == [[13, 12, 11]]
    assert shard_top_k(queries, blocks, 6).numbers(blocks, dict(zip("abée", range(4), strict=True))).tolist() == [
        [3, 2, 1, 0, -1, -1]
    ]


def test_sums_that_overflow_float32_on_the_way_are_still_exact(tmp_path, monkeypatch):
    random = np.random.default_rng(8)
    pool = Pool(8, 3, 60, 8)
    signs = np.array([random.permutation([1, 1, 1, 1, -1, -1, -1, -1]) for _ in range(60)])
    pool.queries = np.full((3, 8), 1e19, np.float32)
    pool.passages = (signs * random.uniform(2.5e19, 3e19, (60, 8))).astype(np.float32)  # products of 3e38
    blocks = pool.written(tmp_path, [30])
    monkeypatch.setattr(shard, "MARGIN", 2)
    with np.errstate(over="ignore"):
        assert listed(shard_top_k(pool.queries, blocks, 4), blocks) == pool.sorted_lists(4)


def test_nothing_to_list(tmp_path):
    blocks = [write_block(tmp_path, "one", "en", ["a"], np.ones((1, 2), np.float32))]
    none = shard_top_k(np.ones((0, 2), np.float32), blocks, 3)
    assert none.scores.shape == (0, 3)
    assert none.ids(blocks) == []
    bare = shard_top_k(np.ones((2, 2), np.float32), [], 3)
    assert bare.ids([]) == [[], []]
    assert bare.numbers([], {}).tolist() == [[-1] * 3] * 2


def test_wrong_input_is_refused(tmp_path):
    two = write_block(tmp_path, "two", "en", ["a", "a"], np.ones((2, 2), np.float32))
    with pytest.raises(InputError, match="vectors of 2 numbers, and the queries have 3"):
        shard_top_k(np.ones((1, 3), np.float32), [two], 1)
    with pytest.raises(InputError, match="'a' occurs twice"):
        shard_top_k(np.ones((1, 2), np.float32), [two], 1)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("k", [1, 300])
def test_embeddings_that_are_not_finite_raise(tmp_path, broken, k):
    good, bad = Pool(5, 2, 60, 4), Pool(5, 2, 60, 4)
    bad.passages[7, 2] = broken
    with pytest.raises(FitError, match="not finite"):
        shard_top_k(good.queries, bad.written(tmp_path, [20]), k)
    bad.queries[1, 2] = broken
    with pytest.raises(FitError, match="not finite"):
        shard_top_k(bad.queries, good.written(tmp_path / "good", [20]), k)


@pytest.mark.parametrize("index", [Index("ivf", seed=3, nprobe=10**6), Index("hnsw", seed=3, ef_search=500)])
def test_an_index_that_looks_everywhere_is_exact(tmp_path, monkeypatch, index):
    pool = Pool.around(6, 30, 400, 12)
    blocks = pool.written(tmp_path, [100, 200])
    monkeypatch.setattr(approximate, "CHUNK_ENTRIES", 500)
    assert listed(shard_approximate(pool.queries, blocks, 10, index), blocks) == pool.sorted_lists(10)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_index_is_a_function_of_its_seed_and_its_scores_are_the_defined_ones(tmp_path, kind):
    pool = Pool.around(7, 20, 2000, 12)
    blocks = pool.written(tmp_path, [700, 700])
    index = Index(kind, seed=1, nprobe=1, ef_search=1)
    with shard.one_thread():
        one, again = (shard_approximate(pool.queries, blocks, 5, index) for _ in range(2))
    assert listed(one, blocks) == listed(again, blocks)
    exact = shard_top_k(pool.queries, blocks, 5)
    assert 0 < approximate.recall(one, exact) < 1
    scores = dict(pair for row in pool.sorted_lists(2000)[:1] for pair in row)
    assert all(scores[name] == score for name, score in listed(one, blocks)[0])


def test_recall_counts_what_both_lists_hold():
    def top(rows):
        rows = np.array(rows, np.int32)
        return TopK(np.zeros(rows.shape, np.float32), np.where(rows < 0, -1, 0).astype(np.int32), rows)

    assert approximate.recall(top([[1, 2], [3, 4]]), top([[2, 1], [3, 5]])) == 0.75
    assert approximate.recall(top([[1, -1]]), top([[1, -1]])) == 1  # a pool of one passage
