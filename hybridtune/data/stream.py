"""A worker's slice of the plan, as token batches, in order, from any step: a Ray Data pipeline of its own.

A row of the pipeline is a run of steps (a batch is a gather of a few kilobytes, less than Ray Data's own cost a row);
its tasks map the token store into memory and cut the rows out of it.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybridtune.data.plan import BatchSpec, HybridPlan, Kind
from hybridtune.data.store import TokenStore

STEPS_PER_ROW = 16
STEPS_PER_PLAN = 4096  # steps planned ahead at once: a long training never holds its whole plan
_PURPOSE = 5  # sets this file's seeded draws apart from the plan's, 0 to 4

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TokenBatch:
    """A worker's b pairs of one step, as ragged token ids.

    Attributes:
        step: the step of the plan.
        kind: the kind of the global batch.
        queries: b rows of token ids.
        passages: b rows of token ids; row i answers query i.
        clusters: [b] pairs of one cluster are no negatives of each other.
        languages: [b, 2] columns of the query's and the passage's language.
        negatives: k <= b*n rows of token ids: the hard negatives of the b pairs, at most n of each, all in the
            language of its pair's passage.
        negative_clusters: [b*n] the cluster that a negative's text is a passage of, -1 for none. Its length is that
            of all workers and steps; what stands behind the first k means nothing. Empty where n is 0.
    """

    step: int
    kind: Kind
    queries: list[Int32]
    passages: list[Int32]
    clusters: Int32
    languages: Int32
    negatives: list[Int32] = field(default_factory=list)
    negative_clusters: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))


def token_batches(
    plan: HybridPlan,
    store: Path,
    *,
    start: int,
    stop: int,
    rank: int,
    workers: int,
    negatives: int = 0,
    num_cpus: float = 0.25,
) -> Iterator[TokenBatch]:
    """The batches of one worker for steps [start, stop).

    Args:
        plan: of the global batch; its batch size is a multiple of ``workers``.
        store: folder of the token store.
        start: first step.
        stop: step after the last.
        rank: this worker, in [0, workers).
        workers: W; worker r takes rows r*B/W to (r+1)*B/W of every global batch.
        negatives: hard negatives to give a pair, of those that its group has; n is this, or the most that any group
            has. Which ones is a function of (the plan's seed, step, row).
        num_cpus: logical CPUs of one of the pipeline's tasks.
    """
    size = plan.batch_size // workers
    rows = slice(rank * size, (rank + 1) * size)
    most = min(negatives, plan.corpus.most_negatives())
    specs = plan.batches(start, stop)
    for first in range(start, stop, STEPS_PER_PLAN):
        last = min(first + STEPS_PER_PLAN, stop)
        items = [_item(plan, [next(specs) for _ in steps], rows, most) for steps in _runs(first, last)]
        yield from _stream(items, str(store), num_cpus, first)


def _runs(first: int, last: int) -> Iterator[range]:
    for start in range(first, last, STEPS_PER_ROW):
        yield range(start, min(start + STEPS_PER_ROW, last))


def _item(plan: HybridPlan, specs: list[BatchSpec], rows: slice, negatives: int = 0) -> dict[str, Any]:
    """One row of the pipeline: the text numbers of a run of steps."""
    groups = np.stack([spec.groups[rows] for spec in specs])  # [n, b]
    languages = np.stack([spec.languages[rows] for spec in specs])  # [n, b, 2]
    item = {
        "step": [spec.step for spec in specs],
        "mono": [spec.kind == "mono" for spec in specs],
        "queries": plan.corpus.queries[groups, languages[:, :, 0]].tolist(),
        "passages": plan.corpus.passages[groups, languages[:, :, 1]].tolist(),
        "clusters": plan.corpus.clusters[groups].tolist(),
        "languages": languages.reshape(len(specs), -1).tolist(),
    }
    if negatives:
        hard = np.stack([_hard_negatives(plan, spec, rows, negatives) for spec in specs])  # [n, 2, slots]
        item |= {"negatives": hard[:, 0].tolist(), "negative_clusters": hard[:, 1].tolist()}
    return item


def _hard_negatives(plan: HybridPlan, spec: BatchSpec, rows: slice, most: int) -> Int32:
    """[2, b*n] text numbers and clusters of a worker's hard negatives; -1 in the slots behind the last one."""
    corpus = plan.corpus
    draws = np.random.default_rng((plan.seed, _PURPOSE, spec.step)).random(plan.batch_size)  # of all workers' rows
    places = corpus.draw_negatives(spec.groups[rows], spec.languages[rows, 1], draws[rows], most)  # [b, n]
    slots = np.full((2, places.size), -1, np.int32)
    real = places[places >= 0]
    slots[:, : len(real)] = corpus.negative_texts[real], corpus.negative_clusters[real]
    return slots


def _stream(items: list[dict[str, Any]], store: str, num_cpus: float, first: int) -> Iterator[TokenBatch]:
    import ray

    data = ray.data.from_items(items, override_num_blocks=len(items))
    data.context.execution_options.preserve_order = True
    data.context.enable_progress_bars = False
    data = data.map_batches(
        functools.partial(_gather, store=store),
        compute=ray.data.TaskPoolStrategy(size=1),  # one task feeds a worker; more would only start more processes
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=num_cpus,
    )
    step = first
    for table in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2):
        for row in range(table.num_rows):
            batch = _token_batch(table, row)
            if batch.step != step:  # the pipeline keeps order; a silent misalignment would mix kinds across workers
                raise AssertionError(f"the stream gave step {batch.step} where step {step} was due")
            step += 1
            yield batch


@functools.lru_cache(maxsize=4)
def _opened(store: str) -> TokenStore:
    return TokenStore.open(Path(store))


def _gather(items: pa.Table, store: str) -> pa.Table:
    """Text numbers of some steps in, their token ids out: one row a step."""
    tokens_of = _opened(store).tokens
    columns: dict[str, list[Any]] = {
        name: [] for name in ("step", "mono", "tokens", "lengths", "clusters", "languages", "negative_clusters")
    }
    for item in items.to_pylist():
        none: list[list[int]] = [[] for _ in item["step"]]
        item = {"negatives": none, "negative_clusters": none} | item
        for step in range(len(item["step"])):
            negatives = [number for number in item["negatives"][step] if number >= 0]
            texts = [tokens_of(number) for number in item["queries"][step] + item["passages"][step] + negatives]
            columns["tokens"].append(np.concatenate(texts))
            columns["lengths"].append(np.array([len(text) for text in texts], np.int32))
            for name in columns.keys() - {"tokens", "lengths"}:
                columns[name].append(item[name][step])
    int32s = pa.list_(pa.int32())
    types = {"step": pa.int64(), "mono": pa.bool_()}
    return pa.table({name: pa.array(values, types.get(name, int32s)) for name, values in columns.items()})


def _token_batch(table: pa.Table, row: int) -> TokenBatch:
    def cell(name: str) -> Int32:
        values: Int32 = table.column(name)[row].values.to_numpy()
        return values

    texts = np.split(cell("tokens"), np.cumsum(cell("lengths"))[:-1])
    clusters = cell("clusters")
    size = len(clusters)
    return TokenBatch(
        step=table.column("step")[row].as_py(),
        kind="mono" if table.column("mono")[row].as_py() else "cross",
        queries=texts[:size],
        passages=texts[size : 2 * size],
        clusters=clusters,
        languages=cell("languages").reshape(size, 2),
        negatives=texts[2 * size :],
        negative_clusters=cell("negative_clusters"),
    )
