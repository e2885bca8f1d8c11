"""The encoded pool on disk: one Arrow file a block, each block in one language, found again after a kill.

``<folder>/blocks/<name>.arrow`` holds ids, tie orders and vectors, memory-mapped when read. A file appears by a rename
once it is whole: a file that is there is finished work.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybridtune.data.readers.records import CorpusPart, Text
from hybridtune.metrics.arrays import Float32, Int64
from hybridtune.storage.files import replacing

BLOCK_PASSAGES = 1024  # what a kill can cost each actor; its counts fit 16 bits


@dataclass(frozen=True)
class Block:
    """One block of the pool: the path of its Arrow file, whose stem is the block's name."""

    path: Path

    def read(self) -> tuple[str, list[str], Float32]:
        """Return its language, the n passage ids, and their float32 [n, D] vectors (a view of the mapped file)."""
        table = _mapped(self.path)
        column = table.column("vector").combine_chunks()
        vectors = column.values.to_numpy().reshape(len(table), -1)  # [n, D]
        return _language(table), table.column("id").to_pylist(), vectors

    def language(self) -> str:
        """Return the language of its passages."""
        return _language(_mapped(self.path))

    def order(self) -> Int64:
        """Return the tie order [n] of its passages among the relevant ones (``tie_order_among``)."""
        order: Int64 = _mapped(self.path).column("order").to_numpy()
        return order

    def __len__(self) -> int:
        return len(_mapped(self.path))


def blocks_of(part: CorpusPart, number: int) -> Iterator[tuple[str, list[Text]]]:
    """Cut a part of a corpus into named blocks: runs of texts of one language, in their order."""
    waiting: dict[str, list[Text]] = {}
    counts: Counter[str] = Counter()

    def finished(language: str) -> tuple[str, list[Text]]:
        counts[language] += 1
        return f"{number:05d}-{language}-{counts[language] - 1:06d}", waiting.pop(language)

    for text in part.read():
        texts = waiting.setdefault(text.language, [])
        texts.append(text)
        if len(texts) == BLOCK_PASSAGES:
            yield finished(text.language)
    yield from map(finished, list(waiting))


def write_block(
    folder: Path, name: str, language: str, ids: Sequence[str], vectors: Float32, order: Int64 | None = None
) -> Block:
    """Write the block ``name`` of n passages under ``folder``; whoever sees the file sees all of it.

    The vectors are float32 [n, D]; ``order`` is int64 [n], None where nothing will be ranked (all 0).
    """
    path = folder / "blocks" / f"{name}.arrow"
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    columns = {
        "id": pa.array(list(ids), pa.string()),
        "order": pa.array(np.zeros(len(ids), np.int64) if order is None else order),
        "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    }
    table = pa.table(columns, metadata={"language": language})
    with (
        replacing(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    return Block(path)


def finished_blocks(folder: Path) -> list[Block]:
    """Return the blocks under ``folder``, by name."""
    return [Block(path) for path in sorted((folder / "blocks").glob("*.arrow"))]


def write_array(file: Path, array: npt.NDArray[Any]) -> None:
    """Write an array; whoever sees the file sees all of it."""
    with replacing(file) as temporary, temporary.open("wb") as sink:
        np.save(sink, array)


def _mapped(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _language(table: pa.Table) -> str:
    name: bytes = table.schema.metadata[b"language"]
    return name.decode()
