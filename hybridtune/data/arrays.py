"""Arrays on disk that are written row after row and read through the page cache: NumPy's own ``.npy`` files."""

import io
import mmap
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hybridtune.metrics.arrays import Int32

Array = npt.NDArray[Any]
CHUNK = 1 << 16  # rows of a large array that are worked on at once


class ArrayFile:
    """A ``.npy`` file that grows: its length stands in the header when it is closed.

    Args:
        path: the file.
        dtype: of the elements.
        width: elements of a row; None: the array has one dimension.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike, width: int | None = None) -> None:
        self.rows = 0
        self._dtype, self._width = np.dtype(dtype), width
        self._file = path.open("wb")
        self._header = self._write_header()

    def append(self, rows: Array) -> None:
        """Write rows behind those that are there."""
        self.rows += len(rows)
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)

    def close(self) -> None:
        """Finish the file."""
        if not self._file.closed:
            self._file.seek(0)
            if self._write_header() != self._header:
                raise AssertionError("the header of an .npy file grew with its length")
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _write_header(self) -> int:
        shape = (self.rows,) if self._width is None else (self.rows, self._width)
        header = io.BytesIO()
        described = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, described)  # pads it, so that its first axis may grow
        return self._file.write(header.getvalue())


def map_array(path: Path) -> Array:
    """The array of an ``.npy`` file, read-only, mapped into memory; the file may be deleted under it."""
    return np.asarray(np.load(path, mmap_mode="r"))


def scratch_array(path: Path, count: int, fill: int | None) -> Int32:
    """An array to work on that is kept in a file, so that `forget` frees its memory.

    Args:
        path: the file.
        count: elements.
        fill: what they are; None: their places.
    """
    with ArrayFile(path, np.int32) as file:
        for start in range(0, count, CHUNK):
            places = np.arange(start, min(start + CHUNK, count), dtype=np.int32)
            file.append(places if fill is None else np.full_like(places, fill))
    return np.asarray(np.load(path, mmap_mode="r+"))


def forget(array: Array) -> None:
    """Take the pages of a mapped array out of this process; they stay in the page cache and come back when read.

    What was read of a mapped file counts as memory of the process until then. Nothing happens to another array.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)
