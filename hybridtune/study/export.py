"""`hybridtune export`: a model as ONNX, checked against torch; a trial's checkpoint as a model folder; onto the hub.

A study's run writes its best model by the same `describe_trained` and `write_model`.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import Encoder
from hybridtune.config.study import Study
from hybridtune.data.corpus import Corpus
from hybridtune.data.plan import distinct_pairs
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.metrics.breakdown import full_scores
from hybridtune.metrics.metrics import Scores
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.model import onnx
from hybridtune.model.encoder import DualEncoder, load_encoder
from hybridtune.model.folder import save_folder, save_language_vectors, with_folder_settings
from hybridtune.model.language_vectors import FILE as LANGUAGE_VECTORS
from hybridtune.model.published import TRAINING_TEXTS
from hybridtune.model.tokenizer import pretrained_tokenizer
from hybridtune.storage.files import is_remote
from hybridtune.storage.links import copy_folder
from hybridtune.storage.manifests import MANIFEST
from hybridtune.storage.records import read_object
from hybridtune.storage.study_folder import ENVIRONMENT, check_format
from hybridtune.storage.study_record import record_notes
from hybridtune.storage.trial_rows import read_rows
from hybridtune.study.card import Row, Trained, model_card
from hybridtune.study.folder import check_model_folder, whole_folder, write_json
from hybridtune.study.int8 import Loss, Named, dev_benchmark, given_benchmark, write_int8, write_section
from hybridtune.study.opened import of_trial_model, opened, opened_model
from hybridtune.study.preflight import read_corpus
from hybridtune.study.push import check_destination, push
from hybridtune.study.translated import dropped_translations
from hybridtune.study.trial_model import find_trial, load_trial, trained_table, trial_recipe
from hybridtune.study.trial_vectors import trial_language_vectors
from hybridtune.train.checkpoint import check_checkpoint, read_state
from hybridtune.train.fit import checkpoint_scores


@dataclass(frozen=True)
class ExportOptions:
    """The options of an export.

    Attributes:
        opset: of the ONNX graph; None: torch's choice.
        trial: of a study; None: its best, or the model folder itself.
        checkpoint: step of the trial's checkpoint; None: its best one.
        out: new or empty folder; None: beside the weights (ONNX alone, and not at a URL).
        trust_remote_code: run the encoder's own code; the folder's own study file cannot allow it.
        int8: the graph in int8 too, and what that loses.
        benchmark: what that is measured on; None: the study's dev.
        push: name on the Hugging Face hub; None: nothing is uploaded.
        public: whether everybody may see it there.
    """

    onnx: bool
    opset: int | None = None
    trial: str | None = None
    checkpoint: int | None = None
    out: Path | None = None
    trust_remote_code: bool = False
    int8: bool = False
    benchmark: str | None = None
    push: str | None = None
    public: bool = False


def describe_trained(
    study: Study, corpus: Corpus, checkpoint: Path, trials: Sequence[Row] = (), trial: str | None = None
) -> Trained:
    """Return what a card says of a checkpoint: the pairs it has seen by its step, and its scores then.

    The study has the values that it was trained with. A single training has no trials.
    """
    check_checkpoint(checkpoint)
    step, table = read_state(checkpoint)["step"], trained_table(study, corpus, checkpoint)
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
    save_language_vectors(folder, trained.moved)


def export(location: str | Path, options: ExportOptions, callback: StudyCallback) -> dict[str, Any]:
    """Export the model of a study or a model folder, on this machine or at a URL.

    Returns:
        ``{"model"}``, with a trial also ``{"trial", "step"}``, with ONNX also ``{"onnx", "opset", "bytes", "texts",
        "largest_difference"}``, with int8 also ``{"int8": Loss.result}``, pushed also ``{"pushed"}``, see `push`.

    Raises:
        InputError: there is no such model, nowhere to write it, or the hub refuses it.
        HybridtuneError: the graph does not embed as torch does; nothing is left of it. Or the upload did not end.
    """
    of_trial = options.trial is not None or options.checkpoint is not None
    _check_options(str(location), of_trial, options)
    to = None if options.push is None else check_destination(options.push, options.public)
    with opened(location, of_trial_model(options.trial)) if of_trial else opened_model(str(location)) as name:
        target = Path(name)
        _check_study(target, callback)
        on = _benchmark(target, options) if options.int8 else None
        result = (_export_trial if of_trial else _export_best)(target, options, on, callback)
        _tell(result, callback)
        if to is not None:
            result["pushed"] = push(Path(result["model"]), to, callback)
    if options.out is None and is_remote(str(location)):
        result["model"] = str(location)  # what was pushed is a copy that has gone
    return result


def _check_options(location: str, of_trial: bool, options: ExportOptions) -> None:
    """Raise InputError for options that cannot be met, before anything is opened."""
    if not options.onnx and not of_trial and options.push is None:
        raise InputError(
            "nothing to export: give --onnx, or --trial (and --out) for another trial than the best, or --push NAME"
        )
    for name, given in (("--opset", options.opset is not None), ("--int8", options.int8)):
        if given and not options.onnx:
            raise InputError(f"{name} is of the ONNX graph: give --onnx too")
    if options.benchmark is not None and not options.int8:
        raise InputError("--benchmark is what the loss of int8 is measured on: give --int8 too")
    if options.public and options.push is None:
        raise InputError("--public is about the hub: give --push NAME too")
    if options.onnx:
        onnx.check_onnx()
    out, made = options.out, options.onnx or of_trial
    if out is not None and not made:
        raise InputError(
            "--out takes a model that is made; --push alone uploads the one that is there: leave --out out"
        )
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: is there and not empty; choose a new folder")
    if out is None and made and is_remote(location):
        raise InputError(f"--out is missing: a new folder on this machine for what is made of {location}")


def _benchmark(target: Path, options: ExportOptions) -> Named:
    """Return what the loss of int8 is measured on."""
    if options.benchmark is not None:
        return given_benchmark(options.benchmark)
    if not (target / "study.yaml").is_file():
        raise InputError(
            f"{target}: --int8 measures what it loses, and a model folder has no dev: give --benchmark PATH"
        )
    return dev_benchmark(target, options.trust_remote_code)


def _tell(result: dict[str, Any], callback: StudyCallback) -> None:
    """Say what was written."""
    if "step" in result:
        trial = f"trial {result['trial']}, " if result["trial"] else ""
        callback.on_message(f"model: {result['model']} ({trial}step {result['step']:,})")
    if "onnx" in result:
        file, size = Path(result["model"]) / result["onnx"], result["bytes"] / 1e6
        callback.on_message(
            f"onnx: {file} (opset {result['opset']}, {size:,.1f} MB); "
            f"{result['texts']} texts embedded as by torch, largest difference {result['largest_difference']:.1e}"
        )


def _check_study(target: Path, callback: StudyCallback) -> None:
    """Refuse a study folder of another format, and tell what is damaged of one; a model folder passes."""
    check_format(target)
    for line in record_notes(target):
        callback.on_message(line)


def _export_best(target: Path, options: ExportOptions, on: Named | None, callback: StudyCallback) -> dict[str, Any]:
    """Return the result of a model that is there, and write its graph if that is wanted."""
    folder = _model_folder(target)
    if not options.onnx:
        return {"model": str(folder)}
    encoder = with_folder_settings(Encoder(name=str(folder), trust_remote_code=options.trust_remote_code))
    with whole_folder(options.out or folder / "onnx") as new:
        if options.out is not None:
            copy_folder(folder, new, _without_weights)
            new /= "onnx"
        graph, loss = _write_onnx(folder, encoder, new, options.opset, on, callback)
        if options.out is not None:
            write_section(new.parent, loss)
    if options.out is None:
        write_section(folder, loss)
    return {"model": str(options.out or folder), **graph}


def _export_trial(target: Path, options: ExportOptions, on: Named | None, callback: StudyCallback) -> dict[str, Any]:
    found = find_trial(target, options.trial, options.checkpoint, options.trust_remote_code)
    if options.out is None:
        raise InputError(f"--out is missing: a new folder for the model of {found.checkpoint}")
    made_of, rows = trial_recipe(target, found.study), [asdict(row) for row in read_rows(target)]
    corpus = read_corpus(found.study, made_of)
    trained = describe_trained(found.study, corpus, found.checkpoint, rows, found.trial)
    model = load_trial(found)
    moved = trial_language_vectors(target, found, made_of, corpus, model, callback)
    written_by = read_object(target / ENVIRONMENT) or {}
    trained = replace(trained, moved=moved, environment=written_by)
    result: dict[str, Any] = {"model": str(options.out), "trial": found.trial, "step": trained.step}
    with whole_folder(options.out) as new:
        write_model(model, found.source, trained, new)
        shutil.copy(found.checkpoint / PER_QUERY, new / PER_QUERY)
        if (target / "best" / TRAINING_TEXTS).is_file():  # all trials of a study have the same texts
            shutil.copy(target / "best" / TRAINING_TEXTS, new / TRAINING_TEXTS)
        if options.onnx:
            encoder = found.study.encoder.model_copy(update={"name": str(new)})
            graph, loss = _write_onnx(new, encoder, new / "onnx", options.opset, on, callback)
            write_section(new, loss)
            result |= graph
    return result


def _model_folder(target: Path) -> Path:
    """Return the folder with the model of a study or model folder."""
    folder = target if (target / "modules.json").is_file() else target / "best"
    if (folder / MANIFEST).is_file():  # modules.json may be what is missing
        check_model_folder(folder)
    if not (folder / "modules.json").is_file():
        if (target / "study.yaml").is_file():
            ended = ", ".join(row.id for row in read_rows(target))
            hint = f"give --trial and --out; trials that have ended: {ended}" if ended else "no trial has ended"
            raise InputError(f"{target}: its study has no best/ yet; {hint}")
        raise InputError(f"{target}: is neither a study folder nor a model folder in sentence-transformers' layout")
    check_model_folder(folder)
    return folder


def _write_onnx(
    folder: Path, encoder: Encoder, new: Path, opset: int | None, on: Named | None, callback: StudyCallback
) -> tuple[dict[str, Any], Loss | None]:
    """Write the graph of the model of ``folder`` into ``new``, and compare the two; with a benchmark in int8, too."""
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
    graph = {"onnx": onnx.FILE, "opset": written, "bytes": size, "texts": len(rows), "largest_difference": apart}
    if on is None:
        return graph, None
    loss = write_int8(file, name, encoder, on, callback)
    return {**graph, "int8": loss.result()}, loss


def _without_weights(folder: str, names: list[str]) -> list[str]:
    """Return the files that an ONNX folder does not need; the new folder itself may be among them, hidden."""
    weights = (".safetensors", ".safetensors.index.json")
    left_out = [name for name in names if name.endswith(weights) or name == "onnx" or name.startswith(".")]
    return [name for name in left_out if name != LANGUAGE_VECTORS]
