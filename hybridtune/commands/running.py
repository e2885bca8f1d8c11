"""What runs while a study does: Ray, here or on a cluster, the token store, the starting encoder, the board."""

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ray

from hybridtune.cluster.connect import cluster, waiting_told, waiting_workers
from hybridtune.cluster.local import capacity, local_cluster
from hybridtune.commands.folder import write_private
from hybridtune.commands.prepare import Prepared
from hybridtune.commands.show import Screen
from hybridtune.commands.status import RAY_ADDRESS, RAY_TOKEN
from hybridtune.data.store import TokenStore, build_store, store_root
from hybridtune.evaluate.benchmark import Benchmark
from hybridtune.evaluate.service import EvaluatorService, Seat
from hybridtune.model.folder import build_tiny
from hybridtune.places import join, publish
from hybridtune.train.board import start_board
from hybridtune.train.job import FitJob

_SECONDS_BETWEEN_LOOKS = 3.0


@dataclass(frozen=True)
class Target:
    """Where a study runs and writes.

    Attributes:
        folder: the study folder on this machine.
        address: of the Ray cluster that it joins, ``auto`` or ``HOST:PORT``; None: Ray starts on this machine.
        place: where checkpoints go, and what the nodes of a cluster fetch; None: ``folder``.
    """

    folder: Path
    address: str | None = None
    place: str | None = None

    def inside(self, *names: str) -> str:
        """A place below the study's."""
        return join(self.place if self.place is not None else str(self.folder), *names)


@dataclass(frozen=True)
class Started:
    """What runs while a study does.

    Attributes:
        store: open here.
        source: folder or hub name of the starting encoder, here.
        job: the fit of the study's fixed values; ``storage`` is that of a single training.
    """

    store: TokenStore
    source: str
    job: FitJob


@contextlib.contextmanager
def started(prepared: Prepared, target: Target, screen: Screen) -> Iterator[Started]:
    """Ray, the token store, the starting encoder and the board, for as long as the block runs.

    Raises:
        InputError: the cluster at ``target.address`` cannot be joined.
    """
    study, folder, noise = prepared.study, target.folder, target.folder / "ray.log"
    if target.address is None:
        screen.line("starting Ray on this machine")
        runs = local_cluster(capacity(study.resources, most=prepared.fitted.at_once), noise)
    else:
        screen.line(f"joining the Ray cluster at {target.address}")
        runs = cluster(target.address, noise)
    with runs as dashboard:
        with screen.progress("tokenising", "texts") as progress:
            store = build_store(store_root(study.data), prepared.recipe, progress)
        source = study.encoder.name
        if source == "tiny":
            source = str(folder / "encoder")
            build_tiny(store.tokenizer().definition, study.encoder, study.seed, Path(source))
        screen.line(f"token store {store.path}")
        store_place, source_place = str(store.path), source
        if target.address is not None:
            store_place = publish(store.path, target.inside("store"))
            if Path(source).is_dir():  # else a hub name, which every node asks for itself
                source_place = publish(Path(source), target.inside("encoders"))
        if dashboard:
            _tell_dashboard(f"http://{dashboard}", target, screen)
        job = FitJob(
            study=study,
            store=store_place,
            source=source_place,
            benchmark=ray.put(prepared.benchmarks["dev"]),
            storage=target.inside("fit"),
            evaluators=prepared.fitted.evaluators,
            home=str(folder),
            board=start_board(),
        )
        try:
            yield Started(store, source, job)
        finally:
            for name in (RAY_ADDRESS, RAY_TOKEN):
                (folder / name).unlink(missing_ok=True)


def _tell_dashboard(url: str, target: Target, screen: Screen) -> None:
    """Say where Ray's dashboard answers, and where its token is; that of a cluster is the cluster's."""
    whose = ""
    if target.address is None:
        write_private(os.environ["RAY_AUTH_TOKEN"], target.folder / RAY_TOKEN)
        whose = f" (its token: {target.folder / RAY_TOKEN})"
    screen.line(f"Ray dashboard {url}{whose}")
    (target.folder / RAY_ADDRESS).write_text(f"{url}\n", encoding="utf-8")


def trials_job(job: FitJob, target: Target) -> FitJob:
    """The job of a search: the place and the folder of all its trials in place of a single training's."""
    return dataclasses.replace(job, storage=target.inside("trials"), home=str(target.folder / "trials"))


def evaluators(benchmark: Benchmark, prepared: Prepared, running: Started, target: Target) -> EvaluatorService:
    """Evaluators for a score beside all trainings: here, or with what a trial takes on the cluster."""
    resources = prepared.study.resources
    if target.address is None:
        here = capacity(resources)
        seats = [Seat(device=f"cuda:{i % here.gpus}" if here.gpus else "cpu") for i in range(here.evaluators)]
    else:
        gpus, kind = float(resources.gpus_per_worker), resources.accelerator_type
        held = {"CPU": float(resources.cpus_per_worker)} | ({"GPU": gpus} if gpus else {})
        held |= {f"accelerator_type:{kind}": 0.001} if kind is not None else {}
        seats = [Seat(device="cuda:0" if gpus else "cpu", resources=held)] * int(resources.workers)
    job = running.job
    return EvaluatorService(benchmark, job.store, job.source, prepared.study.encoder, seats)


@contextlib.contextmanager
def waiting_shown(target: Target, screen: Screen) -> Iterator[None]:
    """Tell, while the block runs, when workers begin to wait for nodes; of a cluster alone."""
    if target.address is None:
        yield
        return
    over = threading.Event()

    def look() -> None:
        seen = told = False  # a group that has just asked waits too, for a moment
        while not over.wait(_SECONDS_BETWEEN_LOOKS):
            waiting = waiting_workers()
            if waiting and seen and not told:
                screen.line(waiting_told(waiting))
                told = True
            seen, told = bool(waiting), told and bool(waiting)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
