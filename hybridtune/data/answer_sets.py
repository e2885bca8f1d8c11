"""Answer sets: which groups answer each other's queries, found as the connected components of what they share."""

from collections.abc import Hashable, Iterable

import numpy as np

from hybridtune.metrics.arrays import Int32


def answer_sets(count: int, ones: Int32, others: Int32) -> Int32:
    """Join G groups that edges, [E] ones to [E] others, connect, directly or through others.

    Return [G] the smallest group of the set that each group belongs to.
    """
    from scipy.sparse import coo_array  # here, since the processes of a stream and of a trial need none of it
    from scipy.sparse.csgraph import connected_components

    if not count:
        return np.zeros(0, np.int32)
    edges = coo_array((np.ones(len(ones), bool), (ones, others)), shape=(count, count))
    _, components = connected_components(edges, directed=False)  # [G]
    _, smallest = np.unique(components, return_index=True)
    names: Int32 = smallest.astype(np.int32)[components]
    return names


def answer_sets_by_key(keys: Iterable[Iterable[Hashable]]) -> list[int]:
    """Join rows that share a key, directly or through others; return the first row of the set of each.

    Rows [a], [b, c], [d, a], [] give 0, 1, 0, 3.
    """
    rows = list(keys)
    first: dict[Hashable, int] = {}
    edges = [(first.setdefault(key, row), row) for row, held in enumerate(rows) for key in held]
    names: list[int] = answer_sets(len(rows), *np.array(edges, np.int32).reshape(-1, 2).T).tolist()
    return names
