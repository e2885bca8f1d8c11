"""Build, load and save what follows the pooling of an encoder: Dense layers, and unit length between them."""

from collections.abc import Iterable
from pathlib import Path

import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hybridtune.errors import InputError
from hybridtune.model.published import Dense, Normalize
from hybridtune.model.repository import Repository

WEIGHTS = "model.safetensors"


class DenseHead(nn.Module):
    """A linear layer and its activation, with the names of weights that sentence-transformers gives them.

    Args:
        published: its sizes, its activation, and whether its input is added to its output.
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
        """Vectors [n, in_features] to [n, out_features]."""
        found: Tensor = self.activation(self.linear(vectors))
        if self._residual:
            found = found + (self.residual(vectors) if hasattr(self, "residual") else vectors)
        return found


class UnitLength(nn.Module):
    """Vectors [n, D] scaled to unit length."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Scale each vector."""
        return F.normalize(vectors, dim=-1)


def build_heads(published: Iterable[Dense | Normalize]) -> nn.Sequential:
    """Return the modules that follow the pooling, in order, Dense layers with random weights."""
    return nn.Sequential(*(UnitLength() if isinstance(head, Normalize) else DenseHead(head) for head in published))


def load_heads(name: str, published: Iterable[Dense | Normalize]) -> nn.Sequential:
    """Return the modules that follow the pooling, with the weights of a model folder or hub name.

    Raises:
        InputError: weights are missing, of another size, or in another format than safetensors.
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
    """Write a Dense layer's weights as sentence-transformers reads them, into a new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
