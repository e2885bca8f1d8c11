"""The monitor to which running fits post their pace and the loss of workers; its actor imports little."""

from typing import Any, NamedTuple

import ray

from hybridtune.runtime.ray_private import ON_HEAD
from hybridtune.train.asked import Asked
from hybridtune.train.incidents import Damage, Early, Incident, Loss, Replaced

SECONDS_BETWEEN_POSTS = 1.0  # of a training, by `poster`


class Pace(NamedTuple):
    """The progress of a training and its speed: pairs of all workers, since the last post."""

    step: int
    loss: float  # of the last step, rank 0's rows
    pairs_per_second: float


class PaceMonitor:
    """The actor that holds the last pace of every training, and what befell it.

    All methods are coroutines of one actor: one that waits holds no thread.
    """

    def __init__(self) -> None:
        self._paces: dict[str, Pace] = {}
        self._incidents: list[Incident] = []
        self._asked = Asked()

    async def post(self, fit: str, pace: Pace) -> None:
        """Replace a training's pace."""
        self._paces[fit] = pace

    async def read(self) -> dict[str, Pace]:
        """Return all paces, by the name of the training."""
        return self._paces

    async def lose(self, fit: str, goes_on_from: int, reason: str) -> None:
        """Add a loss of workers, at the step of the training's last pace; it may go on from an early checkpoint."""
        goes_on_from = max([goes_on_from, *(early.step for early in self._asked.written if early.fit == fit)])
        step = self._paces[fit].step if fit in self._paces else goes_on_from
        self._incidents.append(Loss(fit, max(step, goes_on_from), goes_on_from, reason))

    async def note(self, incident: Damage | Replaced) -> None:
        """Add what befell a training."""
        self._incidents.append(incident)

    async def incidents(self, known: int) -> list[Incident]:
        """Return what befell all trainings after so much."""
        return self._incidents[known:]

    async def checkpoint_asked(self, key: str, fit: str, nodes: list[str]) -> str:
        """Return, as soon as it is so, why a training should write a checkpoint; empty: it came to a score."""
        return await self._asked.wait(key, fit, nodes)

    async def checkpoint_comes(self, key: str) -> None:
        """Answer the call of a training that comes to a score."""
        self._asked.rest(key)

    async def ask_checkpoints(self, why: str, seconds: float) -> None:
        """Ask all trainings that take steps for a checkpoint, and wait until they are written."""
        await self._asked.ask(why, seconds)

    async def note_early(self, early: Early) -> None:
        """Add a checkpoint between two scores."""
        self._incidents.append(early)
        await self._asked.write(early)


def start_monitor() -> Any:
    """Start a monitor on the head node; it lives as long as the returned handle."""
    return ray.remote(PaceMonitor).options(num_cpus=0, resources=ON_HEAD).remote()


def read_paces(monitor: Any) -> dict[str, Pace]:
    """Return the paces of all trainings by their names."""
    paces: dict[str, Pace] = ray.get(monitor.read.remote())
    return paces
