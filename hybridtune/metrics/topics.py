"""PURE. Topics: queries that have the same relevant passages, as the translations of one question do."""

import numpy as np

from hybridtune.metrics.arrays import Int64


def topic_numbers(query_index: Int64, passage_index: Int64, queries: int) -> Int64:
    """Number the topics: queries that have exactly the same relevant passages share one.

    Translations of one question do: they are one draw from the questions that could have been asked, not several.

    Args:
        query_index: int64 [R], in [0, Q), any order. passage_index: int64 [R], the relevant passages alone.
        queries: Q.

    Returns:
        int64 [Q], numbered from 0 in the order of the queries. A query without a relevant passage is alone in its
        topic.
    """
    width = int(passage_index.max(initial=0)) + 1
    query, found = np.divmod(np.unique(query_index * width + passage_index), width)  # a repeated pair counts once
    ends = np.searchsorted(query, np.arange(queries + 1)).tolist()
    seen: dict[bytes | int, int] = {}
    topics = np.empty(queries, np.int64)
    for row in range(queries):
        topics[row] = seen.setdefault(found[ends[row] : ends[row + 1]].tobytes() or row, len(seen))
    return topics
