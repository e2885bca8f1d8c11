"""fit: one FitJob in, its last checkpoint and scores out. The TorchTrainer of Ray Train v2."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from hybridtune.errors import FitError
from hybridtune.train.checkpoint import read_state
from hybridtune.train.loop import SCORES, FitJob, train_loop

RESTARTS = 2  # of the worker group after a lost worker, from the last checkpoint


@dataclass(frozen=True)
class FitResult:
    """A finished training.

    Attributes:
        metrics: the last report.
        checkpoint: folder of the last checkpoint.
    """

    metrics: dict[str, Any]
    checkpoint: Path


def fit(job: FitJob, callbacks: Sequence[Any] = ()) -> FitResult:
    """Train one configuration to its last step, from its last checkpoint where ``job.storage`` holds one.

    Args:
        job: what to train.
        callbacks: Ray Train's ``UserCallback`` objects, which see every report.

    Raises:
        FitError: the loss became NaN or infinite.
    """
    resources = job.study.resources
    per_worker: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        per_worker["GPU"] = resources.gpus_per_worker
    storage = Path(job.storage)
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
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
        ),
    )
    result = trainer.fit()
    if result.return_value is not None:
        raise FitError(result.return_value)
    checkpoint = Path(result.checkpoint.path)
    return FitResult(read_state(checkpoint)["metrics"], checkpoint)


def checkpoint_scores(checkpoint: Path) -> dict[str, Any]:
    """The full tables of scores that stand beside a checkpoint's weights."""
    return dict(json.loads((checkpoint / SCORES).read_text(encoding="utf-8")))
