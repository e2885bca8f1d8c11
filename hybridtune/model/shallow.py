"""An encoder without its upper layers: cheaper to train, and scored in place of the whole one by a screening."""

from pathlib import Path
from typing import Any

from hybridtune.config.fields import Encoder
from hybridtune.model.adapters import transformer_layers
from hybridtune.model.encoder import load_encoder
from hybridtune.model.folder import save_folder


def keep_lowest(backbone: Any, layers: int) -> int:
    """Take all but the lowest layers out of a transformer, in place; what follows the layers, like a last norm, stays.

    Settings that have an entry a layer are cut with them, so that the transformer can be written and read again.

    Args:
        backbone: of transformers, also without weights.
        layers: that stay, at least 1.

    Returns:
        How many there were.

    Raises:
        InputError: its layers are not in a list of their own.
    """
    found, config = transformer_layers(backbone), backbone.config
    before = len(found)
    for key, value in config.to_dict().items():
        if isinstance(value, list) and len(value) == before:  # such as the kind of attention of each layer
            setattr(config, key, value[:layers])
    del found[layers:]
    config.num_hidden_layers = len(found)
    return before


def write_shallow(source: str, encoder: Encoder, pad_id: int, layers: int, folder: Path) -> int:
    """Write an encoder's lowest layers, with its embeddings and all that follows its pooling, as a model folder.

    Args:
        source: folder or hub name of the encoder.
        encoder: how it is used.
        pad_id: the tokenizer's.
        layers: that stay, at least 1 and fewer than it has.
        folder: new or empty.

    Returns:
        The layers that the encoder has.

    Raises:
        InputError: its layers are not in a list of their own.
    """
    model = load_encoder(source, encoder, pad_id)
    before = keep_lowest(model.backbone, layers)
    save_folder(model, source, encoder, folder)
    return before
