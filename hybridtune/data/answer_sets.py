"""Answer sets: which groups answer each other's queries, found as the connected components of what they share."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hybridtune.metrics.arrays import Int32


def answer_sets(count: int, ones: Int32, others: Int32) -> Int32:
    """Join groups that edges connect, directly or through others.

    Args:
        count: G groups.
        ones: [E] one end of each edge, in [0, G).
        others: [E] the other end.

    Returns:
        [G] the smallest group of the set that each group belongs to.

    Example:
        >>> answer_sets(5, np.array([4, 2], np.int32), np.array([2, 1], np.int32)).tolist()
        [0, 1, 1, 3, 1]
    """
    if not count:
        return np.zeros(0, np.int32)
    edges = coo_array((np.ones(len(ones), bool), (ones, others)), shape=(count, count))
    _, components = connected_components(edges, directed=False)  # [G]
    _, smallest = np.unique(components, return_index=True)
    names: Int32 = smallest.astype(np.int32)[components]
    return names
