"""`hybridtune export`: a model as ONNX, checked against torch; a trial's checkpoint as a model folder.

A study's run writes its best model by the same `describe_trained` and `write_model`.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import Encoder
from hybridtune.config.study import Study, load_study
from hybridtune.data.corpus import Corpus
from hybridtune.data.plan import distinct_pairs
from hybridtune.data.store import recipe
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.metrics.breakdown import full_scores
from hybridtune.metrics.metrics import Scores
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.model import onnx
from hybridtune.model.encoder import DualEncoder, load_encoder
from hybridtune.model.folder import save_folder, with_folder_settings
from hybridtune.model.published import TRAINING_TEXTS
from hybridtune.model.tokenizer import pretrained_tokenizer
from hybridtune.storage.files import base_name
from hybridtune.storage.study_folder import ENVIRONMENT, check_format
from hybridtune.storage.trial_rows import read_rows
from hybridtune.study.card import Row, Trained, model_card
from hybridtune.study.folder import make_folder, write_json
from hybridtune.study.leak_guard import dropped_groups
from hybridtune.study.preflight import read_corpus
from hybridtune.study.translated import dropped_translations
from hybridtune.train.checkpoint import WEIGHTS, load_weights, read_state
from hybridtune.train.fit import checkpoint_scores
from hybridtune.train.plan import make_plan


@dataclass(frozen=True)
class ExportOptions:
    """The options of an export.

    Attributes:
        opset: of the ONNX graph; None: torch's choice.
        trial: of a study; None: its best, or the model folder itself.
        checkpoint: step of the trial's checkpoint; None: its best one.
        out: new or empty folder; None: beside the weights (ONNX alone).
        trust_remote_code: run the encoder's own code; the folder's own study file cannot allow it.
    """

    onnx: bool
    opset: int | None = None
    trial: str | None = None
    checkpoint: int | None = None
    out: Path | None = None
    trust_remote_code: bool = False


def describe_trained(
    study: Study, corpus: Corpus, checkpoint: Path, trials: Sequence[Row] = (), trial: str | None = None
) -> Trained:
    """Return what a card says of a checkpoint: the pairs it has seen by its step, and its scores then.

    The study has the values that it was trained with. A single training has no trials.
    """
    step = read_state(checkpoint)["step"]
    table = make_plan(corpus, study).table(step)
    scores = Scores(**checkpoint_scores(checkpoint))
    dev = full_scores(scores, distinct_pairs(table), study.low_resource_languages)
    dropped = dropped_translations(source.path for source in study.data.train) if corpus.translations else {}
    return Trained(
        study,
        corpus.languages,
        step,
        table,
        dev,
        trials=trials,
        trial=trial,
        translations=corpus.translations,
        dropped=dropped,
    )


def write_model(model: DualEncoder, source: str, trained: Trained, folder: Path) -> None:
    """Write a trained encoder, its card and its scores, in place of what ``folder`` holds.

    ``source`` is the folder or name that its training started from.
    """
    study, pairs = trained.study, distinct_pairs(trained.table)
    shutil.rmtree(folder / "onnx", ignore_errors=True)  # the graph of weights that give way to these
    card = model_card(trained, model.pooled_alone)
    save_folder(model, source, study.encoder, folder, card, pairs, study.train.matryoshka)
    write_json({"dev": trained.dev, "test": trained.test}, folder / "scores.json")


def export(target: Path, options: ExportOptions, callback: StudyCallback) -> dict[str, Any]:
    """Export the model of a study folder or a model folder.

    Returns:
        ``{"model"}``, with a trial also ``{"trial", "step"}``, with ONNX also ``{"onnx", "opset", "bytes", "texts",
        "largest_difference"}``.

    Raises:
        InputError: there is no such model, or nowhere to write it.
        HybridtuneError: the graph does not embed as torch does; nothing is left of it.
    """
    of_trial = options.trial is not None or options.checkpoint is not None
    if not options.onnx and not of_trial:
        raise InputError("nothing to export: give --onnx, or --trial (and --out) for another trial than the best")
    if options.opset is not None and not options.onnx:
        raise InputError("--opset is of the ONNX graph: give --onnx too")
    if options.onnx:
        onnx.check_onnx()
    check_format(target)
    out = options.out
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: is there and not empty; choose a new folder")
    result = (_export_trial if of_trial else _export_graph)(target, options, callback)
    if of_trial:
        trial = f"trial {result['trial']}, " if result["trial"] else ""
        callback.on_message(f"model: {result['model']} ({trial}step {result['step']:,})")
    if options.onnx:
        file, size = Path(result["model"]) / result["onnx"], result["bytes"] / 1e6
        callback.on_message(
            f"onnx: {file} (opset {result['opset']}, {size:,.1f} MB); "
            f"{result['texts']} texts embedded as by torch, largest difference {result['largest_difference']:.1e}"
        )
    return result


def _export_graph(target: Path, options: ExportOptions, callback: StudyCallback) -> dict[str, Any]:
    folder = _model_folder(target)
    encoder = with_folder_settings(Encoder(name=str(folder), trust_remote_code=options.trust_remote_code))
    with _whole(options.out or folder / "onnx") as new:
        if options.out is not None:
            shutil.copytree(folder, new, ignore=_without_weights, dirs_exist_ok=True)
            new /= "onnx"
        graph = _write_onnx(folder, encoder, new, options.opset, callback)
    return {"model": str(options.out or folder), **graph}


def _export_trial(target: Path, options: ExportOptions, callback: StudyCallback) -> dict[str, Any]:
    study, trial, checkpoint = _find_checkpoint(target, options)
    if options.out is None:
        raise InputError(f"--out is missing: a new folder for the model of {checkpoint}")
    for data_set in study.data.train:
        if data_set.reader is not None and not study.encoder.trust_remote_code:  # the study may be a stranger's
            raise InputError(
                f"{target}: {data_set.path} is read by {data_set.reader}, code that is not run unless this command "
                "line allows it; if you trust it, give --trust-remote-code"
            )
    made_of = replace(recipe(study.data, study.encoder), dropped=dropped_groups(study, target))
    corpus = read_corpus(study, made_of)
    trained = describe_trained(study, corpus, checkpoint, [asdict(row) for row in read_rows(target)], trial)
    trained = replace(trained, environment=json.loads((target / ENVIRONMENT).read_text(encoding="utf-8")))
    source = study.encoder.name if study.encoder.name != "tiny" else str(target / "encoder")
    model = load_encoder(source, study.encoder, pretrained_tokenizer(source, study.encoder.trust_remote_code).pad_id)
    load_weights(checkpoint, model)
    result: dict[str, Any] = {"model": str(options.out), "trial": trial, "step": trained.step}
    with _whole(options.out) as new:
        write_model(model, source, trained, new)
        shutil.copy(checkpoint / PER_QUERY, new / PER_QUERY)
        if (target / "best" / TRAINING_TEXTS).is_file():  # all trials of a study have the same texts
            shutil.copy(target / "best" / TRAINING_TEXTS, new / TRAINING_TEXTS)
        if options.onnx:
            encoder = study.encoder.model_copy(update={"name": str(new)})
            result |= _write_onnx(new, encoder, new / "onnx", options.opset, callback)
    return result


def _find_checkpoint(target: Path, options: ExportOptions) -> tuple[Study, str | None, Path]:
    """Return the study with the trial's values, the trial's id (None of a single training), and its checkpoint."""
    if not (target / "study.yaml").is_file():
        raise InputError(f"{target}: is no study folder (no study.yaml); --trial and --checkpoint are of a study")
    study, trial, folder, best = load_study(target / "study.yaml"), None, target, ""
    if options.trial is not None:
        rows, trial = {row.id: row for row in read_rows(target)}, options.trial.zfill(4)
        if trial not in rows:
            raise InputError(
                f"--trial {options.trial}: no such trial has ended in {target}; there are: {', '.join(rows) or 'none'}"
            )
        study, folder = study.with_values(rows[trial].values), target / "trials" / trial
        best = base_name(rows[trial].checkpoint or "")  # the folder of the study may have moved
    elif (target / "trials").is_dir():
        raise InputError(f"--checkpoint {options.checkpoint}: of which trial? give --trial too")
    states = sorted(folder.glob("fit/checkpoint_*/state.json"))
    found = {read_state(path.parent)["step"]: path.parent for path in states}
    if not found:
        raise InputError(f"{folder}: holds no checkpoint")
    if options.checkpoint is not None and options.checkpoint not in found:
        steps = ", ".join(map(str, found))
        raise InputError(f"--checkpoint {options.checkpoint}: {folder} has none of that step; there are: {steps}")
    by_name = {path.name: path for path in found.values()}
    chosen = found[options.checkpoint] if options.checkpoint else by_name.get(best, found[max(found)])
    if not (chosen / WEIGHTS).is_file():
        raise InputError(f"{chosen}: has scores and no weights; hybridtune fetch --checkpoints brings the weights")
    encoder = study.encoder.model_copy(update={"trust_remote_code": options.trust_remote_code})
    return study.model_copy(update={"encoder": encoder}), trial, chosen


def _model_folder(target: Path) -> Path:
    """Return the folder with the model of a study or model folder."""
    folder = target if (target / "modules.json").is_file() else target / "best"
    if not (folder / "modules.json").is_file():
        if (target / "study.yaml").is_file():
            ended = ", ".join(row.id for row in read_rows(target))
            hint = f"give --trial and --out; trials that have ended: {ended}" if ended else "no trial has ended"
            raise InputError(f"{target}: its study has no best/ yet; {hint}")
        raise InputError(f"{target}: is neither a study folder nor a model folder in sentence-transformers' layout")
    return folder


def _write_onnx(
    folder: Path, encoder: Encoder, new: Path, opset: int | None, callback: StudyCallback
) -> dict[str, Any]:
    """Write the graph of the model of ``folder`` into ``new``, and compare the two."""
    new.mkdir(exist_ok=True)
    name, trust = str(folder), encoder.trust_remote_code
    tokenizer = pretrained_tokenizer(name, trust)
    model = load_encoder(name, encoder, tokenizer.pad_id).eval()
    file = new / Path(onnx.FILE).name
    callback.on_message("writing the ONNX graph")
    written = onnx.write_onnx(model, name, trust, file, opset)
    callback.on_message("comparing its embeddings with torch's")
    texts = onnx.sample_texts()  # from the shortest to ones that are cut
    queries = tokenizer.encode(texts, encoder.query_prefix, encoder.query_length)
    passages = tokenizer.encode(texts, encoder.passage_prefix, encoder.passage_length)
    rows = [np.array(row, np.int32) for row in [*queries, *passages] if row]
    apart = onnx.largest_difference(model, file, rows)
    if not apart <= onnx.TOLERANCE:
        raise HybridtuneError(
            f"the ONNX graph of {folder} embeds otherwise than torch: a coordinate is {apart:.1e} apart, and "
            f"{onnx.TOLERANCE:.0e} is allowed; nothing was written. Another --opset may do"
        )
    size = sum(part.stat().st_size for part in new.iterdir())
    return {"onnx": onnx.FILE, "opset": written, "bytes": size, "texts": len(rows), "largest_difference": apart}


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes ``folder`` when the block ends without an error, and is else removed."""
    folder = folder.absolute()
    make_folder(folder.parent)
    new = folder.with_name(f".{folder.name}.{os.getpid()}")
    new.mkdir()
    try:
        yield new
        if folder.exists():
            shutil.rmtree(folder)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _without_weights(folder: str, names: list[str]) -> list[str]:
    """Return the files that an ONNX folder does not need; the new folder itself may be among them, hidden."""
    weights = (".safetensors", ".safetensors.index.json")
    return [name for name in names if name.endswith(weights) or name == "onnx" or name.startswith(".")]
