"""A linear map from an encoder's vectors to those of a teacher of another width: beside the model, or a part of it.

It begins as a part of a rotation: a map to a larger width changes no cosine.
"""

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridtune.config.fields import Encoder
from hybridtune.errors import InputError
from hybridtune.model.encoder import load_encoder
from hybridtune.model.folder import save_folder
from hybridtune.model.gather import average
from hybridtune.model.heads import DenseHead
from hybridtune.model.published import Dense


class Projection(nn.Module):
    """One matrix, trained beside an encoder and thrown away after it; it belongs to no DDP wrapper and has no decay.

    Args:
        width: D, of the encoder's vectors.
        teacher_width: D', of the teacher's.
        seed: of its first values.
    """

    def __init__(self, width: int, teacher_width: int, seed: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(orthogonal(teacher_width, width, seed))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return unit vectors [n, D'] of unit vectors [n, D]."""
        with torch.autocast(vectors.device.type, enabled=False):
            return F.normalize(F.linear(vectors, self.weight.to(vectors.dtype)), dim=-1)

    def average_gradient(self) -> None:
        """Make the gradient the mean over the workers; nothing to do after a step that did not use it."""
        if self.weight.grad is not None:
            average(self.weight.grad)


def orthogonal(rows: int, columns: int, seed: int) -> Tensor:
    """Return a matrix [rows, columns], drawn by a seed, whose columns (or rows, if these are fewer) are orthonormal."""
    drawn = torch.empty(rows, columns)
    return nn.init.orthogonal_(drawn, generator=torch.Generator().manual_seed(seed))


def write_projected(source: str, encoder: Encoder, pad_id: int, teacher_width: int, seed: int, folder: Path) -> None:
    """Write an encoder with one more Dense layer, a linear map to a teacher's width, as an ordinary model folder.

    Args:
        source: folder or hub name of the encoder.
        encoder: how it is used.
        pad_id: the tokenizer's.
        teacher_width: D', numbers of a vector after the map.
        seed: of the map's values.
        folder: new or empty.

    Raises:
        InputError: the encoder's vectors are cut (truncate_dim), which would cut the mapped ones.
    """
    model = load_encoder(source, encoder, pad_id)
    if model.published.truncate_dim is not None:
        raise InputError(
            f"train.teacher_projection kept: {source} cuts its vectors to {model.published.truncate_dim} numbers "
            "(truncate_dim), those of a kept projection too; set it to discarded"
        )
    said = Dense(f"{len(model.heads) + 2}_Dense", model.width, teacher_width, False, "Identity", False)
    head = DenseHead(said)
    with torch.no_grad():
        head.linear.weight.copy_(orthogonal(teacher_width, model.width, seed))
    model.heads.append(head)
    published = replace(model.published, heads=(*model.published.heads, said))
    save_folder(model, source, encoder, folder, published=published)
