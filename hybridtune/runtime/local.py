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

from hybridtune.config.fields import Resources
from hybridtune.errors import InputError
from hybridtune.runtime.loopback import HOST, kept_here
from hybridtune.runtime.ray_private import SETTINGS, accelerator_type
from hybridtune.runtime.resources import cores, explain_cap

_CARDS = Path("/proc/driver/nvidia/gpus")  # a folder a card, whatever torch can do with it
_HERE = {"RAY_BACKEND_LOG_LEVEL": "fatal"}  # of a Ray that we start ourselves


@dataclass(frozen=True)
class Capacity:
    """What this machine offers a study.

    Attributes:
        resources: of a trial, with numbers in place of ``auto``.
        concurrent_trials: trials at once.
        evaluators: evaluator actors.
        cpus: logical CPUs that Ray is told of; more than the cores, so that tasks which only wait for a trial's
            workers never keep those from starting.
        gpus: GPUs.
        notices: what a user should know of it.
    """

    resources: Resources
    concurrent_trials: int
    evaluators: int
    cpus: int
    gpus: int
    notices: tuple[str, ...] = ()


def capacity(resources: Resources, batch_size: int = 0, most: int | None = None) -> Capacity:
    """Work out how a study runs on this machine.

    Args:
        resources: as the study asks for them.
        batch_size: workers that stand as ``auto`` divide it; 0: any number does.
        most: trials at once at most, where the resources do not say how many; None: as many as there is room for.

    Raises:
        InputError: one trial alone needs more GPUs than there are, or GPUs of another kind.
    """
    here, there = cores(), gpus()
    settled = _without_auto(resources, here, there, batch_size, most)
    workers, each = int(settled.workers), float(settled.gpus_per_worker)
    gpus_per_trial = workers * each
    if gpus_per_trial > there:
        raise InputError(
            f"resources: a trial of {workers} workers with {each:g} GPUs each needs "
            f"{gpus_per_trial:g} GPUs and this machine has {there}; lower workers or gpus_per_worker (0 trains on CPU)"
        )
    kind, has = resources.accelerator_type, accelerator_type() if resources.accelerator_type is not None else None
    if kind != has:
        raise InputError(
            f"resources.accelerator_type {kind}: this machine has {has or 'none that Ray knows'}; write null, or run "
            "the study on a cluster that has it"
        )
    per_trial = workers * int(settled.cpus_per_worker)
    fit_at_once = max(1, here // per_trial)
    if gpus_per_trial:
        fit_at_once = max(1, min(fit_at_once, int(there / gpus_per_trial)))
    trials = resources.concurrent_trials or min(fit_at_once, most or fit_at_once)
    evaluators = resources.evaluators or there or here
    # Beside the workers: what each of them has beside it, trials and evaluators, and room for building the store.
    cpus = math.ceil(trials * (per_trial + workers + 1) + 0.25 * evaluators) + 2
    capped = explain_cap(fit_at_once, trials) if resources.concurrent_trials is None else []
    notices = (*capped, *unused_gpus(each))
    return Capacity(settled, trials, evaluators, cpus, there, notices)


def _without_auto(resources: Resources, here: int, there: int, batch_size: int, most: int | None) -> Resources:
    """Return the resources with numbers for ``auto``, on a machine of so many cores and GPUs."""
    each = float(there > 0) if resources.gpus_per_worker == "auto" else resources.gpus_per_worker
    if resources.workers == "auto":
        most = max(1, int(there / each)) if each else 1
        workers = next(count for count in range(most, 0, -1) if batch_size % count == 0)
    else:
        workers = resources.workers
    room = max(1, int(there / (workers * each))) if each else 1
    trials = resources.concurrent_trials or min(room, most or room)
    cpus = max(1, here // (trials * workers)) if resources.cpus_per_worker == "auto" else resources.cpus_per_worker
    update = {"workers": workers, "cpus_per_worker": cpus, "gpus_per_worker": each}
    return resources.model_copy(update=update)


@contextlib.contextmanager
def local_cluster(offered: Capacity, noise: Path = Path(os.devnull), dashboard: bool = True) -> Iterator[str]:
    """Ray on this machine while the block runs; yields the dashboard's address ('' without one).

    Args:
        offered: what Ray is told that there is.
        noise: file that takes what Ray and its libraries print; standard output and error stay for our own words.
        dashboard: needed by a search: Ray Train asks it whether a stopped trial still holds its workers.
    """
    os.environ.update(SETTINGS | _HERE)
    with noise.open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        import ray

        [port] = free_ports(1)
        with kept_here(port):
            try:
                with native_stderr_to(log):
                    context = ray.init(
                        address="local",
                        namespace="hybridtune",
                        num_cpus=offered.cpus,
                        num_gpus=offered.gpus,
                        include_dashboard=dashboard,
                        logging_level="ERROR",
                        log_to_driver=False,
                        _node_ip_address=HOST,
                    )
                silence()
                yield context.dashboard_url or ""
            finally:
                ray.shutdown()


def silence() -> None:
    """Ray's libraries tell this process of errors alone."""
    for name in ("ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)


def free_ports(count: int) -> list[int]:
    """Ports of this machine, all different, that nobody listens on at the moment."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


@contextlib.contextmanager
def native_stderr_to(log: IO[str]) -> Iterator[None]:
    """Ray's C++ core writes past Python's streams, a line even to say that it will be silent."""
    kept = os.dup(2)
    os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def gpus() -> int:
    """Return the GPUs that this process may use."""
    import torch

    return torch.cuda.device_count()


def unused_gpus(gpus_per_worker: float) -> list[str]:
    """Return a warning where this machine has GPUs and yet trains on its CPU; nothing where it does not."""
    there = gpus()
    if there and not gpus_per_worker:
        return [
            f"warning: trains on the CPU, and this machine has {there} GPU{'s' * (there > 1)}: "
            "resources.gpus_per_worker is 0; write auto, or leave it out"
        ]
    if not there and "CUDA_VISIBLE_DEVICES" not in os.environ and _CARDS.is_dir() and any(_CARDS.iterdir()):
        import torch

        return [
            f"warning: computes on the CPU, and this machine has an NVIDIA GPU: torch {torch.__version__} cannot use "
            "it; install a torch for CUDA and a driver that it takes"
        ]
    return []
