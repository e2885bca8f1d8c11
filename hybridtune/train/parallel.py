"""How a training is spread over workers: whole copies (DDP) or shards (FSDP2), and whole tensors out of either.

Three kinds of parameter go through here: replicated dense ones (DDP averages their gradients), sharded ones
(``DTensor``; FSDP2 does), and token embeddings with sparse gradients, which both leave alone: collectives for sparse
tensors do not exist on every backend, so their rows are averaged by ``average_rows``.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from hybridtune.model.adapters import transformer_layers
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.gather import gather, rank, workers


def distribute(model: DualEncoder, sharding: Literal["ddp", "fsdp"], device: torch.device) -> nn.Module:
    """Put an encoder on this worker's device and join it with those of the other workers.

    Call it after ``prepare_for_training`` and before anything that holds parameters (optimiser, running mean): ``fsdp``
    replaces them by shards. ``model`` stays the bare encoder; call the returned module for steps that have a gradient.
    One worker has nobody to share with, whatever ``sharding`` says.

    Args:
        model: the same weights on every worker; on the CPU for ``fsdp``, so that no device ever holds all of it.
        sharding: ``ddp``: whole copies, gradients averaged while the backward runs; ``fsdp``: every worker holds 1/W
            of each layer's weights, gradients and moments, and gathers a layer while it computes.
        device: of this worker.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what collectives without a tensor of ours use
    if workers() == 1:
        return model.to(device)
    if sharding == "fsdp":
        return _shard(model, device)
    model.to(device)
    parallel = nn.parallel.DistributedDataParallel
    sparse = sparse_parameters(model)
    if sparse:  # not yet public, but what torch has for parameters that DDP must leave alone
        parallel._set_params_and_buffers_to_ignore_for_model(model, list(sparse))  # type: ignore[no-untyped-call]
    return parallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        forward_sync_buffers=False,  # an encoder's buffers are constants
        gradient_as_bucket_view=True,  # no second copy of every gradient
    )


def _shard(model: DualEncoder, device: torch.device) -> nn.Module:
    """One group of shards for each transformer layer, and one for all the rest."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (workers(),))
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.sparse:
            module.to(device)  # fully_shard moves only what it shards
    ignored = set(sparse_parameters(model).values())
    for layer in transformer_layers(model.backbone):
        fully_shard(layer, mesh=mesh, ignored_params=ignored)
    fully_shard(model, mesh=mesh, ignored_params=ignored)
    return model


def sparse_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters, by name, whose gradients are sparse: weights of embeddings with ``sparse=True``."""
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Embedding) and module.sparse]
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and any(parameter is weight for weight in weights)
    }


def average_rows(gradient: Tensor) -> Tensor:
    """Mean over the workers of a sparse gradient; every worker gets the same bits.

    Rows are gathered padded to the longest worker's and added worker after worker, so that the sum does not hang on
    the order in which a device happens to add.

    Args:
        gradient: [V, D] sparse, rows in any order and number.

    Returns:
        [V, D] sparse and coalesced: the union of all workers' rows.
    """
    gradient = gradient.coalesce()
    if workers() == 1:
        return gradient
    rows, values = gradient.indices()[0], gradient.values()  # [r], [r, D]
    counts = gather(torch.tensor([len(rows)], device=rows.device)).tolist()
    most = max(counts)
    spare = most - len(rows)
    rows = gather(torch.cat([rows, rows.new_zeros(spare)])).view(-1, most)  # [W, R]
    values = gather(torch.cat([values, values.new_zeros(spare, values.shape[1])])).view(*rows.shape, -1)  # [W, R, D]
    held = [part[:count] for part, count in zip(rows, counts, strict=True)]
    union, places = torch.unique(torch.cat(held), return_inverse=True)  # [U], [sum of counts]
    total = values.new_zeros(len(union), values.shape[-1])  # [U, D]
    for part, place in zip(values, places.split(counts), strict=True):
        total.index_add_(0, place, part[: len(place)])
    total /= workers()
    return torch.sparse_coo_tensor(union[None], total, gradient.shape, is_coalesced=True, check_invariants=False)


def local(tensor: Tensor) -> Tensor:
    """This worker's shard of a sharded tensor, any other tensor itself; changes of it in place are changes of both."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors, whole and on the CPU, on rank 0; empty on the others.

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
