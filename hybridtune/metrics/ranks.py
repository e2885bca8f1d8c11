"""PURE. Exact ranks of the relevant passages by counting: one sweep over the pool, no sort, and no list of scores.

The rank of relevant passage r for query q is 1 + the number of passages that outrank it. Passages come in
any blocks, order and shards; partial counts add. The answer must not depend on how they came, and matrix
products do: the same pair differs in its last bits from one block shape, thread count or device to the next.
So a score has one definition, ``pair_scores``, and the product only has to come within a proven distance of
it: where that distance leaves open whether a passage outranks, the definition is evaluated.

The product is in float32, and only scores within its error of a relevant passage's own are open: one in some
hundreds. Where an encoder's scores crowd together many more are; such a block is scored in float64, which leaves
about one in a million open whatever the encoder.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hybridtune.metrics.arrays import Float32, Int64
from hybridtune.metrics.scores import (
    LOW_BITS,
    Slack,
    at_once,
    exact_scores,
    from_order,
    join_keys,
    keys_of,
    pair_scores,
    slack_of,
    to_order,
    tree_scores,
)
from hybridtune.metrics.ties import tie_order

BLOCK_ENTRIES = 2**21  # query x passage scores held at once: 8 MB of float32, six times that where float64 is needed
BLOCK_GROUPS = 64
GROUP = 64  # passages of one language that are counted together
PAIRS = 16  # relevant passages of a query that are compared at once
COMPARED = 2**18  # comparisons held at once: 1 MB, the size of a cache
MANY = 1 / 64  # share of open scores above which a block is scored in float64


class _Columns(NamedTuple):
    """A block of the pool: whole groups of GROUP passages of one language, filled up with empty ones.

    ``passages`` is float32 [p, D], ``apart`` the same less ``centre`` [D], ``empty`` float32 [p]: -inf of an empty one,
    else 0, ``order`` int64 [p].
    ``groups`` is int64 [g], the language of each group less ``first``, the first one of the block, which has
    ``languages`` of them.
    """

    passages: Tensor
    apart: Tensor
    centre: Tensor
    empty: Tensor
    order: Tensor
    groups: Tensor
    first: int
    languages: int


class _Near(NamedTuple):
    """Scores too near to a relevant passage's own: the (row, k, group) [n, 3] that have any, and their number."""

    groups: Tensor
    scores: Tensor


class RankCounter:
    """Counts how many passages of each language outrank each relevant (query, passage) pair.

    With passage r in language y, ``1 + counts[r, y]`` is its rank in the mono or cross pool y, and
    ``1 + counts[r].sum()`` its rank in the multi pool. Memory is O(R * L), whatever the pool.

    Args:
        query_index: int64 [R], not decreasing: the row of the pair's query in the ``queries`` of ``add``.
        scores: float32 [R] from ``pair_scores``.
        order: int64 [R], the pair's passage as its ``tie_order`` position in [0, 2**32).
        languages: L, the number of passage languages.
        thresholds: int64 [R, L], what the key of a passage of each language must be above to outrank the pair, as
            `standard.thresholds` gives them; None: the pair's own key.

    Attributes:
        counts: int64 [R, L].
        passages: int64 [L], passages added so far; after the last shard the sizes of the pools.

    Raises:
        ValueError: the three tensors disagree in length, or ``query_index`` decreases.

    Example: see `ranks`, which asks for neither scores nor orders.
    """

    def __init__(
        self,
        query_index: Tensor,
        scores: Tensor,
        order: Tensor,
        languages: int,
        thresholds: Tensor | None = None,
    ) -> None:
        if not query_index.shape == scores.shape == order.shape or query_index.dim() != 1:
            raise ValueError(
                f"query_index {tuple(query_index.shape)}, scores {tuple(scores.shape)} and order "
                f"{tuple(order.shape)} must be three vectors of one length"
            )
        if (query_index.diff() < 0).any():
            raise ValueError("query_index must not decrease; sort the relevant pairs by query")
        own = keys_of(scores.clone(), order)  # [R]
        keys = own[:, None].expand(-1, languages) if thresholds is None else thresholds  # [R, L]
        # One more pair, which nothing outranks, fills up the queries with fewer pairs than others of their block.
        nothing = join_keys(to_order(scores.new_full((1, languages), torch.inf)), 0)
        self._keys = torch.cat([keys, nothing])
        self._own_order = torch.cat([order, order.new_full((1,), -1)])
        self._counts = torch.zeros(len(scores) + 1, languages, dtype=torch.int64, device=scores.device)
        self.passages = torch.zeros(languages, dtype=torch.int64, device=scores.device)  # [L]
        rows, sizes = torch.unique_consecutive(query_index, return_counts=True)
        # Most relevant passages first: of any block, the queries with a k-th one are then the leading rows.
        self._sizes, by_size = sizes.sort(descending=True, stable=True)
        self._rows = rows[by_size]
        self._starts = (sizes.cumsum(0) - sizes)[by_size]

    @property
    def counts(self) -> Tensor:
        """Return what outranks each pair so far: int64 [R, L]."""
        return self._counts[:-1]

    def add(self, queries: Tensor, passages: Tensor, order: Tensor, language: Tensor) -> None:
        """Count one shard of passages; blocks inside keep the memory bounded.

        Args:
            queries: float32 [Q, D], all queries, the same at every call.
            passages: float32 [p, D], passages not added before, the relevant ones among them too.
            order: int64 [p], their ``tie_order`` positions in the whole pool.
            language: int64 [p], in [0, L).

        Raises:
            FitError: a vector is NaN or infinite.
            ValueError: ``order`` or ``language`` is out of range.
        """
        if len(passages) == 0:
            return
        if order.min() < 0 or order.max() >= LOW_BITS:
            raise ValueError("order must lie in [0, 2**32): positions from tie_order")
        if language.min() < 0 or language.max() >= len(self.passages):
            raise ValueError(f"language must lie in [0, {len(self.passages)})")
        self.passages += torch.bincount(language, minlength=len(self.passages))
        some = passages[:: -(-len(passages) // 1024)]
        centre = some.double().mean(0).float()  # any will do; the nearer it is to all, the fewer scores are open
        slack = slack_of(queries, passages, passages - centre)
        with torch.autocast(queries.device.type, enabled=False):
            for columns in _blocks(passages, centre, order, language):
                step = max(1, at_once(BLOCK_ENTRIES, queries) // len(columns.order))
                for first in range(0, len(self._rows), step):
                    if self._count(queries, slice(first, first + step), columns, slack):
                        slack = slack._replace(float32=torch.inf)

    def _count(self, queries: Tensor, part: slice, columns: _Columns, slack: Slack) -> bool:
        """Count a block of passages for some queries, PAIRS of their relevant passages at a time.

        Returns whether it was scored in float64. Where scores crowd together they do so in all blocks, and a float32
        product of the others would be for nothing.
        """
        block, sizes, starts = queries[self._rows[part]], self._sizes[part], self._starts[part]
        shift = block.double() @ columns.centre.double()  # [q]
        spread = slice(columns.first, columns.first + columns.languages)
        spoken = torch.nn.functional.one_hot(columns.groups, columns.languages).float()  # [g, l]
        trusted = slack.float32 < torch.inf
        scores = torch.addmm(columns.empty, block, columns.apart.T) if trusted else None  # [q, p]
        exact = None if trusted else _exact_keys(block, columns, slack)
        for first in range(0, int(sizes[0]), PAIRS):
            rows = int((sizes > first).sum())
            nth = torch.arange(first, min(first + PAIRS, int(sizes[0])), device=sizes.device)
            pairs = torch.where(nth < sizes[:rows, None], starts[:rows, None] + nth, len(self._own_order) - 1)  # [q, k]
            keys = self._keys[pairs, spread]  # [q, k, l]
            if scores is not None and exact is None:
                of_groups = (from_order(keys >> 32).double() - shift[:rows, None, None]).float()
                limit = of_groups.index_select(2, columns.groups)  # [q, k, g]
                # What is empty has a score of -inf, and outranks nothing.
                limits = limit + slack.float32, (limit - slack.float32).clamp(min=torch.finfo(limit.dtype).min)
                above, near = _above(scores[:rows], *limits)
                if near.scores <= MANY * scores.numel():
                    self._count_near(block, columns, scores, pairs, limits, near.groups)
                else:
                    exact = _exact_keys(block, columns, slack)
            if exact is not None:
                above = _above_exactly(exact[:rows], keys.index_select(2, columns.groups))
            # Whole numbers up to GROUP, whose products are exact in any precision.
            self._counts[pairs, spread] += torch.nn.functional.linear(above, spoken.T).long()
        return exact is not None

    def _count_near(
        self,
        queries: Tensor,
        columns: _Columns,
        scores: Tensor,
        pairs: Tensor,
        limits: tuple[Tensor, Tensor],
        groups: Tensor,
    ) -> None:
        """Count the scores between the limits by the definition; ``groups`` is [n, 3]: row, k, group."""
        grouped = scores.view(len(scores), -1, GROUP)
        for part in torch.split(groups, max(1, at_once(COMPARED, scores) // GROUP)):
            row, k, group = part.T
            near = grouped[row, group]  # [n, GROUP]
            high, low = (limit[row, k, group] for limit in limits)
            found, column = ((near >= low[:, None]) & (near <= high[:, None])).nonzero(as_tuple=True)
            passage, pair = group[found] * GROUP + column, pairs[row, k]
            other = columns.order[passage] != self._own_order[pair[found]]  # its own does not outrank a pair
            found, passage = found[other], passage[other]
            score = tree_scores(queries, columns.passages, row[found], passage)
            language = columns.first + columns.groups[group]
            outranks = keys_of(score, columns.order[passage]) > self._keys[pair[found], language[found]]
            counted = torch.bincount(found[outranks], minlength=len(part))
            self._counts.index_put_((pair, language), counted, accumulate=True)


def _blocks(passages: Tensor, centre: Tensor, order: Tensor, language: Tensor) -> Iterator[_Columns]:
    """Yield a shard by language, in whole groups."""
    sizes = language.bincount()
    groups = (sizes + GROUP - 1) // GROUP
    empty = groups * GROUP - sizes
    by_language = language.argsort(stable=True)
    place = torch.arange(len(language), device=language.device) + (empty.cumsum(0) - empty)[language[by_language]]
    rows = torch.full((int(groups.sum()) * GROUP,), -1, device=language.device)
    rows[place] = by_language
    codes = torch.repeat_interleave(groups)
    blocks = zip(torch.split(rows, BLOCK_GROUPS * GROUP), torch.split(codes, BLOCK_GROUPS), strict=True)
    for row, code in blocks:
        held = row.clamp(min=0)
        bias = torch.zeros(len(row), device=passages.device).masked_fill_(row < 0, -torch.inf)
        first, last = int(code[0]), int(code[-1])
        vectors = passages[held]
        of_groups = code - first, first, last - first + 1
        yield _Columns(vectors, vectors - centre, centre, bias, order[held], *of_groups)


def _exact_keys(queries: Tensor, columns: _Columns, slack: Slack) -> Tensor:
    """Return the keys of a block by the definition: int64 [q, p], the least ones where it is empty."""
    keys = keys_of(exact_scores(queries, columns.passages, slack), columns.order)
    return keys.masked_fill_(columns.empty < 0, torch.iinfo(keys.dtype).min)


def _above_exactly(keys: Tensor, limits: Tensor) -> Tensor:
    """Count the keys [q, p] of each group that are above limits [q, k, g]: float32 [q, k, g]."""
    grouped = keys.view(len(keys), -1, GROUP)
    found = torch.empty_like(grouped)  # numbers, as in `_above`
    every = (torch.gt(grouped, limit[..., None], out=found).sum(2) for limit in limits.unbind(1))
    return torch.stack(list(every), 1).float()


def _above(scores: Tensor, high: Tensor, low: Tensor) -> tuple[Tensor, _Near]:
    """Count the scores [q, p] of each group that are above ``high``, and find the others that are not below ``low``.

    The counts are float32 [q, k, g]. Of most groups even the greatest score is below; only the others are looked at.
    """
    shape, grouped = low.shape, scores.view(len(scores), -1, GROUP)
    at = (grouped.amax(2)[:, None] >= low).view(-1).nonzero()[:, 0]
    group = at // low[0].numel() * grouped.shape[1] + at % grouped.shape[1]
    high, low, grouped = high.view(-1)[at], low.view(-1)[at], grouped.view(-1, GROUP)
    sure, perhaps = torch.empty_like(high), torch.empty_like(high)
    step = max(1, at_once(COMPARED, scores) // GROUP)
    found = scores.new_empty(min(step, len(at)), GROUP)
    for first in range(0, len(at), step):
        part = slice(first, first + step)
        looked_at = grouped.index_select(0, group[part])
        into = found[: len(looked_at)]
        # Comparisons that give numbers, and sums of numbers, are many times as fast as those of booleans.
        torch.sum(torch.gt(looked_at, high[part, None], out=into), 1, out=sure[part])
        torch.sum(torch.ge(looked_at, low[part, None], out=into), 1, out=perhaps[part])
    above = scores.new_zeros(shape)
    above.view(-1)[at] = sure
    near = at[sure != perhaps]
    return above, _Near(torch.stack(torch.unravel_index(near, shape), 1), (perhaps - sure).sum())


class Ranks(NamedTuple):
    """Exact ranks of R relevant pairs, from 1: ``own`` among the passages of its language, ``multi`` among all."""

    own: Int64
    multi: Int64


def ranks(queries: Float32, passages: Float32, relevant: Any, ids: Sequence[str], languages: Sequence[str]) -> Ranks:
    """Return the exact ranks of relevant passages by vectors of one's own; ties go to the greater id, as in trec_eval.

    Args:
        queries: float32 [Q, D], unit length for the cosine.
        passages: float32 [P, D].
        relevant: [R, 2] pairs (row of the query, row of the passage), in any order.
        ids: of the P passages, each once.
        languages: of the P passages.

    Raises:
        InputError: an id occurs twice.
        FitError: a vector is NaN or infinite.

    Example:
        >>> queries, passages = np.eye(2, dtype=np.float32), np.eye(3, 2, dtype=np.float32)
        >>> ranks(queries, passages, [(0, 0), (1, 0)], ["p1", "p2", "p3"], ["en", "en", "de"])
        Ranks(own=array([1, 2]), multi=array([1, 3]))
    """
    pairs = np.asarray(relevant, np.int64).reshape(-1, 2)
    codes, language = np.unique(np.asarray(languages), return_inverse=True)
    order = np.argsort(pairs[:, 0], kind="stable")  # the counter asks for pairs by query
    query_index, passage_index = pairs[order].T
    tie, spoken = tie_order(ids), language.astype(np.int64)
    _, counts = outranking(queries, passages, query_index, passage_index, tie, spoken, len(codes))
    own, multi = np.empty(len(pairs), np.int64), np.empty(len(pairs), np.int64)
    own[order] = counts[np.arange(len(pairs)), language[passage_index]] + 1
    multi[order] = counts.sum(1) + 1
    return Ranks(own, multi)


def outranking(
    queries: Float32,
    passages: Float32,
    query_index: Int64,
    passage_index: Int64,
    order: Int64,
    language: Int64,
    languages: int,
    thresholds: Int64 | None = None,
) -> tuple[Float32, Int64]:
    """Score relevant pairs in memory, float32 [R], and count what outranks them, int64 [R, L].

    Args:
        queries: float32 [Q, D]. passages: float32 [P, D].
        query_index: int64 [R], not decreasing. passage_index: int64 [R].
        order: int64 [P], `tie_order`. language: int64 [P], in [0, L).
        languages: L. thresholds: see `RankCounter`.
    """
    query_vectors, pool = (torch.tensor(np.asarray(vectors, np.float32)) for vectors in (queries, passages))
    query, passage, ties, spoken = map(torch.tensor, (query_index, passage_index, order, language))
    scores = pair_scores(query_vectors, pool, query, passage)
    against = None if thresholds is None else torch.from_numpy(thresholds)
    counter = RankCounter(query, scores, ties[passage], languages, against)
    counter.add(query_vectors, pool, ties, spoken)
    return scores.numpy(), counter.counts.numpy()


def leave_out(
    counts: Tensor,
    query_index: Tensor,
    scores: Tensor,
    order: Tensor,
    language: Tensor,
    left: Tensor,
    thresholds: Tensor | None = None,
) -> Tensor:
    """Return counts as if some passages were no part of their query's ranking, exactly.

    The counter counts every passage for every query. One that is left out of a query's ranking is given to it as a pair
    of that query; where it outranks another pair of the query, it counts one there.

    Args:
        counts: int64 [R, L], ``RankCounter.counts`` after the last passage.
        query_index: int64 [R], not decreasing. scores: float32 [R]. order: int64 [R], of the pairs, as the counter had
            it.
        language: int64 [R], of each pair's passage, in [0, L).
        left: bool [R], the pairs whose passage is left out; at most one a query.
        thresholds: int64 [R, L], as the counter had them.
    """
    out = left.nonzero()[:, 0]
    if not len(out):
        return counts
    keys, counts = keys_of(scores.clone(), order), counts.clone()
    at = torch.searchsorted(query_index[out], query_index)  # [R] the pair that is left out of the same query's ranking
    at = out[at.clamp(max=len(out) - 1)]
    against = keys if thresholds is None else thresholds[torch.arange(len(keys)), language[at]]
    above = ((query_index[at] == query_index) & (keys[at] > against)).nonzero()[:, 0]
    counts[above, language[at[above]]] -= 1
    return counts
