"""Numbered texts to token ids on disk: Ray Data reads the parts, actors tokenise them, one process writes in order.

The parts are read on the machine that has them; texts and token ids travel through Ray, so actors may be anywhere.
"""

import hashlib
import heapq
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybridtune.config.study import Data, Encoder
from hybridtune.data import arrays
from hybridtune.data.arrays import ArrayFile
from hybridtune.data.corpus import Corpus
from hybridtune.data.numbering import Numbering, TextPart, read_texts
from hybridtune.data.readers import native as formats
from hybridtune.data.tokenizer import Tokenizer, pretrained_tokenizer, train_tokenizer
from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Int32, Int64
from hybridtune.runtime.resources import cores
from hybridtune.storage.files import cache_folder, is_remote, locked

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
        encoded: dict[bool, Int32] = {}
        for side, (prefix, length) in self.sides.items():
            chosen = is_query == side
            texts = part.column("text").filter(pa.array(chosen)).to_pylist()
            encoded[side], lengths[1:][chosen] = self.tokenizer.encode_flat(texts, prefix, length)
        ends = np.cumsum(lengths)
        tokens = np.empty(ends[-1], np.int32)
        of_query = np.repeat(is_query, lengths[1:])  # the side that each token is of
        tokens[of_query], tokens[~of_query] = encoded[True], encoded[False]
        return pa.ListArray.from_arrays(ends.astype(np.int32), tokens)


SAMPLE = 1 << 15  # texts that a tokenizer of the study's own is trained on, of those there are

# Of how groups are read, cleaned and numbered and of the files above: raise it with any change of what they hold.
FORMAT_VERSION = 1


@dataclass(frozen=True)
class TokenStore:
    """An opened store; cheap to open, shared by all processes of a machine through the page cache."""

    path: Path
    _tokens: Int32 = field(repr=False)
    _offsets: Int64 = field(repr=False)
    _file: IO[bytes] = field(repr=False)  # the tokens again

    @classmethod
    def open(cls, path: Path) -> "TokenStore":
        """Map the store at ``path`` into memory."""
        tokens, offsets = path / "tokens.npy", path / "offsets.npy"
        return cls(path, arrays.map_array(tokens), arrays.map_array(offsets), tokens.open("rb", buffering=0))

    def __len__(self) -> int:
        """Texts."""
        return len(self._offsets) - 1

    @property
    def mean_length(self) -> float:
        """Tokens of a text."""
        return len(self._tokens) / len(self)

    def tokens(self, number: int) -> Int32:
        """Token ids of a text, without a copy."""
        return self._tokens[self._offsets[number] : self._offsets[number + 1]]

    def take(self, numbers: npt.NDArray[np.integer]) -> tuple[Int32, Int64]:
        """Token ids of many texts.

        Args:
            numbers: [n] text numbers.

        Returns:
            [T] their ids, one text behind the other, and [n] the tokens of each.
        """
        starts = self._offsets[numbers]
        lengths = self._offsets[numbers + 1] - starts
        # Read, not mapped: a page fault can map two megabytes of a large file, all counted as this process' memory.
        header = os.fstat(self._file.fileno()).st_size - self._tokens.nbytes
        sizes, places = (4 * lengths).tolist(), (header + 4 * starts).tolist()
        read = b"".join(map(os.pread, repeat(self._file.fileno()), sizes, places))
        arrays.forget(self._offsets)
        return np.frombuffer(read, np.int32), lengths

    def corpus(self) -> Corpus:
        """The groups and languages of the store."""
        return Corpus.open(self.path / "groups")

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the store."""
        meta = json.loads((self.path / "store.json").read_text(encoding="utf-8"))
        definition = (self.path / "tokenizer.json").read_text(encoding="utf-8")
        return Tokenizer(definition, meta["pad_id"], meta["pools_prompts"])


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
        digest = hashlib.sha256(f"format {FORMAT_VERSION} ".encode())
        for source in self.sources:
            digest.update(_content(source) + f" {source.data_set} ".encode())
        made = self.tokenizer.digest if self.tokenizer else f"trained {self.encoder.tiny.vocab_size}"
        lengths = (self.encoder.query_length, self.encoder.passage_length)
        prefixes = (self.encoder.query_prefix, self.encoder.passage_prefix)
        digest.update(repr((sorted(self.limits.items()), made, lengths, prefixes)).encode())
        return digest.hexdigest()

    def survey(self) -> Corpus:
        """Read and check all groups; nothing is left on disk.

        Raises:
            InputError: what is wrong with the data, with its file and line.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.number(Numbering(Path(folder), self.limits))
            return Corpus.open(Path(folder))

    def number(self, numbering: Numbering) -> None:
        """Give all groups to a numbering and finish it; raises as `survey` does."""
        empty = True
        for source in self.sources:
            for group in formats.read_groups(source):
                numbering.add(group, source.data_set)
                empty = False
        if empty:
            names = ", ".join(source.name for source in self.sources)
            raise InputError(f"data.train: {names}: there is no group in it")
        numbering.finish()


def recipe(data: Data, encoder: Encoder) -> StoreRecipe:
    """What the study's store is made of.

    Raises:
        InputError: a path without files, or an encoder without a tokenizer.
    """
    sources = formats.find_sources([data_set.path for data_set in data.train])
    tokenizer = None
    if encoder.name != "tiny":
        tokenizer = pretrained_tokenizer(encoder.name, encoder.trust_remote_code)
    return StoreRecipe(sources, data.language_limits, encoder, tokenizer)


def store_root(data: Data) -> Path:
    """Where stores are kept: the study's folder for them, ``$HYBRIDTUNE_CACHE``, or the user's cache.

    Raises:
        InputError: a URL; a store is mapped into memory.
    """
    if data.store and is_remote(data.store):
        raise InputError(
            f"data.store {data.store}: is a URL, and stores are read from a local folder; leave it out: on a cluster "
            "the store is published under --out, and every node fetches it once"
        )
    return Path(data.store) if data.store else cache_folder()


def existing_store(root: Path, made_of: StoreRecipe) -> TokenStore | None:
    """The finished store of the recipe, if there is one."""
    path = root / made_of.address
    return TokenStore.open(path) if (path / "store.json").exists() else None


def outdated_stores(root: Path) -> int:
    """Count the stores below a root that another version of their format made; nothing reads them any more."""
    metas = [json.loads(file.read_text(encoding="utf-8")) for file in root.glob("*/store.json")]
    return sum(meta.get("format") != FORMAT_VERSION for meta in metas)


def build_store(root: Path, made_of: StoreRecipe, progress: Progress = lambda done, total: None) -> TokenStore:
    """The store of the recipe: found, waited for, or built with Ray Data (which must be running).

    Raises:
        InputError: the data is wrong; nothing is left behind.
    """
    address = made_of.address
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / f"{address}.lock"):  # a second study waits here, then finds the store
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
    groups = folder / "groups"
    groups.mkdir(parents=True)
    numbering = Numbering(groups, made_of.limits, keep_texts=True)
    made_of.number(numbering)
    encoder = made_of.encoder
    tokenizer = made_of.tokenizer or train_tokenizer(_sample(numbering.parts), encoder.tiny.vocab_size)
    (folder / "tokenizer.json").write_text(tokenizer.definition, encoding="utf-8")
    started = time.perf_counter()
    tokenise(folder, numbering.parts, tokenizer, encoder, progress)
    shutil.rmtree(groups / "texts")
    meta = {
        "format": FORMAT_VERSION,
        "texts": numbering.texts,
        "pad_id": tokenizer.pad_id,
        "pools_prompts": tokenizer.pools_prompts,
        "encoder": encoder.model_dump(mode="json"),
        "sources": [source.name for source in made_of.sources],
        "tokenise_seconds": round(time.perf_counter() - started, 3),
    }
    (folder / "store.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _sample(parts: Sequence[TextPart]) -> Iterator[str]:
    """The texts, in order; of more than `SAMPLE`, those with the smallest digests."""
    if sum(int(part.new.sum()) for part in parts) <= SAMPLE:
        return (text for _, text in read_texts(parts))
    ranked = ((hashlib.sha256(text.encode()).digest(), text) for _, text in read_texts(parts))
    return (text for _, text in heapq.nsmallest(SAMPLE, ranked))


def _content(source: formats.Source) -> bytes:
    digest = hashlib.sha256()
    if source.filesystem is None:
        for group in formats.read_groups(source):
            digest.update(repr(group).encode())
        return digest.digest()
    try:
        with source.filesystem.open_input_stream(source.path, compression=None) as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"{source.name}: cannot be read: {' '.join(str(error).split())}") from None
    return digest.digest()
