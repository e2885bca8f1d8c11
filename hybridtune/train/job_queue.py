"""The jobs of worker groups, and the queue that holds them."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybridtune.config.study import Study
from hybridtune.errors import FitError, HybridtuneError
from hybridtune.metrics.groups import Grouping

RESTARTS = 2  # of a worker group after workers died, from the last checkpoint; counted anew after every report
GROUPS = ".workers-"  # begins the name of the folder for Ray Train's own files of a group
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


@dataclass(eq=False)
class _Entry:
    """A job in the queue, and how it stands."""

    number: int
    job: Any
    group: int | None = None  # that trains it; None: it waits for one
    awaited: bool = False  # its next report
    ended: bool = False  # its last report has come
    reports: deque[Metrics] = field(default_factory=deque)
    problem: Exception | None = None
    step: int = -1  # of the last report
    deaths: int = 0
    lost: int = 0
    noted: str | None = None  # why workers are about to die

    @property
    def open(self) -> bool:
        """Return whether there is something left to train."""
        return not self.ended and self.problem is None


class JobQueue:
    """Holds jobs until their last reports; a group that is free takes the one that has waited longest.

    The job of a group whose workers died waits again, for that group or another, whichever is there first. All methods
    are coroutines of one actor: they wait for each other without holding a thread.
    """

    def __init__(self) -> None:
        self._change = asyncio.Condition()
        self._handed_in = 0
        self._entries: dict[int, _Entry] = {}  # by number, until the last report is consumed
        self._held: dict[int, _Entry] = {}  # by group, until it takes the next or dies
        self._nodes: dict[int, list[str]] = {}  # of a group's workers, also after these died
        self.groups = 0  # that are wanted: those of the numbers below

    @property
    def jobs(self) -> int:
        """Jobs that have something left to train."""
        return sum(entry.open for entry in self._entries.values())

    async def hand_in(self, job: Any) -> int:
        """Put a job into the queue, in place of one with the same storage; return the number by which it is known."""
        async with self._change:
            self._leave(job.storage)
            self._handed_in += 1
            self._entries[self._handed_in] = _Entry(self._handed_in, job)
            self._change.notify_all()
            return self._handed_in

    async def next_report(self, number: int) -> Metrics | Exception:
        """Return the next report of a job, or why none will come; until this is called the worker waits."""
        async with self._change:
            entry = self._entries.get(number)
            if entry is None:
                return FitError("what ran the worker groups died, and the training with it")
            entry.awaited = True
            self._change.notify_all()
            await self._change.wait_for(lambda: entry.reports or entry.problem is not None)
            entry.awaited = False
            found = entry.reports.popleft() if entry.reports else entry.problem
            if not entry.open and not entry.reports:
                self._entries.pop(number, None)
            return found or {}

    async def leave(self, storage: str) -> None:
        """Remove the job with this storage, if there is one: its workers leave it at their next report."""
        async with self._change:
            self._leave(storage)
            self._change.notify_all()

    def _leave(self, storage: str) -> None:
        for entry in [one for one in self._entries.values() if one.job.storage == storage]:
            del self._entries[entry.number]

    async def resize(self, groups: int) -> None:
        """Want so many groups: those of higher numbers end as soon as they are free; with 0 they leave their jobs."""
        async with self._change:
            self.groups = groups
            if not groups:
                self._entries.clear()
            self._change.notify_all()

    async def wanted(self, group: int) -> bool:
        """Wait until there is a job for a group that has ended; False: the group is not wanted any more."""
        async with self._change:
            await self._change.wait_for(lambda: group >= self.groups or self._waiting() is not None)
            return group < self.groups

    def _waiting(self) -> _Entry | None:
        """Return the job that has waited longest; one that was handed in anew waits until its group has left it."""
        trained = {entry.job.storage for entry in self._held.values()}
        waiting = (one for one in self._entries.values() if one.open and one.group is None)
        return next((one for one in waiting if one.job.storage not in trained), None)

    async def take(self, group: int) -> tuple[int, Any] | None:
        """Return to a group a job and its number as soon as there is one; None where the group is not wanted."""
        async with self._change:
            self._held.pop(group, None)
            self._change.notify_all()
            await self._change.wait_for(lambda: group >= self.groups or self._waiting() is not None)
            entry = self._waiting()
            if group >= self.groups or entry is None:
                return None
            entry.group, self._held[group] = group, entry
            return entry.number, entry.job

    async def job(self, group: int) -> Any:
        """Return to the other workers of a group the job that the first one took."""
        return self._held[group].job

    async def report(self, number: int, metrics: Metrics) -> bool:
        """Take a report from a worker, and return whether it should go on as soon as that is known."""
        async with self._change:
            entry = self._entries.get(number)
            if entry is None or not entry.open:
                return False
            if metrics["step"] <= entry.step and not metrics["final"]:
                return True  # reported before, by a worker that died
            entry.deaths, entry.lost, entry.step = 0, 0, metrics["step"]
            entry.reports.append(metrics)
            entry.awaited, entry.ended = False, bool(metrics["final"])
            self._change.notify_all()
            if entry.open:
                await self._change.wait_for(lambda: entry.awaited or number not in self._entries)
            return entry.open and number in self._entries

    async def fail(self, number: int, problem: HybridtuneError) -> None:
        """End a job that cannot be done, for a worker."""
        async with self._change:
            entry = self._entries.get(number)
            if entry is not None and entry.open:
                entry.problem = problem
                self._change.notify_all()

    async def note_hang(self, number: int, what: str) -> None:
        """Store why a worker is about to end itself; of several workers, what the first one says."""
        if (entry := self._entries.get(number)) is not None:
            entry.noted = entry.noted or what

    async def set_nodes(self, group: int, nodes: list[str]) -> None:
        """Store the ids of the nodes that a group's workers are on."""
        self._nodes[group] = nodes

    async def nodes(self, group: int) -> list[str]:
        """Return the nodes of a group's workers, also after these died."""
        return self._nodes.get(group, [])

    async def group_died(self, group: int, reason: str, with_node: bool = False) -> None:
        """Count that workers of a group died, of a ``reason`` and maybe with their node; after too many, end their job.

        Until then it waits for a group again, as Ray Train starts this one anew.
        """
        async with self._change:
            entry = self._held.pop(group, None)
            if entry is None or not entry.open or entry.number not in self._entries:
                return
            reason, entry.noted, entry.group = entry.noted or reason, None, None
            entry.lost += with_node
            entry.deaths += not with_node
            if entry.deaths > RESTARTS or entry.lost > LOST_NODES:
                too_often = entry.deaths > RESTARTS
                what = f"died {entry.deaths} times" if too_often else f"lost their nodes {entry.lost} times"
                entry.problem = FitError(f"the training's workers {what} without a score between: {reason}")
            self._change.notify_all()
            if entry.job.monitor is not None:
                died = "a node was lost with its workers" if with_node else f"a worker died ({reason})"
                entry.job.monitor.lose.remote(entry.job.name, max(0, entry.step), died)

    async def group_gone(self, group: int, error: Exception) -> None:
        """End the job of a group that Ray Train gave up, or, where it has none, a job that waits for a group."""
        async with self._change:
            entry = self._held.pop(group, None) or self._waiting()
            if entry is not None and entry.open:
                entry.problem = error
                self._change.notify_all()
