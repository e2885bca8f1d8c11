"""The board: where running trainings write which step they are at, for whoever watches. A Ray actor."""

import time
from dataclasses import dataclass
from typing import Any

import ray

from hybridtune.train.desk import ON_HEAD

SECONDS_BETWEEN_POSTS = 1.0


@dataclass(frozen=True)
class Pace:
    """How far a training is.

    Attributes:
        step: steps done.
        loss: of the last step, this worker's rows.
        pairs_per_second: of all workers, since the last post.
    """

    step: int
    loss: float
    pairs_per_second: float


class Board:
    """Holds the last pace of every training; the actor behind `start_board`."""

    def __init__(self) -> None:
        self._paces: dict[str, Pace] = {}

    def post(self, fit: str, pace: Pace) -> None:
        """Replace a training's pace."""
        self._paces[fit] = pace

    def read(self) -> dict[str, Pace]:
        """All paces, by the name of the training."""
        return self._paces


def start_board() -> Any:
    """Start a board, on the head node; it lives as long as the returned handle."""
    return ray.remote(Board).options(num_cpus=0, resources=ON_HEAD).remote()


def read_board(board: Any) -> dict[str, Pace]:
    """What stands on a board now."""
    paces: dict[str, Pace] = ray.get(board.read.remote())
    return paces


class Poster:
    """A worker's side: posts at most once a second and never waits for the answer.

    Args:
        board: handle of the board; None posts nowhere.
        fit: name of this training.
        batch_size: pairs in the global batch.
    """

    def __init__(self, board: Any, fit: str, batch_size: int) -> None:
        self._actor, self._fit, self._batch_size = board, fit, batch_size
        self._last, self._steps = time.perf_counter(), 0

    def step_done(self, step: int, loss: Any) -> None:
        """Tell that a step is done; ``loss`` is read off the device only when it is posted."""
        self._steps += 1
        elapsed = time.perf_counter() - self._last
        if self._actor is None or elapsed < SECONDS_BETWEEN_POSTS:
            return
        rate = self._steps * self._batch_size / elapsed
        self._actor.post.remote(self._fit, Pace(step, float(loss), rate))
        self._last, self._steps = time.perf_counter(), 0
