"""What a graph loses in int8: both graphs ranked on one benchmark, and the section of the card that says so."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybridtune.callbacks import Progress, StudyCallback, phase
from hybridtune.config.fields import BenchmarkSource, Encoder
from hybridtune.config.study import load_stored_study
from hybridtune.data.readers.files import HELD_OUT
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import Benchmark, load_benchmark, score_vectors
from hybridtune.metrics.arrays import Float32
from hybridtune.model import onnx
from hybridtune.model.tokenizer import pretrained_tokenizer
from hybridtune.report.render import render
from hybridtune.storage.manifests import rewrite
from hybridtune.study.card import public_path
from hybridtune.study.preflight import load_benchmarks
from hybridtune.study.trial_model import check_sources, trial_recipe

ALLOWED = 0.005  # AP that a graph may lose in int8 before that is said as a warning
Named = tuple[str, Benchmark]  # a benchmark and its name, without a folder of this machine
_BATCH = 32
_CARD, _TITLE = "README.md", "## ONNX in int8"
_SECTION = re.compile(rf"^{re.escape(_TITLE)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Loss:
    """AP of a float graph and of the same in int8, on one benchmark."""

    benchmark: str  # without a folder of this machine
    queries: int
    passages: int
    exact: Mapping[str, float]  # setting -> AP
    int8: Mapping[str, float]
    bytes: int  # of the graph in int8

    @property
    def largest(self) -> tuple[float, str]:
        """The most AP that is lost, and in which setting; below 0 where every one gains."""
        return max((self.exact[setting] - self.int8[setting], setting) for setting in self.exact)

    def words(self) -> str:
        """Say what is lost."""
        loss, setting = self.largest
        if loss > ALLOWED:
            return (
                f"in int8 it loses {loss:.4f} AP ({setting}), more than {ALLOWED}: where ranking matters, use "
                f"{onnx.FILE} or measure on texts of your own"
            )
        return f"in int8 it loses at most {max(loss, 0.0):.4f} AP ({setting})"

    def result(self) -> dict[str, Any]:
        """Return it for the result of a command."""
        return {**asdict(self), "onnx": onnx.INT8_FILE, "largest_loss": self.largest[0]}


def dev_benchmark(study_folder: Path, trust_remote_code: bool) -> Named:
    """Return the dev benchmark of a study folder.

    Raises:
        InputError: it cannot be read, or only by code or from a server that this command line has not allowed.
    """
    study = load_stored_study(study_folder)
    dev, encoder = study.benchmarks.dev, study.encoder.model_copy(update={"trust_remote_code": trust_remote_code})
    check_sources(study_folder, [dev], trust_remote_code)
    if not dev.path.startswith(HELD_OUT):
        return public_path(dev.path), load_benchmark(dev)
    alone = study.model_copy(
        update={"encoder": encoder, "benchmarks": study.benchmarks.model_copy(update={"test": None})}
    )
    return dev.path, load_benchmarks(alone, trial_recipe(study_folder, alone))["dev"]


def given_benchmark(location: str) -> Named:
    """Return the benchmark that a command line names."""
    return public_path(location), load_benchmark(BenchmarkSource(path=location))


def write_int8(graph: Path, source: str, encoder: Encoder, on: Named, callback: StudyCallback) -> Loss:
    """Write a graph in int8 beside it, and measure what that loses.

    Args:
        graph: of a model.
        source: its folder, for the tokenizer.
        encoder: how the model is used.
        on: a benchmark; all its vectors are held in memory.
    """
    name, benchmark = on
    new = graph.with_name(Path(onnx.INT8_FILE).name)
    callback.on_message("bringing the ONNX graph to int8")
    onnx.write_int8(graph, new)
    for notice in benchmark.notices:
        callback.on_message(notice)
    tokenizer = pretrained_tokenizer(source, encoder.trust_remote_code)
    sides = (
        tokenizer.encode(benchmark.queries.texts, encoder.query_prefix, encoder.query_length),
        tokenizer.encode(benchmark.passages.texts, encoder.passage_prefix, encoder.passage_length),
    )
    found = {}
    for file, what in ((graph, "float"), (new, "int8")):
        with phase(callback, f"encoding by the {what} graph", "texts") as progress:
            found[what] = _scores(file, sides, benchmark, tokenizer.pad_id, progress)
    size = new.stat().st_size
    loss = Loss(name, len(benchmark.queries), len(benchmark.passages), found["float"], found["int8"], size)
    callback.on_message(f"int8: {onnx.INT8_FILE} ({size / 1e6:,.1f} MB); on {name}, {loss.words()}")
    return loss


def _scores(
    file: Path, sides: Sequence[Sequence[Sequence[int]]], benchmark: Benchmark, pad_id: int, progress: Progress
) -> dict[str, float]:
    """Return the AP of a graph in each setting of a benchmark."""
    total, done, vectors = sum(map(len, sides)), 0, list[Float32]()
    progress(done, total)
    for rows in sides:
        order = sorted((n for n, row in enumerate(rows) if row), key=lambda n: -len(rows[n]))
        batches = [order[at : at + _BATCH] for at in range(0, len(order), _BATCH)]
        found: Float32 | None = None
        graph = onnx.run_graph(file, ([np.array(rows[n], np.int32) for n in batch] for batch in batches), pad_id)
        for batch, part in zip(batches, graph, strict=True):
            if found is None:
                found = np.zeros((len(rows), part.shape[1]), np.float32)  # a text without a token keeps its zeros
            found[batch] = part
            done += len(batch)
            progress(done, total)
        if found is None:
            raise InputError(f"{benchmark.name}: all texts of a side are without a token")
        vectors.append(found)
    queries, passages = vectors
    metrics = score_vectors(benchmark, queries, passages, ["AP"]).metrics
    return {setting: float(metrics[f"{setting}/AP"]) for setting in benchmark.settings}


def write_section(folder: Path, loss: Loss | None) -> None:
    """Say in the card of a model folder what its graph loses in int8; None: take out what was said of an older one."""
    card = folder / _CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    without = _SECTION.sub("", text)
    if loss is not None and text:
        graphs = ((onnx.FILE, loss.exact), (onnx.INT8_FILE, loss.int8))
        rows = [[f"`{name}`", *(f"{found[setting]:.4f}" for setting in loss.exact)] for name, found in graphs]
        section = render("hybridtune.study", "int8.md.j2", title=_TITLE, loss=loss, file=onnx.INT8_FILE, rows=rows)
        head, found, rest = without.partition("\n## Scores\n")
        without = f"{head}\n{section}{found}{rest}" if found else f"{without.rstrip()}\n\n{section}"
    if without != text:
        rewrite(folder, _CARD, without)
