"""InfoNCE with in-batch negatives gathered from all workers, and false negatives masked."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

_EMPTY = -2  # cluster of a column that holds no text


@dataclass(frozen=True)
class LossOutput:
    """What one step's loss tells.

    Attributes:
        loss: scalar; the mean over this worker's rows.
        accuracy: share of this worker's queries whose own passage scores highest of all columns, in [0, 1].
        spread: mean variance of the embedding dimensions over the batch, times D; near 0 is a collapsed encoder,
            1 the most that unit vectors can have.
    """

    loss: Tensor
    accuracy: Tensor
    spread: Tensor


def info_nce(
    queries: Tensor,
    passages: Tensor,
    clusters: Tensor,
    temperature: float,
    symmetric: bool = False,
    negatives: Tensor | None = None,
    negative_clusters: Tensor | None = None,
) -> LossOutput:
    """Contrastive loss of a batch: -log softmax of cos(q_i, p_j) / temperature at j = i.

    The columns are the passages and the hard negatives of all W workers. A column of the row's own cluster (a
    translation, the same text, or an answer to both) is a false negative and is masked. Averaging over workers, as
    DDP does with gradients, gives the loss and gradient of one worker with all B rows.

    Args:
        queries: [b, D] unit vectors of this worker.
        passages: [b, D] unit vectors; row i answers query i.
        clusters: [b] integers, 0 or more; equal ones are no negatives of each other.
        temperature: divides the cosine; > 0.
        symmetric: also rank the queries of all workers for each passage, and average both directions.
        negatives: [k, D] unit vectors of hard negatives, columns for every row of every worker; k >= 0 may differ
            between workers.
        negative_clusters: [m], m >= k the same on all workers: the cluster that each negative's text answers, -1 for
            none; what stands behind the first k is not read.

    Raises:
        ValueError: fewer negative_clusters than negatives.

    Source: arXiv 1807.03748 (InfoNCE); in-batch negatives, and hard negatives shared by the batch, of
    arXiv 2004.04906; cosine and hybrid batches of arXiv 2408.10536.
    """
    columns, column_clusters = passages, clusters
    if negatives is not None:
        if negative_clusters is None or len(negative_clusters) < len(negatives):
            raise ValueError("every negative needs a cluster")
        empty = len(negative_clusters) - len(negatives)  # the collectives need equal shapes: slots without a negative
        columns = torch.cat([passages, F.pad(negatives, (0, 0, 0, empty))])  # [b + m, D]
        held = torch.arange(len(negative_clusters), device=clusters.device) < len(negatives)
        column_clusters = torch.cat([clusters, negative_clusters.masked_fill(~held, _EMPTY)])  # [b + m]
    scores, own = _scores(queries, clusters, columns, column_clusters, temperature)
    loss = F.cross_entropy(scores, own)
    if symmetric:
        loss = (loss + F.cross_entropy(*_scores(passages, clusters, queries, clusters, temperature))) / 2
    with torch.no_grad():
        accuracy = (scores.argmax(1) == own).float().mean()
        spread = torch.cat([queries, passages]).float().var(0, unbiased=False).sum()
    return LossOutput(loss, accuracy, spread)


def _scores(
    rows: Tensor, clusters: Tensor, columns: Tensor, column_clusters: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Scores [b, W * columns] of a worker's rows, -inf where masked, and [b] the column that answers each row.

    Row i's answer is column i of the same worker, so each worker has at least as many columns as rows.
    """
    b = len(rows)
    first = dist.get_rank() * len(columns) if _distributed() else 0
    own = torch.arange(first, first + b, device=rows.device)  # [b]
    all_columns, all_clusters = _gather(columns), _gather_plain(column_clusters)  # [C, D], [C]
    masked = (clusters[:, None] == all_clusters[None, :]) | (all_clusters == _EMPTY)  # [b, C]
    masked[torch.arange(b, device=own.device), own] = False
    return (rows @ all_columns.T / temperature).masked_fill(masked, float("-inf")), own  # [b, C], [b]


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
