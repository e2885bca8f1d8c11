"""One FitJob in, its best checkpoint and scores out, by Ray Train.

Trial actors and Ray Train's controllers import this module; they compute nothing, so it imports no torch.
"""

import contextlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import ray
import ray.train
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from hybridtune.config.fields import Resources
from hybridtune.data.plan import write_plan
from hybridtune.data.store import TokenStore
from hybridtune.errors import HybridtuneError
from hybridtune.runtime.ray_private import ON_HEAD
from hybridtune.runtime.resources import WORKER_OVERHEAD
from hybridtune.storage.copies import ensure_local
from hybridtune.train.incidents import death_line
from hybridtune.train.job_queue import SEGMENTS, FitJob, JobQueue, Metrics
from hybridtune.train.plan import make_plan
from hybridtune.train.rendezvous import torch_config

_OWN = ".workers-"  # begins the name of the folder for Ray Train's own files of a group


@dataclass(frozen=True)
class FitResult:
    """A finished training: how far it went, and the scores and location of its best checkpoint."""

    metrics: Metrics
    checkpoint: str


class WorkerGroup:
    """Ray Train workers that take one fit after another: their start, many seconds, is paid once.

    Args:
        resources: workers, and what each holds.
        folder: local, takes what Ray Train writes of the group here.
    """

    def __init__(self, resources: Resources, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._own = folder / f"{_OWN}{uuid.uuid4().hex[:8]}"
        # Without a strategy of its own, an actor started in a trial of Tune's takes what the trial itself holds.
        options = {"num_cpus": 0, "resources": ON_HEAD, "scheduling_strategy": "DEFAULT"}
        self._queue = ray.remote(JobQueue).options(**options).remote()
        self._thread = Thread(target=self._run, args=[_trainer(self._queue, resources, self._own)], daemon=True)
        self._thread.start()

    def reports(self, job: FitJob) -> Iterator[Metrics]:
        """Train a job to its end, from its last checkpoint where ``job.storage`` holds one.

        Between two reports the workers wait until the next is consumed. A job whose reports are not consumed any more
        is left when the next job begins.

        Yields:
            Every score, in order; the last is marked ``final`` and repeats the metrics of the best.

        Raises:
            FitError: the loss became NaN or infinite, a batch does not fit into the device's memory, or the workers
                died again and again.
            InputError: the encoder cannot be trained as asked, or the last checkpoint is of other settings.
            NotSharedError: a node does not see where the checkpoints go.
        """
        job.local_folder.mkdir(parents=True, exist_ok=True)
        ray.get(self._queue.hand_in.remote(job))
        plan, study = make_plan(TokenStore.open(ensure_local(job.store)).corpus(), job.study), job.study
        learned = study.mix.schedule == "learned"
        write_plan(plan, study.next_score(0) if learned else study.train.max_steps, job.local_folder)
        final = False
        while not final:
            metrics = ray.get(self._queue.next_report.remote())
            if isinstance(metrics, Exception):
                raise metrics
            final = bool(metrics["final"])
            if segments := metrics.pop(SEGMENTS, ()):  # of a learned mix, whose plan is known step by step
                write_plan(plan.with_segments(segments), metrics["step"], job.local_folder)
            yield metrics

    def close(self, seconds: float = 60.0) -> None:
        """End the workers, waiting for so long at most; a job that is under way ends at its next report.

        Workers that still run then end with this process, or with Ray.
        """
        ray.get(self._queue.close.remote())
        self._thread.join(seconds)
        shutil.rmtree(self._own, ignore_errors=True)

    def _run(self, trainer: DataParallelTrainer) -> None:
        try:
            trainer.fit()
        except Exception as error:
            if ray.is_initialized():  # else asking would start another
                with contextlib.suppress(ray.exceptions.RayError):  # the cluster may be gone
                    ray.get(self._queue.group_gone.remote(error))


class Deaths(ray.train.UserCallback):  # type: ignore[misc]
    """Reports workers that died to the queue; runs in Ray Train's controller."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Report workers that died; what one reported itself is in the queue already."""
        causes = [getattr(error, "_base_exc", error) for error in worker_exceptions.values()]
        if not any(isinstance(cause, HybridtuneError) for cause in causes):
            alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
            with_node = not alive.issuperset(ray.get(self._queue.nodes.remote()))
            self._queue.group_died.remote(death_line(causes[0]), with_node)


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


def _trainer(queue: Any, resources: Resources, folder: Path) -> DataParallelTrainer:
    gpus = float(resources.gpus_per_worker)
    # Tasks beside a worker request no CPU of their own: it could be given away before, and the worker wait for ever.
    per_worker = {"CPU": int(resources.cpus_per_worker) + WORKER_OVERHEAD} | ({"GPU": gpus} if gpus else {})
    return _Trainer(
        _train_loop,
        train_loop_config={"queue": queue, "folder": str(folder)},
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
            callbacks=[Deaths(queue)],
            failure_config=ray.train.FailureConfig(max_failures=-1),  # the queue counts them, by job
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
        ),
    )


def fit(job: FitJob, on_report: Callable[[Metrics], object] = lambda metrics: None) -> FitResult:
    """Train one configuration to its end, from its last checkpoint where ``job.storage`` holds one.

    The best ``train.keep_checkpoints`` checkpoints stay, and the last one, from which a training goes on. Errors are
    those of `WorkerGroup.reports`.
    """
    from hybridtune.train.loop import checkpoint_manager

    clear(job.local_folder)
    group = WorkerGroup(job.study.resources, job.local_folder)
    try:
        for metrics in group.reports(job):
            on_report(metrics)
    except BaseException:
        group.close(0.0)  # the training was interrupted, and no report will be consumed
        raise
    group.close()
    best = checkpoint_manager(job).at(metrics["best_step"])
    return FitResult(metrics, best)


def clear(folder: Path) -> None:
    """Remove the files of worker groups that were killed; none may run there."""
    for left in folder.glob(f"{_OWN}*"):
        shutil.rmtree(left, ignore_errors=True)


def checkpoint_scores(checkpoint: Path) -> dict[str, Any]:
    """Read the full tables of scores beside a checkpoint's weights."""
    from hybridtune.train.scoring import SCORES

    return dict(json.loads((checkpoint / SCORES).read_text(encoding="utf-8")))
