"""Training data of any format: where it is, and the groups that it holds. Everything that reads groups begins here."""

import os.path
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Any

from hybridtune.config.fields import DataSet
from hybridtune.data.readers.files import Layout, Source, embedded_part, kind_of, without_suffix
from hybridtune.data.readers.finding import expand, files_below, nothing_at
from hybridtune.data.readers.flat import find_columns, flat_rows, looks_flat
from hybridtune.data.readers.hub import hub_rows, is_hub_name
from hybridtune.data.readers.judged import judged_kind, judged_rows, part_of
from hybridtune.data.readers.native import Group, parse_group
from hybridtune.data.readers.notes import Notes
from hybridtune.data.readers.own import call_reader, reader_rows
from hybridtune.data.readers.rows import object_row, read_rows
from hybridtune.data.readers.squad_pairs import is_squad, squad_files, squad_rows
from hybridtune.errors import InputError

_FOLDERS: dict[str, Callable[[Source, Notes], Iterator[tuple[str, Any]]]] = {
    "squad": squad_rows,
    **dict.fromkeys(("beir", "miracl", "ciral", "neuclir", "mmarco", "mrtydi", "clirmatrix"), judged_rows),
}


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
        found = [source._replace(data_set=number, layout=layout) for source in _sources_at(path, layout)]
        if not found:
            raise InputError(f"{path}: {nothing_at(path)}")
        sources.extend(found)
    return _with_stems(sources)


def _sources_at(path: str, layout: Layout) -> list[Source]:
    """Return what is at a path: a data set of the hub, the files of a folder that are read together, or files."""
    if is_hub_name(path):
        return [Source(path, path, None, kind="hub")]
    files = files_below(path)
    together = layout.format in (None, "squad") or layout.format not in ("groups", "pairs")
    kind = judged_kind(files) if together and layout.format != "squad" else None
    if kind is None and layout.format not in (None, "groups", "pairs", "squad"):
        raise InputError(f"{path}: no files of {layout.format} are there, by their names; docs/data.md has these")
    if kind is not None and layout.format not in (None, kind):
        raise InputError(f"{path}: the files there are those of {kind}, not of {layout.format}")
    if kind is None and together and len(squad := squad_files(files, layout.split, path)) > 1:
        kind, files = "squad", squad
    if kind is None:
        return expand(path, layout.split)
    name, first = next(iter(files.items()))
    folder = first.path.removesuffix(name).rstrip("/")
    return [Source(path.rstrip("/"), folder, first.filesystem, kind=kind, files=tuple(files.values()))]


def _with_stems(sources: Sequence[Source]) -> list[Source]:
    """Give every source the name of its file, and as much of the folders above as tells it from those before it."""
    taken: set[str] = set()
    found = []
    for source in sources:
        parts = PurePosixPath(without_suffix(source.path)).parts
        names = ("/".join(parts[-depth:]) for depth in range(1, len(parts) + 1))
        numbered = (f"{source.path}~{n}" for n in count(2))  # of a file that stands in two data sets
        stem = next(name for name in chain(names, numbered) if name not in taken)
        taken.add(stem)
        found.append(source._replace(stem=stem))
    return found


def read_groups(source: Source, notes: Notes | None = None) -> Iterator[Group]:
    """Read and check the groups of a source, streamed; errors name the file and the line (or row).

    ``notes`` are told how it is read, and what is left out.
    """
    return (group for _, group in located_groups(source, notes))


def located_groups(source: Source, notes: Notes | None = None) -> Iterator[tuple[str, Group]]:
    """Read groups as `read_groups` does, each with the ``file:line`` of its row."""
    for where, row in group_rows(source, notes, strict=True):
        yield where, parse_group(row, where)


def group_rows(source: Source, notes: Notes | None = None, strict: bool = False) -> Iterator[tuple[str, Any]]:
    """Read the rows of a source in the form of the native format, unchecked, each with its ``file:line``; streamed.

    With ``strict``, an empty text is an error that names the column of the file.
    """
    notes = Notes() if notes is None else notes
    notes.begin(source.name)
    if source.reader is not None:
        return reader_rows(source, call_reader(source))
    if source.kind in _FOLDERS:
        return _FOLDERS[source.kind](source, notes)
    if source.kind == "hub" or source.filesystem is not None:
        return _rows_of_file(source, notes, strict)
    if any(source.layout):
        raise InputError(f"{source.name}: every text there names its language; leave language, format and columns out")
    from hybridtune.data import newsroom  # it reads its word lists at import

    rows = enumerate(newsroom.generate(embedded_part(source.path)), 1)
    return ((f"{source.name}:{number}", row) for number, row in rows)


def _rows_of_file(source: Source, notes: Notes, strict: bool) -> Iterator[tuple[str, Any]]:
    """Recognise a file of rows by its first row, and read it: groups, or pairs; or SQuAD's layout."""
    if kind_of(source.path) == "json" and source.layout.format in (None, "squad") and is_squad(source):
        yield from squad_rows(source, notes)
        return
    if source.layout.format == "squad":
        raise InputError(f"{source.name}: not SQuAD's layout: a JSON object with data, paragraphs and qas")
    rows = hub_rows(source) if source.kind == "hub" else read_rows(source, unique_keys=True)
    first = next(rows, None)
    if first is None:
        return
    where, row = first
    columns = dict(source.layout.columns)
    if columns or source.layout.format == "pairs":
        object_row(row, where)
    if source.layout.format != "pairs" and not columns and _holds_groups(source, row):
        if source.layout.language is not None:
            raise InputError(f"{where}: every text there names its language; leave language out")
        yield from chain([first], rows)
        return
    why_not = None if columns or looks_flat(list(row)) else part_of(source.name, row)
    if why_not is not None:
        raise InputError(f"{where}: {why_not}")
    try:
        taken = find_columns(row, columns)
    except ValueError as error:
        line = f"{source.name}:1" if kind_of(source.path) in ("csv", "tsv") else where
        raise InputError(f"{line}: {error}") from None
    yield from flat_rows(chain([first], rows), taken, source, notes, strict)


def _holds_groups(source: Source, row: Any) -> bool:
    """Return whether the first row of a file is a group, or is to be refused as one."""
    if source.layout.format == "groups" or not isinstance(row, dict) or not row:
        return True
    if kind_of(source.path) in ("csv", "tsv"):
        return False
    named = "group_id" in row or any(isinstance(row.get(side), dict) for side in ("queries", "passages"))
    return named and not looks_flat(list(row))


def parse_groups(groups: str | Path | Iterable[Group | Mapping[str, Any]]) -> Iterator[Group]:
    """Yield the checked groups of a file, folder or glob, or of rows of the native format."""
    if isinstance(groups, str | Path):
        for source in find_sources([str(groups)]):
            yield from read_groups(source)
        return
    for number, row in enumerate(groups, 1):
        yield row if isinstance(row, Group) else parse_group(row, f"group {number}")
