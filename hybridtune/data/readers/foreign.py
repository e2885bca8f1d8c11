"""Formats of data that are known and not read: recognised by names and keys, so that an error can name them."""

import json
from collections.abc import Callable, Collection
from pathlib import PurePosixPath
from typing import Any

HEAD_BYTES = 65536  # of a file, that are looked at
SQUAD = "SQuAD's layout (data, paragraphs, qas)"
DATASETS = "a Hugging Face datasets folder (save_to_disk)"

_ROWS = (  # keys that a row has: it belongs to files that are read together
    ({"src_query", "tgt_results"}, "CLIRMatrix"),
    ({"id", "contents"}, "a corpus of Mr. TyDi or Pyserini (id, contents)"),
    ({"docid", "contents"}, "a corpus of Mr. TyDi or Pyserini (docid, contents)"),
    ({"query-id", "corpus-id"}, "the qrels of a BEIR benchmark"),
    ({"_id", "text"}, "the corpus or the queries of a BEIR benchmark"),
)


def foreign_row(row: Any) -> str | None:
    """Return the name of the format of a row; None if it is none of the known ones."""
    if not isinstance(row, dict) or "group_id" in row:
        return None
    if isinstance(row.get("data"), list):
        return SQUAD
    for keys, name in _ROWS:
        if keys <= row.keys():
            return name
    return None


def foreign_file(name: str, head: bytes) -> str | None:
    """Return the name of the format of a file, by its name and first bytes."""
    base = PurePosixPath(name).name
    if base.endswith(".jl"):
        return "CLIRMatrix"
    if base.endswith(".arrow") or base in ("state.json", "dataset_info.json", "dataset_dict.json"):
        return DATASETS
    if base.endswith(("collection.tsv", "collection.tsv.gz")):
        return "mMARCO or MS MARCO (collection, queries, qrels)"
    if b'"paragraphs"' in head:
        return SQUAD
    try:
        return foreign_row(json.loads(head.splitlines()[0]))
    except (ValueError, IndexError):
        return None


def foreign_folder(names: Collection[str], head: Callable[[str], bytes]) -> str | None:
    """Return the name of the format of a folder, by the paths in it and the first bytes of each."""
    tops = {PurePosixPath(name).parts[0] for name in names if name.endswith(".parquet") and "/" in name}
    if {"corpus", "queries"} <= tops:
        return "a BEIR benchmark in Parquet"
    for suffix in (".jl", ".arrow", "collection.tsv", "collection.tsv.gz", ".json", ".csv", ".tsv"):
        for name in sorted(names):
            if name.endswith(suffix):
                found = foreign_file(name, head(name) if suffix == ".json" else b"")
                if found is not None:
                    return found
    return None


def not_read(name: str) -> str:
    """Return the error of a format that is known and not read."""
    return (
        f"this is {name}, which is not read; convert it to one group a line, or a benchmark to BEIR's files: "
        "docs/data.md#data-in-other-formats has the code"
    )
