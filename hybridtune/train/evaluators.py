"""The placement of a group's workers on nodes, and the evaluators that score for them there."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.train.torch
import torch
import torch.distributed as dist

from hybridtune.config.study import Study
from hybridtune.errors import InputError
from hybridtune.evaluate.service import EvaluatorService, Placement
from hybridtune.metrics.metrics import Scores, measures_of
from hybridtune.storage.feasibility import constraint_metrics
from hybridtune.storage.files import is_remote
from hybridtune.train.incidents import DIED, Replaced, death_line
from hybridtune.train.job_queue import FitJob


class NotSharedError(InputError):
    """A node does not see the study's folder: no trial can run there, whatever its values."""


def check_shared(job: FitJob, folder: str) -> None:
    """Raise NotSharedError where this node does not see ``folder``, which the driver made beside the checkpoints."""
    if not is_remote(job.storage) and not Path(folder).is_dir():
        raise NotSharedError(
            f"{job.storage}: the node {ray.util.get_node_ip_address()} does not see the study's folder; give --out a "
            "place that all nodes share: s3://..., gs://..., or a path that is mounted on all of them"
        )


def placements_of_group(workers: int) -> list[Placement]:
    """Return the placement of each worker, by rank; all workers must call it."""
    device = ray.train.torch.get_device()
    on_gpu = device.type == "cuda"
    own = Placement(
        node=ray.get_runtime_context().get_node_id(),
        device=str(device),
        visible=os.environ.get("CUDA_VISIBLE_DEVICES") if on_gpu else None,
    )
    if workers == 1:
        return [own]
    placements: list[Any] = [None] * workers
    with torch.cuda.device(device) if on_gpu else contextlib.nullcontext():
        dist.all_gather_object(placements, own)
    return placements


class GroupEvaluators:
    """The evaluators of a worker group: on its own nodes and devices, from one job to the next. Rank 0 owns them.

    They end with it. One that is lost alone is replaced at the next score.
    """

    def __init__(self, placements: Sequence[Placement]) -> None:
        self._placements = list(placements)
        self._service: EvaluatorService | None = None
        self._started_for: tuple[Any, ...] = ()

    def begin(self, job: FitJob) -> None:
        """Start the evaluators that the job needs, unless they run; they load while the training does."""
        # The pooling comes with every score.
        encoder = job.study.encoder.model_copy(update={"pooling": "mean"})
        wanted = (job.store, job.source, job.benchmark, job.evaluators, encoder, job.grouping)
        if self._service is None or wanted != self._started_for:
            self._service, self._started_for = None, wanted  # the former ones end first
            placements = [self._placements[index % len(self._placements)] for index in range(job.evaluators)]
            self._service = EvaluatorService(
                job.benchmark, job.store, job.source, job.study.encoder, placements, job.grouping
            )

    def score(self, job: FitJob, weights: Mapping[str, Any], per_query_file: Path) -> Scores:
        """Score weights on the job's benchmark.

        Raises:
            RayError: evaluators died twice.
        """
        try:
            return self._scored(job, weights, per_query_file)
        except DIED as error:
            if job.monitor is not None:
                what = f"an evaluator died ({death_line(error)}); others score again"
                job.monitor.note.remote(Replaced(job.name, what))
            self._service = None
            return self._scored(job, weights, per_query_file)

    def _scored(self, job: FitJob, weights: Mapping[str, Any], per_query_file: Path) -> Scores:
        self.begin(job)
        assert self._service is not None
        encoder = job.study.encoder
        return self._service.score(weights, per_query_file, encoder.pooling, study_measures(job.study))


def study_measures(study: Study) -> tuple[str, ...]:
    """Return the measures of every score of a study: the usual ones, and those that its search asks for."""
    stopping = study.search.early_stopping
    stopped_by = [stopping.metric] if stopping and stopping.metric else []
    return measures_of([*study.search.objective, *stopped_by, *constraint_metrics(study)])
