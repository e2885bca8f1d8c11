"""Cached gradients: the gradient of a batch of any size in the memory of one chunk of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hybridtune.model.gather import workers
from hybridtune.model.loss import LossOutput
from hybridtune.model.packing import TokenRows


def backward(
    model: nn.Module,
    chunks: Sequence[TokenRows],
    loss_of: Callable[[Tensor], LossOutput],
    scope: Callable[[], AbstractContextManager[Any]] = nullcontext,
    factor: Tensor | None = None,
) -> LossOutput:
    """Leave the gradient of a loss over all texts in the parameters, encoding one chunk of them at a time.

    All chunks but the last are encoded without a graph; the loss is taken once, of all vectors; then its gradient
    is sent back through one chunk after the other, each encoded again with the dropout of its first time. So n
    chunks cost n - 1 forwards more than one, and one chunk is a plain step. The random state ends as if every
    chunk had been encoded once.

    Args:
        model: encodes a chunk of n texts into [n, D]; a ``DualEncoder``, its DDP wrapper, or FSDP2 shards.
        chunks: at least one, with at least one text each; workers may hold different numbers of them.
        loss_of: from the vectors [N, D] of all texts, in the order of the chunks. Called once.
        scope: opens a fresh context, such as autocast, for each run of the model.
        factor: scalar by which every gradient is multiplied; None: 1.

    Returns:
        What ``loss_of`` returned, the loss without its graph. DDP averages the gradients over the workers once, at the
        last chunk; FSDP2 at each, so that no worker holds the gradient of the whole model.

    Source: arXiv 2101.06983 (gradient cache).
    """
    device = next(model.parameters()).device
    idle = _rounds(model, len(chunks), device) - len(chunks)
    *early, final = [*[chunks[0]] * idle, *chunks]
    # The wrapper's own collectives wait for the first forward with a graph. That one comes before the loss's, for a
    # worker with one chunk and for one with several, so that all meet in the same collectives in the same order.
    bare = model.module if isinstance(model, DistributedDataParallel) else model
    first, states = [], []
    for chunk in early:
        states.append(_random_state(device))
        with torch.no_grad(), scope():
            first.append(bare(chunk))
    with _unsynced(model, bool(early)):
        with scope():
            last = model(final)  # its graph is kept: one forward saved
        vectors = torch.cat([*first[idle:], last.detach()]).requires_grad_()  # [N, D]
        output = loss_of(vectors)
        if output.loss.requires_grad:
            loss = output.loss if factor is None else output.loss * factor
            loss.backward()  # type: ignore[no-untyped-call]
        gradient = torch.zeros_like(vectors) if vectors.grad is None else vectors.grad  # [N, D]
        unused = [torch.zeros_like(part) for part in first[:idle]]
        sizes = [len(part) for part in (*first[idle:], last)]
        *gradients, of_last = [*unused, *torch.split(gradient, sizes)]
        _send_back(last, of_last)
    del last
    for number, (chunk, state, part) in enumerate(zip(early, states, gradients, strict=True), start=1):
        with _replayed(state, device), _unsynced(model, number < len(early)):
            with scope():
                again = model(chunk)
            _send_back(again, part)
    return replace(output, loss=output.loss.detach())


def _send_back(vectors: Tensor, gradient: Tensor) -> None:
    if vectors.requires_grad:  # false where everything below is frozen
        vectors.backward(gradient)  # type: ignore[no-untyped-call]


def _rounds(model: nn.Module, chunks: int, device: torch.device) -> int:
    """Return the runs of the model that each worker needs: FSDP2 gathers weights in each, so all need equally many."""
    if workers() == 1 or isinstance(model, DistributedDataParallel):
        return chunks
    from torch.distributed.fsdp import FSDPModule

    if not any(isinstance(module, FSDPModule) for module in model.modules()):
        return chunks
    most = torch.tensor(chunks, device=device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return int(most)


def _unsynced(model: nn.Module, more: bool) -> AbstractContextManager[None]:
    """Keep DDP from averaging while there are more chunks to come; forward and backward both belong inside."""
    return model.no_sync() if more and isinstance(model, DistributedDataParallel) else nullcontext()


def _random_state(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


@contextmanager
def _replayed(states: list[Tensor], device: torch.device) -> Iterator[None]:
    """Draw again what was drawn from these states on, and restore the random state at the end."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(states[0])
        for state in states[1:]:
            torch.cuda.set_rng_state(state, device)
        yield
