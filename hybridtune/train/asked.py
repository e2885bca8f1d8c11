"""Who wants a checkpoint between two scores of which training: the run that ends by a signal, or a cloud's warning.

A part of the monitor's actor, which imports little. A training leaves a call here while it takes steps, and looks
whether that was answered.
"""

import asyncio
import contextlib
from typing import Any, NamedTuple

import ray

from hybridtune.runtime.ray_private import draining_nodes
from hybridtune.train.incidents import Early

SECONDS = 10.0  # for the checkpoints of a run that ends; Kubernetes and Slurm kill after 30
_SECONDS_BETWEEN_LOOKS = 5.0  # for nodes that are about to go


class _Waiting(NamedTuple):
    fit: str
    nodes: frozenset[str]  # of its workers
    answer: asyncio.Future[str]


class Asked:
    """The trainings that take steps, each by the key of its call, and the early checkpoints that were written."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}
        self._over: set[str] = set()  # keys of calls that are still to come: Ray may change their order
        self._told: set[tuple[str, str]] = set()  # (training, node about to go)
        self._change = asyncio.Condition()
        self._watch: asyncio.Task[None] | None = None
        self.written: list[Early] = []

    async def wait(self, key: str, fit: str, nodes: list[str]) -> str:
        """Return, as soon as it is so, why a training should write a checkpoint; empty when it comes to a score."""
        if key in self._over:
            self._over.remove(key)
            return ""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[key] = _Waiting(fit, frozenset(nodes), answer)
        if self._watch is None:
            self._watch = asyncio.create_task(self._look())
        return await answer

    def rest(self, key: str) -> None:
        """Answer a training that comes to a score, whose checkpoint is enough."""
        if key in self._waiting:
            self._answer(key, "")
        else:
            self._over.add(key)

    async def write(self, early: Early) -> None:
        """Note a checkpoint that was written."""
        async with self._change:
            self.written.append(early)
            self._change.notify_all()

    async def ask(self, why: str, seconds: float) -> None:
        """Ask all trainings that take steps, and wait until each has written its checkpoint, or the time is over."""
        before = len(self.written)
        asked = {self._answer(key, why) for key in list(self._waiting)}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._change:
                await self._change.wait_for(lambda: asked <= {early.fit for early in self.written[before:]})

    def _answer(self, key: str, why: str) -> str:
        waiting = self._waiting.pop(key)
        waiting.answer.set_result(why)
        return waiting.fit

    async def _look(self) -> None:
        """Ask the trainings whose nodes the cloud is about to take back, each once a node."""
        while True:
            going = await asyncio.to_thread(draining_nodes)
            for key, waiting in list(self._waiting.items()):
                new = {(waiting.fit, node) for node in going & waiting.nodes} - self._told
                if new:
                    self._told |= new
                    self._answer(key, "a node of its workers is about to go")
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)


def ask_for_checkpoints(monitor: Any, why: str) -> bool:
    """Have all trainings that take steps write a checkpoint, and wait for them, `SECONDS` or so at most.

    Returns:
        whether the monitor answered; that it did not is no reason to end otherwise than was asked.
    """
    with contextlib.suppress(ray.exceptions.RayError):
        ray.get(monitor.ask_checkpoints.remote(why, SECONDS), timeout=2 * SECONDS)
        return True
    return False
