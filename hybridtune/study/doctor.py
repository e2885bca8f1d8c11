"""`hybridtune doctor`: what of this machine a study needs, looked at one by one, and a training of a few steps.

Every check says what it found and, where that is too little, what to do. Nothing is changed or removed.
"""

import contextlib
import os
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement

from hybridtune.callbacks import StudyCallback
from hybridtune.config.study import demo_study, load_study
from hybridtune.errors import error_text
from hybridtune.runtime.control_groups import cpu_quota, memory_left
from hybridtune.runtime.local import free_ports, gpus, unused_gpus
from hybridtune.runtime.loopback import HOST
from hybridtune.runtime.remains import processes_of
from hybridtune.runtime.resources import cores
from hybridtune.runtime.sessions import sessions_folder, socket_path_mistake
from hybridtune.storage.files import cache_folder
from hybridtune.study.cache import SESSION, list_cache

State = Literal["ok", "note", "bad"]
_GB = 1e9
_MEMORY = 2 * _GB, 6 * _GB  # free: a demo needs the first, a small multilingual encoder the second
_DISK = 1 * _GB, 10 * _GB
_SHARED = 1 * _GB  # below it Ray keeps its objects on disk, slower
_FILES = 1024, 8192  # open at once; Ray asks for the second on a machine of many cores
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_MAIN = ("torch", "ray", "transformers", "optuna", "pyarrow", "faiss-cpu")
_STEPS = 8  # of the training


@dataclass(frozen=True)
class Finding:
    """A finding of one check.

    Attributes:
        name: of what was looked at.
        state: bad where a study would fail or crawl.
        found: in words.
        advice: what to do; empty where nothing is to be done.
    """

    name: str
    state: State
    found: str
    advice: str = ""


def examine(train: bool = True, callback: StudyCallback | None = None) -> Iterator[Finding]:
    """Look at this machine, one finding after the other; with a training at the end, which takes half a minute.

    Args:
        train: whether to start Ray and train; nothing is started without it.
        callback: receives a line before the training.

    Example:
        >>> [finding.name for finding in examine(train=False)][:3]
        ['packages', 'cores', 'memory']
    """
    checks = (_packages, _cores, _memory, _shared_memory, _disks, _open_files, _sockets, _loopback, _proxies, _gpus)
    for check in (*checks, _left_behind):
        yield from check()
    if train:
        (callback or StudyCallback()).on_message(f"starting Ray and training {_STEPS} steps")
        yield _training()


def _packages() -> Iterator[Finding]:
    wrong = []
    for requirement in map(Requirement, requires("hybridtune") or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} is {found}, {requirement.specifier} is needed")
    if wrong:
        yield Finding("packages", "bad", "; ".join(wrong), "install hybridtune again, with its constraints.txt")
    else:
        yield Finding("packages", "ok", ", ".join(f"{name} {version(name)}" for name in ("hybridtune", *_MAIN)))


def _cores() -> Iterator[Finding]:
    usable, there, quota = cores(), os.cpu_count() or 1, cpu_quota()
    bound = f", a quota of {quota:g} CPUs" if quota is not None else ""
    found = f"{usable} of {there} usable{bound}"
    if usable < 2:
        yield Finding(
            "cores", "note", found, "trials run one at a time, and Ray takes long to start: give it 2 or more"
        )
    else:
        yield Finding("cores", "ok", found)


def _memory() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    free, total, bound = memory.available, memory.total, ""
    limited = memory_left()
    if limited is not None and limited[0] < free:
        (free, total), bound = limited, ", the limit of this process's control group"
    found = f"{free / _GB:.1f} GB free of {total / _GB:.1f} GB{bound}"
    advice = "end other programs, or train a smaller encoder one trial at a time (resources.concurrent_trials: 1)"
    yield _enough("memory", free, _MEMORY, found, advice)


def _shared_memory() -> Iterator[Finding]:
    place = Path("/dev/shm")  # nosec B108 # where Ray keeps its objects
    if not place.is_dir():
        return
    free = shutil.disk_usage(place).free
    found, advice = f"{free / _GB:.1f} GB free in {place}", "in a container: docker run --shm-size=4g"
    yield Finding("shared memory", "note", found, advice) if free < _SHARED else Finding("shared memory", "ok", found)


def _disks() -> Iterator[Finding]:
    places = {"here": Path.cwd(), "cache": cache_folder(), "Ray's files": sessions_folder()}
    advice = {
        "here": "give --out another place",
        "cache": "hybridtune cache prune, or another HYBRIDTUNE_CACHE",
        "Ray's files": "set TMPDIR to a larger disk",
    }
    for name, place in places.items():
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        if not os.access(there, os.W_OK):
            yield Finding(f"disk, {name}", "bad", f"{there} cannot be written", advice[name])
            continue
        free = shutil.disk_usage(there).free
        yield _enough(f"disk, {name}", free, _DISK, f"{free / _GB:.1f} GB free at {there}", advice[name])


def _enough(name: str, free: float, bounds: tuple[float, float], found: str, advice: str) -> Finding:
    least, good = bounds
    state: State = "bad" if free < least else "note" if free < good else "ok"
    return Finding(name, state, found, advice if state != "ok" else "")


def _open_files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = float("inf") if soft == resource.RLIM_INFINITY else soft
    most = "" if hard == resource.RLIM_INFINITY else f" (the system allows {hard:,})"
    found = f"{number:,.0f} at once{most}"
    yield _enough("open files", number, _FILES, found, f"ulimit -n {_FILES[1]} before the command")


def _sockets() -> Iterator[Finding]:
    mistake = socket_path_mistake(sessions_folder())
    if mistake:
        yield Finding("paths of sockets", "bad", mistake, "set a shorter one, like TMPDIR=/tmp")
    else:
        yield Finding("paths of sockets", "ok", f"short enough below {sessions_folder()}")


def _loopback() -> Iterator[Finding]:
    try:
        [port] = free_ports(1)
        with socket.create_server((HOST, port)), socket.create_connection((HOST, port), timeout=5):
            pass
    except OSError as error:
        yield Finding("loopback", "bad", f"{HOST}: {error.strerror}", "Ray's processes talk over it: allow it")
    else:
        yield Finding("loopback", "ok", f"a port of {HOST} answers; nothing of a study listens elsewhere")


def _proxies() -> Iterator[Finding]:
    found = [name for name in (*_PROXIES, *map(str.upper, _PROXIES)) if os.environ.get(name)]
    if found:
        told = f"{', '.join(found)} set: hub names and downloads go through it, what is on this machine never"
        yield Finding("proxies", "note", told)
    else:
        yield Finding("proxies", "ok", "none")


def _gpus() -> Iterator[Finding]:
    count = gpus()
    if warnings := unused_gpus(count):
        yield Finding("GPUs", "bad", warnings[0].removeprefix("warning: "), "nvidia-smi says the driver's version")
    elif count:
        import torch

        names = [torch.cuda.get_device_name(index) for index in range(count)]
        yield Finding("GPUs", "ok", ", ".join(names))
    else:
        yield Finding("GPUs", "ok", "none: trainings run on the CPU")


def _left_behind() -> Iterator[Finding]:
    left = [entry for entry in list_cache() if entry.unread and not entry.busy]
    if not left:
        yield Finding("left behind", "ok", "nothing of earlier runs")
        return
    size = sum(entry.size for entry in left) / _GB
    found = f"{len(left)} folder{'s' * (len(left) > 1)} of earlier runs that nothing reads any more, {size:.1f} GB"
    alive = sum(len(list(processes_of(entry.path))) for entry in left if entry.kind == SESSION)
    if alive:
        found = f"{found}; {alive} process{'es' * (alive > 1)} of a run that was killed"
    yield Finding("left behind", "note", found, "hybridtune cache prune removes them")


def _training() -> Finding:
    """Train the demo's encoder for a few steps, with its own Ray, in a folder that is gone afterwards."""
    from hybridtune.study.run import train_study

    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="hybridtune-doctor-"))
    study = load_study(demo_study(), ["resources.workers=1"], train__max_steps=_STEPS, train__eval_steps=_STEPS)
    try:
        train_study(study, folder / "study")
    except Exception as error:  # whatever it is, it is what the user wants to know
        return Finding("training", "bad", error_text(error).splitlines()[0], f"what Ray said: {folder}/study/ray.log")
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
    return Finding("training", "ok", f"Ray started, {_STEPS} steps and a score: {time.monotonic() - began:.0f} s")
