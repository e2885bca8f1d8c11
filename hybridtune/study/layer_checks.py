"""Checks of an encoder's layers, without its weights; apart from `preflight`, since they alone need torch there."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
import transformers

from hybridtune.config.fields import Encoder
from hybridtune.config.study import Study
from hybridtune.errors import InputError
from hybridtune.model.adapters import add_adapters
from hybridtune.model.backbone import structure
from hybridtune.model.folder import model_config
from hybridtune.model.shallow import keep_lowest


def check_layers(study: Study, adapted: Sequence[list[str] | None]) -> None:
    """Check that an encoder has more layers than a screening trains, and those that get adapters.

    Args:
        study: with the encoder folder's own settings.
        adapted: ``train.lora_targets`` of trials, None: all linear layers; nothing where no trial has adapters.

    Raises:
        InputError: it has not, or the package that adapters need is not installed.
    """
    _check_screening(study)
    if adapted and importlib.util.find_spec("peft") is None:
        raise InputError("train.lora_rank needs the package peft: pip install 'hybridtune[lora]', or set it to 0")
    for targets in adapted:
        if targets is not None:
            _check_adapters(study, targets)


def _check_adapters(study: Study, targets: list[str]) -> None:
    """Look for the layers that get adapters in the encoder, and in what a screening leaves of it."""
    add_adapters(_without_weights(study.encoder), rank=1, alpha=1.0, targets=targets, seed=0)
    screening = study.search.screening
    if screening is None:
        return
    lowest = _without_weights(study.encoder)
    keep_lowest(lowest, screening.layers)
    try:
        add_adapters(lowest, rank=1, alpha=1.0, targets=targets, seed=0)
    except InputError as error:
        raise InputError(f"search.screening.layers {screening.layers}: with these alone, {error}") from None


def _check_screening(study: Study) -> None:
    """Refuse a screening with as many layers as the encoder has."""
    screening, encoder = study.search.screening, study.encoder
    if screening is None:
        return
    has = keep_lowest(_without_weights(encoder), screening.layers)
    if screening.layers >= has:
        instead = f"give at most {has - 1}" if has > 1 else "leave search.screening out"
        raise InputError(
            f"search.screening.layers {screening.layers}: {encoder.name} has {has} layer{'s' * (has > 1)}, and a "
            f"screening trains fewer; {instead}"
        )


def _without_weights(encoder: Encoder) -> Any:
    """Return the transformer of an encoder without its weights, on no device."""
    tiny = encoder.name == "tiny"
    config = transformers.BertConfig(num_hidden_layers=encoder.tiny.layers) if tiny else model_config(encoder)
    with torch.device("meta"):
        return structure(config, encoder.trust_remote_code)
