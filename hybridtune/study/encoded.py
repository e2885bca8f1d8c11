"""A benchmark, or a training file to mine, encoded by a model: what `evaluate` and `mine` begin with."""

import contextlib
import hashlib
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.fields import Encoder, Resources
from hybridtune.data.readers.benchmarks import notices_of_languages
from hybridtune.data.readers.records import BenchmarkRows, CorpusPart, Text, TextList
from hybridtune.errors import InputError
from hybridtune.evaluate.corpus_scan import CorpusScan, scan_corpus
from hybridtune.evaluate.encode import Actors, Side, encode_sides
from hybridtune.model.folder import check_fit, encoder_notices, model_digest
from hybridtune.model.tokenizer import Tokenizer, pretrained_tokenizer
from hybridtune.runtime.local import Capacity, capacity, local_cluster, unused_gpus
from hybridtune.study.folder import make_folder

ENCODED = "encoded"  # folder under --out


@dataclass(frozen=True)
class Encoded:
    """An encoded benchmark, with its vectors in ``folder``; Ray runs while it is used."""

    rows: BenchmarkRows
    scan: CorpusScan
    folder: Path
    actors: Actors


def check_model(encoder: Encoder, resources: Resources, callback: StudyCallback) -> tuple[Tokenizer, Capacity]:
    """Check the model and the machine before anything starts, and report what is assumed."""
    offered = capacity(resources)
    if resources.min_evaluators and resources.min_evaluators > offered.evaluators:
        raise InputError(
            f"resources.min_evaluators {resources.min_evaluators} is more than the {offered.evaluators} evaluators "
            "there are at most; lower it or raise resources.evaluators"
        )
    tokenizer = pretrained_tokenizer(encoder.name, encoder.trust_remote_code)
    check_fit(encoder, tokenizer.largest_id)
    for notice in [*unused_gpus(1.0), *encoder_notices(encoder)]:
        callback.on_message(notice)
    return tokenizer, offered


def scan_benchmark(rows: BenchmarkRows, callback: StudyCallback, root: Path | None = None) -> CorpusScan:
    """Scan a benchmark and report its notices; a ``root`` that is made to work in is removed again for bad input."""
    made = [folder for folder in (root, *root.parents) if not folder.exists()] if root else []  # deepest first
    if root is not None:
        make_folder(root)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="scan-", dir=root) as work,
            phase(callback, "reading the corpus", "parts") as progress,
        ):
            scan = scan_corpus(rows, Path(work), progress)
    except BaseException:
        for folder in made:
            folder.rmdir()
        raise
    for notice in [*rows.notices, *scan.notices, *notices_of_languages(scan.languages(rows))]:
        callback.on_message(notice)
    return scan


@contextlib.contextmanager
def encoded(
    rows: BenchmarkRows,
    encoder: Encoder,
    resources: Resources,
    out: Path | None,
    callback: StudyCallback,
    check: Callable[[CorpusScan], None] | None = None,
) -> Iterator[Encoded]:
    """Scan a benchmark and encode all of it that is not yet encoded.

    The vectors stay under ``out``, from which the next call goes on; without it they are removed at the end. ``check``
    is called before anything is encoded.

    Raises:
        InputError: a mistake in the model's settings or in a line of the benchmark.
    """
    tokenizer, offered = check_model(encoder, resources, callback)
    with contextlib.ExitStack() as stack:
        if out is None:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridtune-")))
        else:
            root = out.absolute() / ENCODED
        callback.on_message("starting Ray on this machine")
        stack.enter_context(local_cluster(offered, dashboard=False))
        scan = scan_benchmark(rows, callback, root)
        if check is not None:
            check(scan)
        folder = root / _address(scan.digest, encoder, tokenizer, offered.gpus > 0)
        actors = Actors.of(offered, resources.min_evaluators)
        with phase(callback, "encoding", "texts") as progress:
            encode_sides(_sides(rows, scan, encoder, folder), encoder.name, encoder, tokenizer, actors, progress)
        yield Encoded(rows, scan, folder, actors)


def encoded_texts(
    parts: Sequence[CorpusPart],
    count: int,
    encoder: Encoder,
    resources: Resources,
    out: Path,
    callback: StudyCallback,
) -> Path:
    """Encode texts that nothing asks for, as passages, and return the folder of their vectors, under ``out``."""
    tokenizer, offered = check_model(encoder, resources, callback)
    digest = hashlib.sha256()
    for text in itertools.chain.from_iterable(part.read() for part in parts):
        digest.update(text.to_bytes())
    folder = out.absolute() / ENCODED / _address(digest.hexdigest(), encoder, tokenizer, offered.gpus > 0)
    side = Side(parts, encoder.passage_prefix, encoder.passage_length, folder / "passages", [], count)
    callback.on_message("starting Ray on this machine")
    with local_cluster(offered, dashboard=False), phase(callback, "encoding", "texts") as progress:
        encode_sides([side], encoder.name, encoder, tokenizer, Actors.of(offered, resources.min_evaluators), progress)
    return folder


def _address(digest: str, encoder: Encoder, tokenizer: Tokenizer, on_gpu: bool) -> str:
    """Return the name of the folder of the vectors: a digest of all that they depend on."""
    settings = encoder.model_dump_json(exclude={"tiny", "name"})
    made_of = (digest, model_digest(encoder), tokenizer.digest, settings, on_gpu)
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]


def _sides(rows: BenchmarkRows, scan: CorpusScan, encoder: Encoder, folder: Path) -> list[Side]:
    texts = [Text(str(n), query.language, query.text) for n, query in enumerate(rows.queries)]
    queries, count = [TextList("queries", texts)], sum(scan.passages.values())
    return [
        Side(queries, encoder.query_prefix, encoder.query_length, folder / "queries", [], len(texts)),
        Side(rows.corpus, encoder.passage_prefix, encoder.passage_length, folder / "passages", scan.relevant, count),
    ]
