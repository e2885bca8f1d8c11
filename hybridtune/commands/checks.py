"""What an encoder must be for a study to train it as asked: checked from its settings alone, before it is loaded."""

import importlib.util
from collections.abc import Iterator
from typing import Any

from hybridtune.config import Encoder, Study
from hybridtune.data.store import StoreRecipe
from hybridtune.data.tokenizer import pretrained_tokenizer
from hybridtune.errors import InputError
from hybridtune.model.adapters import add_adapters
from hybridtune.model.backbone import structure
from hybridtune.model.folder import check_fit, model_config, vector_width, with_folder_settings


def check_encoder(study: Study, made_of: StoreRecipe) -> None:
    """See that lengths, widths, layers, adapters and the teacher fit the encoder; else a trial fails, much later.

    Args:
        study: with the encoder folder's own settings put in; searched values are checked too.
        made_of: its token store, with the encoder's tokenizer.

    Raises:
        InputError: the first thing that does not fit.
    """
    if made_of.tokenizer is not None:
        check_fit(study.encoder, made_of.tokenizer.largest_id)
    width, layers = _size(study.encoder)
    for widths in _values(study, "matryoshka"):
        for cut in widths:
            if width is not None and cut >= width:
                raise InputError(
                    f"train.matryoshka {cut}: is not below the width {width} of {study.encoder.name}, which is trained "
                    "anyway; give smaller widths"
                )
    for frozen in _values(study, "freeze_layers"):
        if layers is not None and frozen >= layers:
            raise InputError(
                f"train.freeze_layers {frozen}: {study.encoder.name} has {layers} layers, and one at least is to be "
                f"trained; give at most {layers - 1}"
            )
    if any(_values(study, "lora_rank")):
        _check_adapters(study)
    if any(_values(study, "align_share")):
        for teacher in _values(study, "teacher"):
            if teacher is not None:
                _check_teacher(teacher, study, made_of, width)


def _check_adapters(study: Study) -> None:
    if importlib.util.find_spec("peft") is None:
        raise InputError("train.lora_rank needs the package peft: pip install 'hybridtune[lora]', or set it to 0")
    for targets in _values(study, "lora_targets"):
        if targets is not None:
            add_adapters(_without_weights(study.encoder), rank=1, alpha=1.0, targets=targets, seed=0)


def _without_weights(encoder: Encoder) -> Any:
    """The encoder's layers by their names, on no device."""
    import torch
    import transformers

    if encoder.name == "tiny":
        with torch.device("meta"):
            return transformers.BertModel(transformers.BertConfig(num_hidden_layers=1))
    config = model_config(encoder)
    with torch.device("meta"):
        return structure(config, encoder.trust_remote_code)


def _check_teacher(teacher: str, study: Study, made_of: StoreRecipe, width: int | None) -> None:
    trust = study.encoder.trust_remote_code
    tokenizer = pretrained_tokenizer(teacher, trust)
    if made_of.tokenizer is None or tokenizer.digest != made_of.tokenizer.digest:
        raise InputError(
            f"train.teacher {teacher}: its tokenizer is not the one of {study.encoder.name}, and both read the same "
            "token ids; choose a teacher of the encoder's family, or leave it out: the encoder it starts from teaches"
        )
    settings = with_folder_settings(Encoder(name=teacher, trust_remote_code=trust))
    other = next((pooling for pooling in _values(study, "pooling") if pooling != settings.pooling), None)
    if "pooling" in settings.model_fields_set and other is not None:
        raise InputError(
            f"train.teacher {teacher}: pools by {settings.pooling}, the encoder by {other}; choose a "
            f"teacher that pools alike, or set encoder.pooling={settings.pooling}"
        )
    there, _ = _size(settings)
    if there != width:
        raise InputError(f"train.teacher {teacher}: its vectors have {there} numbers, those of the encoder {width}")


def _values(study: Study, field: str) -> Iterator[Any]:
    """The fixed value of a field, and the ends of its searched range."""
    yield study.value(field)
    for key, parameter in study.search.space.items():
        if key.split(".")[-1] == field:
            yield from parameter.ends()


def _size(encoder: Encoder) -> tuple[int | None, int | None]:
    """Numbers of a vector, and transformer layers; None where the settings do not tell."""
    if encoder.name == "tiny":
        return encoder.tiny.hidden_size, encoder.tiny.layers
    return vector_width(encoder), getattr(model_config(encoder), "num_hidden_layers", None)
