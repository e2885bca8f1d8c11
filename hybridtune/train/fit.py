"""fit: one FitJob in, its best checkpoint and scores out. The TorchTrainer of Ray Train v2."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from hybridtune.data.store import TokenStore
from hybridtune.data.table import write_plan
from hybridtune.errors import HybridtuneError
from hybridtune.evaluate.metrics import direction
from hybridtune.train.checkpoint import read_state
from hybridtune.train.loop import SCORES, FitJob, checkpoint_folder, make_plan, train_loop
from hybridtune.train.progress import Progress

RESTARTS = 2  # of the worker group after a lost worker, from the last checkpoint


@dataclass(frozen=True)
class FitResult:
    """A finished training.

    Attributes:
        metrics: of the best checkpoint, beside how far the training went.
        checkpoint: folder of the best checkpoint by the study's first objective.
    """

    metrics: dict[str, Any]
    checkpoint: Path


def fit(job: FitJob, callbacks: Sequence[Any] = ()) -> FitResult:
    """Train one configuration to its end, from its last checkpoint where ``job.storage`` holds one.

    The best ``train.keep_checkpoints`` checkpoints stay, and the last one, from which a training goes on.

    Args:
        job: what to train.
        callbacks: Ray Train's ``UserCallback`` objects, which see every report.

    Raises:
        FitError: the loss became NaN or infinite, or a batch does not fit into the device's memory.
        InputError: the encoder cannot be trained as asked, or the last checkpoint is of other settings.
    """
    resources = job.study.resources
    objective = job.study.search.objective[0]
    per_worker: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        per_worker["GPU"] = resources.gpus_per_worker
    storage = Path(job.storage)
    storage.mkdir(parents=True, exist_ok=True)
    plan = make_plan(TokenStore.open(Path(job.store)).corpus(), job.study)
    write_plan(plan, job.study.train.max_steps, storage.parent)
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if resources.gpus_per_worker else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=per_worker,
        ),
        run_config=ray.train.RunConfig(
            name=storage.name,
            storage_path=str(storage.parent),
            callbacks=list(callbacks),
            failure_config=ray.train.FailureConfig(max_failures=RESTARTS),
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=job.study.train.keep_checkpoints,
                checkpoint_score_attribute=objective,
                checkpoint_score_order=direction(objective),
            ),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.WorkerGroupError as error:
        raise _meant_for_people(error) or error from None
    if result.return_value is not None:
        raise result.return_value
    progress = Progress(**read_state(Path(result.checkpoint.path)))
    return FitResult(progress.final_metrics(), checkpoint_folder(job, progress.best_step))


def _meant_for_people(error: ray.train.WorkerGroupError) -> HybridtuneError | None:
    """What a worker said on purpose when it left the others; they fail with it, of a lost connection."""
    failures = (getattr(failure, "_base_exc", failure) for failure in error.worker_failures.values())
    return next((failure for failure in failures if isinstance(failure, HybridtuneError)), None)


def checkpoint_scores(checkpoint: Path) -> dict[str, Any]:
    """The full tables of scores that stand beside a checkpoint's weights."""
    return dict(json.loads((checkpoint / SCORES).read_text(encoding="utf-8")))
