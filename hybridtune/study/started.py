"""A study that runs: Ray here or on a cluster, the token store, the starting encoder, the teacher's vectors."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ray

from hybridtune.callbacks import StudyCallback, every, phase
from hybridtune.config.study import Study
from hybridtune.data.store import TokenStore, build_store, store_root
from hybridtune.evaluate.benchmark import Benchmark
from hybridtune.evaluate.encode import Actors
from hybridtune.evaluate.service import EvaluatorService, Placement
from hybridtune.model.folder import build_tiny
from hybridtune.model.projection import write_projected
from hybridtune.runtime.connect import cluster, describe_waiting, waiting_workers
from hybridtune.runtime.local import capacity, local_cluster
from hybridtune.storage.copies import publish
from hybridtune.storage.files import write_atomically
from hybridtune.study.folder import RAY_ADDRESS, RAY_TOKEN
from hybridtune.study.leak_guard import keep_report
from hybridtune.study.preflight import Preflight
from hybridtune.study.sync import Home
from hybridtune.study.teachers import PROJECTED, projected_width, taught_trials, teach_all
from hybridtune.train.fit import WorkerGroups
from hybridtune.train.job_queue import FitJob
from hybridtune.train.pace import start_monitor

_SECONDS_BETWEEN_LOOKS = 3.0


@dataclass(frozen=True)
class Started:
    """A study that runs: `store` and `source` are those of this machine, `job` has those of the nodes.

    The job is that of the study's fixed values, and its storage that of a single training. Whoever trains closes the
    groups as soon as nothing is left to train.
    """

    preflight: Preflight
    home: Home
    callback: StudyCallback
    store: TokenStore
    source: str  # folder or hub name of the starting encoder
    job: FitJob
    groups: WorkerGroups  # that train


@contextlib.contextmanager
def started(preflight: Preflight, home: Home, callback: StudyCallback) -> Iterator[Started]:
    """Run Ray, the token store, the starting encoder and the pace monitor while the block runs.

    Raises:
        InputError: the cluster at ``home.address`` cannot be joined.
    """
    study, folder, log = preflight.study, home.folder, home.folder / "ray.log"
    if home.address is None:
        callback.on_message("starting Ray on this machine")
        offered = capacity(study.resources, most=preflight.allocation.at_once)
        runs = local_cluster(offered, log, lost=callback.on_ray_lost)
    else:
        callback.on_message(f"joining the Ray cluster at {home.address}")
        runs = cluster(home.address, log, callback.on_ray_lost)
    keep_report(study, preflight.guarded, preflight.benchmarks, folder)
    tell = partial(callback.on_damage, None, 0, 0)
    with runs as dashboard, _groups_of(preflight, home) as groups:
        with phase(callback, "tokenising", "texts") as progress:
            store = build_store(store_root(study.data), preflight.recipe, progress, tell)
        source = study.encoder.name
        if source == "tiny":
            source = str(folder / "encoder")
            build_tiny(store.tokenizer().definition, study.encoder, study.seed, Path(source))
        elif Path(source).is_dir():
            source = str(Path(source).absolute())  # Ray Train's workers run in folders of their own
        callback.on_message(f"token store {store.path}")
        taught = _taught(preflight, store, source, home, callback)
        source = _with_projection(preflight.study, source, store, folder)
        store_location, source_location = str(store.path), source
        if home.address is not None:
            store_location = publish(store.path, home.inside("store"))
            if Path(source).is_dir():  # else a hub name, which every node asks for itself
                source_location = publish(Path(source), home.inside("encoders"))
        if dashboard:
            _report_dashboard(f"http://{dashboard}", home, callback)
        job = FitJob(
            study=study,
            store=store_location,
            source=source_location,
            benchmark=ray.put(preflight.benchmarks["dev"]),
            storage=home.inside("fit"),
            evaluators=preflight.allocation.evaluators,
            home=str(folder),
            monitor=start_monitor(),
            grouping=preflight.grouping,
            taught=taught,
        )
        try:
            with _waiting_reported(home, callback):
                yield Started(preflight, home, callback, store, source, job, groups)
        finally:
            for name in (RAY_ADDRESS, RAY_TOKEN):
                (folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _groups_of(preflight: Preflight, home: Home) -> Iterator[WorkerGroups]:
    """Have worker groups while the block runs; on this machine the first starts beside the store."""
    groups = WorkerGroups(preflight.study.resources, preflight.allocation.at_once, home.folder)
    if home.address is None and not any(taught_trials(preflight.study)):  # a teacher may need what a group holds
        groups.resize(1)
    try:
        yield groups
    except BaseException:
        groups.end(0.0)  # the study was interrupted, and no report will be consumed
        raise
    groups.end()


def _taught(
    preflight: Preflight, store: TokenStore, source: str, home: Home, callback: StudyCallback
) -> dict[str, str]:
    """Return where the nodes find the vectors of each teacher of a study."""
    study = preflight.study
    if not any(taught_trials(study)):
        return {}
    if home.address is None:
        actors = Actors.of(capacity(study.resources))
    else:
        held = study.resources
        actors = Actors(1, int(held.workers), float(held.gpus_per_worker), int(held.cpus_per_worker))
    root = store_root(study.data)
    with phase(callback, "teaching", "texts") as progress:
        tell = partial(callback.on_damage, None, 0, 0)
        found = teach_all(study, store.corpus(), preflight.recipe, root, source, actors, progress, tell)
    for key, folder in found.items():
        callback.on_message(f"vectors of the teacher, {key}: {folder}")
    if home.address is None:
        return {key: str(folder) for key, folder in found.items()}
    return {key: publish(folder, home.inside("teachers")) for key, folder in found.items()}


def _with_projection(study: Study, source: str, store: TokenStore, folder: Path) -> str:
    """Return the encoder to start from: the source, with a Dense layer to the teacher's width where one is kept."""
    width = projected_width(study)
    if width is None:
        return source
    projected = folder / PROJECTED
    shutil.rmtree(projected, ignore_errors=True)
    write_projected(source, study.encoder, store.tokenizer().pad_id, width, study.seed, projected)
    return str(projected)


def _report_dashboard(url: str, home: Home, callback: StudyCallback) -> None:
    """Report the address of Ray's dashboard, and the file of its token; that of a cluster is the cluster's own."""
    token = ""
    if home.address is None:
        write_atomically(home.folder / RAY_TOKEN, os.environ["RAY_AUTH_TOKEN"], private=True)
        token = f" (its token: {home.folder / RAY_TOKEN})"
    callback.on_message(f"Ray dashboard {url}{token}")
    (home.folder / RAY_ADDRESS).write_text(f"{url}\n", encoding="utf-8")


def evaluators_of(benchmark: Benchmark, running: Started) -> EvaluatorService:
    """Start evaluators for a score beside all trainings: here, or with what a trial takes on the cluster."""
    study, job = running.preflight.study, running.job
    resources = study.resources
    if running.home.address is None:
        here = capacity(resources)
        placements = [Placement(device=f"cuda:{i % here.gpus}" if here.gpus else "cpu") for i in range(here.evaluators)]
    else:
        gpus, kind = float(resources.gpus_per_worker), resources.accelerator_type
        held = {"CPU": float(resources.cpus_per_worker)} | ({"GPU": gpus} if gpus else {})
        held |= {f"accelerator_type:{kind}": 0.001} if kind is not None else {}
        placements = [Placement(device="cuda:0" if gpus else "cpu", resources=held)] * int(resources.workers)
    return EvaluatorService(benchmark, job.store, job.source, study.encoder, placements, job.grouping)


@contextlib.contextmanager
def _waiting_reported(home: Home, callback: StudyCallback) -> Iterator[None]:
    """Report, while the block runs on a cluster, when workers begin to wait for nodes."""
    if home.address is None:
        yield
        return
    seen = reported = False  # a group that has just requested workers waits too, for a moment

    def look() -> None:
        nonlocal seen, reported
        waiting = waiting_workers()
        if waiting and seen and not reported:
            callback.on_message(describe_waiting(waiting))
            reported = True
        seen, reported = bool(waiting), reported and bool(waiting)

    with every(_SECONDS_BETWEEN_LOOKS, look):
        yield
