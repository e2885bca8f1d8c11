"""From token vectors to a text's vector: pooling, in each way of sentence-transformers, and the Dense layers after it.

Packed hidden states go in (`packing`), one vector a text comes out; `encoder` scales it to unit length.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hybridtune.errors import InputError, one_line
from hybridtune.model.packing import Packing
from hybridtune.model.published import Dense, Normalize, Repository

WEIGHTS = "model.safetensors"
HEADS = "heads."  # prefix of the names of weights after the pooling; no transformer has a part named so


def pool(hidden: Tensor, layout: Packing, mode: str, left_out: Tensor | None = None) -> Tensor:
    """Pool packed token vectors [S, D] to [n, D].

    Args:
        hidden: of all slots.
        layout: of the n texts.
        mode: ``mean``, ``cls`` (the first token), ``lasttoken``, ``max``, ``weightedmean`` (token i, from 1, weighs i)
            or ``mean_sqrt_len`` (the sum over the root of the count).
        left_out: [S] bool, tokens that are not pooled (a prompt's); None: all are. Of a text of which all tokens are
            left out, all are pooled.

    Source: ``Pooling`` of sentence-transformers 6.2, read.
    """
    if left_out is None and mode == "mean":
        return layout.add_up(hidden * layout.share[:, None])  # [n, D]
    if left_out is None and mode == "cls":
        return hidden[layout.firsts]  # [n, D]
    pooled = layout.share > 0  # [S]
    if left_out is not None:
        some = layout.add_up((pooled & ~left_out).float()) > 0  # [n]
        pooled = pooled & ~(left_out & some[layout.owner])
    if mode == "max":
        masked = hidden.masked_fill(~pooled[:, None], -torch.inf)  # [S, D]
        owners = layout.owner[:, None].expand_as(hidden)  # [S, D]
        lowest = hidden.new_full((len(layout.firsts), hidden.shape[1]), -torch.inf)
        return lowest.scatter_reduce(0, owners, masked, "amax")  # [n, D]
    if mode in ("cls", "lasttoken"):
        outside, reduce = (len(pooled), "amin") if mode == "cls" else (-1, "amax")
        slots = torch.where(pooled, torch.arange(len(pooled), device=pooled.device), outside)  # [S]
        return hidden[torch.full_like(layout.firsts, outside).scatter_reduce(0, layout.owner, slots, reduce)]  # [n, D]
    weights = pooled.float() * (layout.positions + 1 if mode == "weightedmean" else 1)  # [S]
    sums = layout.add_up(weights)  # [n]
    if mode == "mean_sqrt_len":
        sums = sums.sqrt()
    return layout.add_up(hidden * (weights / sums[layout.owner])[:, None])  # [n, D]


class DenseHead(nn.Module):
    """A linear layer and its activation, with the names of weights that sentence-transformers gives them."""

    def __init__(self, published: Dense) -> None:
        super().__init__()
        self.out_features = published.out_features
        self.linear = nn.Linear(published.in_features, published.out_features, bias=published.bias)
        self.activation: nn.Module = getattr(nn, published.activation)()
        self._residual = published.residual
        if published.residual and published.in_features != published.out_features:
            self.residual = nn.Linear(published.in_features, published.out_features, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Map vectors [n, in_features] to [n, out_features]."""
        mapped: Tensor = self.activation(self.linear(vectors))
        if self._residual:
            mapped = mapped + (self.residual(vectors) if hasattr(self, "residual") else vectors)
        return mapped


class UnitLength(nn.Module):
    """A Normalize module before a Dense one."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Scale each vector [n, D] to unit length."""
        return F.normalize(vectors, dim=-1)


def load_heads(name: str, published: Iterable[Dense | Normalize]) -> nn.Sequential:
    """Return the modules that follow the pooling, in order, with the weights of a model folder or hub name.

    Raises:
        InputError: weights are missing, of another size, or in another format than safetensors.
    """
    repository, heads = Repository(name), nn.Sequential()
    for said in published:
        if isinstance(said, Normalize):
            heads.append(UnitLength())
            continue
        path = f"{said.path}/{WEIGHTS}"
        file = repository.file(path)
        if file is None:
            raise InputError(
                f"encoder {name}: {said.path} has no {WEIGHTS}, the only format that is read; where it has "
                "pytorch_model.bin, open the model in sentence-transformers and save it: that writes safetensors"
            )
        head = DenseHead(said)
        try:
            head.load_state_dict(load_file(file))
        except (SafetensorError, RuntimeError, OSError, ValueError) as error:
            raise InputError(f"encoder {name}: {path}: {one_line(error)[:200]}") from None
        heads.append(head)
    return heads


def save_head(head: DenseHead, folder: Path) -> None:
    """Write a Dense layer's weights into a folder as sentence-transformers reads them."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
