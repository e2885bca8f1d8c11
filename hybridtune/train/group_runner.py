"""The actor that runs a study's worker groups by Ray Train, and holds the queue of their jobs."""

import asyncio
import shutil
import uuid
from pathlib import Path
from threading import Thread
from typing import Any

import ray
import ray.train
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from hybridtune.config.fields import Resources
from hybridtune.errors import HybridtuneError
from hybridtune.runtime.resources import WORKER_OVERHEAD
from hybridtune.train.incidents import death_line
from hybridtune.train.job_queue import GROUPS, JobQueue
from hybridtune.train.rendezvous import torch_config


class GroupRunner(JobQueue):
    """Runs worker groups, each in a thread; one that Ray Train gave up starts anew when there is a job for it.

    Args:
        resources: workers of each group, and what each of those holds.
        at_once: groups at most.
        folder: local, takes a folder of each group.
    """

    def __init__(self, resources: Resources, at_once: int, folder: str) -> None:
        super().__init__()
        self._resources, self._at_once, self._folder = resources, at_once, folder
        self._handle = ray.get_runtime_context().current_actor
        self._threads: dict[int, Thread] = {}
        self._up: set[int] = set()  # groups whose workers have come

    async def hand_in(self, job: Any) -> int:
        """Put a job into the queue, see `JobQueue.hand_in`, and start a group where there are fewer than jobs."""
        number = await super().hand_in(job)
        await self.resize(max(self.groups, self.jobs))
        return number

    async def resize(self, groups: int) -> None:
        """Want so many groups, or as many as there may be, and start those that lack."""
        await super().resize(min(groups, self._at_once))
        loop = asyncio.get_running_loop()
        for group in range(self.groups):
            if group not in self._threads:
                self._threads[group] = Thread(target=self._run, args=[group, loop], daemon=True)
                self._threads[group].start()

    async def wanted(self, group: int) -> bool:
        """Wait for a job for a group that has ended, see `JobQueue.wanted`."""
        if await super().wanted(group):
            return True
        del self._threads[group]
        return False

    async def set_nodes(self, group: int, nodes: list[str]) -> None:
        """Store the nodes of a group's workers, which have come."""
        self._up.add(group)
        await super().set_nodes(group, nodes)

    async def group_died(self, group: int, reason: str, with_node: bool = False) -> None:
        """Count that workers of a group died, see `JobQueue.group_died`; it is not up until others have come."""
        self._up.discard(group)
        await super().group_died(group, reason, with_node)

    async def close(self, seconds: float) -> None:
        """End all groups, and wait for those whose workers have come."""
        coming = [thread for group, thread in self._threads.items() if group in self._up]
        await self.resize(0)
        for thread in coming:
            await asyncio.to_thread(thread.join, seconds)

    def _run(self, group: int, loop: asyncio.AbstractEventLoop) -> None:
        wanted = True
        while wanted:
            folder = Path(self._folder) / f"{GROUPS}{uuid.uuid4().hex[:8]}"
            try:
                _trainer(self._handle, group, self._resources, folder).fit()
            except Exception as error:
                asyncio.run_coroutine_threadsafe(self.group_gone(group, error), loop).result()
            self._up.discard(group)
            shutil.rmtree(folder, ignore_errors=True)
            wanted = asyncio.run_coroutine_threadsafe(self.wanted(group), loop).result()


class Deaths(ray.train.UserCallback):  # type: ignore[misc]
    """Reports workers of a group that died to the queue; runs in Ray Train's controller."""

    def __init__(self, queue: Any, group: int) -> None:
        self._queue, self._group = queue, group

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Report workers that died; what one reported itself is in the queue already."""
        causes = [getattr(error, "_base_exc", error) for error in worker_exceptions.values()]
        if not any(isinstance(cause, HybridtuneError) for cause in causes):
            alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
            with_node = not alive.issuperset(ray.get(self._queue.nodes.remote(self._group)))
            self._queue.group_died.remote(self._group, death_line(causes[0]), with_node)


class _Trainer(DataParallelTrainer):  # type: ignore[misc]
    """Ray Train without datasets of its own: each worker streams by itself, and the actor that would deal them costs
    a process and the import of Ray Data.
    """

    def _create_default_callbacks(self) -> list[Any]:
        return [one for one in super()._create_default_callbacks() if not isinstance(one, DatasetsCallback)]


def _train_loop(config: dict[str, Any]) -> None:
    """Run the training loop; only a worker imports it."""
    from hybridtune.train.loop import train_loop

    train_loop(config)


def _trainer(queue: Any, group: int, resources: Resources, folder: Path) -> DataParallelTrainer:
    gpus = float(resources.gpus_per_worker)
    # Tasks beside a worker request no CPU of their own: it could be given away before, and the worker wait for ever.
    per_worker = {"CPU": int(resources.cpus_per_worker) + WORKER_OVERHEAD} | ({"GPU": gpus} if gpus else {})
    return _Trainer(
        _train_loop,
        train_loop_config={"queue": queue, "group": group, "folder": str(folder)},
        backend_config=torch_config("nccl" if gpus else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=int(resources.workers),
            use_gpu=gpus > 0,
            resources_per_worker=per_worker,
            placement_strategy=resources.placement.upper(),
            accelerator_type=resources.accelerator_type,
        ),
        run_config=ray.train.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            callbacks=[Deaths(queue, group)],
            failure_config=ray.train.FailureConfig(max_failures=-1),  # the queue counts them, by job
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
        ),
    )
