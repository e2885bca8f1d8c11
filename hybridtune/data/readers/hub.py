"""Data sets of the Hugging Face hub by their names, through the package ``datasets`` and its cache."""

import re
from collections.abc import Iterator
from typing import Any

from hybridtune.data.readers.files import Source, kind_of
from hybridtune.data.readers.rows import check_schema, table_rows
from hybridtune.errors import InputError, one_line
from hybridtune.model.hub import why_unreachable

_NAME = re.compile(r"hf://datasets/(?P<name>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<configuration>[^/]+))?/?")


def is_hub_name(path: str) -> bool:
    """Return whether a path names a data set of the hub, or a configuration of one, and no file there."""
    return _NAME.fullmatch(path) is not None and "*" not in path and kind_of(path) is None


def hub_rows(source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    """Load a data set of the hub, or take it from the cache, and read the rows of its split; streamed from disk."""
    table = _load(source).data.table
    try:
        check_schema(table.schema)
    except ValueError as error:
        raise InputError(f"{source.name}: {error}") from None
    number = 0
    for batch in table.to_batches():
        yield from table_rows(source.name, batch, number)
        number += batch.num_rows


def _load(source: Source) -> Any:
    try:
        import datasets
    except ImportError:
        raise InputError(f"{source.name}: needs the package datasets: pip install 'hybridtune[datasets]'") from None
    _check_network(source)
    match = _NAME.fullmatch(source.path)
    assert match is not None
    split = source.layout.split or "train"
    try:
        return datasets.load_dataset(match["name"], match["configuration"], split=split, revision=match["revision"])
    except Exception as error:  # of the hub, of its client, of the network, of the data set
        cause = one_line(error)[:300]
        raise InputError(
            f"{source.name}: split {split!r} of the hub's data set cannot be loaded: {cause}; without a network it "
            f"must be in the cache of datasets; another split: split: NAME, a configuration: {source.name}/NAME"
        ) from None


def _check_network(source: Source) -> None:
    """Refuse a data set of a hub that cannot be reached, unless the cache alone is to be looked at."""
    import datasets

    why = None if datasets.config.HF_HUB_OFFLINE else why_unreachable()
    if why is not None:
        raise InputError(
            f"{source.name}: {why}; with HF_HUB_OFFLINE=1 in the environment the data set is taken from the cache of "
            "datasets"
        )
