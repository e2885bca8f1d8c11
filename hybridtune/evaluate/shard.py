"""The exact k best passages of one shard of the pool, in this process: faiss proposes, ``pair_scores`` decides.

faiss finds k + MARGIN candidates of each query by float32 products. These come within a proven distance of the score,
so either no passage outside the candidates can enter the k best, or the query is open and the shard is swept again
for every passage that could.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import faiss
import numpy as np
import numpy.typing as npt
import torch

from hybridtune.errors import InputError
from hybridtune.evaluate.blocks import Block, Vectors
from hybridtune.evaluate.ranks import pair_scores
from hybridtune.evaluate.topk import Int64, TopK, beside, located, ranked

MARGIN = 24  # candidates beyond k; float32 errors rarely cover the gap to the last of them
SLAB_PASSAGES = 2**14  # blocks are stacked to so many passages for one matrix product
SWEEP_ENTRIES = 2**20  # float64 scores held at once while open queries are swept

Scores = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def shard_top_k(queries: Vectors, blocks: Sequence[Block], k: int) -> TopK:
    """The exact k best passages of every query in one shard, in this process.

    A float32 sum of D products, added in any order, is within 1.01 * D * 2**-24 * |q||p| of the true value, the
    score before rounding within log2(D) * 2**-53 * |q||p|; D * 2**-23 covers both and what computing it rounds, and
    D * 2**-120 what underflows. Rounding is monotone: a passage outside the candidates scores at most the rounded
    sum of the last candidate's product and that distance. Below the k-th score it can neither enter nor tie.

    Args:
        queries: float32 [Q, D].
        blocks: the shard.
        k: length of the lists, >= 1.

    Raises:
        InputError: vectors of another length, or an id that stands twice among tied passages.
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


def _swept(queries: Vectors, blocks: Sequence[Block], k: int, floor: Scores, reach: Float64) -> TopK:
    """The k best by float64 products, whose distance to the score (``ranks.py``) leaves few passages open.

    Args:
        queries: float32 [q, D], the open ones.
        blocks: the shard.
        k: length of the lists.
        floor: float32 [q], a score that k passages reach: only what can reach it too is scored.
        reach: float64 [q], the query's norm times the largest of a passage.
    """
    top, starts = TopK.empty(len(queries), k), block_starts(blocks)
    distance = queries.shape[1] * 2.0**-51 * reach
    for first, vectors in slabs(blocks, queries.shape[1]):
        passages = torch.from_numpy(vectors)
        transposed = passages.double().T  # [D, n]
        step = max(1, SWEEP_ENTRIES // len(vectors))
        for start in range(0, len(queries), step):
            here = slice(start, start + step)
            block = torch.from_numpy(queries[here])
            most = (block.double() @ transposed).numpy() + distance[here, None]  # [q, n]
            least = np.maximum(floor[here], top.scores[here, -1])
            row, passage = np.nonzero(most.astype(np.float32) >= least[:, None])
            scores = pair_scores(block, passages, torch.from_numpy(row), torch.from_numpy(passage)).numpy()
            count = np.bincount(row, minlength=len(block))
            column = np.arange(len(row)) - np.repeat(count.cumsum() - count, count)
            values = np.full((len(block), count.max()), -np.inf, np.float32)
            labels = np.full(values.shape, -1, np.int64)
            values[row, column], labels[row, column] = scores, passage + first
            top.put(here, ranked(beside(top.part(here), located(values, labels, starts)), k, blocks))
    return top


@contextmanager
def one_thread() -> Iterator[None]:
    """faiss and torch with one thread while the block runs: a task has one core, whatever its machine has."""
    before = faiss.omp_get_max_threads(), torch.get_num_threads()
    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before[0])
        torch.set_num_threads(before[1])


def slabs(blocks: Sequence[Block], dim: int) -> Iterator[tuple[int, Vectors]]:
    """The vectors of consecutive blocks, stacked: (label of the first, float32 [n, dim]); labels count passages.

    Raises:
        InputError: a block has vectors of another length.
    """
    starts = block_starts(blocks)
    filled = [place for place in range(len(blocks)) if starts[place] < starts[place + 1]]
    for _, places in groupby(filled, lambda place: starts[place] // SLAB_PASSAGES):
        here = list(places)
        vectors = [blocks[place].read()[2] for place in here]
        for place, block in zip(here, vectors, strict=True):
            if block.shape[1] != dim:
                raise InputError(
                    f"{blocks[place].path}: vectors of {block.shape[1]} numbers, and the queries have {dim}; "
                    "queries and pool must be encoded by one model"
                )
        yield int(starts[here[0]]), np.concatenate(vectors)


def block_starts(blocks: Sequence[Block]) -> Int64:
    """[blocks + 1] label of each block's first passage; the last is their number."""
    return np.cumsum([0, *map(len, blocks)])


def rescored(queries: Vectors, stacked: Iterable[tuple[int, Vectors]], labels: Int64) -> Scores:
    """Scores by ``pair_scores``, -inf where the label is -1.

    Args:
        queries: float32 [Q, D], writable.
        stacked: the slabs.
        labels: int64 [Q, c] passages of the slabs.

    Returns:
        float32 [Q, c].

    Raises:
        FitError: a vector is not finite, candidate or not.
    """
    scores = np.full(labels.shape, -np.inf, np.float32)
    for first, vectors in stacked:
        row, column = np.nonzero((labels >= first) & (labels < first + len(vectors)))
        index = torch.from_numpy(row), torch.from_numpy(labels[row, column] - first)
        scores[row, column] = pair_scores(torch.from_numpy(queries), torch.from_numpy(vectors), *index).numpy()
    return scores


def _norms(vectors: Vectors) -> Float64:
    norms: Float64 = torch.linalg.vector_norm(torch.from_numpy(vectors), dim=1, dtype=torch.float64).numpy()
    return norms
