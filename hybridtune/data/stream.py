"""A worker's slice of the plan, as token batches, in order, from any step: a Ray Data pipeline of its own.

A row of the pipeline is a run of steps (a batch is a gather of a few kilobytes, less than Ray Data's own cost a row);
its tasks map the token store into memory and cut the rows out of it.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybridtune.data.plan import BatchSpec, HybridPlan, Kind
from hybridtune.data.store import TokenStore

STEPS_PER_ROW = 16
STEPS_PER_PLAN = 4096  # steps planned ahead at once: a long training never holds its whole plan

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
    """

    step: int
    kind: Kind
    queries: list[Int32]
    passages: list[Int32]
    clusters: Int32
    languages: Int32


def token_batches(
    plan: HybridPlan, store: Path, *, start: int, stop: int, rank: int, workers: int, num_cpus: float = 0.25
) -> Iterator[TokenBatch]:
    """The batches of one worker for steps [start, stop).

    Args:
        plan: of the global batch; its batch size is a multiple of ``workers``.
        store: folder of the token store.
        start: first step.
        stop: step after the last.
        rank: this worker, in [0, workers).
        workers: W; worker r takes rows r*B/W to (r+1)*B/W of every global batch.
        num_cpus: logical CPUs of one of the pipeline's tasks.
    """
    size = plan.batch_size // workers
    rows = slice(rank * size, (rank + 1) * size)
    specs = plan.batches(start, stop)
    for first in range(start, stop, STEPS_PER_PLAN):
        last = min(first + STEPS_PER_PLAN, stop)
        items = [_item(plan, [next(specs) for _ in steps], rows) for steps in _runs(first, last)]
        yield from _stream(items, str(store), num_cpus, first)


def _runs(first: int, last: int) -> Iterator[range]:
    for start in range(first, last, STEPS_PER_ROW):
        yield range(start, min(start + STEPS_PER_ROW, last))


def _item(plan: HybridPlan, specs: list[BatchSpec], rows: slice) -> dict[str, Any]:
    """One row of the pipeline: the text numbers of a run of steps."""
    groups = np.stack([spec.groups[rows] for spec in specs])  # [n, b]
    languages = np.stack([spec.languages[rows] for spec in specs])  # [n, b, 2]
    return {
        "step": [spec.step for spec in specs],
        "mono": [spec.kind == "mono" for spec in specs],
        "queries": plan.corpus.queries[groups, languages[:, :, 0]].tolist(),
        "passages": plan.corpus.passages[groups, languages[:, :, 1]].tolist(),
        "clusters": plan.corpus.clusters[groups].tolist(),
        "languages": languages.reshape(len(specs), -1).tolist(),
    }


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
        name: [] for name in ("step", "mono", "tokens", "lengths", "clusters", "languages")
    }
    for item in items.to_pylist():
        for step in range(len(item["step"])):
            texts = [tokens_of(number) for number in item["queries"][step] + item["passages"][step]]
            columns["tokens"].append(np.concatenate(texts))
            columns["lengths"].append(np.array([len(text) for text in texts], np.int32))
            for name in ("step", "mono", "clusters", "languages"):
                columns[name].append(item[name][step])
    int32s = pa.list_(pa.int32())
    types = {"step": pa.int64(), "mono": pa.bool_()}
    return pa.table({name: pa.array(values, types.get(name, int32s)) for name, values in columns.items()})


def _token_batch(table: pa.Table, row: int) -> TokenBatch:
    def cell(name: str) -> Int32:
        values: Int32 = table.column(name)[row].values.to_numpy()
        return values

    texts = np.split(cell("tokens"), np.cumsum(cell("lengths"))[:-1])
    size = len(texts) // 2
    return TokenBatch(
        step=table.column("step")[row].as_py(),
        kind="mono" if table.column("mono")[row].as_py() else "cross",
        queries=texts[:size],
        passages=texts[size:],
        clusters=cell("clusters"),
        languages=cell("languages").reshape(size, 2),
    )
