"""The writer of training data: groups in the native format, as JSON lines or Parquet, streamed to a file.

The file appears whole or not at all, and equal groups give equal bytes. `hybridtune.data.readers.native` reads it.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from hybridtune.data.readers.files import SUFFIXES, Source
from hybridtune.data.readers.native import Group
from hybridtune.errors import InputError
from hybridtune.storage.files import SCHEMES, local_path, new_file

ROWS_AT_ONCE = 10_000  # of a Parquet file: those of a row group


def output_file(out: str, sources: Sequence[Source] = ()) -> Path:
    """Return the file that groups are to be written to; refuse one that cannot be, or that is read from.

    Raises:
        InputError: ``out`` has another suffix than those of the native format, is a folder, lies on another machine,
            or is one of ``sources``.
    """
    if out.startswith(tuple(scheme for scheme in SCHEMES if scheme != "file://")):
        raise InputError(f"--out {out}: give a file of this machine, and copy it there afterwards")
    file = local_path(out).expanduser()
    if not file.name.endswith(SUFFIXES):
        raise InputError(f"--out {out}: groups are written as {', '.join(SUFFIXES)}; name the file so")
    if file.is_dir():
        raise InputError(f"--out {out}: is a folder; name a file in it")
    for source in sources:
        if file.exists() and Path(source.path).exists() and file.samefile(source.path):
            raise InputError(f"--out {out}: is the file that is read; give another name")
    return file


def write_groups(groups: Iterable[Group], file: Path) -> int:
    """Write groups to a file, which appears when all are written; return their number."""
    count = 0
    with open_groups(file) as write:
        for group in groups:
            write(group)
            count += 1
    return count


@contextmanager
def open_groups(file: Path) -> Iterator[Callable[[Group], None]]:
    """Yield a function that writes one group; the file appears when the block ends without an error.

    Its suffix decides on the form: ``.jsonl``, ``.jsonl.gz`` or ``.parquet``.

    Example:
        >>> with open_groups(Path("pairs.jsonl")) as write:
        ...     write(Group("q1", "", {"en": "Who?"}, {"sw": "Yeye."}))
        >>> Path("pairs.jsonl").read_text()
        '{"group_id": "q1", "queries": {"en": "Who?"}, "passages": {"sw": "Yeye."}}\\n'
    """
    with new_file(file) as sink:
        if file.suffix == ".parquet":
            with _parquet(sink) as write:
                yield write
        else:
            yield lambda group: _write_line(sink, group)


def group_row(group: Group) -> dict[str, Any]:
    """Return a group as a row of the native format, without the fields that are empty and need not be there."""
    row = {"group_id": group.group_id, "document_id": group.document_id}
    sides = {field: _plain(getattr(group, field)) for field in Group._fields if field not in row}
    kept = {field: value for field, value in (row | sides).items() if value or field in ("queries", "passages")}
    return {field: kept[field] for field in Group._fields if field in kept}


def _plain(value: Any) -> Any:
    """Return mappings as dictionaries and sequences as lists, at any depth."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


def _write_line(sink: BinaryIO, group: Group) -> None:
    sink.write(f"{json.dumps(group_row(group), ensure_ascii=False)}\n".encode())


@contextmanager
def _parquet(sink: BinaryIO) -> Iterator[Callable[[Group], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    by_language = pa.map_(text, text)
    types = {
        "group_id": text,
        "document_id": text,
        "negatives": pa.map_(text, pa.list_(text)),
        "margins": pa.map_(text, pa.list_(pa.float64())),
        "translated": pa.map_(text, by_language),
    }
    schema = pa.schema([(field, types.get(field, by_language)) for field in Group._fields])
    waiting: list[dict[str, Any]] = []

    def write_rows() -> None:
        file.write_table(pa.Table.from_pylist([_pairs(row) for row in waiting], schema), len(waiting))
        waiting.clear()

    def write(group: Group) -> None:
        waiting.append(group_row(group))
        if len(waiting) == ROWS_AT_ONCE:
            write_rows()

    with pq.ParquetWriter(sink, schema, compression="zstd") as file:
        yield write
        if waiting:
            write_rows()


def _pairs(value: Any) -> Any:
    """Return the maps of a row as Arrow takes them: lists of pairs, at any depth."""
    return {field: _map(cell) for field, cell in value.items()}


def _map(cell: Any) -> Any:
    return [(key, _map(inner)) for key, inner in cell.items()] if isinstance(cell, dict) else cell
