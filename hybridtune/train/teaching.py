"""Teaching: the texts that a frozen teacher reads become vectors, once for all trainings, by Ray Data.

The texts of a token store are read from its sources again, in the order of their numbers, and encoded by the teacher's
own tokenizer and settings. What a killed run has encoded is there when the next goes on.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hybridtune.callbacks import Progress
from hybridtune.config.fields import Encoder
from hybridtune.data.corpus import CorpusBuilder, TextPart
from hybridtune.data.store import StoreRecipe
from hybridtune.data.teacher_vectors import save_vectors
from hybridtune.errors import FitError
from hybridtune.evaluate.encode import GPU_BLOCKS, Actors
from hybridtune.metrics.arrays import Int32
from hybridtune.model.tokenizer import Tokenizer
from hybridtune.storage.copies import ensure_local
from hybridtune.storage.files import is_remote, locked, replace_folder, replacing
from hybridtune.storage.manifests import damage, seal

BLOCK_TEXTS = 1024  # encoded and written at once: what a kill can cost each actor


@dataclass(frozen=True)
class Lesson:
    """A teacher and the texts that it reads.

    Attributes:
        source: location or hub name of the teacher.
        encoder: how it is used.
        tokenizer: its own.
        digest: of its weights and settings.
        texts: their numbers in the token store, ascending, at least one.
    """

    source: str
    encoder: Encoder
    tokenizer: Tokenizer
    digest: str
    texts: Int32

    def address(self, store: StoreRecipe, on_gpu: bool) -> str:
        """Return the name of the folder of its vectors: a digest of all that they depend on."""
        settings = self.encoder.model_dump_json(exclude={"tiny", "name"})
        made_of = (store.address, self.digest, self.tokenizer.digest, settings, on_gpu)
        return hashlib.sha256(repr(made_of).encode() + self.texts.tobytes()).hexdigest()


def teach(
    root: Path,
    store: StoreRecipe,
    lesson: Lesson,
    actors: Actors,
    progress: Progress = lambda done, total: None,
    tell: Callable[[str], object] = lambda line: None,
) -> Path:
    """Find the folder of a teacher's vectors, wait for it, or make it with Ray Data (which must be running).

    Vectors that are damaged are made again; ``tell`` is given a line on that.

    Raises:
        FitError: a vector is not finite.
    """
    folder = root / lesson.address(store, actors.gpus > 0)
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / f"{folder.name}.lock"):
        if (what := damage(folder)) is None:
            return folder
        if folder.exists():
            tell(f"vectors of the teacher {lesson.encoder.name}, {folder}, are damaged ({what}): they are made again")
            shutil.rmtree(folder)
        building = root / f"{folder.name}.building"
        (building / "blocks").mkdir(parents=True, exist_ok=True)
        blocks = list(_blocks(building, store, lesson.texts))
        _encode(blocks, lesson, actors, progress)
        save_vectors(building, lesson.texts, [block.file for block in blocks], lesson.encoder.name)
        for part in ("blocks", "texts"):
            shutil.rmtree(building / part)
        seal(building)
        replace_folder(building, folder)
    return folder


@dataclass(frozen=True)
class _Block:
    """Some texts that follow each other, and the file that their vectors come into."""

    file: Path
    texts: TextPart
    size: int


def _blocks(building: Path, store: StoreRecipe, numbers: Int32) -> Iterator[_Block]:
    """Read the texts of a store again, and cut those with the given numbers into blocks."""
    texts = building / "texts"
    shutil.rmtree(texts, ignore_errors=True)
    texts.mkdir()
    builder = CorpusBuilder(store.limits, texts)
    store.fill(builder)
    first = 0  # number of the first new text of a part
    for part in builder.parts:
        places = np.flatnonzero(part.new)  # of the texts first, first + 1, ...
        bounds = np.searchsorted(numbers, [first, first + len(places)])
        wanted = places[numbers[slice(*bounds)] - first]
        for start in range(0, len(wanted), BLOCK_TEXTS):
            chosen = np.zeros(len(part.new), bool)
            chosen[wanted[start : start + BLOCK_TEXTS]] = True
            file = building / "blocks" / f"{bounds[0] + start:012d}.npy"
            yield _Block(file, TextPart(part.path, chosen), int(chosen.sum()))
        first += len(places)


def _encode(blocks: Sequence[_Block], lesson: Lesson, actors: Actors, progress: Progress) -> None:
    """Encode the blocks that have no file yet, and write each as it comes."""
    import ray

    done, total = sum(block.size for block in blocks if block.file.exists()), sum(block.size for block in blocks)
    progress(done, total)
    waiting = [(n, block) for n, block in enumerate(blocks) if not block.file.exists()]
    if not waiting:
        return
    items = [
        {"block": n, "part": str(block.texts.path), "texts": len(block.texts.new), "new": _packed(block.texts)}
        for n, block in waiting
    ]
    data = ray.data.from_items(items, override_num_blocks=len(items))
    data.context.enable_progress_bars = False
    data.context.target_max_block_size = 1  # byte: every block goes on as soon as it is there, alone
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    one_row: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow"}
    data = data.map_batches(
        read_block, compute=ray.data.TaskPoolStrategy(size=2), num_cpus=0, label_selector=here, **one_row
    )
    data = data.map_batches(
        TeacherActor,
        fn_constructor_args=(lesson.source, lesson.encoder, lesson.tokenizer, actors.threads),
        compute=actors.pool(),
        num_cpus=0.25,
        num_gpus=actors.gpus or None,
        **one_row | {"batch_size": GPU_BLOCKS if actors.gpus else 1},
    )
    for row in data.iter_rows():
        block = blocks[row["block"]]
        vectors = np.asarray(row["vectors"], np.float32).reshape(block.size, -1)
        if not np.isfinite(vectors).all():
            raise FitError(f"train.teacher {lesson.encoder.name}: a vector is not finite; choose another teacher")
        with replacing(block.file) as temporary, temporary.open("wb") as sink:
            np.save(sink, vectors)
        done += block.size
        progress(done, total)


def _packed(texts: TextPart) -> bytes:
    return np.packbits(texts.new).tobytes()


def read_block(batch: pa.Table) -> Iterator[pa.Table]:
    """Read the texts of blocks, a row each; a Ray Data task."""
    for item in batch.to_pylist():
        new = np.unpackbits(np.frombuffer(item["new"], np.uint8), count=item["texts"]).astype(bool)
        columns = TextPart(Path(item["part"]), new).read().to_pydict()
        yield pa.Table.from_pylist([{"block": item["block"], **columns}])


class TeacherActor:
    """A Ray Data actor: the texts of a block in, its vectors [n, D] out; a GPU has the next block meanwhile.

    Args:
        source: location or hub name of the teacher.
        encoder: how it is used.
        tokenizer: its own.
        threads: that it computes on.
    """

    def __init__(self, source: str, encoder: Encoder, tokenizer: Tokenizer, threads: int) -> None:
        import torch  # here, since those who read need none of it

        from hybridtune.model.encoder import load_encoder

        torch.set_num_threads(threads)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._encoder, self._tokenizer = encoder, tokenizer
        local = str(ensure_local(source)) if is_remote(source) else source
        self._model = load_encoder(local, encoder, tokenizer.pad_id).to(device).eval()

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Encode blocks, a row each."""
        rows = batch.to_pylist()
        for row, vectors in zip(rows, self._model.embed_blocks(map(self._tokens, rows)), strict=True):
            yield pa.table({"block": [row["block"]], "vectors": pa.array([vectors.ravel()], pa.list_(pa.float32()))})

    def _tokens(self, row: dict[str, Any]) -> list[Any]:
        settings, is_query = self._encoder, np.array(row["is_query"], bool)
        sides = {True: (settings.query_prefix, settings.query_length)}
        sides[False] = (settings.passage_prefix, settings.passage_length)
        tokens: list[Any] = [None] * len(is_query)
        for side, (prefix, length) in sides.items():
            places = np.flatnonzero(is_query == side).tolist()
            ids = self._tokenizer.encode([row["text"][place] for place in places], prefix, length)
            for place, text in zip(places, ids, strict=True):
                tokens[place] = text
        return tokens
