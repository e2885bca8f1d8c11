"""A Ray cluster on this machine: quiet, sized so that nothing waits for what it holds itself, and gone at the end."""

import contextlib
import ctypes
import logging
import math
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hybridtune.config.fields import Resources
from hybridtune.errors import InputError
from hybridtune.runtime.loopback import HOST, loopback_only
from hybridtune.runtime.ray_private import SETTINGS, accelerator_type, job_config
from hybridtune.runtime.remains import remains_ended
from hybridtune.runtime.resources import cores, explain_cap
from hybridtune.runtime.sessions import own_session
from hybridtune.runtime.termination import sigterm_raises
from hybridtune.runtime.watch import ray_watched

_CARDS = Path("/proc/driver/nvidia/gpus")  # a folder a card, whatever torch can do with it
_HERE = {"RAY_BACKEND_LOG_LEVEL": "fatal"}  # of a Ray that we start ourselves


@dataclass(frozen=True)
class Capacity:
    """The resources that this machine offers a study.

    Attributes:
        resources: of a trial, with numbers in place of ``auto``.
        evaluators: of all trials together.
        cpus: logical CPUs for Ray, more than the cores: tasks that only wait for a trial's workers never block those.
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
        resources: of the study.
        batch_size: an ``auto`` number of workers divides it; 0: any number does.
        most: trials at once at most, where the resources do not set a number; None: as many as there is room for.

    Raises:
        InputError: one trial alone needs more GPUs than there are, or GPUs of another kind.
    """
    cores_here, gpus_here = cores(), gpus()
    settled = _without_auto(resources, cores_here, gpus_here, batch_size, most)
    workers, each = int(settled.workers), float(settled.gpus_per_worker)
    gpus_per_trial = workers * each
    if gpus_per_trial > gpus_here:
        raise InputError(
            f"resources: a trial of {workers} workers with {each:g} GPUs each needs {gpus_per_trial:g} GPUs and this "
            f"machine has {gpus_here}; lower workers or gpus_per_worker (0 trains on CPU)"
        )
    kind, has = resources.accelerator_type, accelerator_type() if resources.accelerator_type is not None else None
    if kind != has:
        raise InputError(
            f"resources.accelerator_type {kind}: this machine has {has or 'none that Ray knows'}; write null, or run "
            "the study on a cluster that has it"
        )
    per_trial = workers * int(settled.cpus_per_worker)
    room = max(1, cores_here // per_trial)
    if gpus_per_trial:
        room = max(1, min(room, int(gpus_here / gpus_per_trial)))
    trials = resources.concurrent_trials or min(room, most or room)
    evaluators = resources.evaluators or gpus_here or cores_here
    # Beside the workers: what each of them has beside it, trials and evaluators, and room for building the store.
    cpus = math.ceil(trials * (per_trial + workers + 1) + 0.25 * evaluators) + 2
    capped = explain_cap(room, trials) if resources.concurrent_trials is None else []
    return Capacity(settled, trials, evaluators, cpus, gpus_here, (*capped, *unused_gpus(each)))


def _without_auto(resources: Resources, cores: int, gpus: int, batch_size: int, most: int | None) -> Resources:
    """Return the resources with numbers for ``auto``."""
    each = float(gpus > 0) if resources.gpus_per_worker == "auto" else resources.gpus_per_worker
    if resources.workers == "auto":
        most = max(1, int(gpus / each)) if each else 1
        workers = next(count for count in range(most, 0, -1) if batch_size % count == 0)
    else:
        workers = resources.workers
    room = max(1, int(gpus / (workers * each))) if each else 1
    trials = resources.concurrent_trials or min(room, most or room)
    cpus = max(1, cores // (trials * workers)) if resources.cpus_per_worker == "auto" else resources.cpus_per_worker
    return resources.model_copy(update={"workers": workers, "cpus_per_worker": cpus, "gpus_per_worker": each})


@contextlib.contextmanager
def local_cluster(
    offered: Capacity,
    log: Path = Path(os.devnull),
    dashboard: bool = True,
    lost: Callable[[str], None] = lambda line: None,
) -> Iterator[str]:
    """Run Ray on this machine while the block runs; yields the dashboard's address ('' without one).

    Its processes end with this one, however that ends. Ray's session folder goes, unless the block failed: it has logs.

    Args:
        offered: what Ray may use.
        log: takes what Ray and its libraries print; standard output and error stay for our own messages.
        dashboard: needed by a search: Ray Train asks it whether a stopped trial still holds its workers.
        lost: see `ray_watched`.

    Raises:
        RayLostError: a process of Ray was lost.
    """
    os.environ.update(SETTINGS | _HERE)
    with log.open("a") as output, contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        import ray

        [port] = free_ports(1)
        with (
            loopback_only(port),
            sigterm_raises() as set_handler,
            own_session() as mark,
            contextlib.ExitStack() as after,
            ray_watched(lost) as watch,
        ):
            try:
                with native_stderr_to(output):
                    context = ray.init(
                        address="local",
                        namespace="hybridtune",
                        num_cpus=offered.cpus,
                        num_gpus=offered.gpus,
                        include_dashboard=dashboard,
                        logging_level="ERROR",
                        log_to_driver=False,
                        job_config=job_config(),
                        _node_ip_address=HOST,
                    )
                set_handler()
                silence()
                session = Path(context.address_info["session_dir"])
                mark(session)
                after.enter_context(remains_ended(session))
                watch.begin()
                yield context.dashboard_url or ""
            finally:
                watch.leave()
                ray.shutdown()


def silence() -> None:
    """Have Ray's libraries report nothing but errors."""
    for name in ("ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)


def free_ports(count: int) -> list[int]:
    """Return ports of this machine, all different, that nobody listens on at the moment."""
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]


@contextlib.contextmanager
def native_stderr_to(output: IO[str]) -> Iterator[None]:
    """Redirect file descriptor 2: Ray's C++ core writes past Python's streams, even to say that it will be silent."""
    before = os.dup(2)
    os.dup2(output.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def gpus() -> int:
    """Return the GPUs that this process may use; torch, seconds to import, is asked only where there is a driver."""
    if sys.platform == "linux" and not _has_driver():
        return 0
    import torch

    return torch.cuda.device_count()


def _has_driver() -> bool:
    """Return whether there is a driver of NVIDIA's or AMD's, which torch finds no GPU without."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


def unused_gpus(gpus_per_worker: float) -> list[str]:
    """Return a warning where this machine has GPUs and yet trains on its CPU; nothing where it does not."""
    found = gpus()
    if found and not gpus_per_worker:
        return [
            f"warning: trains on the CPU, and this machine has {found} GPU{'s' * (found > 1)}: "
            "resources.gpus_per_worker is 0; write auto, or leave it out"
        ]
    if not found and "CUDA_VISIBLE_DEVICES" not in os.environ and _CARDS.is_dir() and any(_CARDS.iterdir()):
        import torch

        return [
            f"warning: computes on the CPU, and this machine has an NVIDIA GPU: torch {torch.__version__} cannot use "
            "it; install a torch for CUDA and a driver that it takes"
        ]
    return []
