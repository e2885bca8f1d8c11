"""A corpus of any size to vectors on disk: Ray Data reads and tokenises blocks, actors encode them, resumable.

The sides of a scanned benchmark go in (`corpus_scan`), files of `blocks` come out, which `sweep` ranks and `top_k`
searches.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from hybridtune.callbacks import Progress
from hybridtune.config.fields import Encoder
from hybridtune.data.readers.records import CorpusPart
from hybridtune.errors import FitError
from hybridtune.evaluate.blocks import blocks_of, finished_blocks, write_block
from hybridtune.metrics.arrays import Int32
from hybridtune.model.tokenizer import Tokenizer
from hybridtune.runtime.local import Capacity
from hybridtune.runtime.resources import cores

# Logical CPUs. Not equal: Ray Data fuses neighbours that ask for the same, and one process would then read, tokenise
# and encode all of a corpus in one file.
READER_CPUS, TOKENISER_CPUS, ENCODER_CPUS = 0.2, 0.15, 0.25
GPU_BLOCKS = 16  # that an encoder on a GPU is given at once; each is on disk as soon as it is encoded


@dataclass(frozen=True)
class Actors:
    """Encoder or counting actors: ``least`` to start with, ``most`` to grow to, each with its GPUs and CPU threads.

    ``readers`` tasks read, and as many tokenise, at once.
    """

    least: int
    most: int
    gpus: float = 0.0
    threads: int = 1
    readers: int = 2

    @classmethod
    def of(cls, offered: Capacity, least: int | None = None) -> "Actors":
        """Return encoder actors that use all that a machine offers; ``least`` to start with, else all."""
        threads = max(1, cores() // offered.evaluators)
        gpus = 1.0 if offered.gpus else 0.0
        return cls(least or offered.evaluators, offered.evaluators, gpus, threads, readers=cores())

    def pool(self) -> Any:
        """Return them as Ray Data takes them."""
        return ray.data.ActorPoolStrategy(
            min_size=min(self.least, self.most), max_size=self.most, max_tasks_in_flight_per_actor=2
        )


@dataclass(frozen=True)
class Side:
    """Queries or passages to encode: ``texts`` texts in these parts, each with the prefix and cut to ``length`` tokens.

    The folder takes the blocks; on a cluster every machine must see it. ``relevant`` are the ids whose tie order the
    ranks need, in descending order.
    """

    parts: Sequence[CorpusPart]
    prefix: str
    length: int
    folder: Path
    relevant: Sequence[str]
    texts: int


def tie_order_among(relevant: Sequence[str]) -> Callable[[str], int]:
    """Return a function to the tie order of any passage id, exact against the relevant ones, without a list of all ids.

    The i-th relevant id (descending) has order 2i + 1, another id twice the number of relevant ids above it: of equal
    scores the smaller order wins, as in ``ranks.tie_order``, wherever one of the two is relevant.

    Example:
        >>> order = tie_order_among(["c", "a"])
        >>> [order(name) for name in ("d", "c", "b", "a")]
        [0, 1, 2, 3]
    """
    ascending = list(reversed(relevant))

    def order(text_id: str) -> int:
        above = len(ascending) - bisect_left(ascending, text_id)  # ids at or above it
        found = above > 0 and ascending[len(ascending) - above] == text_id
        return 2 * above - 1 if found else 2 * above

    return order


def encode_sides(
    sides: Sequence[Side],
    source: str,
    encoder: Encoder,
    tokenizer: Tokenizer,
    actors: Actors,
    progress: Progress = lambda done, total: None,
) -> int:
    """Encode the blocks that are not encoded yet, and return how many texts that were; Ray must be running.

    The source is a model folder or hub name; ``progress`` gets (texts done, texts in all), those of earlier calls
    included.

    Raises:
        FitError: an embedding is not finite.
    """
    done = [{block.path.stem: len(block) for block in finished_blocks(side.folder)} for side in sides]
    before, total = sum(sum(blocks.values()) for blocks in done), sum(side.texts for side in sides)
    progress(before, total)
    if before == total:
        return 0
    items = [{"side": s, "part": p} for s, side in enumerate(sides) for p in range(len(side.parts))]
    parts = [[ray.put(part) for part in side.parts] for side in sides]  # each travels once, to whoever reads it
    reader = _Reader([replace(side, parts=[]) for side in sides], parts, [frozenset(blocks) for blocks in done])
    data = ray.data.from_items(items, override_num_blocks=len(items))
    data.context.enable_progress_bars = False
    data.context.target_max_block_size = 1  # byte: every row goes on as soon as it is there, alone
    one_row = {"batch_size": 1, "batch_format": "pyarrow"}
    reading = ray.data.TaskPoolStrategy(size=min(len(items), actors.readers))
    data = data.map_batches(reader, compute=reading, num_cpus=READER_CPUS, **one_row)
    tokeniser = _Tokeniser(tokenizer, [(side.prefix, side.length) for side in sides])
    tokenising = ray.data.TaskPoolStrategy(size=actors.readers)
    data = data.map_batches(tokeniser, compute=tokenising, num_cpus=TOKENISER_CPUS, **one_row)
    data = data.map_batches(
        _Encoder,
        fn_constructor_args=(source, encoder, tokenizer.pad_id, [str(side.folder) for side in sides], actors.threads),
        compute=actors.pool(),
        num_cpus=ENCODER_CPUS,
        num_gpus=actors.gpus or None,
        # A GPU computes beyond the end of a block only within a call; a CPU is better served block by block.
        **one_row | {"batch_size": GPU_BLOCKS if actors.gpus else 1},
    )
    encoded = 0
    for row in data.iter_rows():
        if row["problem"]:
            raise FitError(row["problem"])
        encoded += row["texts"]
        progress(before + encoded, total)
    return encoded


@dataclass(frozen=True)
class _Reader:
    """A Ray Data function: (side, part) in, blocks of texts out, but for those that are encoded already."""

    sides: list[Side]
    parts: list[list[Any]]  # references
    done: list[frozenset[str]]

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for item in batch.to_pylist():
            side = self.sides[item["side"]]
            order = tie_order_among(side.relevant)
            for name, texts in blocks_of(ray.get(self.parts[item["side"]][item["part"]]), item["part"]):
                if name in self.done[item["side"]]:
                    continue
                row = {
                    "side": item["side"],
                    "name": name,
                    "language": texts[0].language,
                    "ids": [text.text_id for text in texts],
                    "order": [order(text.text_id) for text in texts],
                    "texts": [text.text for text in texts],
                }
                yield pa.Table.from_pylist([row])


@dataclass(frozen=True)
class _Tokeniser:
    """A Ray Data function: blocks of texts in, the same with token ids for the texts out."""

    tokenizer: Tokenizer
    sides: list[tuple[str, int]]  # prefix, length

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for row in range(batch.num_rows):
            block = batch.slice(row, 1)
            prefix, length = self.sides[block.column("side")[0].as_py()]
            rows = self.tokenizer.encode(block.column("texts")[0].as_py(), prefix, length)
            tokens = pa.array([np.concatenate(rows).astype(np.int32)], pa.list_(pa.int32()))
            lengths = pa.array([[len(row) for row in rows]], pa.list_(pa.int32()))
            yield block.drop_columns(["texts"]).append_column("tokens", tokens).append_column("lengths", lengths)


class _Encoder:
    """A Ray Data actor: tokenised blocks in, vectors on disk, the block's name and size out.

    A GPU encodes the next block while one is written.
    """

    def __init__(self, source: str, encoder: Encoder, pad_id: int, folders: list[str], threads: int) -> None:
        import torch  # here, since those who read and tokenise need none of it

        from hybridtune.model.encoder import load_encoder

        torch.set_num_threads(threads)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = load_encoder(source, encoder, pad_id).to(device).eval()
        self.folders = [Path(folder) for folder in folders]

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        columns = batch.column_names
        blocks = [{name: batch.column(name)[row] for name in columns} for row in range(batch.num_rows)]
        for cells, vectors in zip(blocks, self.model.embed_blocks(map(_tokens, blocks)), strict=True):
            name, problem = cells["name"].as_py(), ""
            if np.isfinite(vectors).all():
                order = cells["order"].values.to_numpy()
                folder = self.folders[cells["side"].as_py()]
                write_block(folder, name, cells["language"].as_py(), cells["ids"].as_py(), vectors, order)
            else:
                problem = f"block {name}: an embedding is not finite; the encoder's weights have diverged"
            yield pa.table({"name": [name], "texts": [len(vectors)], "problem": [problem]})


def _tokens(cells: dict[str, Any]) -> list[Int32]:
    return np.split(cells["tokens"].values.to_numpy(), np.cumsum(cells["lengths"].values.to_numpy())[:-1])
