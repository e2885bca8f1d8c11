"""Numbered texts to token ids on disk: Ray Data reads the parts, actors tokenise them, one process writes in order.

The parts are read on the machine that has them; texts and token ids travel through Ray, so actors may be anywhere.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybridtune.config import Encoder
from hybridtune.cores import cores
from hybridtune.data.arrays import ArrayFile
from hybridtune.data.numbering import TextPart
from hybridtune.data.tokenizer import Tokenizer

Progress = Callable[[int, int], None]  # (texts done, texts in all)

_AT_ONCE = 1024  # texts given to the tokenizer in one call: what it says of each text takes some kilobytes
_READERS = 2  # tasks that read parts
_IN_FLIGHT = 64 * 2**20  # bytes of texts and of token ids that wait for who takes them


def tokenise(folder: Path, parts: Sequence[TextPart], tokenizer: Tokenizer, encoder: Encoder, report: Progress) -> None:
    """Tokenise the new texts of the parts, in their order.

    Args:
        folder: gets ``tokens.npy``, [T] ids of all texts, one behind the other, and ``offsets.npy``, [n + 1] where
            each of the n texts begins; its last element is T.
        parts: the texts.
        tokenizer: of both sides.
        encoder: prefixes and lengths.
        report: told how far it is.
    """
    import ray

    total = sum(int(part.new.sum()) for part in parts)
    items = [{"part": str(part.path), "new": np.packbits(part.new).tobytes()} for part in parts if part.new.any()]
    sides = {
        True: (encoder.query_prefix, encoder.query_length),
        False: (encoder.passage_prefix, encoder.passage_length),
    }
    report(0, total)
    with ArrayFile(folder / "tokens.npy", np.int32) as tokens, ArrayFile(folder / "offsets.npy", np.int64) as offsets:
        offsets.append(np.zeros(1, np.int64))
        if not items:
            return
        data = ray.data.from_items(items, override_num_blocks=len(items))
        data.context.execution_options.preserve_order = True
        limits = ray.data.ExecutionResources.for_limits(object_store_memory=_IN_FLIGHT)
        data.context.execution_options.resource_limits = limits
        here = ray.get_runtime_context().get_node_id()
        data = data.map_batches(
            _read_part,
            compute=ray.data.TaskPoolStrategy(size=min(_READERS, len(items))),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=0,
            label_selector={"ray.io/node-id": here},
        )
        data = data.map_batches(
            _TokenisePart,
            fn_constructor_args=(tokenizer, sides),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(len(items), _cores(here))),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=0.5,
        )
        for table in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
            for rows in table.column("tokens").chunks:
                ends = rows.offsets.to_numpy().astype(np.int64)
                offsets.append(tokens.rows + ends[1:] - ends[0])
                tokens.append(rows.values.to_numpy()[ends[0] : ends[-1]])
            report(offsets.rows - 1, total)


def _cores(here: str) -> int:
    """The cores that this process may use, and the CPUs that other nodes of the cluster offer."""
    import ray

    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    return cores() + sum(int(node["Resources"].get("CPU", 0)) for node in others)


def _read_part(batch: pa.Table) -> Iterator[pa.Table]:
    """A Ray Data task: paths of parts of the texts in, the new texts of each out."""
    for path, bits in zip(batch.column("part").to_pylist(), batch.column("new").to_pylist(), strict=True):
        with pa.memory_map(path) as source:
            part = pa.ipc.open_file(source).read_all()
            new = np.unpackbits(np.frombuffer(bits, np.uint8), count=len(part)).astype(bool)
            yield part.filter(pa.array(new)).combine_chunks()


class _TokenisePart:
    """A Ray Data actor: a part of the texts in, its token ids out, one row a text."""

    def __init__(self, tokenizer: Tokenizer, sides: Mapping[bool, tuple[str, int]]) -> None:
        self.tokenizer, self.sides = tokenizer, sides

    def __call__(self, part: pa.Table) -> pa.Table:
        chunks = [self._encode(part.slice(at, _AT_ONCE)) for at in range(0, len(part), _AT_ONCE)]
        return pa.table({"tokens": pa.chunked_array(chunks).combine_chunks()})

    def _encode(self, part: pa.Table) -> pa.Array:
        is_query = part.column("is_query").to_numpy()
        lengths = np.zeros(len(part) + 1, np.int64)
        encoded: dict[bool, npt.NDArray[np.int32]] = {}
        for side, (prefix, length) in self.sides.items():
            chosen = is_query == side
            texts = part.column("text").filter(pa.array(chosen)).to_pylist()
            encoded[side], lengths[1:][chosen] = self.tokenizer.encode_flat(texts, prefix, length)
        ends = np.cumsum(lengths)
        tokens = np.empty(ends[-1], np.int32)
        of_query = np.repeat(is_query, lengths[1:])  # the side that each token is of
        tokens[of_query], tokens[~of_query] = encoded[True], encoded[False]
        return pa.ListArray.from_arrays(ends.astype(np.int32), tokens)
