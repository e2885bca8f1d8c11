"""The checkpoints that a fit keeps: the best ones, and the last, from which a training goes on."""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hybridtune.metrics.metrics import direction
from hybridtune.runtime.processes import is_running, start_time
from hybridtune.storage.files import (
    cache_folder,
    ensure_local,
    exists,
    is_remote,
    join,
    list_names,
    local_path,
    read_file,
    remove,
    upload,
)
from hybridtune.train.checkpoint import STATE
from hybridtune.train.progress import Progress


class CheckpointManager:
    """A folder of checkpoints. One counts while it has its ``state.json``, which is written last and removed first.

    Args:
        location: of the fit; made with the first checkpoint.
        keep: how many of the best stay.
        objective: metric by which they are the best; of equals the later.
    """

    def __init__(self, location: str, keep: int, objective: str) -> None:
        self._location, self._keep, self._objective = location, keep, objective

    def at(self, step: int) -> str:
        """Return the location of a step's checkpoint, whether it exists or not."""
        return join(self._location, f"checkpoint_{step:07d}")

    def last(self) -> Path | None:
        """Return the checkpoint of the latest step, on this machine; None before the first."""
        found = next((location for location in reversed(self._all()) if exists(join(location, STATE))), None)
        return ensure_local(found) if found is not None else None

    def add(self, step: int, write: Callable[[Path], Progress]) -> Progress:
        """Write a checkpoint, and remove those that need not stay; killed at any moment, it leaves a whole one.

        Args:
            step: of the checkpoint.
            write: writes it into an empty folder and returns its progress.
        """
        if is_remote(self._location):
            with _outgoing() as folder:
                progress = write(folder)
                self._remove(self.at(step))
                upload(folder, self.at(step), [STATE])
        else:
            folder = local_path(join(self._location, ".unfinished"))
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
            folder.mkdir(parents=True)
            progress = write(folder)
            self._remove(self.at(step))
            folder.rename(self.at(step))
        self._prune()
        return progress

    def _prune(self) -> None:
        sign = 1 if direction(self._objective) == "max" else -1
        worth = {}
        for location in self._all():
            state = read_file(join(location, STATE))
            if state is None:
                remove(location)  # half sent, or half removed
            else:
                worth[location] = sign * json.loads(state)["metrics"][self._objective]
        best = sorted(worth, key=lambda location: (worth[location], location))[-self._keep :]
        for location in worth:
            if location not in best and location != max(worth):
                self._remove(location)

    def _remove(self, location: str) -> None:
        remove(join(location, STATE))
        remove(location)

    def _all(self) -> list[str]:
        """Return the checkpoints in the order of their steps, whole or not."""
        return [join(self._location, name) for name in list_names(self._location) if name.startswith("checkpoint_")]


@contextmanager
def _outgoing() -> Iterator[Path]:
    """Open a folder of this machine's cache to send a checkpoint from, and remove those of killed processes."""
    top = cache_folder() / "outgoing"
    top.mkdir(parents=True, exist_ok=True)
    for left in top.iterdir():
        pid, birth, _ = left.name.split("-")
        if not is_running(int(pid), birth or None):
            shutil.rmtree(left, ignore_errors=True)
    folder = top / f"{os.getpid()}-{start_time(os.getpid()) or ''}-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
