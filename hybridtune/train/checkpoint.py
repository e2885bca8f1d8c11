"""A checkpoint: weights, optimiser state and the step, in safetensors and JSON; what a run needs to go on exactly."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from hybridtune.model.encoder import DualEncoder

WEIGHTS, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


def save_checkpoint(folder: Path, model: DualEncoder, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Write a checkpoint into an existing folder.

    Args:
        folder: empty folder.
        model: the bare encoder, not its DDP wrapper.
        optimizer: its tensors are saved one by one, under ``parameter number.name``.
        state: JSON-able; holds ``step``, the number of steps done.
    """
    save_file({key: value.contiguous() for key, value in model.backbone.state_dict().items()}, folder / WEIGHTS)
    moments = {
        f"{number}.{name}": torch.as_tensor(value).contiguous()
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    save_file(moments, folder / OPTIMIZER)
    (folder / STATE).write_text(json.dumps(state), encoding="utf-8")


def load_checkpoint(folder: Path, model: DualEncoder, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put a checkpoint into a model and optimiser of the same shape; returns its state."""
    load_weights(folder, model)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in load_file(folder / OPTIMIZER).items():
        number, name = key.split(".", 1)
        moments.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return read_state(folder)


def load_weights(folder: Path, model: DualEncoder) -> None:
    """Put a checkpoint's weights into an encoder."""
    model.backbone.load_state_dict(load_file(folder / WEIGHTS))


def read_state(folder: Path) -> dict[str, Any]:
    """The JSON part of a checkpoint."""
    return dict(json.loads((folder / STATE).read_text(encoding="utf-8")))
