"""Exact top-k lists of passages: one shard in this process, a whole pool in Ray tasks, merged in trec_eval's order.

Query vectors and blocks go in, `TopK` lists by block and row come out, their ids on demand. `ann` does the same by an
approximate index; `trec` writes lists as runs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from typing import Any

import faiss
import numpy as np
import ray
import torch

from hybridtune.errors import HybridtuneError, InputError
from hybridtune.evaluate.blocks import Block
from hybridtune.metrics.arrays import Float32, Float64, Int32, Int64
from hybridtune.metrics.scores import pair_scores
from hybridtune.metrics.ties import tie_order

MARGIN = 24  # candidates beyond k; float32 errors rarely cover the gap to the last of them
SLAB_PASSAGES = 2**14  # blocks are stacked to so many passages for one matrix product
SWEEP_ENTRIES = 2**20  # float64 scores held at once while open queries are swept
CHUNK_ENTRIES = 2**20  # candidates held at once by a task


@dataclass(frozen=True)
class TopK:
    """The k best passages of each query: score descending, then passage id descending (code points).

    Attributes:
        scores: float32 [Q, k] from ``pair_scores``; -inf beyond the pool's size.
        blocks: int32 [Q, k], index of the passage's block in the blocks searched; -1 beyond the pool's size.
        rows: int32 [Q, k], its row in the block; -1 beyond the pool's size.

    Source: trec_eval ``form_res_rels.c`` sorts by score, then document id, both descending.
    """

    scores: Float32
    blocks: Int32
    rows: Int32

    @classmethod
    def empty(cls, queries: int, k: int) -> "TopK":
        """Return lists [queries, k] without a passage."""
        none = np.full((queries, k), -1, np.int32)
        return cls(np.full((queries, k), -np.inf, np.float32), none, none.copy())

    def part(self, rows: Any) -> "TopK":
        """Return the lists of some queries, by any numpy index."""
        return TopK(self.scores[rows], self.blocks[rows], self.rows[rows])

    def put(self, rows: Any, lists: "TopK") -> None:
        """Overwrite the lists of some queries."""
        self.scores[rows], self.blocks[rows], self.rows[rows] = lists.scores, lists.blocks, lists.rows

    def ids(self, blocks: Sequence[Block]) -> list[list[str]]:
        """Return passage ids by the blocks that were searched, best first; fewer than k where the pool has fewer."""
        names, index = self._named(blocks)
        return [[names[one] for one in row if one >= 0] for row in index.tolist()]

    def numbers(self, blocks: Sequence[Block], number: Mapping[str, int]) -> Int64:
        """Return the caller's own number of each passage id, int64 [Q, k]; -1 beyond the pool's size."""
        names, index = self._named(blocks)
        return np.array([*(number[name] for name in names), -1], np.int64)[index]

    def _named(self, blocks: Sequence[Block]) -> tuple[list[str], Int64]:
        """Return the distinct passage ids, and which of them each entry [Q, k] has; -1 beyond the pool's size."""
        keys = self.keys()
        index = np.full(keys.shape, -1)
        distinct, index[keys >= 0] = np.unique(keys[keys >= 0], return_inverse=True)
        return _ids(blocks, distinct), index

    def keys(self) -> Int64:
        """Return a number for each entry [Q, k] that no other passage has; -1 beyond the pool's size."""
        keys: Int64 = self.blocks.astype(np.int64) << 32 | self.rows
        return keys


def moved(lists: TopK, first: int) -> TopK:
    """Return lists of a shard as lists of the pool, where the shard's blocks begin at ``first``."""
    return TopK(lists.scores, np.where(lists.blocks < 0, -1, lists.blocks + np.int32(first)), lists.rows)


def merged(one: TopK, other: TopK, blocks: Sequence[Block]) -> TopK:
    """Return the k best of two lists of each query, [Q, k] both."""
    return ranked(beside(one, other), one.scores.shape[1], blocks)


def located(scores: Float32, labels: Int64, starts: Int64) -> TopK:
    """Return labels as block and row; in no order yet."""
    blocks = np.searchsorted(starts, labels, side="right") - 1  # -1 stays -1
    rows = np.where(labels < 0, -1, labels - starts[blocks])
    return TopK(scores, blocks.astype(np.int32), rows.astype(np.int32))


def ranked(lists: TopK, k: int, blocks: Sequence[Block]) -> TopK:
    """Return the k best of [Q, c] candidates, in order; ids are read only where scores tie."""
    lists = beside(lists, TopK.empty(len(lists.scores), max(0, k - lists.scores.shape[1])))
    order = np.argsort(-lists.scores, axis=1, kind="stable")  # [Q, c]
    descending = np.take_along_axis(lists.scores, order, 1)
    tied = (descending[:, 1:] == descending[:, :-1]) & (descending[:, 1:] > -np.inf)
    rows = np.flatnonzero(tied[:, :k].any(1))  # beyond rank k the order is of no interest
    if len(rows):
        entries = np.pad(tied[rows], ((0, 0), (1, 0))) | np.pad(tied[rows], ((0, 0), (0, 1)))
        where = rows[np.nonzero(entries)[0]], order[rows][entries]
        keys, inverse = np.unique(lists.keys()[where], return_inverse=True)
        by_id = np.zeros(lists.scores.shape, np.int64)
        by_id[where] = tie_order(_ids(blocks, keys))[inverse]
        order[rows] = np.lexsort((by_id[rows], -lists.scores[rows]), axis=1)
    return lists.part((np.arange(len(order))[:, None], order[:, :k]))


def beside(one: TopK, other: TopK) -> TopK:
    """Return the lists of each query side by side, [Q, c] and [Q, d] to [Q, c + d]; in no order."""
    return TopK(*(np.concatenate([vars(one)[name], vars(other)[name]], axis=1) for name in vars(one)))


def _ids(blocks: Sequence[Block], keys: Int64) -> list[str]:
    """Return the passage ids at ascending keys: each block is read once."""
    numbers, rows = keys >> 32, keys & 0xFFFFFFFF
    edges = np.flatnonzero(np.diff(numbers, prepend=-1, append=len(blocks)))
    names: list[str] = []
    for first, last in pairwise(edges.tolist()):
        ids = blocks[numbers[first]].read()[1]
        names.extend(ids[row] for row in rows[first:last].tolist())
    return names


def shard_top_k(queries: Float32, blocks: Sequence[Block], k: int) -> TopK:
    """Find the exact k best passages of every query [Q, D] in one shard, in this process.

    A float32 sum of D products, added in any order, is within 1.01 * D * 2**-24 * |q||p| of the true value, the
    score before rounding within log2(D) * 2**-53 * |q||p|; D * 2**-23 covers both and what computing it rounds, and
    D * 2**-120 what underflows. Rounding is monotone: a passage outside the candidates scores at most the rounded
    sum of the last candidate's product and that distance. Below the k-th score it can neither enter nor tie.

    Raises:
        InputError: vectors of another length, or an id that occurs twice among tied passages.
        FitError: a vector is not finite.
    """
    starts = block_starts(blocks)
    passages = int(starts[-1])
    width = min(k + MARGIN, passages)
    if width == 0 or len(queries) == 0:
        return TopK.empty(len(queries), k)
    queries = np.require(queries, np.float32, ["C", "W"])  # what Ray hands over is read-only, which torch warns of
    heap = faiss.ResultHeap(len(queries), width, keep_max=True)
    longest = 0.0
    for first, vectors in slabs(blocks, queries.shape[1]):
        products, labels = faiss.knn(queries, vectors, min(width, len(vectors)), faiss.METRIC_INNER_PRODUCT)
        heap.add_result(products, np.where(labels < 0, -1, labels + first))
        longest = max(longest, float(_norms(vectors).max()))
    heap.finalize()
    top = ranked(located(rescored(queries, slabs(blocks, queries.shape[1]), heap.I), heap.I, starts), k, blocks)
    if width < passages:
        dim, reach = queries.shape[1], _norms(queries) * longest  # [Q]
        distance = np.where(reach < 2.0**126, dim * (2.0**-23 * reach + 2.0**-120), np.inf)  # float32 overflows
        outside = (heap.D[:, -1] + distance).astype(np.float32)  # [Q]
        still = np.flatnonzero(~(outside < top.scores[:, -1]))  # not >=: what is not a number stays open
        if len(still):
            top.put(still, _swept(queries[still], blocks, k, top.scores[still, -1], reach[still]))
    return top


def _swept(queries: Float32, blocks: Sequence[Block], k: int, floor: Float32, reach: Float64) -> TopK:
    """Return the k best by float64 products, whose distance to the score (``ranks.py``) leaves few passages open.

    ``queries`` [q, D] are the open ones. ``floor`` [q] is a score that k passages reach: only what can reach it too is
    scored. ``reach`` [q] is the query's norm times the largest of a passage.
    """
    top, starts = TopK.empty(len(queries), k), block_starts(blocks)
    distance = queries.shape[1] * 2.0**-51 * reach
    for first, vectors in slabs(blocks, queries.shape[1]):
        passages = torch.from_numpy(vectors)
        transposed = passages.double().T  # [D, n]
        step = max(1, SWEEP_ENTRIES // len(vectors))
        for start in range(0, len(queries), step):
            chunk = slice(start, start + step)
            block = torch.from_numpy(queries[chunk])
            most = (block.double() @ transposed).numpy() + distance[chunk, None]  # [q, n]
            least = np.maximum(floor[chunk], top.scores[chunk, -1])
            row, passage = np.nonzero(most.astype(np.float32) >= least[:, None])
            scores = pair_scores(block, passages, torch.from_numpy(row), torch.from_numpy(passage)).numpy()
            count = np.bincount(row, minlength=len(block))
            column = np.arange(len(row)) - np.repeat(count.cumsum() - count, count)
            values = np.full((len(block), count.max()), -np.inf, np.float32)
            labels = np.full(values.shape, -1, np.int64)
            values[row, column], labels[row, column] = scores, passage + first
            top.put(chunk, ranked(beside(top.part(chunk), located(values, labels, starts)), k, blocks))
    return top


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block with one thread of faiss and torch: a task has one core, whatever its machine has."""
    before = faiss.omp_get_max_threads(), torch.get_num_threads()
    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before[0])
        torch.set_num_threads(before[1])


def slabs(blocks: Sequence[Block], dim: int) -> Iterator[tuple[int, Float32]]:
    """Stack the vectors of consecutive blocks: (label of the first, float32 [n, dim]); labels count passages.

    Raises:
        InputError: a block has vectors of another length.
    """
    starts = block_starts(blocks)
    filled = [index for index in range(len(blocks)) if starts[index] < starts[index + 1]]
    for _, group in groupby(filled, lambda index: starts[index] // SLAB_PASSAGES):
        slab = list(group)
        vectors = [blocks[index].read()[2] for index in slab]
        for index, block in zip(slab, vectors, strict=True):
            if block.shape[1] != dim:
                raise InputError(
                    f"{blocks[index].path}: vectors of {block.shape[1]} numbers, and the queries have {dim}; "
                    "queries and pool must be encoded by one model"
                )
        yield int(starts[slab[0]]), np.concatenate(vectors)


def block_starts(blocks: Sequence[Block]) -> Int64:
    """Return the label [blocks + 1] of each block's first passage; the last is their number."""
    return np.cumsum([0, *map(len, blocks)])


def rescored(queries: Float32, stacked: Iterable[tuple[int, Float32]], labels: Int64) -> Float32:
    """Score labels [Q, c] of passages in the slabs by ``pair_scores``: float32 [Q, c], -inf where the label is -1.

    Raises:
        FitError: a vector is not finite, candidate or not.
    """
    scores = np.full(labels.shape, -np.inf, np.float32)
    for first, vectors in stacked:
        row, column = np.nonzero((labels >= first) & (labels < first + len(vectors)))
        index = torch.from_numpy(row), torch.from_numpy(labels[row, column] - first)
        scores[row, column] = pair_scores(torch.from_numpy(queries), torch.from_numpy(vectors), *index).numpy()
    return scores


def _norms(vectors: Float32) -> Float64:
    norms: Float64 = torch.linalg.vector_norm(torch.from_numpy(vectors), dim=1, dtype=torch.float64).numpy()
    return norms


def top_k(
    queries: Float32, blocks: Sequence[Block], k: int, *, num_cpus: float = 0.5, shards: int | None = None
) -> TopK:
    """Find the exact k best passages of every query; Ray must be running. One task per shard and chunk of queries.

    Args:
        queries: float32 [Q, D].
        blocks: the pool; ids unique in it. On a cluster, files that every machine sees.
        k: length of the lists, >= 1. num_cpus: of a task, which uses one core.
        shards: parts of the pool, on which the lists do not depend; None: one per CPU that Ray has, each worth starting
            a worker for.

    Raises:
        InputError: k < 1, vectors of another length, or an id that occurs twice among tied passages.
        FitError: a vector is not finite.
    """
    if k < 1:
        raise InputError(f"k must be at least 1 (got {k}): a list needs a passage")
    if shards is None:
        cpus = int(ray.cluster_resources().get("CPU", 1))
        shards = max(1, min(cpus, sum(map(len, blocks)) // SLAB_PASSAGES))
    cuts = [len(blocks) * shard // shards for shard in range(shards + 1)]
    task = ray.remote(search_shard).options(num_cpus=num_cpus)
    shared = ray.put(queries)
    step = max(1, CHUNK_ENTRIES // (k + MARGIN))
    calls = (
        (chunk, partial(task.remote, shard_top_k, shared, chunk, blocks[first:last], first, k))
        for chunk in (slice(start, start + step) for start in range(0, len(queries), step))
        for first, last in pairwise(cuts)
        if first < last
    )
    return gather(calls, TopK.empty(len(queries), k), blocks, num_cpus)


def gather(
    calls: Iterable[tuple[slice, Callable[[], Any]]], lists: TopK, blocks: Sequence[Block], num_cpus: float
) -> TopK:
    """Start the tasks, a bounded number at once, and merge the lists of each as it ends.

    ``calls`` are the queries that a task answers, and what starts it and returns the reference of its TopK; ``lists``
    are merged into; ``blocks`` are the whole pool.
    """
    at_once = 2 * max(1, int(ray.cluster_resources().get("CPU", 1) / num_cpus))  # as many wait as run
    pending = iter(calls)
    running: dict[Any, slice] = {}
    try:
        while True:
            for chunk, start in pending:
                running[start()] = chunk
                if len(running) == at_once:
                    break
            if not running:
                return lists
            (done,), _ = ray.wait(list(running), num_returns=1)
            chunk = running.pop(done)
            lists.put(chunk, merged(lists.part(chunk), ray.get(done), blocks))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, HybridtuneError):
            raise error.cause from None
        raise
    finally:
        for task in running:
            ray.cancel(task)


def search_shard(
    search: Callable[..., TopK], queries: Float32, chunk: slice, blocks: Sequence[Block], first: int, *how: Any
) -> TopK:
    """Search a shard, which begins at block ``first`` of the pool, for a chunk of the queries, as a task."""
    with one_thread():
        return moved(search(queries[chunk], blocks, *how), first)
