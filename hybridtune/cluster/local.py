"""A Ray cluster on this machine: quiet, sized so that nothing waits for what it holds itself, and gone at the end."""

import contextlib
import logging
import math
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hybridtune.config import Resources
from hybridtune.errors import InputError

_SETTINGS = {
    "RAY_AUTH_MODE": "disabled",  # one machine, loopback only; a token file would outlive the run
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # the end of a worker group waits for it; 2 s by default
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # evaluators hold no GPU and yet use the one their trial trains on
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the run here, and the cluster with it
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}


@dataclass(frozen=True)
class Capacity:
    """What this machine offers a study.

    Attributes:
        concurrent_trials: trials at once.
        evaluators: evaluator actors.
        cpus: logical CPUs that Ray is told of; more than the cores, so that tasks which only wait for a trial's
            workers never keep those from starting.
        gpus: GPUs.
    """

    concurrent_trials: int
    evaluators: int
    cpus: int
    gpus: int


def capacity(resources: Resources) -> Capacity:
    """Work out how a study runs on this machine.

    Raises:
        InputError: one trial alone needs more GPUs than there are.
    """
    here, gpus = cores(), _gpus()
    per_trial = resources.workers * resources.cpus_per_worker
    gpus_per_trial = resources.workers * resources.gpus_per_worker
    if gpus_per_trial > gpus:
        raise InputError(
            f"resources: a trial of {resources.workers} workers with {resources.gpus_per_worker:g} GPUs each needs "
            f"{gpus_per_trial:g} GPUs and this machine has {gpus}; lower workers or gpus_per_worker (0 trains on CPU)"
        )
    fit_at_once = max(1, here // per_trial)
    if gpus_per_trial:
        fit_at_once = max(1, min(fit_at_once, int(gpus / gpus_per_trial)))
    trials = resources.concurrent_trials or fit_at_once
    evaluators = resources.evaluators or gpus or here
    # Beside the workers: the stream's tasks of each worker, the evaluators, and room for building the store.
    cpus = math.ceil(trials * (per_trial + resources.workers + 1) + 0.25 * evaluators) + 2
    return Capacity(trials, evaluators, cpus, gpus)


@contextlib.contextmanager
def local_cluster(offered: Capacity, noise: Path = Path(os.devnull), dashboard: bool = True) -> Iterator[str]:
    """Ray on this machine while the block runs; yields the dashboard's address ('' without one).

    Args:
        offered: what Ray is told that there is.
        noise: file that takes what Ray and its libraries print; standard output and error stay for our own words.
        dashboard: needed by a search: Ray Train asks it whether a stopped trial still holds its workers.
    """
    os.environ.update(_SETTINGS)
    with noise.open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        import ray

        # Ray's own processes look their cluster up; told its address, they find it among several on one machine.
        port = _free_port()
        address = f"{ray.util.get_node_ip_address()}:{port}"
        os.environ.update(RAY_GCS_SERVER_PORT=str(port), RAY_ADDRESS=address)
        with _native_stderr_to(log):
            context = ray.init(
                address="local",
                namespace="hybridtune",
                num_cpus=offered.cpus,
                num_gpus=offered.gpus,
                include_dashboard=dashboard,
                logging_level="ERROR",
                log_to_driver=False,
            )
        try:
            for name in ("ray.data", "ray.train", "ray.tune"):
                logging.getLogger(name).setLevel(logging.ERROR)
            yield context.dashboard_url or ""
        finally:
            ray.shutdown()
            for name in ("RAY_GCS_SERVER_PORT", "RAY_ADDRESS"):
                os.environ.pop(name, None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _native_stderr_to(log: IO[str]) -> Iterator[None]:
    """Ray's C++ core writes past Python's streams, a line even to say that it will be silent."""
    kept = os.dup(2)
    os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def cores() -> int:
    """The cores this process may use, which a container or ``taskset`` can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
