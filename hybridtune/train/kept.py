"""The checkpoints of one fit that stay: the best ones, and the last, from which a training goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path

from hybridtune.evaluate.metrics import direction
from hybridtune.train.checkpoint import read_state
from hybridtune.train.progress import Progress

_UNFINISHED = ".unfinished"


class Checkpoints:
    """A folder of checkpoints. Whoever sees one sees all of it.

    Args:
        folder: of the fit; made with the first checkpoint.
        keep: how many of the best stay.
        objective: metric that tells which are the best; of equals the later.
    """

    def __init__(self, folder: Path, keep: int, objective: str) -> None:
        self._folder, self._keep, self._objective = folder, keep, objective

    def at(self, step: int) -> Path:
        """Where the checkpoint of a step lies, or would."""
        return self._folder / f"checkpoint_{step:07d}"

    def last(self) -> Path | None:
        """The checkpoint of the latest step; None before the first."""
        return max(self._all(), default=None)

    def add(self, step: int, write: Callable[[Path], Progress]) -> Progress:
        """Write a checkpoint, and remove those that need not stay.

        Args:
            step: of the checkpoint.
            write: given an empty folder, writes a checkpoint with the progress that it returns.
        """
        unfinished = self._folder / _UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
        unfinished.mkdir(parents=True)
        progress = write(unfinished)
        shutil.rmtree(self.at(step), ignore_errors=True)
        unfinished.rename(self.at(step))
        sign = 1 if direction(self._objective) == "max" else -1
        worth = {place: sign * read_state(place)["metrics"][self._objective] for place in self._all()}
        best = sorted(worth, key=lambda place: (worth[place], place))[-self._keep :]
        for place in worth:
            if place not in best and place != max(worth):
                shutil.rmtree(place, ignore_errors=True)
        return progress

    def _all(self) -> list[Path]:
        return list(self._folder.glob("checkpoint_*"))
