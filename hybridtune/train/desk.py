"""The desk between a worker group and whoever has fits for it: jobs go one way, reports the other. A Ray actor."""

import asyncio
from collections import deque
from typing import Any

from hybridtune.errors import FitError, HybridtuneError

RESTARTS = 2  # of the worker group after workers died, from the last checkpoint; counted anew after every report
LOST_NODES = 20  # and after nodes were lost with their workers, which is nobody's fault unless it goes on for ever
ON_HEAD = {"node:__internal_head__": 0.001}  # Ray's own resource of the head node, for what no lost worker may end

Metrics = dict[str, Any]


class Desk:
    """Holds one job at a time, until its last report; a worker group that died finds it there again.

    All methods are coroutines of one actor: they wait for each other without holding a thread.
    """

    def __init__(self) -> None:
        self._change = asyncio.Condition()
        self._number, self._job = 0, None
        self._open = self._asked = self._closed = False
        self._reports: deque[Metrics] = deque()
        self._problem: Exception | None = None
        self._deaths = self._lost = 0
        self._step = -1  # of the last report
        self._nodes: list[str] = []

    async def hand_in(self, job: Any) -> None:
        """Put a job on the desk, in place of the one before, which its workers leave at their next report."""
        async with self._change:
            self._number, self._job = self._number + 1, job
            self._reports.clear()
            self._deaths, self._lost, self._asked, self._step = 0, 0, False, -1
            if self._problem is None or isinstance(self._problem, HybridtuneError):  # else the group is gone for good
                self._open, self._problem = True, None
            self._change.notify_all()

    async def next_report(self) -> Metrics | Exception:
        """The next report of the job, or why there will be none; asking for it tells the worker to go on."""
        async with self._change:
            self._asked = True
            self._change.notify_all()
            await self._change.wait_for(lambda: self._reports or self._problem is not None)
            self._asked = False
            return self._reports.popleft() if self._reports else self._problem or {}

    async def close(self) -> None:
        """No more jobs will come: the group ends."""
        async with self._change:
            self._open, self._closed = False, True
            self._change.notify_all()

    async def take(self) -> tuple[int, Any] | None:
        """For a worker: the open job and its number, once there is one; None after `close`."""
        async with self._change:
            await self._change.wait_for(lambda: self._open or self._closed)
            return None if self._closed else (self._number, self._job)

    async def job(self, number: int) -> Any:
        """For the other workers: the job that the first one took."""
        assert number == self._number, "a job is replaced only after all its workers have left it"
        return self._job

    async def report(self, number: int, metrics: Metrics) -> bool:
        """For a worker: hand over a report; returns, once that is known, whether to go on."""
        async with self._change:
            if number != self._number or not self._open:
                return False
            if metrics["step"] <= self._step and not metrics["final"]:
                return True  # told before, by a worker that died
            self._deaths, self._lost, self._step = 0, 0, metrics["step"]
            self._reports.append(metrics)
            self._asked, self._open = False, not metrics["final"]
            self._change.notify_all()
            if self._open:
                await self._change.wait_for(lambda: self._asked or self._closed or number != self._number)
            return self._open and number == self._number

    async def fail(self, number: int, problem: HybridtuneError) -> None:
        """For a worker: the job cannot be done."""
        async with self._change:
            if number == self._number and self._open:
                self._open, self._problem = False, problem
                self._change.notify_all()

    async def seated(self, nodes: list[str]) -> None:
        """For a worker: the ids of the nodes that the group's workers are on."""
        self._nodes = nodes

    async def nodes(self) -> list[str]:
        """Where the workers are, or were before they died."""
        return self._nodes

    async def group_died(self, reason: str, with_node: bool = False) -> None:
        """Workers died, and Ray Train starts the group anew, which takes the same job; unless that was enough.

        Args:
            reason: of one of them, a line.
            with_node: a node of theirs is gone; the group then waits for another.
        """
        async with self._change:
            self._lost += with_node
            self._deaths += not with_node
            if (self._deaths > RESTARTS or self._lost > LOST_NODES) and self._problem is None:
                self._open = False
                too_often = self._deaths > RESTARTS
                what = f"died {self._deaths} times" if too_often else f"lost their nodes {self._lost} times"
                self._problem = FitError(f"the training's workers {what} without a score between: {reason}")
                self._change.notify_all()

    async def group_gone(self, error: Exception) -> None:
        """Ray Train gave up: no job will be done any more."""
        async with self._change:
            if not self._closed:
                self._open, self._problem = False, error
                self._change.notify_all()
