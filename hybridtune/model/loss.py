"""The losses of a step: InfoNCE over all passages or a worker's own, alignment to a teacher, a learned temperature.

Unit vectors of one worker's texts go in (`encoder`), a `LossOutput` comes out; `gradcache` sends its gradient back.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridtune.model.gather import Peers, average


class LearnedTemperature(nn.Module):
    """One parameter: the logarithm of the temperature over its start. It belongs to no DDP wrapper and has no decay.

    A step is: ``average_gradient()`` after the backward, the optimiser's update, then ``project()``. A bound inside
    ``value()`` would cut the gradient off for good once it is passed; projected after the update, a temperature at
    its bound comes back as soon as the gradient asks for it.

    The first step has the temperature ``start``, exactly; the bounds are ``low`` > 0 and ``high``.

    Raises:
        ValueError: start is outside [low, high], or low is not positive.
    """

    def __init__(self, start: float, low: float, high: float) -> None:
        super().__init__()
        if not 0 < low <= start <= high:
            raise ValueError(f"temperature {start} is outside [{low}, {high}]")
        self.start, self._bounds = start, (math.log(low / start), math.log(high / start))
        self.log_ratio = nn.Parameter(torch.zeros(()))

    def value(self) -> Tensor:
        """Return the temperature: a scalar with gradient."""
        return self.start * self.log_ratio.exp()

    def average_gradient(self) -> None:
        """Make the gradient the mean over the workers; nothing to do after a step that did not use it."""
        if self.log_ratio.grad is not None:
            average(self.log_ratio.grad)

    @torch.no_grad()
    def project(self) -> None:
        """Move the temperature to the nearest bound if an update carried it over."""
        self.log_ratio.clamp_(*self._bounds)


# A loss over rows: of the rows [b, D], the columns [C, D] of all peers, the column [b] that answers each row, the
# columns [b, C] that a row may not see (bool), and the temperature; the mean over the rows.
RowLoss = Callable[[Tensor, Tensor, Tensor, Tensor, float | Tensor], Tensor]

_EMPTY = -2  # answer set of a column that holds no text


@dataclass(frozen=True)
class Scored:
    """The scores of this worker's b rows, queries, over the C columns: the passages and negatives of all peers."""

    scores: Tensor  # [b, C] cosine over temperature, -inf where the row may not see the column
    own: Tensor  # [b] the column that answers each row
    texts: Tensor  # [C, D] unit vectors of the columns
    temperature: float | Tensor


Beside = tuple[float, Callable[[Scored], Tensor]]  # a weight, and a loss of the scores that is added by it


@dataclass(frozen=True)
class LossOutput:
    """The loss of one step, a scalar: the mean over this worker's rows; and two signs of its health.

    Attributes:
        loss: all that is minimised.
        accuracy: share of this worker's rows whose own answer scores highest of all columns, in [0, 1].
        spread: mean variance of the embedding dimensions over the batch, times D; near 0 is a collapsed encoder,
            1 the most that unit vectors can have.
        beside: the losses beside InfoNCE that ``loss`` holds, by name and before their weights, without gradient.
    """

    loss: Tensor
    accuracy: Tensor
    spread: Tensor
    beside: Mapping[str, Tensor] = field(default_factory=dict)


def info_nce(
    queries: Tensor,
    passages: Tensor,
    answer_sets: Tensor,
    temperature: float | Tensor,
    symmetric: bool = False,
    negatives: Tensor | None = None,
    negative_answer_sets: Tensor | None = None,
    matryoshka: Sequence[int] = (),
    near_duplicate: float | None = None,
    row_loss: RowLoss | None = None,
    beside: Mapping[str, Beside] | None = None,
    gathered: bool = True,
) -> LossOutput:
    """Take the contrastive loss of a batch: -log softmax of cos(q_i, p_j) / temperature at j = i.

    The columns are the passages and the hard negatives of all W workers. A column of the row's own answer set (a
    translation, the same text, or an answer to both) is a false negative and is masked. The mean over workers is the
    loss and gradient of one worker with all B rows; not ``gathered``, the mean of the losses of W batches of B / W
    rows. Computed in float32 (or in given float64) whatever autocast says.

    Args:
        queries: [b, D] unit vectors of this worker.
        passages: [b, D] unit vectors; row i answers query i.
        answer_sets: [b] integers, 0 or more; equal ones are no negatives of each other.
        temperature: divides the cosine; > 0. A scalar tensor gets a gradient.
        symmetric: also rank the queries of all workers for each passage, and average both directions.
        negatives: [k, D] unit vectors of hard negatives, columns for every row of every worker; k >= 0 may differ
            between workers.
        negative_answer_sets: [m], m >= k the same on all workers: the answer set that each negative's text answers,
            -1 for none; only the first k are read.
        matryoshka: widths in [1, D): the loss is averaged over the vectors cut to their first dimensions, made unit
            vectors again, and the full ones. Accuracy and spread are of the full width.
        near_duplicate: a column is masked too if the cosine of its text with the row's own passage is over this (of a
            query, the passage that answers it). None masks by answer set alone.
        row_loss: takes the place of the cross-entropy, for each direction and matryoshka width; see `RowLoss`.
        beside: losses that are added, by name, each with its weight: of the scores of the queries at the full width.
        gathered: false: the columns are this worker's alone, and no vector is sent.

    Raises:
        ValueError: fewer negative_answer_sets than negatives, or a width that does not cut.

    Example:
        >>> vectors = torch.eye(2)  # each query is its own passage
        >>> info_nce(vectors, vectors, torch.tensor([0, 1]), temperature=0.05).accuracy
        tensor(1.)

    Source: arXiv 1807.03748 (InfoNCE); negatives of the batch, arXiv 2004.04906; cosine and hybrid batches,
    arXiv 2408.10536; nested widths, arXiv 2205.13147, all with weight 1.
    """
    for width in matryoshka:
        if not 0 < width < queries.shape[1]:
            raise ValueError(f"matryoshka width {width} does not cut vectors of {queries.shape[1]} dimensions")
    with torch.autocast(queries.device.type, enabled=False):
        queries, passages = _full(queries), _full(passages)
        texts, text_answer_sets = _texts(passages, answer_sets, negatives, negative_answer_sets)  # [b + m, D], [b + m]
        peers = Peers.of(gathered)
        all_texts, all_queries = _gather_sides(peers, texts, queries if symmetric else queries[:0])  # [C, D], [., D]
        own = peers.own(queries, len(all_texts))  # [b]
        bias = _bias(passages, answer_sets, all_texts, peers.gather(text_answer_sets), own, near_duplicate)  # [b, C]
        directions = [(queries, all_texts, bias, own)]
        if symmetric:  # a query is masked as its passage is
            of_queries = bias.view(len(queries), peers.count, -1)[:, :, : len(queries)].flatten(1)  # [b, B]
            directions.append((passages, all_queries, of_queries, peers.own(queries, len(all_queries))))
        widths = (queries.shape[1], *matryoshka)
        losses, scored = _row_losses(directions, widths, temperature, row_loss)
        loss, more = torch.stack(losses).mean(), {}
        for name, (weight, loss_of) in (beside or {}).items():
            added = loss_of(scored)
            loss, more[name] = loss + weight * added, added.detach()
        return LossOutput(loss, _hits(scored.scores, scored.own), _spread(queries, passages), more)


def align(
    students_from: Tensor,
    students_to: Tensor,
    teachers: Tensor,
    project: Callable[[Tensor], Tensor] | None = None,
) -> LossOutput:
    """Draw a text and its translation to the vector that a frozen teacher gives the text: mean of 1 - cosine.

    OPTICAL distils between the tokens of the two texts, matched by optimal transport; a text has one vector here, so
    nothing is to be matched. Half the squared distance of unit vectors is 1 - cosine, so it is also the loss of arXiv
    2004.09813 on unit vectors.

    Args:
        students_from: [b, D] unit vectors of the texts in the teacher's language.
        students_to: [b, D] unit vectors of their translations.
        teachers: [b, D'] the teacher's unit vectors of the former; they get no gradient.
        project: maps the student's unit vectors [n, D] to unit vectors [n, D'] to be compared; None: D' is D.

    Returns:
        The loss is the mean over this worker's 2b vectors; accuracy the share of translations whose own teacher
        vector is the nearest among this worker's; spread that of the student's vectors.

    Raises:
        ValueError: teacher and student (mapped, if it is) differ in width.

    Source: arXiv 2301.12566 (OPTICAL: translations alone teach another language); arXiv 2004.09813 (teacher's
    vector of a sentence as target for it and its translation).
    """
    with torch.autocast(teachers.device.type, enabled=False):
        students_from, students_to, targets = _full(students_from), _full(students_to), _full(teachers.detach())
        students = torch.cat([students_from, students_to])  # [2b, D]
        compared = students if project is None else project(students)  # [2b, D']
        if compared.shape[1] != targets.shape[1]:
            fit = list(compared[: len(targets)].shape)
            raise ValueError(f"the teacher's vectors {list(targets.shape)} do not fit {fit}")
        loss = (1 - (compared * targets.repeat(2, 1)).sum(1)).mean()
        translations = compared.detach()[len(targets) :]
        accuracy = _hits(translations @ targets.T, torch.arange(len(targets), device=targets.device))
        return LossOutput(loss, accuracy, _spread(students_from, students_to))


def _row_losses(
    directions: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]],
    widths: Sequence[int],
    temperature: float | Tensor,
    row_loss: RowLoss | None,
) -> tuple[list[Tensor], Scored]:
    """Return the loss of each width and direction, and the first's scores.

    A direction is its rows [b, D], columns [C, D], bias [b, C], and the column [b] that answers each row.
    """
    losses: list[Tensor] = []
    for width, (rows, columns, bias, own) in itertools.product(widths, directions):
        narrow_rows, narrow_columns = _cut(rows, width), _cut(columns, width)
        scores = torch.addmm(bias, narrow_rows / temperature, narrow_columns.T)  # [b, C], -inf where masked
        if not losses:
            scored = Scored(scores, own, columns, temperature)
        if row_loss is None:
            losses.append(F.cross_entropy(scores, own))
        else:
            losses.append(row_loss(narrow_rows, narrow_columns, own, bias.isinf(), temperature))
    return losses, scored


def _full(vectors: Tensor) -> Tensor:
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))


def _cut(vectors: Tensor, width: int) -> Tensor:
    return vectors if width == vectors.shape[1] else F.normalize(vectors[:, :width], dim=1)


def _texts(
    passages: Tensor, answer_sets: Tensor, negatives: Tensor | None, negative_answer_sets: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return this worker's columns [b + m, D], their answer sets [b + m]: its passages, its negatives, empty slots."""
    if negatives is None:
        return passages, answer_sets
    if negative_answer_sets is None or len(negative_answer_sets) < len(negatives):
        raise ValueError("every negative needs an answer set")
    empty = len(negative_answer_sets) - len(negatives)  # the collectives need equal shapes: slots without a negative
    filled = torch.arange(len(negative_answer_sets), device=answer_sets.device) < len(negatives)
    text_answer_sets = torch.cat([answer_sets, negative_answer_sets.masked_fill(~filled, _EMPTY)])  # [b + m]
    return torch.cat([passages, F.pad(_full(negatives), (0, 0, 0, empty))]), text_answer_sets


def _gather_sides(peers: Peers, texts: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Return all peers' texts and queries, by place, in one collective."""
    both = torch.cat([texts, queries]) if len(queries) else texts
    gathered = peers.gather_with_gradient(both).view(peers.count, len(both), -1)
    return gathered[:, : len(texts)].flatten(0, 1), gathered[:, len(texts) :].flatten(0, 1)


@torch.no_grad()
def _bias(
    passages: Tensor,
    answer_sets: Tensor,
    all_texts: Tensor,
    all_answer_sets: Tensor,
    own: Tensor,
    near_duplicate: float | None,
) -> Tensor:
    """Return [b, C]: -inf where a row may not see a column, else 0."""
    masked = (answer_sets[:, None] == all_answer_sets) | (all_answer_sets == _EMPTY)  # [b, C]
    if near_duplicate is not None:
        masked |= passages @ all_texts.T > near_duplicate
    masked[torch.arange(len(own), device=own.device), own] = False
    return passages.new_zeros(masked.shape).masked_fill_(masked, float("-inf"))


@torch.no_grad()
def _hits(scores: Tensor, own: Tensor) -> Tensor:
    return (scores.argmax(1) == own).float().mean()


@torch.no_grad()
def _spread(one: Tensor, other: Tensor) -> Tensor:
    return torch.cat([one, other]).var(0, unbiased=False).sum()
