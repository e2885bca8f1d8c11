"""Lists of the best passages of an encoded benchmark, searched by a task so that no vector travels to the driver."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from hybridtune.evaluate.approximate import approximate_top_k
from hybridtune.evaluate.blocks import Block
from hybridtune.evaluate.lists import top_k
from hybridtune.evaluate.sweep import QUERIES
from hybridtune.evaluate.topk import TopK

IndexKind = Literal["ivf", "hnsw"]


class Found(NamedTuple):
    """Lists, and what is known of their exactness.

    Attributes:
        lists: [Q, k].
        recall: share of the exact lists that they hold, in [0, 1]; 1 of exact lists.
        sampled: queries that it was measured on; 0 for exact lists.
    """

    lists: TopK
    recall: float
    sampled: int


def search_pool(
    folder: Path, queries: Sequence[int], blocks: Sequence[Block], k: int, index: IndexKind | None, seed: int
) -> Found:
    """The k best passages of some blocks for some queries; Ray must be running.

    Args:
        folder: of the encoded benchmark, its relevant pairs scored.
        queries: positions of the queries.
        blocks: the pool.
        k: length of the lists.
        index: an approximate faiss index; None: exact.
        seed: of the index.
    """
    import ray

    task = ray.remote(_search).options(num_cpus=0.25)
    found: Found = ray.get(task.remote(folder, list(queries), list(blocks), k, index, seed))
    return found


def _search(folder: Path, queries: list[int], blocks: list[Block], k: int, index: IndexKind | None, seed: int) -> Found:
    vectors = np.load(folder / QUERIES)[queries]  # [q, D]
    if index is None:
        return Found(top_k(vectors, blocks, k), 1.0, 0)
    return Found(*approximate_top_k(vectors, blocks, k, index, seed))
