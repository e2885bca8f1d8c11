"""The distribution of a training over workers: whole copies (DDP) or shards (FSDP2), and whole tensors out of either.

Two kinds of parameter go through here: replicated ones, whose gradients DDP averages, and sharded ones (``DTensor``).
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from hybridtune.model.adapters import transformer_layers
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.gather import rank, workers


def distribute(model: DualEncoder, sharding: Literal["ddp", "fsdp"], device: torch.device) -> nn.Module:
    """Put an encoder on this worker's device and join it with those of the other workers.

    Call it after ``prepare_for_training`` and before anything that holds parameters (optimiser, running mean): ``fsdp``
    replaces them by shards. ``model`` stays the bare encoder; call the returned module for steps that have a gradient.
    A single worker is not joined with others, whatever ``sharding`` says.

    Args:
        model: the same weights on every worker; on the CPU for ``fsdp``, so that no device ever holds all of it.
        sharding: ``ddp``: whole copies, gradients averaged while the backward runs; ``fsdp``: every worker holds 1/W
            of each layer's weights, gradients and moments, and gathers a layer while it computes.
        device: of this worker.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)  # for collectives without a tensor of ours
    if workers() == 1:
        return model.to(device)
    if sharding == "fsdp":
        return _shard(model, device)
    model.to(device)
    return nn.parallel.DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        forward_sync_buffers=False,  # an encoder's buffers are constants
        gradient_as_bucket_view=True,  # no second copy of every gradient
    )


def _shard(model: DualEncoder, device: torch.device) -> nn.Module:
    """Make one group of shards for each transformer layer, and one for all the rest."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (workers(),))
    for layer in transformer_layers(model.backbone):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def local(tensor: Tensor) -> Tensor:
    """Return this worker's shard of a sharded tensor, any other tensor itself; changes in place change both."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors, whole and to the CPU, on rank 0; empty on the others.

    All workers must call it with the same names where any tensor is sharded: each is gathered by all, one after the
    other, so that no worker ever holds more than one whole.
    """
    copies: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if rank() == 0:
            copies[name] = tensor.to("cpu", copy=True).contiguous()
    return copies


def put(target: Tensor, value: Tensor) -> None:
    """Write a whole tensor into one of the same shape, or this worker's part of it into a sharded one."""
    with torch.no_grad():
        if isinstance(target, DTensor):
            value = value.to(target.device, target.dtype)
            value = distribute_tensor(value, target.device_mesh, target.placements, src_data_rank=None)
        target.copy_(value)
