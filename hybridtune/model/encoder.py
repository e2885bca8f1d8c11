"""DualEncoder: one transformer for queries and passages; token ids in, unit vectors out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridtune.config import Encoder
from hybridtune.errors import model_not_loaded
from hybridtune.model import adapters, packing
from hybridtune.model.tokens import TokenRows
from hybridtune.sections import Train

_SAME = 1e-4  # packed and padded embeddings of one text differ by less, or the model is not packed


class DualEncoder(nn.Module):
    """A Hugging Face encoder with pooling and unit length, shared by queries and passages.

    Texts are packed: layers work on their tokens, whatever the texts' lengths. A model for which that is not known to
    be right, or not found to be at the start, is given padded batches of texts of like length instead.

    Args:
        backbone: an ``AutoModel`` whose output has ``last_hidden_state`` [B, T, D].
        pooling: ``mean`` over the tokens that are not padding, or ``cls``, the first token.
        pad_id: fills short rows.
    """

    def __init__(self, backbone: Any, pooling: str, pad_id: int) -> None:
        super().__init__()
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None  # unused here: its weights would have no gradient, which DDP refuses
        self.backbone = backbone
        self.pooling = pooling
        self.pad_id = pad_id
        self._first_position = packing.first_position(backbone.config)
        if self._first_position is not None and not self._packs():
            self._first_position = None

    @property
    def has_adapters(self) -> bool:
        """Whether adapters are trained: weights that are no part of ``plain_state``."""
        return adapters.has_adapters(self.backbone)

    def forward(self, texts: TokenRows) -> Tensor:
        """Unit vectors [n, D] float32 of n >= 1 texts; they do not depend on the other texts of the call."""
        device = next(self.parameters()).device
        if texts.ids.device != device:
            texts = texts.to(device)
        packed = self._first_position is not None
        if packed and self._any_length(device):
            places = packing.one_after_the_other(texts.lengths, texts.longest, device)
        else:
            places = packing.group_by_length(texts.lengths, device, packed)
        ids = places.fill(texts.ids, self.pad_id)  # [S]
        hidden = (self._in_one_row(ids, places) if packed else self._group_by_group(ids, places)).float()  # [S, D]
        pooled = hidden[places.firsts] if self.pooling == "cls" else places.mean(hidden)  # [n, D]
        return F.normalize(pooled, dim=-1)

    def embed(self, rows: Sequence[npt.NDArray[np.int32]]) -> Tensor:
        """Unit vectors [n, D] float32 of n >= 1 rows of token ids."""
        embedded: Tensor = self(TokenRows.of(rows))
        return embedded

    def plain_state(self) -> dict[str, Tensor]:
        """The weights of the plain ``AutoModel`` by its own names, adapters merged in; detached, not copied."""
        return adapters.merged_state(self.backbone)

    def _in_one_row(self, ids: Tensor, places: packing.Packing) -> Tensor:
        positions = places.positions + (self._first_position or 0)  # [S]
        output = self.backbone(input_ids=ids[None], position_ids=positions[None], texts=places)
        hidden: Tensor = output.last_hidden_state[0]
        return hidden  # [S, D]

    def _group_by_group(self, ids: Tensor, places: packing.Packing) -> Tensor:
        sizes = [group.slots for group in places.groups]
        parts = []
        rows = zip(places.groups, torch.split(ids, sizes), torch.split(places.share, sizes), strict=True)
        for group, tokens, share in rows:
            shape = (group.texts, group.length)
            mask = (share > 0).long().view(shape) if group.ragged else None  # [b, L]
            hidden = self.backbone(input_ids=tokens.view(shape), attention_mask=mask).last_hidden_state  # [b, L, D]
            parts.append(hidden.flatten(0, 1))  # [b * L, D]
        return torch.cat(parts)  # [S, D]

    def _any_length(self, device: torch.device) -> bool:
        config = self.backbone.config
        rates = (getattr(config, key, 0.0) for key in ("attention_probs_dropout_prob", "attention_dropout"))
        if self.training and any(rates):
            return False  # the kernel drops no attention weights
        dtype = next(self.backbone.parameters()).dtype
        if torch.is_autocast_enabled(device.type):
            dtype = torch.get_autocast_dtype(device.type)
        return packing.takes_any_length(device, dtype, config.hidden_size // config.num_attention_heads)

    def _packs(self) -> bool:
        """Set the backbone up for packed texts, if it then gives the vectors that it gives for padded ones."""
        config = self.backbone.config
        most = getattr(config, "max_position_embeddings", 16) - (self._first_position or 0)
        rows = [(np.arange(length) * 7 + length) % config.vocab_size for length in (3, 11, 1, 3, 6) if length <= most]
        texts = TokenRows.of([np.where(row == self.pad_id, row - 1, row) % config.vocab_size for row in rows])
        places = packing.group_by_length(texts.lengths, torch.device("cpu"))
        ids = places.fill(texts.ids, self.pad_id)
        held, training, before = places.share > 0, self.backbone.training, config._attn_implementation
        packing.register()
        try:
            with torch.no_grad():
                self.backbone.eval()
                padded = self._group_by_group(ids, places)
                self.backbone.set_attn_implementation(packing.NAME)
                same = torch.allclose(self._in_one_row(ids, places)[held], padded[held], rtol=0, atol=_SAME)
        except (TypeError, ValueError, RuntimeError, KeyError):  # it takes no such arguments
            same = False
        if not same:
            self.backbone.set_attn_implementation(before)
        self.backbone.train(training)
        return same


def load_encoder(name: str, encoder: Encoder, pad_id: int, dropout: float | None = None) -> DualEncoder:
    """A dual encoder from a model folder or hub name.

    Args:
        name: folder or name; weights are read from safetensors.
        encoder: pooling, and whether remote code may run.
        pad_id: the tokenizer's.
        dropout: replaces every dropout probability of the model; None keeps them.

    Raises:
        InputError: it cannot be found or fetched.
    """
    import transformers

    options: dict[str, Any] = {"trust_remote_code": encoder.trust_remote_code}
    try:
        config = transformers.AutoConfig.from_pretrained(name, **options)
        if dropout is not None:
            for key in list(config.to_dict()):
                if key.endswith(("dropout", "dropout_prob")):
                    setattr(config, key, dropout)
        backbone = transformers.AutoModel.from_pretrained(
            name, config=config, dtype=torch.float32, use_safetensors=True, **options
        )
    except (OSError, ValueError) as error:
        raise model_not_loaded("encoder", name, error) from None
    return DualEncoder(backbone, encoder.pooling, pad_id)


def prepare_for_training(model: DualEncoder, train: Train, seed: int = 0) -> None:
    """Freeze, add adapters, checkpoint activations and compile as asked, in place; names of weights stay.

    Args:
        model: as loaded.
        train: freeze_layers, embeddings, lora_*, gradient_checkpointing and compile are read.
        seed: of the adapters' first weights.

    Raises:
        InputError: the encoder cannot be trained that way, or a package is missing.
    """
    backbone = model.backbone
    adapters.freeze(backbone, train.freeze_layers, train.embeddings)
    if train.lora_rank:
        alpha = train.lora_alpha or 2.0 * train.lora_rank
        adapters.add_adapters(backbone, train.lora_rank, alpha, train.lora_targets, seed)
    if train.gradient_checkpointing:
        adapters.recompute_layers(backbone)
    if train.compile:
        packing.keep_out_of_graphs()
        backbone.compile(dynamic=True)
