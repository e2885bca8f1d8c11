"""Readers of the user's own: functions that a data set or a benchmark names, which take the path and yield rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hybridtune.config.hooks import load_hook
from hybridtune.data.readers.files import Source
from hybridtune.errors import InputError, one_line


def call_reader(source: Source) -> Any:
    """Call the user's own reader with the path."""
    assert source.reader is not None
    read = load_hook(source.reader, f"{source.name}: reader")
    with _reader_errors(source):
        found = read(source.path)
    return found


def reader_rows(source: Source, found: Any) -> Iterator[tuple[str, Any]]:
    """Number the rows that the user's own reader returned, each with its ``path:number``; streamed."""
    with _reader_errors(source):
        for number, row in enumerate(found, 1):
            yield f"{source.name}:{number}", row


@contextmanager
def _reader_errors(source: Source) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        failed = f"its reader {source.reader} failed: {type(error).__name__}: {one_line(error)}"
        raise InputError(f"{source.name}: {failed}") from error
