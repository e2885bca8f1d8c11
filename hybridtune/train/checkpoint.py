"""A checkpoint of a training: weights, moments, progress, and the running mean of the weights (`train.ema`)."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hybridtune.errors import InputError
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.heads import HEADS
from hybridtune.runtime import ray_private
from hybridtune.storage.copies import ensure_local
from hybridtune.storage.files import join
from hybridtune.storage.manifests import damage
from hybridtune.train.optimizer import Optimizer
from hybridtune.train.parallel import local, put, whole

_WARM_UP = 9


class Average:
    """The exponential moving average of a model's trained weights, in float32 and sharded as they are.

    After step number t = 0, 1, ... the mean becomes ``d * mean + (1 - d) * weights``, ``d = min(decay, t / (t + 9))``:
    the first step replaces the start altogether, the mean then covers about the last tenth of the steps, until that is
    as long as ``decay`` sets. It needs no state but the mean itself.

    Args:
        model: after ``distribute``; the mean starts as its weights.
        decay: in (0, 1); the mean reaches about 1 / (1 - decay) steps back.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._means = {name: p.detach().clone() for name, p in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step number ``step``, from 0."""
        decay = min(self._decay, step / (step + _WARM_UP))
        means = [local(mean) for mean in self._means.values()]
        ray_private.move_towards(means, [local(p.detach()) for p in self._weights.values()], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the mean's weights within the block; afterwards its own again, bit for bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state(self) -> dict[str, Tensor]:
        """Return the means by the name of the weight; sharded where that is."""
        return dict(self._means)

    def restart(self) -> None:
        """Let the mean be the weights that the model has now."""
        for name, parameter in self._weights.items():
            local(self._means[name]).copy_(local(parameter.detach()))

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self._weights.items():  # one by one: never a third copy of the model
            weight, mean = local(parameter.detach()), local(self._means[name])
            before = weight.clone()
            weight.copy_(mean)
            mean.copy_(before)


WEIGHTS, TRAINING, OPTIMIZER, STATE = "model.safetensors", "training.safetensors", "optimizer.safetensors", "state.json"
SERVED = (WEIGHTS, STATE, "scores.json", PER_QUERY)  # with the two files that a score adds
_MEAN = "mean of "  # before a weight's name; no module can be named so


@dataclass(frozen=True)
class Snapshot:
    """A training at one step: whole tensors on the CPU that no later step changes; empty on all ranks but 0."""

    weights: dict[str, Tensor]  # of `DualEncoder.plain_state`: what is scored and served
    training: dict[str, Tensor]  # trained, and not in the weights
    moments: dict[str, Tensor]

    def save(self, folder: Path, state: dict[str, Any]) -> None:
        """Write a checkpoint into an existing folder, on rank 0; ``state`` is JSON-able and holds ``step``."""
        save_file(self.weights, folder / WEIGHTS)
        if self.training:
            save_file(self.training, folder / TRAINING)
        save_file(self.moments, folder / OPTIMIZER)
        (folder / STATE).write_text(json.dumps(state), encoding="utf-8")


def take_snapshot(model: DualEncoder, optimizer: Optimizer, average: Average | None = None) -> Snapshot:
    """Copy a training's state between two steps. Every worker must call it; the tensors arrive on rank 0."""
    with average.applied() if average is not None else nullcontext():
        weights = whole(model.plain_state())
    return Snapshot(weights, whole(_beyond_plain(model, optimizer, average)), whole(optimizer.state()))


def load_checkpoint(
    folder: Path, model: DualEncoder, optimizer: Optimizer, average: Average | None = None
) -> dict[str, Any]:
    """Put a checkpoint into a training of the same settings, on any number of workers; returns its state.

    Raises:
        InputError: it is of a training with other settings.
    """
    try:
        if not model.has_adapters:
            _put_weights(folder, model)
            if average is not None:
                average.restart()
        training = load_file(folder / TRAINING) if (folder / TRAINING).is_file() else {}
        _put_all(_beyond_plain(model, optimizer, average), training)
        optimizer.load(load_file(folder / OPTIMIZER))
    except InputError as error:
        raise InputError(
            f"checkpoint {folder} does not fit this training ({error}): go on with the encoder and the train.* "
            f"settings it was written with (lora_rank, ema, freeze_layers, embeddings, ...), or start anew"
        ) from None
    return read_state(folder)


def load_weights(folder: Path, model: DualEncoder) -> None:
    """Put a checkpoint's served weights into a plain encoder, as it was loaded.

    Raises:
        InputError: the encoder has other weights.
    """
    try:
        _put_weights(folder, model)
    except InputError as error:
        raise InputError(f"checkpoint {folder} is of another encoder: {error}") from None


def served_weights(location: str) -> dict[str, npt.NDArray[Any]]:
    """Return a checkpoint's served weights by the names of ``DualEncoder.plain_state``; its location may be remote.

    Raises:
        InputError: the checkpoint is damaged.
    """
    check_checkpoint(location)
    return {name: value.numpy() for name, value in load_file(ensure_local(join(location, WEIGHTS))).items()}


def check_checkpoint(location: str | Path) -> None:
    """Raise InputError where what is served or shown of a checkpoint is damaged; its optimizer is not looked at."""
    what = damage(location, SERVED)
    if what is not None:
        raise InputError(f"{location} is damaged: {what}; hybridtune run with the study's --out trains it again")


def read_state(folder: Path) -> dict[str, Any]:
    """Read the JSON part of a checkpoint."""
    return dict(json.loads((folder / STATE).read_text(encoding="utf-8")))


def _beyond_plain(model: DualEncoder, optimizer: Optimizer, average: Average | None) -> dict[str, Tensor]:
    """Return the trained tensors that are not in the plain weights, not copies of them."""
    beyond: dict[str, Tensor] = dict(optimizer.extras)
    if average is not None or model.has_adapters:
        beyond |= {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if average is not None and model.has_adapters:  # else the means are the plain weights
        beyond |= {_MEAN + name: mean for name, mean in average.state().items()}
    return beyond


def _put_weights(folder: Path, model: DualEncoder) -> None:
    def full_names(plain: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name if name.startswith(HEADS) else f"backbone.{name}": value for name, value in plain.items()}

    _put_all(full_names(model.plain_state()), full_names(load_file(folder / WEIGHTS)))


def _put_all(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Write whole tensors into those of the same names; none of them if names or shapes differ."""
    for name in sorted({*targets, *values}):
        shapes = [list(tensors[name].shape) if name in tensors else "missing" for tensors in (values, targets)]
        if shapes[0] != shapes[1]:
            raise InputError(f"{name} is {shapes[0]} there and {shapes[1]} here")
    for name, target in targets.items():
        put(target, values[name])
