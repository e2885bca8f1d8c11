"""Rank an encoded benchmark: every block of the pool is swept once by a RankCounter, in actors, resumable.

<folder>/queries/blocks/..   the encoded queries, under their positions
         passages/blocks/..  the encoded pool
         counts/<name>.npy   what each block adds to the counts
"""

from collections.abc import Iterator, Sequence
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
from hybridtune.metrics.arrays import Float32
from hybridtune.metrics.metrics import Ranked
from hybridtune.metrics.ranks import RankCounter, pair_scores

QUERIES, SCORES = "queries.npy", "scores.npy"  # float32 [Q, D] and [R], once the relevant pairs are scored


def rank_pool(
    folder: Path, rows: BenchmarkRows, scan: CorpusScan, actors: Actors, progress: Progress = lambda done, total: None
) -> Ranked:
    """Count what outranks every relevant pair of an encoded benchmark; Ray must be running.

    ``progress`` gets (passages swept, passages in all).
    """
    relevance = score_relevant(folder, rows, scan)
    blocks = finished_blocks(folder / "passages")
    todo = [block for block in blocks if not _counts_file(folder, block).exists()]
    total = sum(scan.passages.values())
    swept = total - sum(map(len, todo))
    progress(swept, total)
    if todo:
        data = ray.data.from_items([{"block": str(block.path)} for block in todo], override_num_blocks=len(todo))
        data.context.enable_progress_bars = False
        data = data.map_batches(
            _Counter,
            fn_constructor_args=(str(folder), ray.put(relevance), actors.threads),
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
        counts[:, column[block.language()]] += np.load(_counts_file(folder, block))
    sizes = np.array([scan.passages.get(language, 0) for language in column], np.int64)
    return relevance.ranked(counts, np.load(folder / SCORES), sizes)


def score_relevant(folder: Path, rows: BenchmarkRows, scan: CorpusScan) -> Relevance:
    """Score the relevant pairs, in a task; the scores go to ``SCORES`` in the order of the pairs returned."""
    relevance = scan.relevance(rows)
    ray.get(ray.remote(_score_pairs).options(num_cpus=0.25).remote(folder, relevance, len(rows.queries)))
    return relevance


def query_vectors(folder: Path, queries: int) -> Float32:
    """Return the encoded queries [Q, D], in their order."""
    read = [block.read() for block in finished_blocks(folder / "queries")]
    vectors = np.concatenate([of_block for _, _, of_block in read])
    stacked = np.empty((queries, vectors.shape[1]), np.float32)
    stacked[[int(text_id) for _, ids, _ in read for text_id in ids]] = vectors
    return stacked


def _score_pairs(folder: Path, relevance: Relevance, queries: int) -> None:
    """Write the queries as one file, and the scores of the relevant pairs, in a task."""
    if (folder / SCORES).exists():
        return
    stacked = query_vectors(folder, queries)
    write_array(folder / QUERIES, stacked)
    relevant = _relevant_vectors(finished_blocks(folder / "passages"), int(relevance.passage_index.max()) + 1)
    arrays = stacked, relevant, relevance.query_index, relevance.passage_index
    write_array(folder / SCORES, pair_scores(*map(torch.from_numpy, arrays)).numpy())


def _relevant_vectors(blocks: Sequence[Block], relevant: int) -> Float32:
    """Return the vectors [relevant, D] of the relevant passages: those of odd tie order."""
    found: Float32 | None = None
    for block in blocks:
        order = block.order()
        rows = np.flatnonzero(order % 2)
        if len(rows):
            vectors = block.read()[2]
            if found is None:
                found = np.zeros((relevant, vectors.shape[1]), np.float32)
            found[order[rows] // 2] = vectors[rows]
    assert found is not None  # the scan found a relevant passage
    return found


def _counts_file(folder: Path, block: Block) -> Path:
    return folder / "counts" / f"{block.path.stem}.npy"


class _Counter:
    """A Ray Data actor: the path of a block in, its counts on disk, its size out."""

    def __init__(self, folder: str, relevance: Any, threads: int) -> None:
        torch.set_num_threads(threads)
        self.folder = Path(folder)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        pairs: Relevance = ray.get(relevance) if isinstance(relevance, ray.ObjectRef) else relevance
        self.queries = self._tensor(np.load(self.folder / QUERIES))
        self.query_index = self._tensor(pairs.query_index)
        self.scores = self._tensor(np.load(self.folder / SCORES))
        self.order = self._tensor(2 * pairs.passage_index + 1)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for path in batch.column("block").to_pylist():
            block = Block(Path(path))
            vectors = self._tensor(block.read()[2])
            counter = RankCounter(self.query_index, self.scores, self.order, languages=1)
            one_language = torch.zeros(len(vectors), dtype=torch.int64, device=self.device)
            counter.add(self.queries, vectors, self._tensor(block.order()), one_language)
            write_array(_counts_file(self.folder, block), counter.counts[:, 0].cpu().numpy().astype(np.int16))
            yield pa.table({"passages": [len(vectors)]})

    def _tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.tensor(array, device=self.device)
