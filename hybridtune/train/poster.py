"""The posts of a training to its monitor: how far it is and how fast, without waiting for its device."""

import time
from typing import Any

from torch import Tensor

from hybridtune.model.transfer import Fetch
from hybridtune.train.pace import SECONDS_BETWEEN_POSTS, Pace


class PacePoster:
    """Posts a fit's pace to the monitor, if any, at most once a second, and never waits for the answer."""

    def __init__(self, monitor: Any, fit: str, batch_size: int) -> None:
        self._actor, self._fit, self._batch_size = monitor, fit, batch_size
        self._last, self._steps = time.perf_counter(), 0
        self._going: tuple[int, Fetch, float] | None = None  # a step, its loss on its way here, and the speed then

    def step_done(self, step: int, loss: Tensor) -> None:
        """Count a step; ``loss`` is posted once it has come from the device, at a later step on a GPU."""
        self._steps += 1
        elapsed = time.perf_counter() - self._last
        if self._actor is not None and self._going is None and elapsed >= SECONDS_BETWEEN_POSTS:
            self._going = step, Fetch(loss), self._steps * self._batch_size / elapsed
            self._last, self._steps = time.perf_counter(), 0
        if self._going is not None and self._going[1].arrived():
            step, fetch, rate = self._going
            self._actor.post.remote(self._fit, Pace(step, float(fetch.result()), rate))
            self._going = None
