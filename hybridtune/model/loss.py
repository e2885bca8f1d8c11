"""InfoNCE with in-batch negatives gathered from all workers, and false negatives masked."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LossOutput:
    """What one step's loss tells.

    Attributes:
        loss: scalar; the mean over this worker's rows.
        accuracy: share of this worker's queries whose own passage scores highest, in [0, 1].
        spread: mean variance of the embedding dimensions over the batch, times D; near 0 is a collapsed encoder,
            1 the most that unit vectors can have.
    """

    loss: Tensor
    accuracy: Tensor
    spread: Tensor


def info_nce(
    queries: Tensor, passages: Tensor, clusters: Tensor, temperature: float, symmetric: bool = False
) -> LossOutput:
    """Contrastive loss of a batch: -log softmax of cos(q_i, p_j) / temperature at j = i.

    The columns are the passages of all W workers. A column of the row's own cluster (a translation, the same text,
    or an answer to both) is a false negative and is masked. Averaging over workers, as DDP does with gradients,
    gives the loss and gradient of one worker with all B rows.

    Args:
        queries: [b, D] unit vectors of this worker.
        passages: [b, D] unit vectors; row i answers query i.
        clusters: [b] integers; equal ones are no negatives of each other.
        temperature: divides the cosine; > 0.
        symmetric: also rank the queries of all workers for each passage, and average both directions.

    Source: arXiv 1807.03748 (InfoNCE); in-batch negatives of arXiv 2004.04906; cosine and hybrid batches of
    arXiv 2408.10536.
    """
    b = len(queries)
    first = dist.get_rank() * b if _distributed() else 0
    own = torch.arange(first, first + b, device=queries.device)  # [b] column of the row's own passage
    all_passages, all_clusters = _gather(passages), _gather_plain(clusters)  # [B, D], [B]
    false_negative = clusters[:, None] == all_clusters[None, :]  # [b, B]
    false_negative[torch.arange(b, device=own.device), own] = False
    scores = (queries @ all_passages.T / temperature).masked_fill(false_negative, float("-inf"))  # [b, B]
    loss = F.cross_entropy(scores, own)
    if symmetric:
        backward = (passages @ _gather(queries).T / temperature).masked_fill(false_negative, float("-inf"))  # [b, B]
        loss = (loss + F.cross_entropy(backward, own)) / 2
    with torch.no_grad():
        accuracy = (scores.argmax(1) == own).float().mean()
        spread = torch.cat([queries, passages]).float().var(0, unbiased=False).sum()
    return LossOutput(loss, accuracy, spread)


class _GatherWithGradient(torch.autograd.Function):
    """All workers' rows, stacked by rank; the gradient of a row is the sum of what every worker sends back."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        return _gather_plain(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        first = dist.get_rank() * ctx.rows
        return total[first : first + ctx.rows]


def _gather(rows: Tensor) -> Tensor:
    if not _distributed():
        return rows
    gathered: Tensor = _GatherWithGradient.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


def _gather_plain(rows: Tensor) -> Tensor:
    if not _distributed():
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
