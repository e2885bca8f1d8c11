"""Rank an encoded benchmark: every block of the pool is swept once by a RankCounter, in actors, resumable.

<folder>/queries/blocks/..   the encoded queries, under their positions
         passages/blocks/..  the encoded pool
         counts/<name>.npy   what each block adds to the counts
         moved/<digest>/     the same of vectors that `LanguageVectors` of this digest move, as they are read
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import torch

from hybridtune.callbacks import Progress
from hybridtune.data.readers.records import BenchmarkRows
from hybridtune.evaluate.blocks import Block, finished_blocks, write_array
from hybridtune.evaluate.corpus_scan import CorpusScan
from hybridtune.evaluate.encode import Actors
from hybridtune.evaluate.relevance import Relevance
from hybridtune.metrics.arrays import Float32, Int64
from hybridtune.metrics.metrics import Ranked
from hybridtune.metrics.ranks import RankCounter
from hybridtune.metrics.scores import pair_scores
from hybridtune.metrics.standard import Moments, standard_of, thresholds
from hybridtune.model.language_vectors import LanguageVectors

QUERIES, SCORES = "queries.npy", "scores.npy"  # float32 [Q, D] and [R], once the relevant pairs are scored
_THRESHOLDS = "thresholds.npy"  # int64 [R, L], where scores are standardised


@dataclass(frozen=True)
class Pool:
    """The encoded benchmark in ``folder``, its vectors moved as they are read; None: as the encoder gave them."""

    folder: Path
    moved_by: LanguageVectors | None = None

    @cached_property
    def home(self) -> Path:
        """The folder of the scores and counts; the digest in its name is of all that moves vectors, and taken once."""
        moved = self.moved_by
        return self.folder if moved is None else self.folder / "moved" / moved.digest()[:16]

    @property
    def standardised(self) -> bool:
        """Return whether scores are standardised."""
        return self.moved_by is not None and self.moved_by.standardised

    def blocks(self) -> list[Block]:
        """Return the blocks of passages, by name."""
        return finished_blocks(self.folder / "passages")

    def passages(self, block: Block) -> Float32:
        """Return the vectors [n, D] of a block."""
        language, _, vectors = block.read()
        return vectors if self.moved_by is None else self.moved_by.move("passages", vectors, [language] * len(vectors))

    def queries(self, languages: Sequence[str]) -> Float32:
        """Return the queries [Q, D], in their order, of their languages."""
        stacked = query_vectors(self.folder, len(languages))
        return stacked if self.moved_by is None else self.moved_by.move("queries", stacked, languages)

    def counts_file(self, block: Block) -> Path:
        """Return the file of what a block adds to the counts."""
        return self.home / "counts" / f"{block.path.stem}.npy"


def rank_pool(
    folder: Path,
    rows: BenchmarkRows,
    scan: CorpusScan,
    actors: Actors,
    progress: Progress = lambda done, total: None,
    moved_by: LanguageVectors | None = None,
) -> Ranked:
    """Count what outranks every relevant pair of an encoded benchmark; Ray must be running.

    ``progress`` gets (passages swept, passages in all). What has been counted with the same ``moved_by`` is not counted
    again.
    """
    pool = Pool(folder, moved_by)
    relevance = score_relevant(folder, rows, scan, moved_by)
    blocks = pool.blocks()
    todo = [block for block in blocks if not pool.counts_file(block).exists()]
    total = sum(scan.passages.values())
    swept = total - sum(map(len, todo))
    progress(swept, total)
    if todo:
        data = ray.data.from_items([{"block": str(block.path)} for block in todo], override_num_blocks=len(todo))
        data.context.enable_progress_bars = False
        data = data.map_batches(
            _Counter,
            fn_constructor_args=(ray.put(pool), ray.put(relevance), actors.threads),
            compute=actors.pool(),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=0.25,
            num_gpus=actors.gpus or None,
        )
        for row in data.iter_rows():
            swept += row["passages"]
            progress(swept, total)
    column = {language: i for i, language in enumerate(relevance.languages)}
    counts = np.zeros((len(relevance.query_index), len(column)), np.int64)  # [R, L]
    for block in blocks:
        counts[:, column[block.language()]] += np.load(pool.counts_file(block))
    sizes = np.array([scan.passages.get(language, 0) for language in column], np.int64)
    against = np.load(pool.home / _THRESHOLDS) if pool.standardised else None
    return relevance.ranked(counts, np.load(pool.home / SCORES), sizes, against)


def score_relevant(
    folder: Path, rows: BenchmarkRows, scan: CorpusScan, moved_by: LanguageVectors | None = None
) -> Relevance:
    """Score the relevant pairs, in a task; the scores go to ``SCORES`` in the order of the pairs returned."""
    relevance = scan.relevance(rows)
    ray.get(ray.remote(_score_pairs).options(num_cpus=0.25).remote(Pool(folder, moved_by), relevance))
    return relevance


def query_vectors(folder: Path, queries: int) -> Float32:
    """Return the encoded queries [Q, D], in their order."""
    read = [block.read() for block in finished_blocks(folder / "queries")]
    vectors = np.concatenate([of_block for _, _, of_block in read])
    stacked = np.empty((queries, vectors.shape[1]), np.float32)
    stacked[[int(text_id) for _, ids, _ in read for text_id in ids]] = vectors
    return stacked


def passage_vectors(folder: Path, ids: Sequence[str]) -> Float32:
    """Return the encoded passages [P, D] in the order of their ids."""
    row = {name: number for number, name in enumerate(ids)}
    stacked: Float32 | None = None
    for block in finished_blocks(folder / "passages"):
        _, names, vectors = block.read()
        if stacked is None:
            stacked = np.empty((len(ids), vectors.shape[1]), np.float32)
        stacked[[row[name] for name in names]] = vectors
    assert stacked is not None  # the scan found a relevant passage
    return stacked


def _score_pairs(pool: Pool, relevance: Relevance) -> None:
    """Write the queries as one file, and the scores of the relevant pairs, in a task."""
    if (pool.home / SCORES).exists():
        return
    stacked = pool.queries([relevance.languages[code] for code in relevance.query_language])
    write_array(pool.home / QUERIES, stacked)
    relevant = _relevant_vectors(pool, int(relevance.passage_index.max()) + 1)
    arrays = stacked, relevant, relevance.query_index, relevance.passage_index
    scores = pair_scores(*map(torch.from_numpy, arrays)).numpy()
    if pool.standardised:
        write_array(pool.home / _THRESHOLDS, _thresholds(pool, relevance, stacked, scores))
    write_array(pool.home / SCORES, scores)


def _relevant_vectors(pool: Pool, relevant: int) -> Float32:
    """Return the vectors [relevant, D] of the relevant passages: those of odd tie order."""
    found: Float32 | None = None
    for block in pool.blocks():
        order = block.order()
        rows = np.flatnonzero(order % 2)
        if len(rows):
            vectors = pool.passages(block)
            if found is None:
                found = np.zeros((relevant, vectors.shape[1]), np.float32)
            found[order[rows] // 2] = vectors[rows]
    assert found is not None  # the scan found a relevant passage
    return found


def _thresholds(pool: Pool, relevance: Relevance, queries: Float32, scores: Float32) -> Int64:
    """Return what standardised scores make of the scores of the relevant pairs, from one more reading of the pool."""
    pools = {language: Moments.of(queries[:0]) for language in relevance.languages}
    for block in pool.blocks():
        pools[block.language()] += Moments.of(pool.passages(block))
    standard = standard_of(queries, list(pools.values()))
    passage = relevance.passage_index
    of_pairs = relevance.order[passage], relevance.passage_language[passage]
    return thresholds(standard, relevance.query_index, scores, *of_pairs)


class _Counter:
    """A Ray Data actor: the path of a block in, its counts on disk, its size out."""

    def __init__(self, pool: Any, relevance: Any, threads: int) -> None:
        torch.set_num_threads(threads)
        self.pool: Pool = _fetched(pool)
        pairs: Relevance = _fetched(relevance)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.queries = self._tensor(np.load(self.pool.home / QUERIES))
        self.query_index = self._tensor(pairs.query_index)
        self.scores = self._tensor(np.load(self.pool.home / SCORES))
        self.order = self._tensor(2 * pairs.passage_index + 1)
        self.column = {language: i for i, language in enumerate(pairs.languages)}
        self.thresholds = np.load(self.pool.home / _THRESHOLDS) if self.pool.standardised else None

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for path in batch.column("block").to_pylist():
            block = Block(Path(path))
            vectors, against = self._tensor(self.pool.passages(block)), None
            if self.thresholds is not None:
                against = self._tensor(self.thresholds[:, [self.column[block.language()]]])  # [R, 1]
            counter = RankCounter(self.query_index, self.scores, self.order, 1, against)
            one_language = torch.zeros(len(vectors), dtype=torch.int64, device=self.device)
            counter.add(self.queries, vectors, self._tensor(block.order()), one_language)
            counts = counter.counts[:, 0].cpu().numpy().astype(np.int16)
            write_array(self.pool.counts_file(block), counts)
            yield pa.table({"passages": [len(vectors)]})

    def _tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.tensor(array, device=self.device)


def _fetched(of_actor: Any) -> Any:
    """Return an argument of an actor, which Ray Data hands over as a reference or as what it refers to."""
    return ray.get(of_actor) if isinstance(of_actor, ray.ObjectRef) else of_actor
