"""Training data of any format: where it is, and the groups that it holds. Everything that reads groups begins here."""

import os.path
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hybridtune.config.fields import DataSet
from hybridtune.data.readers.files import (
    Layout,
    Source,
    call_reader,
    embedded_part,
    expand,
    nothing_at,
    read_rows,
    reader_rows,
)
from hybridtune.data.readers.foreign import foreign_row, not_read
from hybridtune.data.readers.native import Group, parse_group
from hybridtune.errors import InputError


def find_sources(data_sets: Sequence[str | DataSet]) -> list[Source]:
    """Find the files of data sets, of which each has a path, folder or glob, in a fixed order (as given, then by name).

    A path that the user's own reader takes stays as it is; one that matches no file, or a file of an unknown kind, is
    refused.
    """
    sources: list[Source] = []
    for number, entry in enumerate(data_sets):
        data_set = DataSet(path=entry) if isinstance(entry, str) else entry
        path = os.path.expanduser(data_set.path)  # noqa: PTH111 - Path.expanduser has a traceback for ~nobody
        if data_set.reader is not None:
            sources.append(Source(path, path, None, number, data_set.reader))
            continue
        layout = Layout(data_set.format, tuple(data_set.columns.items()), data_set.language, data_set.split)
        found = [source._replace(data_set=number, layout=layout) for source in expand(path)]
        if not found:
            raise InputError(f"{path}: {nothing_at(path)}")
        sources.extend(found)
    return sources


def read_groups(source: Source) -> Iterator[Group]:
    """Read and check the groups of one file, streamed; errors name the file and the line (or row)."""
    return (group for _, group in located_groups(source))


def located_groups(source: Source) -> Iterator[tuple[str, Group]]:
    """Read groups as `read_groups` does, each with the ``file:line`` of its row."""
    for row, (where, value) in enumerate(group_rows(source)):
        foreign = foreign_row(value) if row == 0 else None
        if foreign is not None:
            raise InputError(f"{where}: {not_read(foreign)}")
        yield where, parse_group(value, where)


def group_rows(source: Source) -> Iterator[tuple[str, Any]]:
    """Read the rows of one file as they are, unchecked, each with its ``file:line``; streamed."""
    if source.reader is not None:
        return reader_rows(source, call_reader(source))
    if source.filesystem is not None:
        return read_rows(source, unique_keys=True)
    from hybridtune.data import newsroom  # it reads its word lists at import

    rows = enumerate(newsroom.generate(embedded_part(source.path)), 1)
    return ((f"{source.name}:{number}", row) for number, row in rows)


def parse_groups(groups: str | Path | Iterable[Group | Mapping[str, Any]]) -> Iterator[Group]:
    """Yield the checked groups of a file, folder or glob, or of rows of the native format."""
    if isinstance(groups, str | Path):
        for source in find_sources([str(groups)]):
            yield from read_groups(source)
        return
    for number, row in enumerate(groups, 1):
        yield row if isinstance(row, Group) else parse_group(row, f"group {number}")
