"""`hybridtune merge`: the weights of two or more models averaged, as a model folder of its own, without training."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.fields import Encoder
from hybridtune.data.plan import distinct_pairs
from hybridtune.data.training_texts import TrainingTexts
from hybridtune.errors import InputError
from hybridtune.model.encoder import DualEncoder, load_encoder
from hybridtune.model.folder import encoder_notices, matryoshka_of, training_pairs_of, with_folder_settings
from hybridtune.model.published import TRAINING_TEXTS
from hybridtune.model.soup import (
    State,
    average_states,
    check_alike,
    model_facts,
    scale_weights,
    weights_cosine,
    weights_digest,
)
from hybridtune.model.tokenizer import pretrained_tokenizer
from hybridtune.storage.files import is_remote, local_path
from hybridtune.storage.manifests import MANIFEST
from hybridtune.storage.study_folder import check_format
from hybridtune.study.folder import check_model_folder, whole_folder
from hybridtune.study.leak_guard import training_texts_of
from hybridtune.study.merged import Merged, Part, common_widths, unite_pairs, unite_texts, write_merged
from hybridtune.study.opened import of_trial_model, opened, opened_model
from hybridtune.study.trial_model import find_trial, load_trial, trained_table, trial_corpus

_ONE_START = 0.5  # cosine of the weights of two trainings, below which they hardly began alike


@dataclass(frozen=True)
class MergeOptions:
    """The options of a merge.

    Attributes:
        models: two or more: a model folder, a hub name, a study (its best model), or ``STUDY:TRIAL``; folders and
            studies may be at URLs, ``s3://BUCKET/STUDY:TRIAL?region=...``.
        out: new or empty folder.
        weights: of the models, in their order, each above 0; they are scaled to add up to 1. Empty: all alike.
        trust_remote_code: run code that a model or a study brings along.
    """

    models: Sequence[str]
    out: Path
    weights: Sequence[float] = ()
    trust_remote_code: bool = False


@dataclass(frozen=True)
class _Model:
    """A model to be merged, and what it says of its training."""

    name: str  # without a folder of this machine
    encoder: DualEncoder
    source: str  # folder or name with its settings and tokenizer
    settings: Encoder
    training_pairs: dict[str, int] | None
    texts: TrainingTexts | None
    matryoshka: list[int]


def merge(options: MergeOptions, callback: StudyCallback) -> dict[str, Any]:
    """Average the weights of models, and write the result as a model folder.

    Returns:
        ``{"model", "models": [{"model", "weight", "sha256"}], "training_pairs"}``.

    Raises:
        InputError: there is no such model, they cannot be averaged, or nowhere to write; nothing is written then.
    """
    shares = _shares(options)
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise InputError(f"--out {options.out}: is there and not empty; choose a new folder")
    with contextlib.ExitStack() as stack:
        return _merge(options, shares, stack, callback)


def _merge(
    options: MergeOptions, shares: Sequence[float], stack: contextlib.ExitStack, callback: StudyCallback
) -> dict[str, Any]:
    """Merge models, of which those at URLs are copied here until the stack is closed."""
    with phase(callback, "reading the models", "models") as progress:
        found: list[_Model] = []
        for number, given in enumerate(options.models):
            progress(number, len(options.models))
            found.append(_open(given, options.trust_remote_code, stack, callback))
        progress(len(found), len(found))
    names = _names([one.name for one in found])
    check_alike({name: _facts(one) for name, one in zip(names, found, strict=True)})
    states = {
        name: {key: value.numpy() for key, value in one.encoder.plain_state().items()}
        for name, one in zip(names, found, strict=True)
    }
    parts = [
        Part(name, share, weights_digest(state)) for (name, state), share in zip(states.items(), shares, strict=True)
    ]
    averaged, apart = average_states(states, shares), _far_apart(states)
    first = found[0]  # its weights, which the states share, are replaced
    first.encoder.load_plain_state({name: torch.from_numpy(value) for name, value in averaged.items()})
    merged = _describe(options.out.name, first.settings, parts, found)
    for line in [*apart, *_notices(found)]:
        callback.on_message(line)
    with whole_folder(options.out) as new:
        write_merged(first.encoder, first.source, merged, new)
    callback.on_message(f"model: {options.out} ({', '.join(f'{one.weight:.4g} x {one.model}' for one in parts)})")
    return {
        "model": str(options.out),
        "models": [asdict(part) for part in parts],
        "training_pairs": merged.training_pairs,
    }


def _shares(options: MergeOptions) -> list[float]:
    count = len(options.models)
    if count < 2:
        raise InputError("give two models or more to merge: model folders, study folders, or STUDY:TRIAL")
    if options.weights and len(options.weights) != count:
        raise InputError(f"--weights has {len(options.weights)} numbers for {count} models; give one a model")
    return scale_weights(options.weights or [1.0] * count)


def _names(names: Sequence[str]) -> list[str]:
    """Return the names, those that occur twice with a number behind."""
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(f"{name} ({seen[name]})" if names.count(name) > 1 else name)
    return numbered


def _facts(one: _Model) -> dict[str, Any]:
    trust = one.settings.trust_remote_code
    return model_facts(one.encoder, one.settings, pretrained_tokenizer(one.source, trust))


def _describe(name: str, settings: Encoder, parts: Sequence[Part], found: Sequence[_Model]) -> Merged:
    return Merged(
        name,
        settings,
        parts,
        unite_pairs([one.training_pairs for one in found]),
        unite_texts([one.texts for one in found]),
        all(one.texts is not None for one in found),
        common_widths([one.matryoshka for one in found]),
    )


def _far_apart(states: Mapping[str, State]) -> list[str]:
    """Return a line for each model whose weights have little to do with those of the first."""
    (first, weights), *others = states.items()
    cosines = {name: weights_cosine(weights, state) for name, state in others}
    return [
        f"{name} and {first} have little in common (cosine of their weights {cosine:.2f}), as of trainings that began "
        "with other weights: their average is hardly a model"
        for name, cosine in cosines.items()
        if cosine < _ONE_START
    ]


def _notices(found: Sequence[_Model]) -> list[str]:
    """Return lines on what a model merged of these cannot say of its training."""
    lines = []
    silent = [one.name for one in found if one.training_pairs is None]
    if silent:
        lines.append(f"training pairs are not known of {', '.join(silent)}: the merged model does not say its own")
    silent = [one.name for one in found if one.texts is None]
    if silent:
        lines.append(
            f"no fingerprints of training texts in {', '.join(silent)}: a benchmark that holds its texts is not found"
        )
    return lines


def _open(given: str, trust_remote_code: bool, stack: contextlib.ExitStack, callback: StudyCallback) -> _Model:
    study, trial = _study_and_trial(given)
    if trial:
        folder = stack.enter_context(opened(study, of_trial_model(trial)))
        return _open_trial(folder, trial, trust_remote_code)
    opened_name = stack.enter_context(opened_model(given))
    path = Path(opened_name)
    best = path / "best"
    of_study = any((best / name).is_file() for name in ("modules.json", MANIFEST))  # either may be what is missing
    if (path / "study.yaml").is_file() and not of_study:
        raise InputError(f"{given}: its study has no best/ yet; name a trial that has ended, like {given}:0000")
    if of_study:
        check_format(path)
    name = str(best) if of_study else opened_name
    if name == "tiny":
        raise InputError("tiny is built by a study; merge takes a model folder, a name or a study folder")
    if Path(name).is_dir():
        check_model_folder(Path(name))
    settings = with_folder_settings(Encoder(name=name, trust_remote_code=trust_remote_code))
    for notice in encoder_notices(settings):
        callback.on_message(notice)
    encoder = load_encoder(name, settings, pretrained_tokenizer(name, trust_remote_code).pad_id)
    shown = path.resolve().name if path.is_dir() else given
    return _Model(
        f"{shown}, best" if of_study else shown,
        encoder,
        name,
        settings,
        training_pairs_of(name),
        training_texts_of(name),
        matryoshka_of(name),
    )


def _study_and_trial(given: str) -> tuple[str, str]:
    """Return the parts of ``STUDY:TRIAL``, of a URL before its query; no trial where it is no study's."""
    base, *query = given.split("?", 1) if is_remote(given) else (given,)
    study, _, trial = base.rpartition(":")
    if is_remote(given):
        return ("?".join([study, *query]), trial) if "/" not in trial else (given, "")
    found = study and trial and not Path(given).is_dir() and (local_path(study) / "study.yaml").is_file()
    return (study, trial) if found else (given, "")


def _open_trial(study: Path, trial: str, trust_remote_code: bool) -> _Model:
    check_format(study)
    found = find_trial(study, trial, None, trust_remote_code)
    table = trained_table(found.study, trial_corpus(study, found.study), found.checkpoint)
    texts = study / "best" / TRAINING_TEXTS  # all trials of a study have the same
    return _Model(
        f"{found.study.name}:{found.trial}",
        load_trial(found),
        found.source,
        found.study.encoder,
        distinct_pairs(table),
        TrainingTexts.load(texts) if texts.is_file() else None,
        list(found.study.train.matryoshka),
    )
