"""Token stores: the token ids of every text, made once for (data, tokenizer, lengths) and mapped by all who train.

`recipe` gathers what a study's store is made of, `build_store` finds or builds it, `TokenStore` reads it. Building: the
readers' groups become a `Corpus`, whose texts Ray Data reads part by part and hands to actors that tokenise them; one
process writes in order. The parts are read on the machine that has them; actors may be anywhere. Next: `stream`.
"""

import hashlib
import heapq
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow.fs import LocalFileSystem

from hybridtune.callbacks import Progress
from hybridtune.config.fields import Data, Encoder
from hybridtune.config.hooks import hook_source
from hybridtune.data.corpus import Corpus, CorpusBuilder, TextPart, read_texts
from hybridtune.data.holdout import Cut
from hybridtune.data.readers.files import Source, read_bytes
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.notes import Notes
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.data.training_texts import TrainingTexts
from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Int32, Int64
from hybridtune.model.published import TRAINING_TEXTS
from hybridtune.model.tokenizer import Tokenizer, pretrained_tokenizer, train_tokenizer
from hybridtune.runtime.resources import cores
from hybridtune.storage.files import cache_folder, is_remote, locked, replace_folder
from hybridtune.storage.manifests import damage, seal
from hybridtune.storage.records import DamagedError, read_object

# Of how groups are read, cleaned and numbered and of the files of a store: raise it with any change of what they hold.
FORMAT_VERSION = 6
META = "store.json"
SAMPLE = 1 << 15  # texts that a tokenizer of the study's own is trained on, of those there are

_AT_ONCE = 1024  # texts given to the tokenizer in one call: its answer takes some kilobytes a text
_READERS = 2  # tasks that read parts
_TOKENISER_CPUS = 0.5  # of an actor that tokenises
_IN_FLIGHT = 64 * 2**20  # bytes of texts and of token ids that wait to be read


Look = Callable[[Source, Group], None]  # what is given each group as it is read


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
        tokens, offsets = (np.asarray(np.load(path / f"{name}.npy", mmap_mode="r")) for name in ("tokens", "offsets"))
        return cls(path, tokens, offsets, (path / "tokens.npy").open("rb", buffering=0))

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._offsets) - 1

    @property
    def mean_length(self) -> float:
        """Mean number of tokens of a text."""
        return len(self._tokens) / len(self)

    def tokens(self, number: int) -> Int32:
        """Return the token ids of a text, without a copy."""
        return self._tokens[self._offsets[number] : self._offsets[number + 1]]

    def take(self, numbers: npt.NDArray[np.integer]) -> tuple[Int32, Int64]:
        """Read the token ids of many texts [n]: [T] their ids, one text after the other, and [n] the tokens of each."""
        starts = self._offsets[numbers]
        lengths = self._offsets[numbers + 1] - starts
        # Read, not mapped: a page fault can map two megabytes of a large file, all counted as this process' memory.
        header = os.fstat(self._file.fileno()).st_size - self._tokens.nbytes
        sizes, offsets = (4 * lengths).tolist(), (header + 4 * starts).tolist()
        read = b"".join(map(os.pread, repeat(self._file.fileno()), sizes, offsets))
        return np.frombuffer(read, np.int32), lengths

    def training_texts(self) -> Path:
        """Return the file of the fingerprints of its texts, see `TrainingTexts`."""
        return self.path / TRAINING_TEXTS

    def corpus(self) -> Corpus:
        """Open the corpus of the store."""
        return Corpus.open(self.path / "groups")

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer that made the store."""
        meta = json.loads((self.path / META).read_text(encoding="utf-8"))
        definition = (self.path / "tokenizer.json").read_text(encoding="utf-8")
        return Tokenizer(definition, meta["pad_id"], meta["pools_prompts"])


@dataclass(frozen=True)
class StoreRecipe:
    """All that a store is made of; its ``address`` is the digest of that."""

    sources: Sequence[Source]
    limits: Mapping[str, int]
    encoder: Encoder
    tokenizer: Tokenizer | None  # None: trained on the texts
    cut: Cut | None = None  # what is held out of the files
    dropped: frozenset[str] = frozenset()  # ids of groups that are left out
    notes: Notes = field(default_factory=Notes, compare=False)  # of how the files were read

    @property
    def address(self) -> str:
        """Name of the store: 64 hexadecimal digits."""
        digest = hashlib.sha256(f"format {FORMAT_VERSION} {self.data_digest} ".encode())
        digest.update(repr(sorted(self.dropped)).encode())
        made = self.tokenizer.digest if self.tokenizer else f"trained {self.encoder.tiny.vocab_size}"
        lengths = (self.encoder.query_length, self.encoder.passage_length)
        prefixes = (self.encoder.query_prefix, self.encoder.passage_prefix)
        digest.update(repr((sorted(self.limits.items()), made, lengths, prefixes)).encode())
        return digest.hexdigest()

    @cached_property
    def data_digest(self) -> str:
        """Digest of the groups that the files hold, without those that are held out."""
        digest = hashlib.sha256()
        for source in self.sources:
            said = f"{tuple(source.layout)} " if any(source.layout) else ""
            digest.update(_content(source) + f" {source.data_set} {said}".encode())
        digest.update(repr(self.cut and self.cut.holdout).encode())
        return digest.hexdigest()

    def groups(self) -> Iterator[tuple[Source, Group]]:
        """Read the groups that are trained on, whatever the limits, streamed; errors name file and line."""
        for source in self.sources:
            for group in read_groups(source, self.notes):
                if group.group_id not in self.dropped and (self.cut is None or self.cut.part(group) is None):
                    yield source, group

    def read_corpus(self, look: Look = lambda source, group: None) -> Corpus:
        """Read and check all groups without writing anything; ``look`` is given each. Errors name file and line."""
        return self.fill(CorpusBuilder(self.limits), look)

    def fill(self, builder: CorpusBuilder, look: Look = lambda source, group: None) -> Corpus:
        """Give all groups to a builder and finish it; raises as `read_corpus` does."""
        empty = True
        for source, group in self.groups():
            builder.add(group, source.data_set)
            look(source, group)
            empty = False
        if empty:
            names = ", ".join(source.name for source in self.sources)
            left_out = f" but the {len(self.dropped):,} that hold texts of a benchmark" if self.dropped else ""
            raise InputError(f"data.train: {names}: there is no group in it{left_out}")
        return builder.finish()


def recipe(data: Data, encoder: Encoder) -> StoreRecipe:
    """Gather what the study's store is made of; refuse a path without files or an encoder without a tokenizer.

    With a holdout the files are read.
    """
    sources = find_sources(data.train)
    own = encoder.name == "tiny"
    tokenizer = None if own else pretrained_tokenizer(encoder.name, encoder.trust_remote_code)
    cut, notes = None, Notes()
    if data.holdout is not None:
        cut = Cut(data.holdout, lambda: (group for source in sources for group in read_groups(source, notes)))
    return StoreRecipe(sources, data.language_limits, encoder, tokenizer, cut, notes=notes)


def store_root(data: Data) -> Path:
    """Return the folder of stores: the study's, ``$HYBRIDTUNE_CACHE``, or the user's cache; refuse a URL."""
    if data.store and is_remote(data.store):
        raise InputError(
            f"data.store {data.store}: is a URL, and stores are read from a local folder; leave it out: on a cluster "
            "the store is published under --out, and every node fetches it once"
        )
    return Path(data.store) if data.store else cache_folder()


def existing_store(root: Path, made_of: StoreRecipe) -> TokenStore | None:
    """Open the store of the recipe; return None if there is none, or it is damaged (`build_store` tells of that)."""
    path = root / made_of.address
    return TokenStore.open(path) if damage(path) is None else None


def outdated_stores(root: Path) -> int:
    """Count the stores below a root that another version of their format made; nothing reads them any more."""
    return sum(_format(file) != FORMAT_VERSION for file in root.glob(f"*/{META}"))


def _format(file: Path) -> Any:
    try:
        return (read_object(file) or {}).get("format")
    except DamagedError:
        return FORMAT_VERSION  # a store that is damaged is told of by who uses it


def build_store(
    root: Path,
    made_of: StoreRecipe,
    progress: Progress = lambda done, total: None,
    tell: Callable[[str], object] = lambda line: None,
) -> TokenStore:
    """Find the store of the recipe, wait for it, or build it with Ray Data (which must be running).

    One that is damaged is built again; ``tell`` is given a line on that.
    """
    address = made_of.address
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / f"{address}.lock"):  # a second study waits here, then finds the store
        found = existing_store(root, made_of)
        if found is not None:
            return found
        if (root / address).exists():
            tell(f"token store {root / address} is damaged ({damage(root / address)}): it is built again")
            shutil.rmtree(root / address)
        building = root / f"{address}.building"
        shutil.rmtree(building, ignore_errors=True)  # what a killed builder left
        try:
            _build(building, made_of, progress)
            seal(building)
            replace_folder(building, root / address)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return TokenStore.open(root / address)


def _build(folder: Path, made_of: StoreRecipe, progress: Progress) -> None:
    groups, texts = folder / "groups", folder / "texts"
    groups.mkdir(parents=True)
    texts.mkdir()
    builder = CorpusBuilder(made_of.limits, texts)
    made_of.fill(builder).save(groups)
    encoder = made_of.encoder
    tokenizer = made_of.tokenizer or train_tokenizer(_sample(builder.parts), encoder.tiny.vocab_size)
    (folder / "tokenizer.json").write_text(tokenizer.definition, encoding="utf-8")
    started = time.perf_counter()
    count = tokenise(folder, builder.parts, tokenizer, encoder, progress)
    TrainingTexts.of(text for _, text in read_texts(builder.parts)).save(folder / TRAINING_TEXTS)
    shutil.rmtree(texts)
    meta = {
        "format": FORMAT_VERSION,
        "texts": count,
        "pad_id": tokenizer.pad_id,
        "pools_prompts": tokenizer.pools_prompts,
        "encoder": encoder.model_dump(mode="json"),
        "sources": [source.name for source in made_of.sources],
        "tokenise_seconds": round(time.perf_counter() - started, 3),
    }
    (folder / META).write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _sample(parts: Sequence[TextPart]) -> Iterator[str]:
    """Yield the texts, in order; of more than `SAMPLE`, those with the smallest digests."""
    if sum(int(part.new.sum()) for part in parts) <= SAMPLE:
        return (text for _, text in read_texts(parts))
    ranked = ((hashlib.sha256(text.encode()).digest(), text) for _, text in read_texts(parts))
    return (text for _, text in heapq.nsmallest(SAMPLE, ranked))


def _content(source: Source) -> bytes:
    """Return the digest of what a source holds, and of the code of its own reader."""
    digest = hashlib.sha256()
    if source.reader is not None:
        digest.update(f"{source.reader} ".encode() + hook_source(source.reader, f"{source.name}: reader"))
    pieces: Iterable[bytes]
    if source.files:
        pieces = (piece for name, file in source.inside().items() for piece in chain([name.encode()], read_bytes(file)))
    elif source.filesystem is not None:
        pieces = read_bytes(source)
    elif source.reader is not None and Path(source.path).is_file():
        pieces = read_bytes(source._replace(filesystem=LocalFileSystem()))
    else:
        pieces = (repr(group).encode() for group in read_groups(source))
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def tokenise(folder: Path, parts: Sequence[TextPart], tokenizer: Tokenizer, encoder: Encoder, report: Progress) -> int:
    """Tokenise the new texts of the parts, in their order, and return their number n.

    The folder gets ``tokens.npy``, [T] ids of all texts, one after the other, and ``offsets.npy``, [n + 1] where each
    of the n texts begins; its last element is T. ``report`` is called with the texts done and the texts in all.
    """
    total = sum(int(part.new.sum()) for part in parts)
    items = [
        {"part": str(part.path), "texts": len(part.new), "new": np.packbits(part.new).tobytes()}
        for part in parts
        if part.new.any()
    ]
    sides = {
        True: (encoder.query_prefix, encoder.query_length),
        False: (encoder.passage_prefix, encoder.passage_length),
    }
    report(0, total)
    lengths = [np.zeros(1, np.int64)]

    def token_ids() -> Iterator[Int32]:
        for rows in _token_rows(items, tokenizer, sides) if items else ():
            ends = rows.offsets.to_numpy()
            yield rows.values.to_numpy()[ends[0] : ends[-1]]
            lengths.append(np.diff(ends).astype(np.int64))
            report(sum(map(len, lengths)) - 1, total)

    _write_array(folder / "tokens.npy", token_ids())
    np.save(folder / "offsets.npy", np.cumsum(np.concatenate(lengths)))
    return total


def _write_array(path: Path, parts: Iterable[Int32]) -> None:
    """Write an int32 ``.npy`` file part by part; its length is put into the header at the end."""
    rows = 0
    with path.open("wb") as file:

        def write_header() -> None:  # it has room for the length to grow
            described = {"descr": "<i4", "fortran_order": False, "shape": (rows,)}
            np.lib.format.write_array_header_1_0(file, described)

        write_header()
        for part in parts:
            rows += len(part)
            file.write(np.ascontiguousarray(part, np.int32).data)
        file.seek(0)
        write_header()


def _token_rows(
    items: Sequence[Mapping[str, Any]], tokenizer: Tokenizer, sides: Mapping[bool, tuple[str, int]]
) -> Iterator[pa.ListArray]:
    """Tokenise the new texts of parts with Ray Data; rows come in the order of the texts."""
    import ray

    data = ray.data.from_items(items, override_num_blocks=len(items))
    data.set_name("token store")
    data.context.execution_options.preserve_order = True
    limits = ray.data.ExecutionResources.for_limits(object_store_memory=_IN_FLIGHT)
    data.context.execution_options.resource_limits = limits
    node = ray.get_runtime_context().get_node_id()
    others = [other for other in ray.nodes() if other["Alive"] and other["NodeID"] != node]
    most_actors = cores() + sum(int(other["Resources"].get("CPU", 0)) for other in others)
    # The parts lie on this node, where tasks of their own read them for actors elsewhere. Where there is no other node,
    # Ray Data joins two operators that ask for the same, so that the actors read, and no process is started for it.
    reading: dict[str, Any] = {"num_cpus": _TOKENISER_CPUS}
    if others:
        reading = {"num_cpus": 0, "label_selector": {"ray.io/node-id": node}}
        reading["compute"] = ray.data.TaskPoolStrategy(size=min(_READERS, len(items)))
    data = data.map_batches(_read_part, batch_size=1, batch_format="pyarrow", **reading)
    data = data.map_batches(
        _TokenisePart,
        fn_constructor_args=(tokenizer, sides),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(len(items), most_actors)),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=_TOKENISER_CPUS,
    )
    for table in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
        yield from table.column("tokens").chunks


def _read_part(batch: pa.Table) -> Iterator[pa.Table]:
    """Read parts of the texts: paths in, the new texts of each out; a Ray Data task."""
    for item in batch.to_pylist():
        new = np.unpackbits(np.frombuffer(item["new"], np.uint8), count=item["texts"]).astype(bool)
        yield TextPart(Path(item["part"]), new).read()


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
