"""A long job over rows in parts: each part is a file that is there whole, and a rerun makes those that are missing.

Rows are read in blocks of `ROWS`, counted by file, and every block becomes one part. Few rows are worked on in this
process; of more, Ray Data reads the files in tasks and works on the blocks on all cores. The parts are equal. They lie
beside the output, in a folder where others may write: what is in one is read by the caller, and is never a pickle.
"""

import dataclasses
import gc
import hashlib
import os
import pickle  # nosec B403 # between processes of one Ray, whose connections ask for its token
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

from hybridtune.callbacks import Progress, StudyCallback, phase
from hybridtune.config.fields import Resources
from hybridtune.data.readers.files import Source
from hybridtune.data.readers.notes import Notes
from hybridtune.errors import InputError
from hybridtune.storage.files import remove, write_atomically

ROWS = 2048  # of a block
FEW = 20_000  # rows; as many are done before a Ray has started

_IN_FLIGHT = 1 << 28  # bytes of blocks that wait

Rows = list[tuple[str, Any]]  # each with its ``file:line``
Read = Callable[[Source, Notes], Iterator[tuple[str, Any]]]
Work = Callable[[Rows], bytes]


class _Block(NamedTuple):
    name: str
    rows: Rows
    notes: Sequence[str] = ()  # on a whole source, with no rows


class _Result(NamedTuple):
    name: str
    rows: int
    result: bytes
    notes: Sequence[str] = ()
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Job:
    """A piece of work on the rows of some sources, done in any process.

    Attributes:
        sources: the files.
        read: reads the rows of a file, each with its ``file:line``.
        work: takes a block of them; returns the content of its part, which depends on nothing but the block.
    """

    sources: Sequence[Source]
    read: Read
    work: Work

    def blocks(self, source: int, done: frozenset[str]) -> Iterator[_Block]:
        """Read the rows of one file in blocks, without the blocks that are done; at the end, what there is to note."""
        notes = Notes()
        rows = self.read(self.sources[source], notes)
        for number in count():
            block = list(islice(rows, ROWS))
            if not block:
                yield _Block("", [], notes.lines())
                return
            name = f"{source:06d}-{number:09d}"
            if name not in done:
                yield _Block(name, block)

    def result(self, block: _Block) -> _Result:
        """Do the work on a block."""
        made = self.work(block.rows) if block.name else b""
        return _Result(block.name, len(block.rows), made, block.notes)

    def is_small(self) -> bool:
        """Return whether there are at most `FEW` rows."""
        rows = (None for source in self.sources for _ in self.read(source, Notes()))
        return sum(1 for _ in islice(rows, FEW + 1)) <= FEW


def make_parts(job: Job, folder: Path, callback: StudyCallback, name: str) -> list[Path]:
    """Do the work on all blocks of rows; return the files of its parts, in the order of the rows.

    Raises:
        InputError: a row cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = frozenset(file.name for file in folder.iterdir())
    with phase(callback, name, "rows") as progress:
        if job.is_small():
            blocks = (block for number in range(len(job.sources)) for block in job.blocks(number, done))
            notes = _keep(map(job.result, blocks), folder, progress)
        else:
            with _ray():
                notes = _keep(_with_ray_data(job, done), folder, progress)
    for line in sorted(notes):
        callback.on_message(line)
    return sorted(file for file in folder.iterdir() if not file.name.startswith("."))


def read_parts(files: Sequence[Path]) -> Iterator[bytes]:
    """Read the parts one by one."""
    return (file.read_bytes() for file in files)


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
        if other != folder or other.is_symlink():
            remove(str(other))
    return folder


def _keep(results: Iterator[_Result], folder: Path, progress: Progress) -> list[str]:
    """Write results to files; return what there is to note."""
    rows = 0
    notes: list[str] = []
    progress(0, 1)
    for found in results:
        if found.error:
            raise InputError(found.error)
        if found.name:
            write_atomically(folder / found.name, found.result)
        notes.extend(found.notes)
        rows += found.rows
        progress(rows, rows)
    return notes


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


def _with_ray_data(job: Job, done: frozenset[str]) -> Iterator[_Result]:
    """Yield the results of every block, as they get ready."""
    import ray

    from hybridtune.runtime.resources import cores

    count_of_files = len(job.sources)
    files = ray.data.from_items([{"source": n} for n in range(count_of_files)], override_num_blocks=count_of_files)
    files.context.target_max_block_size = 1  # byte: every block of rows goes on as soon as it is there, alone
    files.context.enable_progress_bars = False
    limits = ray.data.ExecutionResources.for_limits(object_store_memory=_IN_FLIGHT)
    files.context.execution_options.resource_limits = limits
    # Without a bound on its tasks, Ray Data keeps CPUs back for the reading, and works on one block at a time.
    reading = ray.data.TaskPoolStrategy(size=min(count_of_files, cores()))
    working = ray.data.TaskPoolStrategy(size=cores())
    blocks = files.map_batches(_read, compute=reading, batch_size=1, fn_args=(job, done), num_cpus=0.5)
    results = blocks.map_batches(_work, compute=working, batch_size=1, fn_args=(job,), num_cpus=1)
    return (pickle.loads(row["pickled"]) for row in results.iter_rows())  # nosec B301 # of our own tasks


def _read(batch: dict[str, Any], job: Job, done: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Read one file in a task; what is wrong with a row travels as a result, since Ray wraps what is raised."""
    gc.freeze()
    for source in batch["source"].tolist():
        try:
            for block in job.blocks(source, done):
                yield {"pickled": [pickle.dumps(block)]}
        except InputError as error:
            yield {"pickled": [pickle.dumps(_Result("", 0, b"", error=str(error)))]}


def _work(batch: dict[str, Any], job: Job) -> dict[str, Any]:
    gc.freeze()  # what a worker has imported stays: no collection needs to look through it again
    found: _Block | _Result = pickle.loads(batch["pickled"][0])  # nosec B301 # of `_read`
    return {"pickled": [pickle.dumps(found if isinstance(found, _Result) else job.result(found))]}
