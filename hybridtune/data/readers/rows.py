"""The record iterator: rows of CSV, TSV, JSON, JSON lines, Parquet and Arrow files, streamed, with ``file:line``."""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hybridtune.config.json_text import json_kind, parse_json
from hybridtune.data.readers.csv_text import csv_rows
from hybridtune.data.readers.files import UNREADABLE, Source, kind_of, text_lines
from hybridtune.data.readers.json_text import each_key_once, json_values
from hybridtune.errors import InputError, one_line

_SIDES = ("queries", "passages", "negatives", "margins")  # columns that hold a value for each language
_BY_KEY = (*_SIDES, "translated", "translation")  # columns that may be maps
_AT_ONCE = 1024  # rows of a table that become Python's


def read_rows(file: Source, *, unique_keys: bool = False) -> Iterator[tuple[str, Any]]:
    """Read the rows of a file of any kind, each with its ``file:line``; streamed.

    With ``unique_keys``, a JSON object that has a key twice is refused.
    """
    kind = kind_of(file.path)
    if kind == "parquet":
        return _parquet_rows(file)
    if kind == "arrow":
        return _arrow_rows(file)
    if kind in ("csv", "tsv"):
        return csv_rows(file, kind == "tsv", numbered=_by_number(file))
    if kind == "json":
        return json_values(file, unique_keys=unique_keys)
    return _json_lines(file, unique_keys)


def object_rows(file: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read rows as `read_rows` does, and refuse one that is no JSON object."""
    for where, row in read_rows(file):
        yield where, object_row(row, where)


def object_row(row: Any, where: str) -> dict[str, Any]:
    """Return a row that is a JSON object, and refuse any other."""
    if not isinstance(row, dict):
        raise InputError(f"{where}: a row is a JSON object, not {json_kind(row)}")
    return row


def table_rows(name: str, batch: pa.RecordBatch, number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a part of a table, of which ``number`` were before it."""
    for start in range(0, batch.num_rows, _AT_ONCE):
        for row in batch.slice(start, _AT_ONCE).to_pylist():
            number += 1
            present = {field: _present(row[field]) for field in _BY_KEY if field in row}
            if isinstance(present.get("translated"), dict):
                present["translated"] = {side: _present(cell) for side, cell in present["translated"].items()}
            yield f"{name}:{number}", row | present


def check_schema(schema: pa.Schema) -> None:
    """Refuse columns, or languages in a column, that have one name; a ValueError."""
    for columns in (schema, *(field.type for field in schema if field.name in _SIDES)):
        if isinstance(columns, (pa.Schema, pa.StructType)):
            each_key_once([(column.name, column) for column in columns])


def _by_number(file: Source) -> bool:
    """Return whether the user names the columns by their numbers, as in a file that has no names."""
    return bool(file.layout.columns) and all(name.isdecimal() for _, name in file.layout.columns)


def _json_lines(file: Source, unique_keys: bool) -> Iterator[tuple[str, Any]]:
    decoder = json.JSONDecoder(object_pairs_hook=each_key_once if unique_keys else None)
    for where, line in text_lines(file):
        try:
            yield where, parse_json(line, decoder)
        except ValueError as error:  # a JSONDecodeError, or a key that occurs twice
            at = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            raise InputError(f"{where}: broken JSON: {at}") from None


def _parquet_rows(source: Source) -> Iterator[tuple[str, Any]]:
    number = 0  # of the rows that were read
    try:
        with pq.ParquetFile(source.path, filesystem=source.filesystem) as file:
            check_schema(file.schema_arrow)
            for batch in file.iter_batches(_AT_ONCE):
                for row in table_rows(source.name, batch, number):
                    yield row
                    number += 1
    except UNREADABLE as error:
        at = f":{number + 1}" * (number > 0)
        raise InputError(f"{source.name}{at}: not a readable Parquet file: {one_line(error)}") from None


def _arrow_rows(source: Source) -> Iterator[tuple[str, Any]]:
    """Read an Arrow file, or an Arrow stream, which is what the folders of ``datasets`` hold."""
    assert source.filesystem is not None
    number = 0
    try:
        with source.filesystem.open_input_file(source.path) as opened:
            is_file = opened.read(6) == b"ARROW1"
            opened.seek(0)
            reader = pa.ipc.open_file(opened) if is_file else pa.ipc.open_stream(opened)
            check_schema(reader.schema)
            batches = (reader.get_batch(n) for n in range(reader.num_record_batches)) if is_file else reader
            for batch in batches:
                batch.validate(full=True)  # what it says of its texts' places is followed unchecked after this
                for row in table_rows(source.name, batch, number):
                    yield row
                    number += 1
    except UNREADABLE as error:
        at = f":{number + 1}" * (number > 0)
        raise InputError(f"{source.name}{at}: not a readable Arrow file: {one_line(error)}") from None


def _present(cell: Any) -> Any:
    """Return the languages of a cell: a struct column has a field for every language, a map is a list of pairs."""
    if cell is None or (isinstance(cell, list) and all(isinstance(pair, tuple) for pair in cell)):
        cell = each_key_once(cell or [])
    return {language: text for language, text in cell.items() if text is not None} if isinstance(cell, dict) else cell
