"""Losses on the scores of a batch beside InfoNCE: those of a teacher or of the data are learnt, or of a second query.

`loss` gives a worker's `Scored` rows to these; all are means over the rows, so that their mean over the workers is the
loss of one worker with all rows.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hybridtune.model.gather import Peers
from hybridtune.model.loss import Scored

Kind = Literal["kl", "margin_mse"]


def distil(kind: Kind, scored: Scored, targets: Tensor, known: Tensor) -> Tensor:
    """Draw the scores of the rows to given ones, of a teacher or the data; columns that a row may not see are left out.

    ``kl`` is the divergence of the student's softmax over the columns from the given one (natural logarithm),
    ``margin_mse`` the mean over the columns of the squared difference of the two margins between the row's own answer
    and the column.

    Args:
        kind: of the loss.
        scored: the student's.
        targets: [b, C] the given scores, up to a number that is added to a row; they get no gradient.
        known: [b, C] bool, which of them there are. A row whose own answer has none, or nothing else, adds 0.

    Returns:
        Scalar: the mean over all rows of this worker.

    Source: MarginMSE, arXiv 2010.02666, by what neighbouring tools make of it; KL of softmaxes as in FlagEmbedding.
    """
    rows = torch.arange(len(scored.own), device=scored.own.device)
    hidden = scored.scores.isinf() | ~known | ~known[rows, scored.own][:, None]  # [b, C]
    hidden[rows, scored.own] = False
    if kind == "kl":
        return divergence(targets.detach(), scored.scores, hidden).mean()
    others = ~hidden
    others[rows, scored.own] = False
    ours, theirs = (own - every for own, every in ((s[rows, scored.own][:, None], s) for s in (scored.scores, targets)))
    errors = (ours - theirs.detach()).masked_fill(~others, 0.0).square()  # [b, C]
    return (errors.sum(1) / others.sum(1).clamp(min=1)).mean()


def consistency(scored: Scored, queries: Tensor, rows: Tensor) -> Tensor:
    """Draw the scores of a query in two languages together: half the sum of both divergences of their softmaxes.

    Args:
        scored: of the first queries; both see the same columns.
        queries: [s, D] unit vectors of the second queries.
        rows: [s] the row of each.

    Returns:
        Scalar: the sum over the second queries by the number b of rows; a query that is asked once adds 0.

    Source: the language consistency of PLAID-X, between single vectors and over the columns of the batch.
    """
    firsts = scored.scores[rows]  # [s, C]
    hidden = firsts.isinf()
    seconds = (queries.to(scored.texts.dtype) / scored.temperature) @ scored.texts.T  # [s, C]
    both = divergence(firsts, seconds, hidden) + divergence(seconds, firsts, hidden)  # [s]
    return both.sum() / (2 * len(scored.own))


def divergence(targets: Tensor, scores: Tensor, hidden: Tensor) -> Tensor:
    """Return the divergence KL(p || q) [b] of q = softmax(scores) from p = softmax(targets), of [b, C] each.

    Both are taken over the columns that are not ``hidden``; every row has one at least.
    """
    p, q = (values.masked_fill(hidden, -torch.inf).log_softmax(1) for values in (targets, scores))
    return (p.exp() * (p - q).masked_fill(hidden, 0.0)).sum(1)


def teacher_scores(
    taught: Tensor, pairs: int, slots: int, temperature: float, gathered: bool = True
) -> tuple[Tensor, Tensor]:
    """Return the scores that a teacher gives the rows, and which of them it can give: [b, C] each.

    The columns are those of `info_nce`. Of all workers' texts, if ``gathered``, all must call it.

    Args:
        taught: [2b + k, D'] the teacher's unit vectors of queries, passages and hard negatives; zeros of a text that
            it does not read.
        pairs: b.
        slots: m >= k, room for hard negatives, the same on all workers.
        temperature: divides the cosine.
        gathered: as of `info_nce`.
    """
    queries, texts = taught[:pairs], taught[pairs:]
    columns = Peers.of(gathered).gather(F.pad(texts, (0, 0, 0, pairs + slots - len(texts))))  # [C, D']
    known = queries.any(1)[:, None] & columns.any(1)
    return queries @ columns.T / temperature, known


def scores_of_margins(margins: Tensor, rows: Tensor, pairs: int, gathered: bool = True) -> tuple[Tensor, Tensor]:
    """Return the scores that the data give the rows, 0 for their own answers, and which of them there are: [b, C] each.

    The columns are those of `info_nce`: of each worker its passages, then room for its hard negatives. A row has scores
    of its own passage and of its own hard negatives, of all other columns none.

    Args:
        margins: [m] how much higher the data score a row's passage than a hard negative of it; NaN for none.
        rows: [m] the row of each, in [0, b).
        pairs: b.
        gathered: as of `info_nce`.
    """
    peers, width = Peers.of(gathered), pairs + len(margins)
    targets = margins.new_zeros(pairs, peers.count * width)  # [b, C]
    known = torch.zeros_like(targets, dtype=torch.bool)
    each = torch.arange(width, device=margins.device)
    columns = peers.place * width + each[pairs:]  # [m]
    known[each[:pairs], peers.place * width + each[:pairs]] = True
    known[rows.long(), columns] = ~margins.isnan()
    targets[rows.long(), columns] = -margins.nan_to_num()
    return targets, known
