"""PURE. The order of passages of equal scores; apart from `ranks`, so that reading a benchmark needs no torch."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Int64


def tie_order(ids: Sequence[str]) -> Int64:
    """Return the position of each passage id in descending string order; of equal scores the smaller position wins.

    Args:
        ids: the P ids of the whole pool (all languages, all shards), each once.

    Returns:
        int64 [P], a permutation of 0..P-1.

    Raises:
        InputError: an id occurs twice; the order of its two passages would be open.

    Source: trec_eval ``form_res_rels.c`` sorts by score, then document id, both descending; Python's order of
    str (code points) is that of strcmp on UTF-8.
    """
    descending = sorted(range(len(ids)), key=ids.__getitem__, reverse=True)
    for before, after in pairwise(descending):
        if ids[before] == ids[after]:
            raise InputError(f"passage id {ids[after]!r} occurs twice in the pool; ids must be unique")
    order = np.empty(len(ids), np.int64)
    order[descending] = np.arange(len(ids))
    return order
