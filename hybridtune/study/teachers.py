"""The teachers of a study: the encoders that it may name, how each is used, and the texts that it reads."""

from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridtune.callbacks import Progress
from hybridtune.config.fields import Encoder
from hybridtune.config.space import corners
from hybridtune.config.study import Study
from hybridtune.data.corpus import Corpus
from hybridtune.data.store import StoreRecipe
from hybridtune.data.teacher_vectors import aligned_texts, scored_texts
from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Int32
from hybridtune.model.folder import check_fit, model_digest, teacher_settings, vector_width
from hybridtune.model.tokenizer import pretrained_tokenizer

if TYPE_CHECKING:
    from hybridtune.evaluate.encode import Actors

PROJECTED = "encoder-projected"  # in a study's folder: the start with a Dense layer to the teacher's width
_OF_TRAIN = ("teacher", "teacher_languages", "distil", "distil_from", "negatives")
_DECIDE = ("encoder.pooling", "mix.align_share", *(f"train.{name}" for name in _OF_TRAIN))


def taught_trials(study: Study) -> Iterator[Study]:
    """Yield the study, and it with each choice of what is taught that a trial may get, as far as anything is."""
    return (trial for trial in _trials(study) if trial.teacher_key is not None)


def _trials(study: Study) -> Iterator[Study]:
    for values in ({}, *corners(study.search.space, _DECIDE)):
        parts: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            section, field = name.split(".")
            parts.setdefault(section, {})[field] = value
        update = {section: getattr(study, section).model_copy(update=fields) for section, fields in parts.items()}
        yield study.model_copy(update=update)  # not validated: other fields have the values of other trials


def check_teachers(study: Study) -> None:
    """Check that each teacher can be used as it is published, and that a kept projection can be trained.

    Raises:
        InputError: the first thing that is wrong.
    """
    for trial in _trials(study):
        if trial.train.distil is not None and trial.train.teacher is None and not trial.learns_data_scores:
            raise InputError(
                f"train.distil {trial.train.distil}: needs an encoder that scores the batches: name one by "
                f"train.teacher (the start is {study.encoder.name}), set train.distil_from to data where the training "
                "data have scores, or leave train.distil out"
            )
        if trial.teacher_key is not None and trial.train.teacher is not None:
            settings = teacher_settings(trial.train.teacher, trial.encoder)
            tokenizer = pretrained_tokenizer(settings.name, settings.trust_remote_code)
            check_fit(settings, tokenizer.largest_id)
    projected_width(study)


def projected_width(study: Study) -> int | None:
    """Return the width of the teacher that a projection, kept in the model, leads to; None: the model has none.

    Raises:
        InputError: several teachers differ in it, one does not say it, or the projection would not be trained.
    """
    if study.train.teacher_projection != "kept":
        return None
    named = {trial.train.teacher: trial.encoder for trial in taught_trials(study) if trial.train.teacher is not None}
    widths = {name: vector_width(teacher_settings(name, encoder)) for name, encoder in named.items()}
    if len(set(widths.values())) > 1 or None in widths.values():
        listed = ", ".join(f"{name} {width or 'unknown'}" for name, width in widths.items())
        raise InputError(
            f"train.teacher_projection kept: the model has the width of its teacher, and that is not one: {listed}; "
            "give teachers of one width, or set it to discarded"
        )
    width = next(iter(widths.values()), None)
    if width is None or width == _width(study.encoder):
        return None
    frozen = next((name for name in ("lora_rank", "freeze_dense") if _may_be_set(study, name)), None)
    if frozen is not None:
        raise InputError(
            f"train.teacher_projection kept: is trained with the model's Dense layers, and train.{frozen} leaves these "
            f"as they are; leave {frozen} out, or set teacher_projection to discarded"
        )
    return width


def teach_all(
    study: Study,
    corpus: Corpus,
    store: StoreRecipe,
    root: Path,
    source: str,
    actors: "Actors",
    progress: Progress,
    tell: Callable[[str], object],
) -> dict[str, Path]:
    """Find or make the vectors of all teachers of a study; Ray must be running.

    Args:
        study: whose ``encoder`` is resolved.
        corpus: of the store.
        store: what that is made of.
        root: folder of stores and vectors.
        source: folder or hub name of the starting encoder.
        actors: that encode.
        progress: gets the texts done and the texts in all, of one teacher after the other.
        tell: is given a line on vectors that are damaged and made again.

    Returns:
        The folder of each by `Study.teacher_key`.
    """
    from hybridtune.train.teaching import Lesson, teach  # imports Ray, which the checks of a study do not need

    used: dict[str, Encoder] = {}
    texts: dict[str, list[Int32]] = {}
    for trial in taught_trials(study):
        key = str(trial.teacher_key)
        settings = teacher_settings(trial.train.teacher, trial.encoder)
        used[key] = settings if trial.train.teacher is not None else settings.model_copy(update={"name": source})
        texts.setdefault(key, []).extend(_texts(trial, corpus))
    folders = {}
    for key, settings in used.items():
        tokenizer = pretrained_tokenizer(settings.name, settings.trust_remote_code)
        lesson = Lesson(settings.name, settings, tokenizer, model_digest(settings), reduce(np.union1d, texts[key]))
        folders[key] = teach(root, store, lesson, actors, progress, tell)
    return folders


def _texts(trial: Study, corpus: Corpus) -> Iterator[Int32]:
    """Yield the numbers of the texts that the teacher of a trial may read."""
    train = trial.train
    if trial.mix.align_share:
        yield aligned_texts(corpus, train.teacher_languages)
    if trial.scored_by_teacher:
        yield scored_texts(corpus, train.teacher_languages, negatives=train.negatives > 0)


def _width(encoder: Encoder) -> int | None:
    return encoder.tiny.hidden_size if encoder.name == "tiny" else vector_width(encoder)


def _may_be_set(study: Study, name: str) -> bool:
    searched = study.search.space.get(f"train.{name}")
    return bool(getattr(study.train, name)) or (searched is not None and any(searched.ends()))
