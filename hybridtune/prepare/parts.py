"""A long job over rows in parts: each part is a file that is there whole, and a rerun makes those that are missing.

Rows are read in blocks of `ROWS`, counted by file, and every block becomes one part. Few rows are worked on in this
process; of more, Ray Data reads the files in tasks and works on the blocks on all cores. The parts are equal.
"""

import dataclasses
import hashlib
import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

from hybridtune.callbacks import Progress, StudyCallback, phase
from hybridtune.config.fields import Resources
from hybridtune.data.readers.files import Source
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.sources import located_groups
from hybridtune.errors import InputError
from hybridtune.storage.files import write_atomically

ROWS = 2048  # of a block
FEW = 20_000  # rows; as many are done before a Ray has started

_IN_FLIGHT = 1 << 28  # bytes of blocks that wait

Rows = list[tuple[str, Group]]
Work = Callable[[Rows], Any]


class _Block(NamedTuple):
    source: int
    number: int
    rows: Rows

    @property
    def name(self) -> str:
        return _name(self.source, self.number)


def make_parts(sources: Sequence[Source], work: Work, folder: Path, callback: StudyCallback, unit: str) -> list[Path]:
    """Do some work on all blocks of rows; return the files of its pickled results, in the order of the rows.

    What it returns for a block depends on nothing but the block.

    Raises:
        InputError: a row cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = frozenset(file.name for file in folder.iterdir())
    with phase(callback, unit, "rows") as progress:
        if _are_few(sources):
            blocks = (block for number in range(len(sources)) for block in _blocks(sources, number, done))
            results = ((block.name, len(block.rows), pickle.dumps(work(block.rows))) for block in blocks)
            _keep(results, folder, progress)
        else:
            with _ray():
                _keep(_with_ray_data(sources, work, done), folder, progress)
    return sorted(file for file in folder.iterdir() if not file.name.startswith("."))


def read_parts(files: Sequence[Path]) -> Iterator[Any]:
    """Read the results one by one."""
    return (pickle.loads(file.read_bytes()) for file in files)


def parts_folder(file: Path, sources: Sequence[Source], made_by: Any) -> Path:
    """Return the folder of the parts of an output file, and remove those of other inputs or settings.

    Where it cannot be told whether a source is what it was before, no part is taken up.
    """
    digest = hashlib.sha256(repr((ROWS, made_by)).encode())
    for source in sources:
        local = Path(source.path)
        known = source.reader is None and local.is_file()
        stat = local.stat() if known else None
        state = (stat.st_size, stat.st_mtime_ns) if stat is not None else os.urandom(16)
        digest.update(repr((source.name, str(local.absolute()), tuple(source.layout), state)).encode())
    folder = file.with_name(f".{file.name}.{digest.hexdigest()[:16]}.parts")
    for other in file.parent.glob(f".{file.name}.*.parts"):
        if other != folder:
            shutil.rmtree(other)
    return folder


def _name(source: int, number: int) -> str:
    return f"{source:06d}-{number:09d}"


def _are_few(sources: Sequence[Source]) -> bool:
    rows = (None for source in sources for _ in located_groups(source))
    return sum(1 for _ in islice(rows, FEW + 1)) <= FEW


def _blocks(sources: Sequence[Source], source: int, done: frozenset[str]) -> Iterator[_Block]:
    """Read the rows of one file in blocks, without the blocks that are done."""
    rows = located_groups(sources[source])
    for number in count():
        block = list(islice(rows, ROWS))
        if not block:
            return
        if _name(source, number) not in done:
            yield _Block(source, number, block)


def _keep(results: Iterator[tuple[str, int, bytes]], folder: Path, progress: Progress) -> None:
    rows = 0
    progress(0, 1)
    for name, count_of_rows, result in results:
        write_atomically(folder / name, result)
        rows += count_of_rows
        progress(rows, rows)


@contextmanager
def _ray() -> Iterator[None]:
    """Run Ray on all cores of this machine, where none runs that this process has joined."""
    import ray

    if ray.is_initialized():
        yield
        return
    from hybridtune.runtime.local import capacity, local_cluster
    from hybridtune.runtime.resources import cores

    offered = dataclasses.replace(capacity(Resources(workers=1, gpus_per_worker=0)), cpus=cores() + 1, gpus=0)
    with local_cluster(offered, dashboard=False):
        yield


def _with_ray_data(sources: Sequence[Source], work: Work, done: frozenset[str]) -> Iterator[tuple[str, int, bytes]]:
    """Yield name, rows and pickled result of every block, as they get ready."""
    import ray

    files = ray.data.from_items(
        [{"source": number} for number in range(len(sources))], override_num_blocks=len(sources)
    )
    files.context.target_max_block_size = 1  # byte: every block of rows goes on as soon as it is there, alone
    files.context.enable_progress_bars = False
    limits = ray.data.ExecutionResources.for_limits(object_store_memory=_IN_FLIGHT)
    files.context.execution_options.resource_limits = limits
    blocks = files.map_batches(_read, batch_size=1, fn_args=(sources, done), num_cpus=0.5)
    results = blocks.map_batches(_work, batch_size=1, fn_args=(work,), num_cpus=1)
    for row in results.iter_rows():
        if row["error"]:
            raise InputError(row["error"])
        yield row["name"], row["rows"], row["result"]


def _read(batch: dict[str, Any], sources: Sequence[Source], done: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Read one file in a task; what is wrong with a row travels as a block, since Ray wraps what is raised."""
    for source in batch["source"].tolist():
        try:
            for block in _blocks(sources, source, done):
                yield {"block": [pickle.dumps(block)], "error": [""]}
        except InputError as error:
            yield {"block": [b""], "error": [str(error)]}


def _work(batch: dict[str, Any], work: Work) -> dict[str, Any]:
    if batch["error"][0]:
        return {"name": [""], "rows": [0], "result": [b""], "error": batch["error"]}
    block: _Block = pickle.loads(batch["block"][0])
    return {"name": [block.name], "rows": [len(block.rows)], "result": [pickle.dumps(work(block.rows))], "error": [""]}
