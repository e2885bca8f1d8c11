"""PURE. Top-k lists of passages by their place on disk: the order of trec_eval, merging, and the ids on demand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from hybridtune.evaluate.blocks import Block
from hybridtune.evaluate.ranks import tie_order

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TopK:
    """The k best passages of each query: score descending, then passage id descending (code points).

    Attributes:
        scores: float32 [Q, k] from ``pair_scores``; -inf beyond the pool's size.
        blocks: int32 [Q, k], place of the passage's block in the blocks searched; -1 beyond the pool's size.
        rows: int32 [Q, k], its row in the block; -1 beyond the pool's size.

    Source: trec_eval ``form_res_rels.c`` sorts by score, then document id, both descending.
    """

    scores: npt.NDArray[np.float32]
    blocks: Int32
    rows: Int32

    @classmethod
    def empty(cls, queries: int, k: int) -> "TopK":
        """Lists [queries, k] without a passage."""
        none = np.full((queries, k), -1, np.int32)
        return cls(np.full((queries, k), -np.inf, np.float32), none, none.copy())

    def part(self, rows: Any) -> "TopK":
        """The lists of some queries, by any numpy index."""
        return TopK(self.scores[rows], self.blocks[rows], self.rows[rows])

    def put(self, rows: Any, lists: "TopK") -> None:
        """Overwrite the lists of some queries."""
        self.scores[rows], self.blocks[rows], self.rows[rows] = lists.scores, lists.blocks, lists.rows

    def ids(self, blocks: Sequence[Block]) -> list[list[str]]:
        """Passage ids, best first; a query has fewer than k where the pool has.

        Args:
            blocks: those that were searched.
        """
        filled = self.blocks >= 0
        keys, inverse = np.unique(_keys(self.blocks[filled], self.rows[filled]), return_inverse=True)
        names = np.array(_ids(blocks, keys), object)[inverse]
        return [part.tolist() for part in np.split(names, filled.sum(1).cumsum()[:-1])][: len(filled)]

    def numbers(self, blocks: Sequence[Block], number: Mapping[str, int]) -> Int64:
        """The caller's own numbers of the passages, -1 beyond the pool's size.

        Args:
            blocks: those that were searched.
            number: of every passage id of the pool.

        Returns:
            int64 [Q, k].
        """
        filled = self.blocks >= 0
        keys, inverse = np.unique(_keys(self.blocks[filled], self.rows[filled]), return_inverse=True)
        numbers = np.full(filled.shape, -1, np.int64)
        numbers[filled] = np.array([number[name] for name in _ids(blocks, keys)], np.int64)[inverse]
        return numbers


def moved(lists: TopK, first: int) -> TopK:
    """Lists of a shard as lists of the pool, where the shard's blocks begin at ``first``."""
    return TopK(lists.scores, np.where(lists.blocks < 0, -1, lists.blocks + np.int32(first)), lists.rows)


def merged(one: TopK, other: TopK, blocks: Sequence[Block]) -> TopK:
    """The k best of two lists of each query, [Q, k] both."""
    return ranked(beside(one, other), one.scores.shape[1], blocks)


def located(scores: npt.NDArray[np.float32], labels: Int64, starts: Int64) -> TopK:
    """Labels as block and row; in no order yet."""
    blocks = np.searchsorted(starts, labels, side="right") - 1  # -1 stays -1
    rows = np.where(labels < 0, -1, labels - starts[blocks])
    return TopK(scores, blocks.astype(np.int32), rows.astype(np.int32))


def ranked(lists: TopK, k: int, blocks: Sequence[Block]) -> TopK:
    """The k best of [Q, c] candidates, in order; ids are read only where scores tie."""
    missing = max(0, k - lists.scores.shape[1])
    if missing:
        lists = beside(lists, TopK.empty(len(lists.scores), missing))
    order = np.argsort(-lists.scores, axis=1, kind="stable")  # [Q, c]
    descending = np.take_along_axis(lists.scores, order, 1)
    tied = (descending[:, 1:] == descending[:, :-1]) & (descending[:, 1:] > -np.inf)
    rows = np.flatnonzero(tied[:, :k].any(1))  # beyond place k the order is of no interest
    if len(rows):
        open_places = np.pad(tied[rows], ((0, 0), (1, 0))) | np.pad(tied[rows], ((0, 0), (0, 1)))
        where = rows[np.nonzero(open_places)[0]], order[rows][open_places]
        keys, inverse = np.unique(_keys(lists.blocks[where], lists.rows[where]), return_inverse=True)
        by_id = np.zeros(lists.scores.shape, np.int64)
        by_id[where] = tie_order(_ids(blocks, keys)).numpy()[inverse]
        order[rows] = np.lexsort((by_id[rows], -lists.scores[rows]), axis=1)
    return lists.part((np.arange(len(order))[:, None], order[:, :k]))


def beside(one: TopK, other: TopK) -> TopK:
    """The lists of each query side by side, [Q, c] and [Q, d] to [Q, c + d]; in no order."""
    return TopK(*(np.concatenate([vars(one)[name], vars(other)[name]], axis=1) for name in vars(one)))


def _keys(blocks: Int32, rows: Int32) -> Int64:
    keys: Int64 = blocks.astype(np.int64) << 32 | rows
    return keys


def _ids(blocks: Sequence[Block], keys: Int64) -> list[str]:
    """Passage ids at ascending keys: each block is read once."""
    places, rows = keys >> 32, keys & 0xFFFFFFFF
    edges = np.flatnonzero(np.diff(places, prepend=-1, append=len(blocks)))
    names: list[str] = []
    for first, last in pairwise(edges.tolist()):
        ids = blocks[places[first]].read()[1]
        names.extend(ids[row] for row in rows[first:last].tolist())
    return names
