"""PURE. The definition of a score, the order of scores and ties as keys, and products within a proven distance of it.

`pair_scores` defines a score; `slack_of` bounds how far matrix products of the same vectors are from it, for `ranks`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hybridtune.errors import FitError

PIECE_NUMBERS = 2**18  # terms of dot products held at once by the exact scores: 2 MB, the size of a cache
_CUDA_TIMES = 32  # as much of each at once on a GPU, so that few blocks wait for the host
LOW_BITS = 2**32  # of a key: the tie order


class Slack(NamedTuple):
    """The greatest distance between a score and its product in ``float32`` (infinite: not known) and in ``float64``."""

    float32: float
    float64: float


def pair_scores(queries: Tensor, passages: Tensor, query_index: Tensor, passage_index: Tensor) -> Tensor:
    """Score N pairs by the one definition: float32 of the float64 dot product, added in a fixed tree.

    The product of two float32 is exact in float64, and every addition of the tree is an elementwise IEEE
    one, so a pair has the same bits on every CPU and GPU, in every batch, at every thread count.

    Args:
        queries: float32 [Q, D], unit length for cosine. passages: float32 [P, D].
        query_index: int64 [N]. passage_index: int64 [N].

    Returns:
        float32 [N].

    Raises:
        FitError: a vector is NaN or infinite; comparisons with it would all be false, its ranks perfect.
    """
    largest_norm(queries)
    largest_norm(passages)
    return tree_scores(queries, passages, query_index, passage_index)


def exact_scores(queries: Tensor, passages: Tensor, slack: Slack) -> Tensor:
    """Return the ``pair_scores`` of queries [q, D] and passages [p, D] by a product: float32 [q, p]."""
    scores = queries.double() @ passages.double().T
    rounded = (scores + slack.float64).float()
    unsure = (rounded != scores.sub_(slack.float64).float()).nonzero(as_tuple=True)
    rounded[unsure] = tree_scores(queries, passages, *unsure)
    return rounded


def slack_of(queries: Tensor, passages: Tensor, apart: Tensor) -> Slack:
    """Bound the distance of products of a shard from ``pair_scores``; ``apart`` are its passages less their centre.

    A sum of D products in any order is within D * u * |q||p| of the true value, with u = 2**-24 in float32 and 2**-53
    in float64, the tree within log2(D) * 2**-53 * |q||p|. In float32 the product is that of ``apart``, whose
    vectors are the shorter the more the scores crowd together, and the centre's is added in float64.
    """
    dim, query, passage = queries.shape[1], largest_norm(queries), largest_norm(passages)
    # Also covers the rounding of this bound and of what adds it.
    float64 = dim * 2.0**-51 * query * passage
    backend = torch.backends.cuda if queries.is_cuda else torch.backends.mkldnn
    whole = backend.matmul.fp32_precision in ("none", "ieee")  # neither TF32 nor bf16
    if not whole or query * passage > 2.0**100:
        return Slack(torch.inf, float64)
    # Also covers the rounding of what is apart, of the limits and of the score, and numbers too small for float32.
    product, rounding = 1.01 * (dim + 8) * 2.0**-24 * query * largest_norm(apart), 2.0**-23 * query * passage
    return Slack(product + rounding + float64 + dim * 2.0**-124 * (query + passage + 1), float64)


def at_once(numbers: int, tensor: Tensor) -> int:
    """Return how many numbers to hold at once where a tensor is, by that of a CPU."""
    return numbers * _CUDA_TIMES if tensor.is_cuda else numbers


def keys_of(scores: Tensor, order: Tensor) -> Tensor:
    """Return one int64 per entry, greater exactly where trec_eval ranks higher; a passage never outranks itself.

    Overwrites ``scores``.
    """
    return join_keys(to_order(scores.add_(0.0)), order)


def to_order(scores: Tensor) -> Tensor:
    """Return the place of each float32, none of them -0.0, among all of them: int64 in [-2**31, 2**31).

    They are the float32's own bits, which order like integers once those of negatives are flipped.
    """
    bits = scores.view(torch.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()


def from_order(places: Tensor) -> Tensor:
    """Return the float32 of each place that `to_order` gives."""
    bits = places.int()
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)


def join_keys(places: Tensor, order: Tensor | int) -> Tensor:
    """Return keys of places of `to_order`, high 32 bits, and tie orders, low ones, reversed; overwrites ``places``.

    What is above the key of order 0 has a greater score.
    """
    return places.mul_(LOW_BITS).add_(LOW_BITS - 1 - order)


def tree_scores(queries: Tensor, passages: Tensor, query_index: Tensor, passage_index: Tensor) -> Tensor:
    """Return ``pair_scores`` without its check, in pieces of bounded memory."""
    scores = torch.empty(len(query_index), dtype=torch.float32, device=queries.device)
    step = max(1, at_once(PIECE_NUMBERS, queries) // queries.shape[1])
    for first in range(0, len(scores), step):
        part = slice(first, first + step)
        terms = queries[query_index[part]].double() * passages[passage_index[part]].double()  # [n, D]
        scores[part] = tree_sum(terms).float()
    return scores


def tree_sum(terms: Tensor) -> Tensor:
    """Return the sums of float64 rows [n, D], added in a fixed tree: the same bits everywhere. Overwrites ``terms``."""
    while (width := terms.shape[1]) > 1:
        half = width // 2
        terms[:, :half] += terms[:, width - half :]
        terms = terms[:, : width - half]
    return terms[:, 0]


def largest_norm(vectors: Tensor) -> float:
    """Return the length of the longest vector, checked to be finite."""
    if vectors.numel() == 0:
        return 0.0
    # Squares of float64, of some vectors at a time: several times as fast as the norm that torch has.
    parts = torch.split(vectors, max(1, at_once(PIECE_NUMBERS, vectors) // vectors.shape[1]))
    largest = torch.stack([part.double().square_().sum(1).max() for part in parts]).max().sqrt().item()
    if not largest < float("inf"):  # also true of NaN
        raise FitError(
            f"an embedding is not finite (largest length {largest}); the encoder's weights have diverged: "
            "lower the learning rate or raise the temperature"
        )
    return float(largest)
