"""`hybridtune run` and `hybridtune train`: from a checked study to a model and the evidence for it."""

import dataclasses
import functools
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridtune.commands.card import Trained
from hybridtune.commands.card_tables import Row
from hybridtune.commands.export import write_model
from hybridtune.commands.folder import write_json
from hybridtune.commands.mirror import bring_scores
from hybridtune.commands.prepare import Prepared
from hybridtune.commands.running import Started, Target, evaluators, started, trials_job, waiting_shown
from hybridtune.commands.scores import full_scores
from hybridtune.commands.show import Screen
from hybridtune.commands.summary import plan_told, search_title
from hybridtune.config import Study
from hybridtune.data.table import distinct_pairs
from hybridtune.evaluate.metrics import Scores
from hybridtune.evaluate.per_query import FILE as PER_QUERY
from hybridtune.model.encoder import load_encoder
from hybridtune.places import at_hand
from hybridtune.report.page import REPORT, write_report
from hybridtune.search.headline import headline
from hybridtune.search.rerun import run_repeats
from hybridtune.search.rows import read_rows
from hybridtune.search.study import run_search
from hybridtune.train.board import read_board
from hybridtune.train.checkpoint import load_weights, read_state
from hybridtune.train.fit import checkpoint_scores, fit
from hybridtune.train.loop import make_plan


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
    checkpoint = at_hand(exported.checkpoint)
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
