"""A training's checkpoints between two scores, which it writes when it is asked."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import torch

from hybridtune.train.checkpoint import Snapshot
from hybridtune.train.checkpoints import CheckpointManager
from hybridtune.train.incidents import Early
from hybridtune.train.progress import Progress, agreed

_STEPS_BETWEEN_LOOKS = 16  # on a GPU: to agree with the other workers is to wait for the device


class EarlyCheckpoints:
    """Writes them; a context manager around the steps.

    Args:
        monitor: handle of its actor, on rank 0, which has the checkpoints; None: on the others, or nobody asks.
        fit: the training's name there.
        nodes: of its workers.
        device: of this worker.
        checkpoints: of the training.
    """

    def __init__(
        self, monitor: Any, fit: str, nodes: Sequence[str | None], device: torch.device, checkpoints: CheckpointManager
    ) -> None:
        self._monitor, self._fit, self._nodes = monitor, fit, list(nodes)
        self._device, self._checkpoints = device, checkpoints
        self._every = 1 if device.type == "cpu" else _STEPS_BETWEEN_LOOKS
        self._key, self._answer, self._why = "", None, ""

    def __enter__(self) -> "EarlyCheckpoints":
        """Wait to be asked."""
        self.begin()
        return self

    def __exit__(self, *error: object) -> None:
        """Wait no more."""
        self.rest()

    def begin(self) -> None:
        """Wait to be asked, from now on."""
        if self._monitor is not None:
            self._key = uuid.uuid4().hex
            self._answer = self._monitor.checkpoint_asked.remote(self._key, self._fit, self._nodes)

    def rest(self) -> None:
        """Wait no more: a score comes, whose checkpoint is enough."""
        if self._answer is not None:
            self._monitor.checkpoint_comes.remote(self._key)
            self._answer = None

    def wanted(self, step: int) -> bool:
        """Return whether one is wanted after ``step`` steps, the same for all workers, which must all call it."""
        if self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            self._why, self._answer = ray.get(self._answer), None
        return step % self._every == 0 and agreed(bool(self._why), self._device)

    def write(self, progress: Progress, snapshot: Snapshot) -> None:
        """Write one, on rank 0, tell of it, and wait to be asked again."""
        if self._monitor is None:
            return

        def save(folder: Path) -> Progress:
            snapshot.save(folder, asdict(progress))
            return progress

        self._checkpoints.add(progress.step, save)
        self._monitor.note_early.remote(Early(self._fit, progress.step, self._why))
        self._why = ""
        self.begin()
