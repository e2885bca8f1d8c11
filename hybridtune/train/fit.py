"""One FitJob in, its best checkpoint and scores out, by worker groups that take one fit after another.

Trial actors import this module; they compute nothing, so it imports no torch, and Ray Train only where groups start.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from hybridtune.config.fields import Resources
from hybridtune.data.plan import write_plan
from hybridtune.data.store import TokenStore
from hybridtune.runtime.ray_private import ON_HEAD
from hybridtune.storage.copies import ensure_local
from hybridtune.train.job_queue import GROUPS, SEGMENTS, FitJob, Metrics
from hybridtune.train.plan import make_plan


@dataclass(frozen=True)
class FitResult:
    """A finished training: how far it went, and the scores and location of its best checkpoint."""

    metrics: Metrics
    checkpoint: str


class WorkerGroups:
    """Ray Train worker groups that take one fit after another: their start, many seconds, is paid once.

    The search, the reruns and the seed check of a study train on the same ones. A handle of them may be sent to actors.

    Args:
        resources: workers of each group, and what each of those holds.
        at_once: groups at most, each of which trains one job.
        folder: local, takes what Ray Train writes of the groups here.
    """

    def __init__(self, resources: Resources, at_once: int, folder: Path) -> None:
        from hybridtune.train.group_runner import GroupRunner  # not in trials

        self.at_once, self._folder = at_once, folder
        clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
        options = {"num_cpus": 0, "resources": ON_HEAD, "max_restarts": -1, "max_task_retries": -1}
        self._runner = ray.remote(GroupRunner).options(**options).remote(resources, at_once, str(folder))

    def resize(self, groups: int) -> None:
        """Have so many groups, ``at_once`` at most: those that lack start, those too many end when they are free."""
        self._runner.resize.remote(groups)

    def reports(self, job: FitJob) -> Generator[Metrics]:
        """Train a job to its end, from its last checkpoint where ``job.storage`` holds one.

        Between two reports the workers wait until the next is consumed. A job is left when the iterator is closed.

        Yields:
            Every score, in order; the last is marked ``final`` and repeats the metrics of the best.

        Raises:
            FitError: the loss became NaN or infinite, a batch does not fit into the device's memory, or the workers
                died again and again.
            InputError: the encoder cannot be trained as asked, or the last checkpoint is of other settings.
            NotSharedError: a node does not see where the checkpoints go.
        """
        job.local_folder.mkdir(parents=True, exist_ok=True)
        number = ray.get(self._runner.hand_in.remote(job))
        plan, study = make_plan(TokenStore.open(ensure_local(job.store)).corpus(), job.study), job.study
        learned = study.mix.schedule == "learned"
        write_plan(plan, study.next_score(0) if learned else study.train.max_steps, job.local_folder)
        final = False
        try:
            while not final:
                metrics = ray.get(self._runner.next_report.remote(number))
                if isinstance(metrics, Exception):
                    raise metrics
                final = bool(metrics["final"])
                if segments := metrics.pop(SEGMENTS, ()):  # of a learned mix, whose plan is known step by step
                    write_plan(plan.with_segments(segments), metrics["step"], job.local_folder)
                yield metrics
        finally:
            if not final:
                self.leave(job.storage)

    def leave(self, storage: str) -> None:
        """Leave the job with this storage, where there is one: it was stopped, or what consumed its reports died."""
        with contextlib.suppress(ray.exceptions.RayError):  # then nobody trains it
            ray.get(self._runner.leave.remote(storage))

    def close(self, seconds: float = 60.0) -> None:
        """End the groups, waiting for so long at most; a job that is under way ends at its next report.

        A group that still waits for a node ends when it has one: killed, it would leave its placement group behind.
        """
        with contextlib.suppress(ray.exceptions.RayError):  # the cluster may be gone
            ray.get(self._runner.close.remote(seconds))

    def end(self, seconds: float = 60.0) -> None:
        """Close the groups, and end what runs them: nothing will be trained or scored after that."""
        self.close(seconds)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(self._runner)
        clear(self._folder)


def fit(job: FitJob, groups: WorkerGroups, on_report: Callable[[Metrics], object] = lambda metrics: None) -> FitResult:
    """Train one configuration to its end, from its last checkpoint where ``job.storage`` holds one.

    The best ``train.keep_checkpoints`` checkpoints stay, and the last one, from which a training goes on. Errors are
    those of `WorkerGroups.reports`.
    """
    from hybridtune.train.loop import checkpoint_manager

    for metrics in groups.reports(job):
        on_report(metrics)
    best = checkpoint_manager(job).at(metrics["best_step"])
    return FitResult(metrics, best)


def clear(folder: Path) -> None:
    """Remove the files of worker groups that were killed; none may run there."""
    for left in folder.glob(f"{GROUPS}*"):
        shutil.rmtree(left, ignore_errors=True)


def checkpoint_scores(checkpoint: Path) -> dict[str, Any]:
    """Read the full tables of scores beside a checkpoint's weights."""
    from hybridtune.train.scoring import SCORES

    return dict(json.loads((checkpoint / SCORES).read_text(encoding="utf-8")))
