"""The jobs of a worker group, and the queue that holds them."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybridtune.config.study import Study
from hybridtune.errors import FitError, HybridtuneError
from hybridtune.metrics.groups import Grouping

RESTARTS = 2  # of the worker group after workers died, from the last checkpoint; counted anew after every report
SEGMENTS = "segments"  # in a report of a learned mix: those so far; for the plan's file, and no metric
LOST_NODES = 20  # and after nodes were lost with their workers, which is nobody's fault unless it goes on for ever
Metrics = dict[str, Any]


@dataclass(frozen=True)
class FitJob:
    """One training: everything a worker needs, and nothing that it could look up elsewhere.

    Attributes:
        study: with this fit's values put in; no ``auto`` in its resources.
        store: location of the token store.
        source: location or hub name of the encoder to start from.
        benchmark: for the scores on the way; a benchmark, or the reference of one in the object store.
        storage: location of this fit's checkpoints.
        evaluators: actors that score for this fit, >= 1.
        home: folder on the machine that hands in the job, for what is written of the fit beside its checkpoints; None:
            the one above ``storage``, which is local then.
        name: of this fit in the monitor.
        monitor: handle of the actor that takes its pace; None: nobody watches.
        grouping: by which measures of a group of languages are taken.
        taught: location of the vectors of each teacher, by `Study.teacher_key`.
    """

    study: Study
    store: str
    source: str
    benchmark: Any
    storage: str
    evaluators: int = 1
    home: str | None = None
    name: str = "fit"
    monitor: Any = None
    grouping: Grouping = field(default_factory=Grouping)
    taught: Mapping[str, str] = field(default_factory=dict)

    @property
    def local_folder(self) -> Path:
        """The folder ``home``, or its default."""
        return Path(self.home) if self.home is not None else Path(self.storage).parent


class JobQueue:
    """Holds one job at a time, until its last report; a worker group that died finds it again.

    All methods are coroutines of one actor: they wait for each other without holding a thread.
    """

    def __init__(self) -> None:
        self._change = asyncio.Condition()
        self._number = 0
        self._job: FitJob | None = None
        self._open = self._awaited = self._closed = False  # awaited: the next report
        self._reports: deque[Metrics] = deque()
        self._problem: Exception | None = None
        self._deaths = self._lost = 0
        self._step = -1  # of the last report
        self._nodes: list[str] = []
        self._noted: str | None = None  # why workers are about to die

    async def hand_in(self, job: Any) -> None:
        """Put a job into the queue, in place of the one before, which its workers leave at their next report."""
        async with self._change:
            self._number, self._job = self._number + 1, job
            self._reports.clear()
            self._deaths, self._lost, self._awaited, self._step = 0, 0, False, -1
            if self._problem is None or isinstance(self._problem, HybridtuneError):  # else the group is gone for good
                self._open, self._problem = True, None
            self._change.notify_all()

    async def next_report(self) -> Metrics | Exception:
        """Return the next report of the job, or why none will come; until this is called the worker waits."""
        async with self._change:
            self._awaited = True
            self._change.notify_all()
            await self._change.wait_for(lambda: self._reports or self._problem is not None)
            self._awaited = False
            return self._reports.popleft() if self._reports else self._problem or {}

    async def close(self) -> None:
        """End the group: no more jobs will come."""
        async with self._change:
            self._open, self._closed = False, True
            self._change.notify_all()

    async def take(self) -> tuple[int, Any] | None:
        """Return to a worker the open job and its number as soon as one is open; None after `close`."""
        async with self._change:
            await self._change.wait_for(lambda: self._open or self._closed)
            return None if self._closed else (self._number, self._job)

    async def job(self, number: int) -> Any:
        """Return to the other workers the job that the first one took."""
        assert number == self._number, "a job is replaced only after all its workers have left it"
        return self._job

    async def report(self, number: int, metrics: Metrics) -> bool:
        """Take a report from a worker, and return whether it should go on as soon as that is known."""
        async with self._change:
            if number != self._number or not self._open:
                return False
            if metrics["step"] <= self._step and not metrics["final"]:
                return True  # reported before, by a worker that died
            self._deaths, self._lost, self._step = 0, 0, metrics["step"]
            self._reports.append(metrics)
            self._awaited, self._open = False, not metrics["final"]
            self._change.notify_all()
            if self._open:
                await self._change.wait_for(lambda: self._awaited or self._closed or number != self._number)
            return self._open and number == self._number

    async def fail(self, number: int, problem: HybridtuneError) -> None:
        """End a job that cannot be done, for a worker."""
        async with self._change:
            if number == self._number and self._open:
                self._open, self._problem = False, problem
                self._change.notify_all()

    async def note_hang(self, number: int, what: str) -> None:
        """Store why a worker is about to end itself; of several workers, what the first one says."""
        if number == self._number:
            self._noted = self._noted or what

    async def set_nodes(self, nodes: list[str]) -> None:
        """Store the ids of the nodes that the group's workers are on."""
        self._nodes = nodes

    async def nodes(self) -> list[str]:
        """Return the nodes of the workers, also after these died."""
        return self._nodes

    async def group_died(self, reason: str, with_node: bool = False) -> None:
        """Count that workers died, of a ``reason`` and maybe with their node; after too many deaths, end the job.

        Until then Ray Train starts the group anew, and it takes the same job.
        """
        async with self._change:
            reason, self._noted = self._noted or reason, None
            self._lost += with_node
            self._deaths += not with_node
            if (self._deaths > RESTARTS or self._lost > LOST_NODES) and self._problem is None:
                self._open = False
                too_often = self._deaths > RESTARTS
                what = f"died {self._deaths} times" if too_often else f"lost their nodes {self._lost} times"
                self._problem = FitError(f"the training's workers {what} without a score between: {reason}")
                self._change.notify_all()
            if self._job is not None and self._job.monitor is not None:
                died = "a node was lost with its workers" if with_node else f"a worker died ({reason})"
                self._job.monitor.lose.remote(self._job.name, max(0, self._step), died)

    async def group_gone(self, error: Exception) -> None:
        """End all jobs: Ray Train gave up."""
        async with self._change:
            if not self._closed:
                self._open, self._problem = False, error
                self._change.notify_all()
