"""Collectives over the workers of one training; with one worker they return their input."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def workers() -> int:
    """Return the number of processes that train together; 1 outside of a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this worker's rank among them, in [0, W)."""
    return dist.get_rank() if workers() > 1 else 0


def gather(rows: Tensor) -> Tensor:
    """Return all workers' rows [W * n, ...] by rank, without gradient; n is the same on all."""
    if workers() == 1:
        return rows
    gathered = rows.new_empty(workers() * len(rows), *rows.shape[1:])
    dist.all_gather_single(gathered, rows.contiguous())
    return gathered


def gather_with_gradient(rows: Tensor) -> Tensor:
    """Return all workers' rows [W * n, D] by rank; a row's gradient is the sum of what all workers send back to it."""
    if workers() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        return gather(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        mine = gradients[0].new_empty(ctx.rows, *gradients[0].shape[1:])
        dist.reduce_scatter_single(mine, gradients[0].contiguous())
        return mine


def average(values: Tensor) -> None:
    """Replace a tensor by its mean over the workers."""
    if workers() > 1:
        dist.all_reduce(values)
        values /= workers()
