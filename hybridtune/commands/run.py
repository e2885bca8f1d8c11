"""`hybridtune run` and `hybridtune train`: from a checked study to a model and the evidence for it."""

import contextlib
import dataclasses
import functools
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridtune.cluster.local import cores, local_cluster
from hybridtune.commands.card import Trained
from hybridtune.commands.card_tables import Row
from hybridtune.commands.export import write_model
from hybridtune.commands.folder import write_json
from hybridtune.commands.prepare import Prepared
from hybridtune.commands.scores import full_scores
from hybridtune.commands.show import Screen
from hybridtune.commands.status import RAY_ADDRESS
from hybridtune.commands.summary import search_title, trials_asked
from hybridtune.data.store import TokenStore, build_store, store_root
from hybridtune.data.table import distinct_pairs
from hybridtune.evaluate.metrics import Scores
from hybridtune.evaluate.per_query import FILE as PER_QUERY
from hybridtune.evaluate.service import EvaluatorService
from hybridtune.model.encoder import load_encoder
from hybridtune.model.folder import build_tiny
from hybridtune.report.page import REPORT, write_report
from hybridtune.search.headline import headline
from hybridtune.search.rerun import run_repeats
from hybridtune.search.rows import read_rows
from hybridtune.search.study import run_search
from hybridtune.train.board import read_board, start_board
from hybridtune.train.checkpoint import load_weights, read_state
from hybridtune.train.fit import checkpoint_scores, fit
from hybridtune.train.loop import FitJob, make_plan

EVALUATORS, BOARD = "evaluators", "board"


@dataclass(frozen=True)
class Started:
    """What runs while a study does."""

    store: TokenStore
    source: str
    service: EvaluatorService
    board: Any


@contextlib.contextmanager
def started(prepared: Prepared, folder: Path, screen: Screen) -> Iterator[Started]:
    """Ray, the token store, the starting encoder and the evaluators, for as long as the block runs."""
    study = prepared.study
    screen.line("starting Ray on this machine")
    with local_cluster(prepared.offered, folder / "ray.log") as dashboard:
        with screen.progress("tokenising", "texts") as progress:
            store = build_store(store_root(study.data), prepared.recipe, progress)
        source = study.encoder.name
        if source == "tiny":
            source = str(folder / "encoder")
            build_tiny(store.tokenizer().definition, study.encoder, study.seed, Path(source))
        screen.line(f"token store {store.path}")
        if dashboard:
            screen.line(f"Ray dashboard http://{dashboard}")
            (folder / RAY_ADDRESS).write_text(f"http://{dashboard}\n", encoding="utf-8")
        service = EvaluatorService.start(
            EVALUATORS,
            prepared.benchmarks,
            source=source,
            encoder=study.encoder,
            tokenizer=store.tokenizer(),
            actors=prepared.offered.evaluators,
        )
        try:
            yield Started(store, source, service, start_board(BOARD))
        finally:
            (folder / RAY_ADDRESS).unlink(missing_ok=True)


def run_study(prepared: Prepared, folder: Path, screen: Screen) -> dict[str, Any]:
    """Search, then export the best model and score it on the test benchmark.

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
    study, offered = prepared.study, prepared.offered
    screen.line(
        f"{trials_asked(study)} trials, {offered.concurrent_trials} at once: {study.resources.workers} workers each, "
        f"on {cores()} cores and {offered.gpus} GPUs; {offered.evaluators} evaluator actors"
    )
    with started(prepared, folder, screen) as running:
        job = _job(prepared, running, folder / "trials")
        at_once = prepared.offered.concurrent_trials
        title = search_title(study, at_once, read_rows(folder, running=True))
        paces = functools.partial(read_board, running.board)
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
        best_job = dataclasses.replace(job, study=best_study)
        test = _export(best_job, running, Path(best["checkpoint"]), folder, screen, ordered)
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
    write_report(folder)
    return result


def train_study(prepared: Prepared, folder: Path, screen: Screen) -> dict[str, Any]:
    """One fit with the study's fixed values, exported and scored like a study's best.

    Returns:
        ``{"study", "metrics", "test", "model"}``, also written to ``result.json``.
    """
    with started(prepared, folder, screen) as running:
        job = _job(prepared, running, folder / "fit")
        with screen.steps(prepared.study.train.max_steps, lambda: read_board(running.board)):
            done = fit(job)
        test = _export(job, running, done.checkpoint, folder, screen)
    result = {"study": str(folder), "metrics": done.metrics, "test": test, "model": str(folder / "best")}
    write_json(result, folder / "result.json")
    return result


def _ended(folder: Path) -> dict[str, Any] | None:
    """The result of a search that left nothing to do: no trial failed, and the folder still stands where it did."""
    file = folder / "result.json"
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    failed = [trial for trial in result.get("trials", []) if trial["status"] == "failed"]
    return result if result.get("trials") and not failed and result["study"] == str(folder) else None


def _job(prepared: Prepared, running: Started, storage: Path) -> FitJob:
    return FitJob(
        study=prepared.study,
        store=str(running.store.path),
        source=running.source,
        evaluators=EVALUATORS,
        benchmark="dev",
        storage=str(storage),
        board=BOARD,
    )


def _export(
    job: FitJob, running: Started, checkpoint: Path, folder: Path, screen: Screen, rows: Sequence[Row] = ()
) -> dict[str, Any] | None:
    """Write ``best/`` from a checkpoint, and score it on the test benchmark where the study has one.

    Args:
        job: of the fit that wrote the checkpoint.
        running: what runs.
        checkpoint: its folder.
        folder: of the study.
        screen: told what happens.
        rows: of the study's trials, the model's own first; none of a single training.
    """
    model = load_encoder(running.source, job.study.encoder, running.store.tokenizer().pad_id)
    load_weights(checkpoint, model)
    corpus, step = running.store.corpus(), read_state(checkpoint)["step"]
    table = make_plan(corpus, job.study).table(step)
    pairs = distinct_pairs(table)
    benchmarks = job.study.benchmarks
    test = None
    if benchmarks.test is not None:
        screen.line("scoring the best model on the test benchmark")
        weights = {name: value.numpy() for name, value in model.plain_state().items()}
        scores = running.service.score(weights, "test", folder / "best" / PER_QUERY, job.study.encoder.pooling)
        test = full_scores(scores, pairs, benchmarks.test.low_resource)
    else:
        (folder / "best").mkdir(exist_ok=True)
        shutil.copy(checkpoint / PER_QUERY, folder / "best" / PER_QUERY)
    trained = Trained(
        study=job.study,
        languages=corpus.languages,
        step=step,
        table=table,
        dev=full_scores(Scores(**checkpoint_scores(checkpoint)), pairs, benchmarks.dev.low_resource),
        test=test,
        trials=rows,
        trial=rows[0]["id"] if rows else None,
    )
    write_model(model, running.source, trained, folder / "best")
    return test
