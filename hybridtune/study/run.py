"""What runs while a study does: Ray, here or on a cluster, the token store, the starting encoder, the board."""

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from hybridtune.config.study import Study
from hybridtune.data.plan import distinct_pairs
from hybridtune.data.store import TokenStore, build_store, store_root
from hybridtune.evaluate.benchmark import Benchmark
from hybridtune.evaluate.service import EvaluatorService, Placement
from hybridtune.metrics.metrics import Scores
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.model.encoder import load_encoder
from hybridtune.model.folder import build_tiny
from hybridtune.report.page import REPORT, write_report
from hybridtune.runtime.connect import cluster, waiting_told, waiting_workers
from hybridtune.runtime.local import capacity, local_cluster
from hybridtune.search.seed_check import headline
from hybridtune.search.seed_runs import run_repeats
from hybridtune.search.study import run_search
from hybridtune.storage.files import ensure_local, join, publish, write_atomically
from hybridtune.storage.trial_rows import read_rows
from hybridtune.study.card import Row, Trained
from hybridtune.study.export import write_model
from hybridtune.study.folder import RAY_ADDRESS, RAY_TOKEN, write_json
from hybridtune.study.mirror import bring_scores
from hybridtune.study.preflight import Prepared
from hybridtune.study.summary import plan_told, search_title
from hybridtune.terminal.screen import Screen, full_scores
from hybridtune.train.checkpoint import load_weights, read_state
from hybridtune.train.fit import checkpoint_scores, fit
from hybridtune.train.job_queue import FitJob, read_board, start_board
from hybridtune.train.loop import make_plan

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
        write_atomically(target.folder / RAY_TOKEN, os.environ["RAY_AUTH_TOKEN"], private=True)
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
        placements = [Placement(device=f"cuda:{i % here.gpus}" if here.gpus else "cpu") for i in range(here.evaluators)]
    else:
        gpus, kind = float(resources.gpus_per_worker), resources.accelerator_type
        held = {"CPU": float(resources.cpus_per_worker)} | ({"GPU": gpus} if gpus else {})
        held |= {f"accelerator_type:{kind}": 0.001} if kind is not None else {}
        placements = [Placement(device="cuda:0" if gpus else "cpu", resources=held)] * int(resources.workers)
    job = running.job
    return EvaluatorService(benchmark, job.store, job.source, prepared.study.encoder, placements)


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


def run_study(
    prepared: Prepared, folder: Path, screen: Screen, address: str | None = None, place: str | None = None
) -> dict[str, Any]:
    """Search, then export the best model and score it on the test benchmark.

    Args:
        prepared: the study; for the shape of the cluster at ``address``, if one is given.
        folder: of the study, on this machine.
        screen: told what happens.
        address: see `Target`.
        place: see `Target`.

    Returns:
        ``{"study", "objective", "best": {trial}, "trials": [...], "front", "test", "model", "repeats", "headline",
        "report"}``, also written to ``result.json``; of a study that has ended before, what stands there.
    """
    before = _ended(folder)
    if before is not None:
        screen.line(f"this study has ended: its result is in {folder / 'result.json'}")
        if not (folder / REPORT).exists():
            write_report(folder)
        return before
    study, at_once = prepared.study, prepared.fitted.at_once
    target = Target(folder, address, place)
    screen.line(plan_told(prepared))
    with started(prepared, target, screen) as running, waiting_shown(target, screen):
        job = trials_job(running.job, target)
        title = search_title(study, at_once, read_rows(folder, running=True))
        paces = functools.partial(read_board, job.board)
        with screen.table(study.train.max_steps, list(prepared.goals), paces, title) as display:
            found = run_search(job, prepared.goals, folder, at_once, display)
        repeats = None
        if study.search.repeat_best:
            screen.line(f"noise check: the best trial and the baselines again, {study.search.repeat_best} seeds each")
            with screen.table(study.train.max_steps, list(prepared.goals), paces) as display:
                repeats = run_repeats(job, found, folder, at_once, display)
            write_json(repeats, folder / "repeats.json")
        trials = [dataclasses.asdict(row) for row in found.rows]
        best = next(trial for trial in trials if trial["id"] == found.best.id)
        best_study = study.with_values(found.best.values)
        ordered = [best, *(trial for trial in trials if trial is not best)]
        exported = _Exported(prepared, running, target, best_study, best["checkpoint"])
        test = _export(exported, screen, ordered)
    objective = study.search.objective
    result = {
        "study": str(folder),
        "objective": objective[0] if len(objective) == 1 else objective,
        "best": best,
        "front": found.front,
        "model": str(folder / "best"),
        "test": test,
        "trials": trials,
        "repeats": repeats,
    }
    result["headline"] = headline(study, result)
    result["report"] = str(folder / REPORT)
    write_json(result, folder / "result.json")
    bring_scores(target.inside(), folder)  # which the report's intervals and language maps are drawn from
    write_report(folder)
    return result


def train_study(
    prepared: Prepared, folder: Path, screen: Screen, address: str | None = None, place: str | None = None
) -> dict[str, Any]:
    """One fit with the study's fixed values, exported and scored like a study's best; arguments as of `run_study`.

    Returns:
        ``{"study", "metrics", "test", "model"}``, also written to ``result.json``.
    """
    target = Target(folder, address, place)
    with started(prepared, target, screen) as running, waiting_shown(target, screen):
        with screen.steps(prepared.study.train.max_steps, lambda: read_board(running.job.board)):
            done = fit(running.job)
        test = _export(_Exported(prepared, running, target, prepared.study, done.checkpoint), screen)
    result = {"study": str(folder), "metrics": done.metrics, "test": test, "model": str(folder / "best")}
    write_json(result, folder / "result.json")
    return result


def _ended(folder: Path) -> dict[str, Any] | None:
    """The result of a search that left nothing to do: no trial failed, and the folder still stands where it did."""
    file = folder / "result.json"
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    failed = [trial for trial in result.get("trials", []) if trial["status"] == "failed"]
    return result if result.get("trials") and not failed and result["study"] == str(folder) else None


@dataclass(frozen=True)
class _Exported:
    """What is exported, and from where.

    Attributes:
        prepared: the study.
        running: what runs.
        target: where the study runs and writes.
        study: with the values of the fit that wrote the checkpoint.
        checkpoint: its place.
    """

    prepared: Prepared
    running: Started
    target: Target
    study: Study
    checkpoint: str


def _export(exported: _Exported, screen: Screen, rows: Sequence[Row] = ()) -> dict[str, Any] | None:
    """Write ``best/`` from a checkpoint, and score it on the test benchmark where the study has one.

    Args:
        exported: what to write.
        screen: told what happens.
        rows: of the study's trials, the model's own first; none of a single training.
    """
    study, running, folder = exported.study, exported.running, exported.target.folder
    benchmarks, service = exported.prepared.benchmarks, None
    if "test" in benchmarks:  # it loads while the model does
        service = evaluators(benchmarks["test"], exported.prepared, running, exported.target)
    model = load_encoder(running.source, study.encoder, running.store.tokenizer().pad_id)
    checkpoint = ensure_local(exported.checkpoint)
    load_weights(checkpoint, model)
    corpus, step = running.store.corpus(), read_state(checkpoint)["step"]
    table = make_plan(corpus, study).table(step)
    pairs = distinct_pairs(table)
    test = None
    if service is not None and study.benchmarks.test is not None:
        screen.line("scoring the best model on the test benchmark")
        weights = {name: value.numpy() for name, value in model.plain_state().items()}
        scores = service.score(weights, folder / "best" / PER_QUERY, study.encoder.pooling)
        test = full_scores(scores, pairs, study.benchmarks.test.low_resource)
    else:
        (folder / "best").mkdir(exist_ok=True)
        shutil.copy(checkpoint / PER_QUERY, folder / "best" / PER_QUERY)
    trained = Trained(
        study=study,
        languages=corpus.languages,
        step=step,
        table=table,
        dev=full_scores(Scores(**checkpoint_scores(checkpoint)), pairs, study.benchmarks.dev.low_resource),
        test=test,
        trials=rows,
        trial=rows[0]["id"] if rows else None,
    )
    write_model(model, running.source, trained, folder / "best")
    return test
