"""The model of one trial of a study folder: its checkpoint, its values, the texts it was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hybridtune.config.fields import BenchmarkSource, DataSet
from hybridtune.config.study import Study, load_stored_study
from hybridtune.data.corpus import Corpus
from hybridtune.data.store import StoreRecipe, recipe
from hybridtune.errors import InputError
from hybridtune.model.encoder import DualEncoder, load_encoder
from hybridtune.model.tokenizer import pretrained_tokenizer
from hybridtune.storage.files import base_name, is_remote
from hybridtune.storage.trial_rows import read_rows
from hybridtune.study.leak_guard import dropped_groups
from hybridtune.study.preflight import read_corpus
from hybridtune.study.teachers import PROJECTED
from hybridtune.train.checkpoint import OPTIMIZER, WEIGHTS, check_checkpoint, load_weights, read_state
from hybridtune.train.plan import make_plan
from hybridtune.train.progress import Progress

_HUB = "hf://"


@dataclass(frozen=True)
class TrialModel:
    """A checkpoint of a trial, or of a study's single training."""

    study: Study  # with the trial's values; its encoder runs code of its own only where the command allows it
    trial: str | None  # its id; None of a single training
    checkpoint: Path
    source: str  # folder or hub name of the encoder that the training began with


def find_trial(target: Path, trial: str | None, step: int | None, trust_remote_code: bool) -> TrialModel:
    """Find the model of a trial in a study folder.

    Args:
        target: the study folder.
        trial: its id, ``7`` for ``0007``; None: the study's single training.
        step: of the checkpoint; None: the best one.
        trust_remote_code: run the encoder's own code; the folder's own study file cannot allow it.

    Raises:
        InputError: there is no such trial or checkpoint, or its weights are not on this machine.
    """
    if not (target / "study.yaml").is_file():
        raise InputError(f"{target}: is no study folder (no study.yaml); --trial and --checkpoint are of a study")
    study, found_id, folder, best = load_stored_study(target), None, target, ""
    if trial is not None:
        rows, found_id = {row.id: row for row in read_rows(target)}, trial.zfill(4)
        if found_id not in rows:
            raise InputError(
                f"trial {trial}: none of that name has ended in {target}; there are: {', '.join(rows) or 'none'}"
            )
        study, folder = study.with_values(rows[found_id].values), target / "trials" / found_id
        best = base_name(rows[found_id].checkpoint or "")  # the folder of the study may have moved
    elif (target / "trials").is_dir():
        raise InputError(f"--checkpoint {step}: of which trial? give --trial too")
    encoder = study.encoder.model_copy(update={"trust_remote_code": trust_remote_code})
    source = study.encoder.name if study.encoder.name != "tiny" else str(target / "encoder")
    if (target / PROJECTED).is_dir():
        source = str(target / PROJECTED)
    checkpoint = _checkpoint(folder, step, best)
    return TrialModel(study.model_copy(update={"encoder": encoder}), found_id, checkpoint, source)


def _checkpoint(folder: Path, step: int | None, best: str) -> Path:
    """Return the checkpoint of a step, else the one named ``best``, else the last; its weights are there."""
    found = {int(path.name.rpartition("_")[2]): path for path in sorted(folder.glob("fit/checkpoint_[0-9]*"))}
    if not found:
        raise InputError(f"{folder}: holds no checkpoint")
    if step is not None and step not in found:
        steps = ", ".join(map(str, found))
        raise InputError(f"--checkpoint {step}: {folder} has none of that step; there are: {steps}")
    chosen = found[step] if step else folder / "fit" / best if best else found[max(found)]
    if not (chosen / WEIGHTS).is_file() and not (chosen / OPTIMIZER).is_file():
        raise InputError(
            f"{chosen}: has scores and no weights; hybridtune fetch --checkpoints brings the weights, unless "
            "search.keep_models left them out when the study ended"
        )
    check_checkpoint(chosen)
    return chosen


def load_trial(found: TrialModel) -> DualEncoder:
    """Return the encoder of a trial, on the CPU."""
    encoder, source = found.study.encoder, found.source
    model = load_encoder(source, encoder, pretrained_tokenizer(source, encoder.trust_remote_code).pad_id)
    load_weights(found.checkpoint, model)
    return model


def trial_corpus(target: Path, study: Study) -> Corpus:
    """Return the numbers of the texts that the trials of a study folder were trained on; raises as `trial_recipe`."""
    return read_corpus(study, trial_recipe(target, study))


def trial_recipe(target: Path, study: Study) -> StoreRecipe:
    """Return what the token store of a study folder's trials is made of.

    Raises:
        InputError: they are read by code of the user's, or from a server that is not the Hugging Face hub, and the
            study's encoder may not run its own code: the command line has allowed nothing.
    """
    check_sources(target, study.data.train, study.encoder.trust_remote_code)
    return replace(recipe(study.data, study.encoder), dropped=dropped_groups(study, target))


def check_sources(target: Path, sources: Sequence[DataSet | BenchmarkSource], trust_remote_code: bool) -> None:
    """Raise InputError where a study, which may be a stranger's, has texts read by what the command has not allowed."""
    for source in sources:
        if source.reader is not None and not trust_remote_code:
            raise InputError(
                f"{target}: {source.path} is read by {source.reader}, code that is not run unless this command "
                "line allows it; if you trust it, give --trust-remote-code"
            )
        if is_remote(source.path) and not source.path.startswith(_HUB) and not trust_remote_code:
            raise InputError(
                f"{target}: its study reads {source.path}, which is not asked unless this command line allows "
                "it; if you trust it, give --trust-remote-code"
            )


def trained_table(study: Study, corpus: Corpus, checkpoint: Path) -> list[dict[str, Any]]:
    """Return the pairs that a checkpoint has seen by its step, a row a kind and language pair: `HybridPlan.table`."""
    progress = Progress.of(read_state(checkpoint))
    return make_plan(corpus, study, progress.segments).table(progress.step)
