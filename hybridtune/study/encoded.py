"""A benchmark, or a training file to mine, encoded by a model: what `evaluate` and `mine` begin with."""

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.fields import Encoder, Resources
from hybridtune.data.readers.benchmarks import notices_of_languages
from hybridtune.data.readers.records import BenchmarkRows, Text, TextList
from hybridtune.errors import InputError
from hybridtune.evaluate.corpus_scan import CorpusScan, scan_corpus
from hybridtune.evaluate.encode import Actors, Side, encode_sides
from hybridtune.model.folder import check_fit, encoder_notices, model_digest
from hybridtune.model.tokenizer import Tokenizer, pretrained_tokenizer
from hybridtune.runtime.local import Capacity, capacity, local_cluster, unused_gpus
from hybridtune.runtime.resources import cores
from hybridtune.study.folder import make_folder

ENCODED = "encoded"  # folder under --out


@dataclass(frozen=True)
class Encoded:
    """An encoded benchmark; Ray runs while it is used.

    Attributes:
        rows: queries and judgements.
        scan: of the corpus.
        folder: where the vectors are.
        actors: how further work is spread.
    """

    rows: BenchmarkRows
    scan: CorpusScan
    folder: Path
    actors: Actors


def check_model(encoder: Encoder, resources: Resources, callback: StudyCallback) -> tuple[Tokenizer, Capacity]:
    """Check all that can be known of the model and the machine before anything starts, and report what is assumed.

    Raises:
        InputError: no such model, or resources that are not there.
    """
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


def _report_notices(rows: BenchmarkRows, scan: CorpusScan, callback: StudyCallback) -> None:
    for notice in [*rows.notices, *scan.notices, *notices_of_languages(scan.languages(rows))]:
        callback.on_message(notice)


def scan_locally(rows: BenchmarkRows, callback: StudyCallback) -> CorpusScan:
    """Scan a benchmark without Ray, for what reads it and encodes nothing."""
    with tempfile.TemporaryDirectory() as folder, phase(callback, "reading the corpus", "parts") as progress:
        scan = scan_corpus(rows, Path(folder), progress)
    _report_notices(rows, scan, callback)
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

    Args:
        rows: the benchmark.
        encoder: the model's name, pooling, prefixes, lengths.
        resources: how many actors.
        out: keeps the vectors under ``encoded/``, so that the next call goes on where this one ended; None: they
            are gone at the end.
        callback: receives messages and progress.
        check: called with the scan, before anything is encoded.

    Raises:
        InputError: something wrong with the model or with a line of the benchmark.
    """
    tokenizer, offered = check_model(encoder, resources, callback)
    with contextlib.ExitStack() as stack:
        if out is None:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridtune-")))
        else:
            root = out.absolute() / ENCODED
        callback.on_message("starting Ray on this machine")
        stack.enter_context(local_cluster(offered, dashboard=False))
        scan = _scanned(rows, root, callback)
        _report_notices(rows, scan, callback)
        if check is not None:
            check(scan)
        folder = root / _address(scan, encoder, tokenizer, offered.gpus > 0)
        least = resources.min_evaluators or offered.evaluators
        threads = max(1, cores() // offered.evaluators)
        actors = Actors(least, offered.evaluators, 1.0 if offered.gpus else 0.0, threads, readers=cores())
        with phase(callback, "encoding", "texts") as progress:
            encode_sides(_sides(rows, scan, encoder, folder), encoder.name, encoder, tokenizer, actors, progress)
        yield Encoded(rows, scan, folder, actors)


def _scanned(rows: BenchmarkRows, root: Path, callback: StudyCallback) -> CorpusScan:
    """The scan; what it writes on the way is gone, and of bad input nothing stays at all."""
    made = [folder for folder in (root, *root.parents) if not folder.exists()]  # deepest first
    make_folder(root)
    working = Path(tempfile.mkdtemp(prefix="scan-", dir=root))
    try:
        with phase(callback, "reading the corpus", "parts") as progress:
            scan = scan_corpus(rows, working, progress)
    except BaseException:
        shutil.rmtree(working)
        for folder in made:
            folder.rmdir()
        raise
    shutil.rmtree(working)
    return scan


def _address(scan: CorpusScan, encoder: Encoder, tokenizer: Tokenizer, on_gpu: bool) -> str:
    """Names the folder of the vectors by all that they depend on."""
    settings = encoder.model_dump_json(exclude={"tiny", "name"})
    made_of = (scan.digest, model_digest(encoder), tokenizer.digest, settings, on_gpu)
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]


def _sides(rows: BenchmarkRows, scan: CorpusScan, encoder: Encoder, folder: Path) -> list[Side]:
    queries = [Text(str(n), query.language, query.text) for n, query in enumerate(rows.queries)]
    return [
        Side(
            parts=[TextList("queries", queries)],
            prefix=encoder.query_prefix,
            length=encoder.query_length,
            folder=folder / "queries",
            relevant=[],
            texts=len(queries),
        ),
        Side(
            parts=rows.corpus,
            prefix=encoder.passage_prefix,
            length=encoder.passage_length,
            folder=folder / "passages",
            relevant=scan.relevant,
            texts=sum(scan.passages.values()),
        ),
    ]
