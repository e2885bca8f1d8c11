import numpy as np
import pytest

from hybridtune.errors import FitError, InputError
from hybridtune.evaluate import ann as approximate
from hybridtune.evaluate import top_k as lists
from hybridtune.evaluate.ann import Index, approximate_top_k
from hybridtune.evaluate.blocks import write_block
from hybridtune.evaluate.top_k import shard_top_k, top_k

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240), pytest.mark.usefixtures("ray_here")]


@pytest.fixture(scope="module")
def queries():
    return unit(np.random.default_rng(1), 30)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """Five blocks; a third of the passages stands twice or more."""
    random = np.random.default_rng(2)
    vectors, folder = unit(random, 500), tmp_path_factory.mktemp("pool")
    vectors[::3] = vectors[random.integers(500, size=500)[::3]]
    ids = [f"p{number}" for number in random.permutation(500)]
    return [
        write_block(folder, f"{first:03}", "en", ids[first : first + 100], vectors[first : first + 100])
        for first in range(0, 500, 100)
    ]


def unit(random, rows):
    vectors = random.normal(size=(rows, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def same(one, other):
    return all(np.array_equal(vars(one)[name], vars(other)[name]) for name in ("scores", "blocks", "rows"))


@pytest.mark.parametrize("shards", [None, 2, 9])
@pytest.mark.parametrize("k", [1, 40, 600])
def test_tasks_give_the_lists_of_one_process(queries, blocks, monkeypatch, shards, k):
    monkeypatch.setattr(lists, "SLAB_PASSAGES", 250)  # two shards where no number is given
    monkeypatch.setattr(lists, "CHUNK_ENTRIES", 20 * (k + lists.MARGIN))  # two chunks of queries
    assert same(top_k(queries, blocks, k, shards=shards), shard_top_k(queries, blocks, k))


def test_more_tasks_than_run_at_once(queries, blocks, monkeypatch):
    monkeypatch.setattr(lists, "CHUNK_ENTRIES", 1)  # a chunk a query
    assert same(top_k(queries, blocks, 5, num_cpus=2, shards=2), shard_top_k(queries, blocks, 5))


def test_what_is_wrong_in_a_task_is_told_as_it_is(queries, blocks, tmp_path):
    with pytest.raises(InputError, match=r"vectors of 16 numbers, and the queries have 15; [a-z ]+$"):
        top_k(queries[:, :15], blocks, 3)
    broken = queries.copy()
    broken[3, 3] = np.nan
    with pytest.raises(FitError, match="not finite"):
        top_k(broken, blocks, 3)
    with pytest.raises(InputError, match="k must be at least 1"):
        top_k(queries, blocks, 0)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_lists_tell_their_recall(queries, blocks, monkeypatch, kind):
    monkeypatch.setattr(approximate, "SHARD_PASSAGES", 250)  # two shards or more
    found = approximate_top_k(queries, blocks, 10, Index(kind, 5, nprobe=1, ef_search=1), 12)
    again = approximate_top_k(queries, blocks, 10, Index(kind, 5, nprobe=1, ef_search=1), 12)
    assert same(found.top, again.top)
    assert (found.recall, found.sampled) == (again.recall, 12)
    assert 0 < found.recall <= 1
    assert approximate_top_k(queries, blocks, 10, Index(kind, 5)).sampled == len(queries)


def test_looking_into_every_list_is_exact(queries, blocks):
    found = approximate_top_k(queries, blocks, 10, Index("ivf", 5, nprobe=1000))
    assert found.recall == 1
    assert same(found.top, top_k(queries, blocks, 10))


def test_wrong_values_are_told(queries, blocks):
    for wrong, message in (
        ({"kind": "lsh"}, "index 'lsh' is unknown; known: ivf, hnsw"),
        ({"seed": -1}, "seed must lie in"),
        ({"nprobe": 0}, "nprobe must be at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            Index(**{"kind": "ivf", "seed": 0} | wrong)
    with pytest.raises(InputError, match="sample must be at least 1"):
        approximate_top_k(queries, blocks, 3, Index("ivf", 0), 0)
    with pytest.raises(InputError, match="30 queries and 0 passages"):
        approximate_top_k(queries, [], 3, Index("ivf", 0))
