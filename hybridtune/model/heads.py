"""From token vectors to a text's vector: pooling, in each way of sentence-transformers, and the Dense layers behind it.

Packed hidden states go in (`packing`), one vector a text comes out; `encoder` scales it to unit length.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hybridtune.errors import InputError
from hybridtune.model.packing import Packing
from hybridtune.model.published import Dense, Normalize
from hybridtune.model.repository import Repository

WEIGHTS = "model.safetensors"
HEADS = "heads."  # stands before the names of weights that follow the pooling; no transformer has a part named so


def pool(hidden: Tensor, places: Packing, mode: str, left_out: Tensor | None = None) -> Tensor:
    """Pool packed token vectors.

    Args:
        hidden: [S, D] of all slots.
        places: where the n texts stand in the S slots.
        mode: ``mean``, ``cls`` (the first token), ``lasttoken``, ``max``, ``weightedmean`` (the token at place i, from
            1, weighs i) or ``mean_sqrt_len`` (the sum over the root of the count).
        left_out: [S] bool, tokens that are not pooled (a prompt's); None: all are. Of a text of which all tokens are
            left out, all are pooled.

    Returns:
        [n, D].

    Example: see `encoder.DualEncoder`.

    Source: ``Pooling`` of sentence-transformers 6.2, read.
    """
    if left_out is None and mode == "mean":
        return places.mean(hidden)
    if left_out is None and mode == "cls":
        return hidden[places.firsts]  # [n, D]
    held = places.share > 0  # [S]
    if left_out is not None:
        some = _sums(held & ~left_out, places) > 0  # [n]
        held = held & ~(left_out & some[places.owner])
    if mode == "max":
        masked = hidden.masked_fill(~held[:, None], -torch.inf)  # [S, D]
        owners = places.owner[:, None].expand_as(hidden)  # [S, D]
        lowest = hidden.new_full((len(places.firsts), hidden.shape[1]), -torch.inf)
        return lowest.scatter_reduce(0, owners, masked, "amax")  # [n, D]
    if mode in ("cls", "lasttoken"):
        return hidden[_ends(held, places, last=mode == "lasttoken")]  # [n, D]
    weights = held.float() * (places.positions + 1 if mode == "weightedmean" else 1)  # [S]
    sums = _sums(weights, places)  # [n]
    if mode == "mean_sqrt_len":
        sums = sums.sqrt()
    weighted = hidden * (weights / sums[places.owner])[:, None]  # [S, D]
    return hidden.new_zeros(len(places.firsts), hidden.shape[1]).index_add(0, places.owner, weighted)  # [n, D]


def _sums(values: Tensor, places: Packing) -> Tensor:
    """Sums over each text: [S] -> [n] float32."""
    none = torch.zeros(len(places.firsts), device=values.device)
    return none.index_add(0, places.owner, values.float())


def _ends(held: Tensor, places: Packing, last: bool) -> Tensor:
    """The slot [n] of each text's first, or last, token that is held; every text has one."""
    slots = torch.arange(len(held), device=held.device)
    outside = -1 if last else len(held)
    candidates = torch.where(held, slots, outside)  # [S]
    found = torch.full_like(places.firsts, outside)
    return found.scatter_reduce(0, places.owner, candidates, "amax" if last else "amin")  # [n]


class DenseHead(nn.Module):
    """A linear layer and its activation, with the names of weights that sentence-transformers gives them.

    Args:
        published: its sizes, its activation, and whether its input is added to its output.

    Example: see `encoder.DualEncoder`.
    """

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
        found: Tensor = self.activation(self.linear(vectors))
        if self._residual:
            found = found + (self.residual(vectors) if hasattr(self, "residual") else vectors)
        return found


class UnitLength(nn.Module):
    """Vectors [n, D] scaled to unit length. Example: see `encoder.DualEncoder`."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Scale each vector."""
        return F.normalize(vectors, dim=-1)


def build_heads(published: Iterable[Dense | Normalize]) -> nn.Sequential:
    """Return the modules that follow the pooling, in order, Dense layers with random weights.

    Example: see `encoder.DualEncoder`.
    """
    return nn.Sequential(*(UnitLength() if isinstance(head, Normalize) else DenseHead(head) for head in published))


def load_heads(name: str, published: Iterable[Dense | Normalize]) -> nn.Sequential:
    """Return the modules that follow the pooling, with the weights of a model folder or hub name.

    Raises:
        InputError: weights are missing, of another size, or in another format than safetensors.

    Example: see `encoder.DualEncoder`.
    """
    published, repository = tuple(published), Repository(name)
    heads = build_heads(published)
    for said, head in zip(published, heads, strict=True):
        if not isinstance(said, Dense):
            continue
        path = f"{said.path}/{WEIGHTS}"
        file = repository.file(path)
        if file is None:
            raise InputError(
                f"encoder {name}: {said.path} has no {WEIGHTS}, the only format that is read; where it has "
                "pytorch_model.bin, open the model in sentence-transformers and save it: that writes safetensors"
            )
        try:
            head.load_state_dict(load_file(file))
        except (RuntimeError, OSError, ValueError) as error:
            raise InputError(f"encoder {name}: {path}: {' '.join(str(error).split())[:200]}") from None
    return heads


def save_head(head: DenseHead, folder: Path) -> None:
    """Write a Dense layer's weights as sentence-transformers reads them, into a new folder.

    Example: see `encoder.DualEncoder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
