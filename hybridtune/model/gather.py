"""Collectives over the workers of one training; with one worker they return their input."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Peers:
    """The workers that rank their queries against each other's texts: all of a training, or each one alone."""

    count: int  # W of them
    place: int  # of this worker, in [0, W)

    @classmethod
    def of(cls, gathered: bool) -> "Peers":
        """Return all workers, or this one alone."""
        return cls(workers(), rank()) if gathered else cls(1, 0)

    def gather(self, rows: Tensor) -> Tensor:
        """Return all peers' rows [W * n, ...] by place, without gradient; n is the same on all."""
        return _gather(rows) if self.count > 1 else rows

    def gather_with_gradient(self, rows: Tensor) -> Tensor:
        """Return all peers' rows [W * n, D] by place; a row's gradient is the sum of what all peers send back to it."""
        if self.count == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
        return gathered

    def own(self, rows: Tensor, columns: int) -> Tensor:
        """Return the columns [b] that answer this worker's rows [b, ...], of ``columns`` that all peers gathered."""
        first = self.place * (columns // self.count)
        return torch.arange(first, first + len(rows), device=rows.device)


def _gather(rows: Tensor) -> Tensor:
    gathered = rows.new_empty(workers() * len(rows), *rows.shape[1:])
    dist.all_gather_single(gathered, rows.contiguous())
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        return _gather(rows)

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
