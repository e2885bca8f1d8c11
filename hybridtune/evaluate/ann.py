"""Approximate top-k lists by a faiss index per shard, for pools too large to compare every query with every passage.

What the index finds is scored by ``pair_scores``, and a seeded sample of the queries is searched exactly too: the
recall that the index really has on this pool comes with every answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import faiss
import numpy as np
import ray

from hybridtune.errors import InputError
from hybridtune.evaluate.blocks import Block
from hybridtune.evaluate.sweep import QUERIES
from hybridtune.evaluate.top_k import (
    CHUNK_ENTRIES,
    MARGIN,
    TopK,
    block_starts,
    gather,
    located,
    ranked,
    rescored,
    search_shard,
    slabs,
    top_k,
)
from hybridtune.metrics.arrays import Float32

SHARD_PASSAGES = 2**17  # of one index; by passages and not by CPUs, so that the lists do not depend on the machine
LISTS_PER_ROOT = 4  # inverted lists: so often the root of the passages
POINTS_PER_LIST = 39  # that k-means wants for training, below which faiss warns
NEIGHBOURS = 32  # edges of a passage in the HNSW graph

IndexKind = Literal["ivf", "hnsw"]


@dataclass(frozen=True)
class Index:
    """The index of a shard.

    Attributes:
        kind: ivf, inverted lists around k-means centres (builds fast); hnsw, a graph of neighbours (searches fast).
        seed: of the k-means and of the graph's levels, in [0, 2**31).
        nprobe: inverted lists that a query looks into; None: a sixteenth of them, at least 8. All of them: exact.
        ef_search: passages that a query keeps in view in the graph; None: 2 * k, at least 64.

    Source: arXiv 1603.09320 (HNSW); nlist of 4 to 16 roots: the faiss wiki's guidelines to choose an index.
    """

    kind: IndexKind
    seed: int
    nprobe: int | None = None
    ef_search: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(IndexKind):
            raise InputError(f"index {self.kind!r} is unknown; known: {', '.join(get_args(IndexKind))}")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"seed must lie in [0, 2**31) (got {self.seed})")
        for name in ("nprobe", "ef_search"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"{name} must be at least 1 (got {value})")


class Found(NamedTuple):
    """Lists [Q, k], and how exact they are.

    ``recall`` is the share of the exact k best that they hold, over the ``sampled`` queries, in [0, 1]; 1 and 0 of
    exact lists.
    """

    top: TopK
    recall: float
    sampled: int


def search_pool(
    folder: Path, queries: Sequence[int], blocks: Sequence[Block], k: int, index: IndexKind | None, seed: int
) -> Found:
    """Find the k best passages of some blocks for the queries at some positions, in a task; Ray must be running.

    The folder is that of the encoded benchmark, its relevant pairs scored; without an index the lists are exact.
    """
    task = ray.remote(_search).options(num_cpus=0.25)
    chosen = None if index is None else Index(index, seed)
    found: Found = ray.get(task.remote(folder, list(queries), list(blocks), k, chosen))
    return found


def _search(folder: Path, queries: list[int], blocks: list[Block], k: int, index: Index | None) -> Found:
    vectors = np.load(folder / QUERIES)[queries]  # [q, D]
    return Found(top_k(vectors, blocks, k), 1.0, 0) if index is None else approximate_top_k(vectors, blocks, k, index)


def approximate_top_k(
    queries: Float32, blocks: Sequence[Block], k: int, index: Index, sample: int = 200, *, num_cpus: float = 0.5
) -> Found:
    """Find the k best passages by an index per shard, for every query; Ray must be running. One task per shard.

    Args:
        queries: float32 [Q, D], unit length, Q >= 1.
        blocks: the pool, not empty; ids unique in it. On a cluster, files that every machine sees.
        k: length of the lists, >= 1. index: its seed also draws the sample.
        sample: queries that are searched exactly too, >= 1; all if there are fewer.
        num_cpus: of a task, which uses one core.

    Raises:
        InputError: no query or no passage, vectors of another length.
        FitError: a vector is not finite.
    """
    if sample < 1:
        raise InputError(f"sample must be at least 1 (got {sample})")
    starts = block_starts(blocks)
    if len(queries) == 0 or starts[-1] == 0:
        raise InputError(f"{len(queries)} queries and {starts[-1]} passages: a search needs one of each at least")
    sampled = np.sort(np.random.default_rng(index.seed).permutation(len(queries))[:sample])
    exact = top_k(queries[sampled], blocks, k, num_cpus=num_cpus)
    task = ray.remote(search_shard).options(num_cpus=num_cpus)
    shared, chunk = ray.put(queries), slice(len(queries))
    edges = [*np.flatnonzero(np.diff(starts[:-1] // SHARD_PASSAGES, prepend=-1)).tolist(), len(blocks)]
    calls = (
        (chunk, partial(task.remote, shard_approximate, shared, chunk, blocks[first:last], first, k, index))
        for first, last in pairwise(edges)
    )
    top = gather(calls, TopK.empty(len(queries), k), blocks, num_cpus)
    return Found(top, recall(top.part(sampled), exact), len(sampled))


def recall(found: TopK, exact: TopK) -> float:
    """Return the share of the passages in the exact lists [Q, k] that the found lists of the same queries hold."""
    lists = zip(found.keys(), exact.keys(), strict=True)
    hits = sum(len(np.intersect1d(listed, wanted[wanted >= 0])) for listed, wanted in lists)
    return hits / int((exact.blocks >= 0).sum())


def shard_approximate(queries: Float32, blocks: Sequence[Block], k: int, index: Index) -> TopK:
    """Find the k best passages by an index of one shard, in this process; its vectors are held in memory.

    With one thread (``one_thread``) the same call gives the same lists.

    Raises:
        InputError: vectors of another length.
        FitError: a vector is not finite.
    """
    queries = np.require(queries, np.float32, ["C", "W"])  # what Ray hands over is read-only, which torch warns of
    top, starts = TopK.empty(len(queries), k), block_starts(blocks)
    if starts[-1] == 0:
        return top
    vectors = np.concatenate([slab for _, slab in slabs(blocks, queries.shape[1])])  # [n, D]
    rescored(queries, [(0, vectors)], np.full((len(queries), 1), -1))  # faiss would index what is not finite
    built = _built(vectors, k, index)
    step = max(1, CHUNK_ENTRIES // (k + MARGIN))
    for start in range(0, len(queries), step):
        chunk = slice(start, start + step)
        _, labels = built.search(queries[chunk], min(k + MARGIN, len(vectors)))
        scores = rescored(queries[chunk], [(0, vectors)], labels)
        top.put(chunk, ranked(located(scores, labels, starts), k, blocks))
    return top


def _built(vectors: Float32, k: int, index: Index) -> Any:
    """Return the faiss index of the vectors [n, D], ready to search."""
    passages, dim = vectors.shape
    if index.kind == "hnsw":
        library: Any = faiss  # whose type stubs do not know the generator
        graph = library.IndexHNSWFlat(dim, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.rng = library.RandomGenerator(index.seed)
        graph.hnsw.efSearch = index.ef_search or max(64, 2 * k)
        graph.add(vectors)
        return graph
    lists = max(1, min(int(LISTS_PER_ROOT * passages**0.5), passages // POINTS_PER_LIST))
    inverted = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    inverted.cp.seed = index.seed
    inverted.train(vectors)
    inverted.add(vectors)
    inverted.nprobe = min(lists, index.nprobe or max(8, lists // 16))
    return inverted
