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


class DualEncoder(nn.Module):
    """A Hugging Face encoder with pooling and unit length, shared by queries and passages.

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

    def embed(self, rows: Sequence[npt.NDArray[np.int32]]) -> Tensor:
        """Unit vectors [B, D] of B rows of token ids, padded to their own longest."""
        lengths = torch.tensor([len(row) for row in rows])
        ids = np.full((len(rows), int(lengths.max())), self.pad_id, np.int64)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = tokens
        device = next(self.parameters()).device
        mask = torch.arange(ids.shape[1]) < lengths[:, None]  # [B, T]
        token_ids, mask = torch.from_numpy(ids).to(device), mask.to(device)
        hidden = self.backbone(input_ids=token_ids, attention_mask=mask.long()).last_hidden_state.float()  # [B, T, D]
        if self.pooling == "cls":
            pooled = hidden[:, 0]  # [B, D]
        else:
            pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)  # [B, D]
        return F.normalize(pooled, dim=-1)

    def forward(
        self,
        queries: Sequence[npt.NDArray[np.int32]],
        passages: Sequence[npt.NDArray[np.int32]],
        negatives: Sequence[npt.NDArray[np.int32]] = (),
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A batch in one call (DDP sees one forward): [b, D] queries, [b, D] passages, [k, D] negatives, k >= 0."""
        asked, told = self.embed(queries), self.embed([*passages, *negatives])  # [b, D], [b + k, D]
        return asked, told[: len(passages)], told[len(passages) :]


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
