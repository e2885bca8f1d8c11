"""The encoded pool on disk: one Arrow file a block, each block in one language, found again after a kill.

    <folder>/queries.npy                 float32 [Q, D]
             blocks/<name>.arrow         ids and vectors of one block; memory-mapped when read
             blocks/<name>.counts.npy    int32 [R]: its passages that outrank each relevant pair

A block's file appears by a rename once it is whole, after its counts: a file that is there is finished work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Block:
    """One block of the pool.

    Attributes:
        path: its Arrow file; the stem is the block's name.
    """

    path: Path

    def read(self) -> tuple[str, list[str], Vectors]:
        """Its language, the n passage ids, and their float32 [n, D] vectors (a view of the mapped file)."""
        table = _mapped(self.path)
        column = table.column("vector").combine_chunks()
        vectors = column.values.to_numpy().reshape(len(table), -1)  # [n, D]
        return self._said(table), table.column("id").to_pylist(), vectors

    def language(self) -> str:
        """The language of its passages."""
        return self._said(_mapped(self.path))

    def counts(self) -> npt.NDArray[np.int32]:
        """[R] passages of the block that outrank each relevant pair."""
        counts: npt.NDArray[np.int32] = np.load(self.path.with_suffix(".counts.npy"))
        return counts

    def __len__(self) -> int:
        return len(_mapped(self.path))

    @staticmethod
    def _said(table: pa.Table) -> str:
        language: bytes = table.schema.metadata[b"language"]
        return language.decode()


def write_block(
    folder: Path, name: str, language: str, ids: Sequence[str], vectors: Vectors, counts: npt.NDArray[np.int32] | None
) -> Block:
    """Write a block under ``folder``; whoever sees the file sees all of it.

    Args:
        folder: of the encoded pool.
        name: of the block, unique in the pool.
        language: of all its passages.
        ids: n passage ids.
        vectors: float32 [n, D].
        counts: [R], or None where nothing is ranked (mining).
    """
    blocks = folder / "blocks"
    blocks.mkdir(parents=True, exist_ok=True)
    path = blocks / f"{name}.arrow"
    if counts is not None:
        with path.with_suffix(".counts.npy").open("wb") as file:
            np.save(file, counts)
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    columns = [pa.array(list(ids), pa.string()), pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])]
    table = pa.table(columns, names=["id", "vector"], metadata={"language": language})
    temporary = path.with_suffix(".new")
    with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    temporary.replace(path)
    return Block(path)


def finished_blocks(folder: Path) -> list[Block]:
    """The blocks under ``folder``, by name."""
    return [Block(path) for path in sorted((folder / "blocks").glob("*.arrow"))]


def _mapped(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
