"""PURE. The unit of evidence: what is drawn, resampled and given a sign as a whole, topics or documents.

Questions of one document share their candidates, so they rise and fall together; counted one by one they pretend to be
more evidence than they are. `choose_unit` decides for all that resamples: `compare`, the seed check and the report.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Int64
from hybridtune.metrics.per_query import WRITE_ANEW, PerQuery

Unit = Literal["topic", "document"]
UNITS: tuple[Unit, ...] = ("topic", "document")
LEAST_DOCUMENTS = 20  # fewer are not taken unless that is wanted
FEW = 40  # fewer units of any kind: percentile intervals are known to run narrow


def choose_unit(files: Sequence[PerQuery], wanted: Unit | None = None) -> tuple[Unit, str]:
    """Return the unit of evidence of per-query values that are used together, and what to say about the choice.

    Args:
        files: per-query values on one benchmark, of one model or several.
        wanted: None: documents where all files have 20 or more of them, else topics.

    Returns:
        The unit, and a line for the reader; empty where there is nothing to say.

    Raises:
        InputError: documents are wanted of values that name none.
    """
    if wanted == "topic":
        return "topic", ""
    older = any(file.document is None for file in files)
    if older:
        reason = f"values written by an earlier version name no documents; {WRITE_ANEW}"
    else:
        counts = [len(np.unique(unit_numbers(file, "document"))) if _names_documents(file) else 0 for file in files]
        documents = min(counts, default=0)
        if documents >= (1 if wanted else LEAST_DOCUMENTS):
            return "document", ""
        reason = (
            f"the benchmark has {documents} documents, fewer than {LEAST_DOCUMENTS}; questions of one document share "
            "their candidates, so intervals run narrow and p small"
            if documents
            else "the benchmark names no documents"
        )
    if wanted == "document":
        raise InputError(f"the unit cannot be the document: {reason}" + ("" if older else "; take topics"))
    return "topic", f"by topic: {reason}" if older or documents else ""


def unit_numbers(values: PerQuery, unit: Unit) -> Int64:
    """Return the unit of each ranking, int64 [N] >= 0.

    Documents that share a topic are one unit, so that no draw parts the rankings of a topic. A query without a document
    is in that of its topic, which may be alone.
    """
    if unit == "topic" or values.document is None or not len(values.topic):
        return values.topic
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    topics, topic = np.unique(values.topic, return_inverse=True)
    coded = pa.array(values.document).dictionary_encode()
    document, named = coded.indices.to_numpy(), values.document != ""
    size = len(topics) + len(coded.dictionary)
    edges = topic[named], len(topics) + document[named]
    _, joined = connected_components(coo_array((np.ones(len(edges[0]), bool), edges), shape=(size, size)), False)
    numbers: Int64 = joined[topic].astype(np.int64)
    return numbers


def few_units(unit: Unit, count: int) -> str:
    """Return what to say where intervals rest on few units; empty where they are enough."""
    return f"{count} {unit}s are fewer than {FEW}: intervals run narrow" if count < FEW else ""


def _names_documents(values: PerQuery) -> bool:
    return values.document is not None and bool((values.document != "").any())
