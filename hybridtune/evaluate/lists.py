"""Exact top-k lists from the encoded pool: a Ray task per shard and chunk of queries, merged as they end.

The lists are those of a full sort by score and passage id, however the pool was cut (``shard.py`` says why). A task
returns its k best only, and the driver holds one list a query: memory does not grow with the pool.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import ray

from hybridtune.errors import HybridtuneError, InputError
from hybridtune.evaluate.blocks import Block, Vectors
from hybridtune.evaluate.shard import MARGIN, SLAB_PASSAGES, one_thread, shard_top_k
from hybridtune.evaluate.topk import TopK, merged, moved

CHUNK_ENTRIES = 2**20  # candidates held at once by a task


def top_k(
    queries: Vectors, blocks: Sequence[Block], k: int, *, num_cpus: float = 0.5, shards: int | None = None
) -> TopK:
    """The exact k best passages of every query; Ray must be running. One task per shard and chunk of queries.

    Args:
        queries: float32 [Q, D].
        blocks: the pool; ids unique in it. On a cluster, files that every machine sees.
        k: length of the lists, >= 1.
        num_cpus: logical CPUs that a task asks Ray for; it uses one core.
        shards: parts of the pool; None: one per CPU that Ray was told of, each worth starting a worker for. The lists
            do not depend on it.

    Raises:
        InputError: k < 1, vectors of another length, or an id that stands twice among tied passages.
        FitError: a vector is not finite.
    """
    if k < 1:
        raise InputError(f"k must be at least 1 (got {k}): a list needs a passage")
    if shards is None:
        cpus = int(ray.cluster_resources().get("CPU", 1))
        shards = max(1, min(cpus, sum(map(len, blocks)) // SLAB_PASSAGES))
    cuts = [len(blocks) * shard // shards for shard in range(shards + 1)]
    task = ray.remote(_top_k_task).options(num_cpus=num_cpus)
    shared = ray.put(queries)
    step = max(1, CHUNK_ENTRIES // (k + MARGIN))
    calls = (
        (chunk, partial(task.remote, shared, chunk, blocks[first:last], first, k))
        for chunk in (slice(start, start + step) for start in range(0, len(queries), step))
        for first, last in pairwise(cuts)
        if first < last
    )
    return gather(calls, TopK.empty(len(queries), k), blocks, num_cpus)


def gather(
    calls: Iterable[tuple[slice, Callable[[], Any]]], lists: TopK, blocks: Sequence[Block], num_cpus: float
) -> TopK:
    """Start the tasks, a bounded number at once, and merge the lists of each as it ends.

    Args:
        calls: which queries a task answers, and what starts it and gives the reference of its TopK.
        lists: merged into.
        blocks: the whole pool.
        num_cpus: of a task.
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


def _top_k_task(queries: Vectors, chunk: slice, blocks: Sequence[Block], first: int, k: int) -> TopK:
    with one_thread():
        return moved(shard_top_k(queries[chunk], blocks, k), first)
