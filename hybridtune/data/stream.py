"""A worker's slice of the plan, as token batches, in order, from any step: a Ray Data pipeline of its own.

Two operators, `PlanBatches` and `GatherTokens`, go through the plan and read the texts from the store, ahead of the
consumer by a few rows of the pipeline; Ray Data runs them in one task. A row is a run of steps: a batch is a gather of
some kilobytes, less than Ray Data's own cost of a row.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybridtune.data.plan import BatchSpec, HybridPlan
from hybridtune.data.plan_states import PlanStates
from hybridtune.data.sampling import Kind
from hybridtune.data.store import TokenStore
from hybridtune.data.teacher_vectors import read_instead
from hybridtune.data.weights import pair_name
from hybridtune.metrics.arrays import Bool, Float32, Int32

ROW_BYTES, ROW_PAIRS = 2**23, 2**13  # of token ids and of pairs in a row of the pipeline, at most, about
KINDS: tuple[Kind, ...] = ("mono", "cross", "align")
_WAITING = 2**26  # bytes of token batches that wait for the consumer
_PURPOSE = 5  # sets this file's seeded draws apart from the plan's


@dataclass(frozen=True)
class TokenBatch:
    """A worker's b pairs of one step, as ragged token ids: b queries, b passages, k hard negatives, s second queries.

    Passage i answers query i. In an align batch the "queries" are the passages in the language that the teacher reads.
    There are k <= b*n negatives, at most n of each pair, all in the language of its passage; none in an align batch,
    which has no second queries either.
    """

    step: int  # of the plan
    kind: Kind  # of the global batch
    # [T] token ids of queries, then passages, hard negatives and second queries, one text after the other
    ids: Int32
    lengths: Int32  # [2b + k + s] tokens of each
    answer_sets: Int32  # [b] pairs of one answer set are no negatives of each other
    languages: Int32  # [b, 2] columns of the query's and the passage's language
    # [b*n] the answer set that a negative's text is a passage of, -1 for none. Its length is that of all workers and
    # steps; what follows the first k means nothing.
    negative_answer_sets: Int32
    # And, as long: [b*n] the pair, in [0, b), that a negative is one of, and how much higher the data score its passage
    # (NaN where they do not say, and behind the first k).
    negative_rows: Int32
    negative_margins: Float32
    taught: Int32  # [2b + k + s] number of the text that a teacher reads in place of each, -1 for none
    asked_twice: Bool  # [b] which queries come in a second language too; of them, s, are the last texts


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
    node: str | None = None,
    states: PlanStates | None = None,
    name: str = "stream",
) -> Generator[TokenBatch]:
    """Yield the batches of one worker for steps [start, stop).

    Args:
        plan: of the global batch, made of the store's corpus; its batch size is a multiple of ``workers``.
        store: folder of the token store.
        start: first step.
        stop: step after the last.
        rank: this worker, in [0, workers).
        workers: W; worker r takes rows r*B/W to (r+1)*B/W of every global batch.
        negatives: most hard negatives of a pair; n is this, or the most that any group has. Which ones is a function of
            (the plan's seed, step, row).
        num_cpus: logical CPUs of the pipeline's task.
        node: id of the Ray node that the task must run on; None: any, all of which see ``store`` then.
        states: of the plan on its way, from which it goes on; None: it is replayed from step 0.
        name: of the training, in Ray's dashboard.
    """
    if start >= stop:
        return
    import ray

    size = plan.batch_size // workers
    rows = slice(rank * size, (rank + 1) * size)
    data = ray.data.from_items([{"start": start, "stop": stop}])
    _set_up(data, f"{name}, worker {rank}")
    task: dict[str, Any] = {
        "compute": ray.data.TaskPoolStrategy(size=1),
        "batch_size": 1,
        "batch_format": "pyarrow",
        "num_cpus": num_cpus,
        "label_selector": {"ray.io/node-id": node} if node is not None else None,
    }
    # Two operators that ask for the same run in one task: what the first gives is handed on within the process.
    data = data.map_batches(PlanBatches(plan.without_corpus(), str(store), rows, negatives, states), **task)
    data = data.map_batches(GatherTokens(str(store)), **task)
    step = start
    for table in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2):
        for batch in _batches(table):
            if batch.step != step:  # a silent misalignment would mix kinds across workers
                raise AssertionError(f"the stream gave step {batch.step} where step {step} was due")
            step += 1
            yield batch


def _set_up(data: Any, name: str) -> None:
    """Set the name of a pipeline, and that its rows come one by one, in order, and few ahead of the consumer."""
    import ray

    data.set_name(name)
    data.context.enable_progress_bars = False
    data.context.per_stage_map_timing = True  # the operators' times apart, though they are one task
    data.context.target_max_block_size = 1  # a row is a block of its own, handed on as soon as it is there
    # One task gives its rows in order, and Ray hands them out by several threads: on a busy machine in another one.
    data.context.execution_options.preserve_order = True
    limits = ray.data.ExecutionResources.for_limits(object_store_memory=_WAITING)
    data.context.execution_options.resource_limits = limits


@dataclass(frozen=True)
class PlanBatches:
    """The first operator of the stream, under this name: from a first and a last step to runs of steps, as numbers.

    Attributes:
        plan: without its corpus, which is the store's.
        store: folder of the token store.
        rows: of every global batch.
        negatives: as of `token_batches`, like what follows.
    """

    plan: HybridPlan
    store: str
    rows: slice
    negatives: int
    states: PlanStates | None = None

    def __call__(self, items: pa.Table) -> Iterator[pa.Table]:
        """Yield a row a run: the numbers of the texts of its batches, and what else a `TokenBatch` has."""
        tokens = TokenStore.open(Path(self.store))
        plan = self.plan.with_corpus(tokens.corpus())
        most = min(self.negatives, plan.corpus.most_negatives())
        counts = _PairCounts(plan.corpus.languages)
        pairs = min(ROW_PAIRS, ROW_BYTES / (2 * 4 * tokens.mean_length))
        for item in items.to_pylist():
            specs = plan.batches(item["start"], item["stop"], self.states)
            steps, most_steps = 1, max(1, int(pairs / (self.rows.stop - self.rows.start)))
            while run := list(islice(specs, steps)):
                counts.add(run, self.rows)
                yield _planned(plan, run, self.rows, most)
                steps = min(2 * steps, most_steps)  # the first batch does not wait for a whole row


@dataclass(frozen=True)
class GatherTokens:
    """The second operator of the stream, under this name: the tokens of planned runs, read from the store."""

    store: str

    def __call__(self, runs: pa.Table) -> pa.Table:
        """Return the runs with the tokens of their texts in place of the texts' numbers."""
        place = runs.column_names.index("numbers")
        gathered = [self._tokens.take(numbers.values.to_numpy()) for numbers in runs.column(place)]
        lengths = _rows([of_each.astype(np.int32) for _, of_each in gathered])
        return runs.set_column(place, "ids", _rows([ids for ids, _ in gathered])).append_column("lengths", lengths)

    @cached_property
    def _tokens(self) -> TokenStore:
        return TokenStore.open(Path(self.store))  # once a task, of the store's tokens alone


class _PairCounts:
    """Ray's metric of the pairs that the streams have planned, by their kind and languages.

    Not by training: every node would keep each training's series for as long as it lives.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        from ray.util.metrics import Counter

        self._languages = languages
        words = "Pairs of the batches that a worker's stream has planned."
        self._pairs = Counter("hybridtune_pairs", words, ("kind", "languages"))

    def add(self, specs: list[BatchSpec], rows: slice) -> None:
        n = len(self._languages)
        columns = np.stack([spec.languages[rows] for spec in specs])  # [steps, b, 2]
        kinds = np.array([KINDS.index(spec.kind) for spec in specs])
        cells = np.bincount(((kinds[:, None] * n + columns[:, :, 0]) * n + columns[:, :, 1]).ravel())
        for cell in np.flatnonzero(cells):
            kind, pair = divmod(int(cell), n * n)
            tags = {"kind": KINDS[kind], "languages": pair_name(self._languages, divmod(pair, n))}
            self._pairs.inc(int(cells[cell]), tags)


def _planned(plan: HybridPlan, specs: list[BatchSpec], rows: slice, most: int) -> pa.Table:
    """Make one row of the pipeline: the batches of n steps, without their tokens."""
    texts = _texts(plan, specs, rows, most)
    real = texts.numbers >= 0
    columns = {
        "steps": np.array([spec.step for spec in specs], np.int64),
        "kinds": np.array([KINDS.index(spec.kind) for spec in specs], np.int8),
        "numbers": texts.numbers[real],
        "texts": real.sum(axis=1, dtype=np.int32),
        "answer_sets": plan.corpus.answer_sets[np.concatenate([spec.groups[rows] for spec in specs])],
        "languages": np.stack([spec.languages[rows] for spec in specs]).ravel(),
        "negative_answer_sets": texts.answer_sets.ravel(),
        "negative_rows": texts.rows.ravel(),
        "negative_margins": texts.margins.ravel(),
        "taught": texts.taught[real],
        "asked_twice": texts.asked_twice.ravel().view(np.int8),
    }
    return pa.table({name: _rows([values]) for name, values in columns.items()})


def _rows(values: Sequence[npt.NDArray[Any]]) -> pa.Array:
    """Return a column with one row of numbers for each of the arrays, without a copy where there is one array."""
    ends = np.cumsum([0, *map(len, values)], dtype=np.int32)
    return pa.ListArray.from_arrays(ends, pa.array(values[0] if len(values) == 1 else np.concatenate(values)))


class _Texts(NamedTuple):
    """The texts of n steps, as a worker has them; slots is b times the most negatives of a pair."""

    numbers: Int32  # [n, 3b + slots] of queries, passages, hard negatives and second queries, -1 where there is none
    answer_sets: Int32  # [n, slots] of the negatives
    rows: Int32  # [n, slots] the pair, in [0, b), that each is one of
    margins: Float32  # [n, slots] theirs, NaN for none
    taught: Int32  # [n, 3b + slots] numbers of the texts that the teacher reads in place of each, -1 for none
    asked_twice: Bool  # [n, b] which queries have a second


def _texts(plan: HybridPlan, specs: list[BatchSpec], rows: slice, most: int) -> _Texts:
    corpus, n = plan.corpus, len(specs)
    groups = np.stack([spec.groups[rows] for spec in specs])  # [n, b]
    columns = np.stack([spec.languages[rows] for spec in specs])  # [n, b, 2]
    size = groups.shape[1]
    numbers = np.full((n, (3 + most) * size), -1, np.int32)
    answer_sets, of = np.full((n, most * size), -1, np.int32), np.zeros((n, most * size), np.int32)
    margins = np.full(of.shape, np.nan, np.float32)
    aligns = np.array([spec.kind == "align" for spec in specs])
    for side, kind in ((corpus.queries, ~aligns), (corpus.passages, aligns)):
        numbers[kind, :size] = side[groups[kind], columns[kind, :, 0]]
    numbers[:, size : 2 * size] = corpus.passages[groups, columns[:, :, 1]]
    second = np.stack([np.full(size, -1) if s.second_queries is None else s.second_queries[rows] for s in specs])
    numbers[:, (2 + most) * size :] = np.where(second >= 0, corpus.queries[groups, second], -1)
    taught = np.full_like(numbers, -1)
    taught[aligns, :size] = numbers[aligns, :size]
    if plan.scored_by_teacher:
        for place, side in enumerate((corpus.queries, corpus.passages)):
            read = read_instead(side, groups[~aligns], columns[~aligns, :, place], plan.teacher_columns)
            taught[~aligns, place * size : (place + 1) * size] = read
    for row in np.flatnonzero(~aligns) if most else ():
        draws = np.random.default_rng((plan.seed, _PURPOSE, specs[row].step)).random(plan.batch_size)  # of all workers
        chosen = corpus.draw_negatives(groups[row], columns[row, :, 1], draws[rows], most)  # [b, most]
        real = chosen[chosen >= 0]
        here = slice(2 * size, 2 * size + len(real))
        numbers[row, here] = corpus.negative_texts[real]
        answer_sets[row, : len(real)] = corpus.negative_answer_sets[real]
        of[row, : len(real)] = pairs = np.nonzero(chosen >= 0)[0]
        margins[row, : len(real)] = corpus.negative_margins[real]
        if plan.scored_by_teacher:
            can = np.isin(columns[row, pairs, 1], plan.teacher_columns) | (not plan.teacher_columns)
            taught[row, here] = np.where(can, numbers[row, here], -1)
    return _Texts(numbers, answer_sets, of, margins, taught, second >= 0)


def _batches(table: pa.Table) -> Iterator[TokenBatch]:
    for row in range(table.num_rows):
        cells = {name: table.column(name)[row].values.to_numpy() for name in table.column_names}
        n = len(cells["steps"])
        text_ends = np.cumsum(cells["texts"])
        token_ends = np.concatenate([[0], np.cumsum(cells["lengths"], dtype=np.int64)])
        for i in range(n):
            texts = slice(text_ends[i] - cells["texts"][i], text_ends[i])
            yield TokenBatch(
                step=int(cells["steps"][i]),
                kind=KINDS[cells["kinds"][i]],
                ids=cells["ids"][token_ends[texts.start] : token_ends[texts.stop]],
                lengths=cells["lengths"][texts],
                answer_sets=cells["answer_sets"].reshape(n, -1)[i],
                languages=cells["languages"].reshape(n, -1, 2)[i],
                negative_answer_sets=cells["negative_answer_sets"].reshape(n, -1)[i],
                negative_rows=cells["negative_rows"].reshape(n, -1)[i],
                negative_margins=cells["negative_margins"].reshape(n, -1)[i],
                taught=cells["taught"][texts],
                asked_twice=cells["asked_twice"].reshape(n, -1)[i].astype(bool),
            )
