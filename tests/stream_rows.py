"""The operators of the stream one after the other, without Ray."""

import pyarrow as pa

from hybridtune.data.stream import GatherTokens, PlanBatches


def stream_rows(plan, store, start, stop, rows, negatives):
    """The rows of the pipeline for steps [start, stop): tables of one row each."""
    planned = PlanBatches(plan.without_corpus(), str(store.path), rows, negatives)
    return [*map(GatherTokens(str(store.path)), planned(pa.table({"start": [start], "stop": [stop]})))]
