"""The checkpoints that a fit keeps: the best ones, and the last two, from which a training goes on."""

import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hybridtune.errors import HybridtuneError
from hybridtune.metrics.metrics import direction
from hybridtune.runtime.processes import is_running, start_time
from hybridtune.storage.copies import ensure_local
from hybridtune.storage.files import (
    base_name,
    cache_folder,
    exists,
    is_remote,
    join,
    list_names,
    local_path,
    read_file,
    remove,
    replace_folder,
    upload,
)
from hybridtune.storage.manifests import MANIFEST, damage, leave_out, seal
from hybridtune.storage.records import DamagedError, parse_object
from hybridtune.storage.trial_rows import checkpoint_name
from hybridtune.train.checkpoint import OPTIMIZER, STATE, read_state
from hybridtune.train.progress import Progress

Tell = Callable[[int, int, str], object]  # of a damaged checkpoint: its step, the one to go on from, what is wrong


class CheckpointManager:
    """A folder of checkpoints. One counts while it has its manifest, which is written last and removed first.

    The one before the last stays beside it, with the best until then, for the day when the last is damaged.

    Args:
        location: of the fit; made with the first checkpoint.
        keep: how many of the best stay.
        objective: metric by which they are the best; of equals the later.
    """

    def __init__(self, location: str, keep: int, objective: str) -> None:
        self._location, self._keep, self._objective = location, keep, objective

    def at(self, step: int) -> str:
        """Return the location of a step's checkpoint, whether it exists or not."""
        return join(self._location, checkpoint_name(step))

    def last(self, tell: Tell = lambda step, goes_on_from, what: None) -> Path | None:
        """Return the checkpoint of the latest step that is whole, on this machine; None: the training starts anew.

        The one that it names as its best must be whole, too: the training ends with that. Later ones are removed, and
        ``tell`` is called for each that is damaged.
        """
        damaged: list[tuple[int, str]] = []
        found, goes_on_from = None, 0
        for location in reversed(self.every()):
            if not exists(join(location, MANIFEST)):
                continue  # half sent, or half removed
            what, progress, folder = self._look(location)
            if progress is not None:
                found, goes_on_from = folder, progress.step
                break
            damaged.append((_step(location), what))
            self._remove(location)
        for step, what in damaged:
            tell(step, goes_on_from, what)
        return found

    def _look(self, location: str) -> tuple[str, Progress | None, Path | None]:
        """Return what keeps a training from going on from a checkpoint; of a whole one its progress and folder."""
        try:
            folder = ensure_local(location)
            what = damage(folder)
        except HybridtuneError as error:  # a copy was fetched, and is damaged there
            return str(error), None, None
        if what is not None:
            return what, None, None
        progress = Progress.of(read_state(folder))
        if not progress.ended and not (folder / OPTIMIZER).is_file():
            return "the state of its optimizer went when the training had ended", None, None
        best = self.at(progress.best_step)
        if progress.best_step and best != location and (what := damage(best)) is not None:
            return f"its best checkpoint, {base_name(best)}, is damaged: {what}", None, None
        return "", progress, folder

    def add(self, step: int, write: Callable[[Path], Progress]) -> Progress:
        """Write a checkpoint, and remove those that need not stay; killed at any moment, it leaves a whole one.

        Args:
            step: of the checkpoint.
            write: writes it into an empty folder and returns its progress.
        """
        if is_remote(self._location):
            with _outgoing() as folder:
                progress = write(folder)
                seal(folder)
                self._remove(self.at(step))
                upload(folder, self.at(step), [MANIFEST])
        else:
            folder = local_path(join(self._location, ".unfinished"))
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
            folder.mkdir(parents=True)
            progress = write(folder)
            seal(folder)
            self._remove(self.at(step))
            replace_folder(folder, Path(self.at(step)))
        self._prune()
        return progress

    def end(self) -> None:
        """Remove what a training alone would go on from, two thirds of all bytes: nothing goes on from here."""
        for location in self.every():
            leave_out(location, OPTIMIZER)

    def _prune(self) -> None:
        worth: dict[str, float | None] = {}
        for location in self.every():
            if exists(join(location, MANIFEST)):
                worth[location] = self._worth(location)
            else:
                remove(location)  # half sent, or half removed
        steps = sorted(worth)

        def best(among: list[str], count: int) -> list[str]:
            return sorted(among, key=lambda location: (worth[location] or 0.0, location))[-count:]

        scored = [location for location in steps if worth[location] is not None]
        # The best before the last is what the one before the last names; one between two scores stays until the next.
        stay = {*best(scored, self._keep), *scored[-2:], *best(scored[:-1], 1), *steps[-1:]}
        for location in worth.keys() - stay:
            self._remove(location)

    def _worth(self, location: str) -> float | None:
        """Return the value of a checkpoint, higher for better: of a damaged one the least, between two scores None."""
        file = join(location, STATE)
        try:
            state = parse_object(read_file(file) or b"", file)
            if state.get("sums"):
                return None
            value = float(state["metrics"][self._objective])
        except (DamagedError, KeyError, TypeError):
            return -math.inf
        return value if direction(self._objective) == "max" else -value

    def _remove(self, location: str) -> None:
        remove(join(location, MANIFEST))
        remove(location)

    def every(self) -> list[str]:
        """Return the checkpoints in the order of their steps, whole or not."""
        return [join(self._location, name) for name in list_names(self._location) if name.startswith("checkpoint_")]


def _step(location: str) -> int:
    return int(base_name(location).removeprefix("checkpoint_"))


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
