"""The token store: every text is tokenised once, kept as Arrow on disk, and found again by its content.

    <root>/<address>/texts/part-00000.parquet ...   the distinct texts, in the order of their numbers
                     tokens.arrow                   one list of token ids a text, same order, memory-mapped
                     groups.npz                     the Corpus
                     store.json                     what it was made of

The address is a digest of the data's bytes, the tokenizer, the lengths, the prefixes and this code, so a store is
never stale. A builder works in a folder of its own under a lock and renames it when it is whole: a reader sees a
complete store or none.
"""

import fcntl
import hashlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hybridtune.config import Data, Encoder
from hybridtune.data import corpus as corpus_module
from hybridtune.data import formats
from hybridtune.data import tokenizer as tokenizer_module
from hybridtune.data.corpus import Corpus, survey
from hybridtune.data.tokenizer import Tokenizer, pretrained_tokenizer, train_tokenizer
from hybridtune.errors import InputError

PART_ROWS = 8192  # texts in one Parquet part: the unit that Ray Data hands to a tokenising actor
ROWS = 65536  # texts in one Arrow batch: a text's number tells its batch

Progress = Callable[[int, int], None]  # (texts done, texts in all)


@dataclass(frozen=True)
class TokenStore:
    """An opened store; cheap to open, shared by all processes of a machine through the page cache."""

    path: Path
    _batches: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]] = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> "TokenStore":
        """Map the store at ``path`` into memory."""
        reader = pa.ipc.open_file(pa.memory_map(str(path / "tokens.arrow")))
        columns = [reader.get_batch(i).column(0) for i in range(reader.num_record_batches)]
        return cls(path, [(c.offsets.to_numpy(), c.values.to_numpy()) for c in columns])

    def tokens(self, number: int) -> npt.NDArray[np.int32]:
        """Token ids of a text, without a copy."""
        offsets, values = self._batches[number // ROWS]
        place = number % ROWS
        return values[offsets[place] : offsets[place + 1]]

    def corpus(self) -> Corpus:
        """The groups and languages of the store."""
        with np.load(self.path / "groups.npz") as tables:
            return Corpus(**{**tables, "languages": tuple(tables["languages"].tolist())})

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the store."""
        meta = json.loads((self.path / "store.json").read_text(encoding="utf-8"))
        return Tokenizer((self.path / "tokenizer.json").read_text(encoding="utf-8"), meta["pad_id"])


@dataclass(frozen=True)
class StoreRecipe:
    """All that a store is made of; its ``address`` is the digest of that."""

    sources: Sequence[formats.Source]
    limits: Mapping[str, int]
    encoder: Encoder
    tokenizer: Tokenizer | None  # None: trained on the texts

    @property
    def address(self) -> str:
        """64 hexadecimal digits."""
        digest = hashlib.sha256()
        for module in (formats, corpus_module, tokenizer_module):
            digest.update(Path(str(module.__file__)).read_bytes())
        digest.update(Path(__file__).read_bytes())
        for source in self.sources:
            digest.update(_content(source))
        made = self.tokenizer.digest if self.tokenizer else f"trained {self.encoder.tiny.vocab_size}"
        lengths = (self.encoder.query_length, self.encoder.passage_length)
        prefixes = (self.encoder.query_prefix, self.encoder.passage_prefix)
        digest.update(repr((sorted(self.limits.items()), made, lengths, prefixes)).encode())
        return digest.hexdigest()

    def survey(self, on_text: Callable[[bool, str], None] = lambda is_query, text: None) -> Corpus:
        """Read and check all groups, without writing anything."""
        groups = (group for source in self.sources for group in formats.read_groups(source))
        first = next(groups, None)
        if first is None:
            names = ", ".join(source.name for source in self.sources)
            raise InputError(f"data.train: {names}: there is no group in it")
        return survey(itertools.chain([first], groups), self.limits, on_text)


def recipe(data: Data, encoder: Encoder) -> StoreRecipe:
    """What the study's store is made of.

    Raises:
        InputError: a path without files, or an encoder without a tokenizer.
    """
    sources = formats.find_sources(data.train)
    tokenizer = None
    if encoder.name != "tiny":
        tokenizer = pretrained_tokenizer(encoder.name, encoder.trust_remote_code)
    return StoreRecipe(sources, data.language_limits, encoder, tokenizer)


def store_root(data: Data) -> Path:
    """Where stores are kept: the study's folder for them, ``$HYBRIDTUNE_CACHE``, or the user's cache."""
    given = data.store or os.environ.get("HYBRIDTUNE_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "hybridtune"


def existing_store(root: Path, made_of: StoreRecipe) -> TokenStore | None:
    """The finished store of the recipe, if there is one."""
    path = root / made_of.address
    return TokenStore.open(path) if (path / "store.json").exists() else None


def build_store(root: Path, made_of: StoreRecipe, progress: Progress = lambda done, total: None) -> TokenStore:
    """The store of the recipe: found, waited for, or built with Ray Data (which must be running).

    Raises:
        InputError: the data is wrong; nothing is left behind.
    """
    address = made_of.address
    root.mkdir(parents=True, exist_ok=True)
    with _lock(root / f"{address}.lock"):  # a second study waits here, then finds the store
        found = existing_store(root, made_of)
        if found is not None:
            return found
        building = root / f"{address}.building"
        shutil.rmtree(building, ignore_errors=True)  # what a killed builder left
        try:
            _build(building, made_of, progress)
            building.rename(root / address)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return TokenStore.open(root / address)


def _build(folder: Path, made_of: StoreRecipe, progress: Progress) -> None:
    (folder / "texts").mkdir(parents=True)
    texts = _TextParts(folder / "texts")
    corpus = made_of.survey(texts.add)
    texts.flush()
    np.savez(folder / "groups.npz", **vars(corpus))
    encoder = made_of.encoder
    tokenizer = made_of.tokenizer or train_tokenizer(_texts(folder), encoder.tiny.vocab_size)
    (folder / "tokenizer.json").write_text(tokenizer.definition, encoding="utf-8")
    started = time.perf_counter()
    _tokenise(folder, tokenizer, encoder, texts.count, progress)
    meta = {
        "texts": texts.count,
        "pad_id": tokenizer.pad_id,
        "encoder": encoder.model_dump(mode="json"),
        "sources": [source.name for source in made_of.sources],
        "tokenise_seconds": round(time.perf_counter() - started, 3),
    }
    (folder / "store.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _tokenise(folder: Path, tokenizer: Tokenizer, encoder: Encoder, total: int, progress: Progress) -> None:
    """Ray Data: read the parts, tokenise them in actors, write the rows in the order they stand."""
    import ray

    parts = sorted(str(part) for part in (folder / "texts").iterdir())
    sides = {
        True: (encoder.query_prefix, encoder.query_length),
        False: (encoder.passage_prefix, encoder.passage_length),
    }
    data = ray.data.from_items([{"part": part} for part in parts], override_num_blocks=len(parts))
    data.context.execution_options.preserve_order = True
    data = data.map_batches(
        _TokenisePart,
        fn_constructor_args=(tokenizer, sides),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, min(len(parts), os.cpu_count() or 1))),
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=0.5,
    )
    schema = pa.schema([("tokens", pa.list_(pa.int32()))])
    done = 0
    progress(0, total)
    with pa.OSFile(str(folder / "tokens.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in data.iter_batches(batch_size=ROWS, batch_format="pyarrow", prefetch_batches=1):
            column = pa.concat_arrays(batch.column("tokens").chunks).cast(schema.field(0).type)
            writer.write_batch(pa.record_batch([column], schema=schema))
            done += len(column)
            progress(done, total)


class _TokenisePart:
    """A Ray Data actor: the path of a part of the texts in, its token ids out."""

    def __init__(self, tokenizer: Tokenizer, sides: Mapping[bool, tuple[str, int]]) -> None:
        self.tokenizer, self.sides = tokenizer, sides

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for path in batch.column("part").to_pylist():
            part = pq.read_table(path)
            is_query = np.array(part.column("is_query"))
            texts = np.array(part.column("text").to_pylist(), object)
            tokens = np.empty(len(texts), object)
            for side, (prefix, length) in self.sides.items():
                chosen = np.flatnonzero(is_query == side)
                for place, ids in zip(
                    chosen, self.tokenizer.encode(texts[chosen].tolist(), prefix, length), strict=True
                ):
                    tokens[place] = ids
            yield pa.table({"tokens": pa.array(tokens.tolist(), pa.list_(pa.int32()))})


class _TextParts:
    """Writes texts to numbered Parquet parts as they come."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self._rows: list[tuple[bool, str]] = []

    def add(self, is_query: bool, text: str) -> None:
        """Take the next text; a full part is written."""
        self._rows.append((is_query, text))
        self.count += 1
        if len(self._rows) == PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the texts that do not fill a part."""
        if self._rows:
            is_query, texts = zip(*self._rows, strict=True)
            number = (self.count - 1) // PART_ROWS
            pq.write_table(
                pa.table({"is_query": list(is_query), "text": list(texts)}),
                self.folder / f"part-{number:05d}.parquet",
            )
            self._rows = []


def _texts(folder: Path) -> Iterator[str]:
    for part in sorted((folder / "texts").iterdir()):
        yield from pq.read_table(part).column("text").to_pylist()


def _content(source: formats.Source) -> bytes:
    digest = hashlib.sha256()
    if source.filesystem is None:
        for group in formats.read_groups(source):
            digest.update(repr(group).encode())
        return digest.digest()
    with source.filesystem.open_input_stream(source.path, compression=None) as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.digest()


@contextmanager
def _lock(path: Path) -> Iterator[IO[str]]:
    """Held by one process at a time; the system frees it when its holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
