"""`hybridtune evaluate`: any encoder, or anybody's run file, on any benchmark, in all settings at once."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.study import BenchmarkSource, Encoder, Part, Resources, apply_overrides, check, load_study
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.data.readers.records import BenchmarkRows
from hybridtune.errors import InputError
from hybridtune.evaluate.corpus_scan import CorpusScan
from hybridtune.evaluate.sweep import rank_pool
from hybridtune.metrics.breakdown import full_scores
from hybridtune.metrics.measures import check_measure
from hybridtune.metrics.metrics import MEASURES, Ranked, per_query, score, trec_eval_means
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.model.folder import training_pairs_of, with_folder_settings
from hybridtune.report.bias_map import bias_heat_map
from hybridtune.storage.study_folder import check_format
from hybridtune.study.encoded import check_model, encoded, scan_locally
from hybridtune.study.folder import make_folder, write_json
from hybridtune.study.run_files import RunFile, check_run_file, rank_run, write_run_file

SCORES, HEAT_MAP = "scores.json", "bias.svg"


class Settings(Part):
    """What ``--set`` reaches in an evaluation."""

    encoder: Encoder
    benchmark: BenchmarkSource
    resources: Resources = Resources()


@dataclass(frozen=True)
class Question:
    """What is evaluated, and what is wanted of it.

    Attributes:
        settings: encoder, benchmark, resources.
        study: the study folder that the model comes from, if it was given by it.
        measures: ir_measures names.
    """

    settings: Settings
    study: Path | None
    measures: tuple[str, ...]


def read_question(
    model: str | None,
    benchmark: str,
    overrides: Sequence[str],
    measures: Sequence[str],
    parts: Sequence[str] = ("encoder", "benchmark", "resources"),
) -> Question:
    """The encoder, benchmark and resources of an evaluation.

    Args:
        model: a model folder, a hub name, or a study folder (its ``best/``); None: a run is scored.
        benchmark: path of the benchmark.
        overrides: ``encoder.*``, ``benchmark.*`` and ``resources.*`` fields.
        measures: ir_measures names; none: the usual ones.
        parts: what overrides may reach.

    Raises:
        InputError: a field or measure that is not there, or a value it does not take.
    """
    for measure in measures:
        check_measure(measure)
    for override in overrides:
        if override.split(".")[0] not in parts:
            raise InputError(
                f"--set {override}: fields of {', '.join(parts)} can be set here, like {parts[0]}.pooling=cls"
            )
    best = Path(model or "") / "best"
    study = Path(model) if model and (best / "modules.json").is_file() else None
    if study is not None:
        check_format(study)
    name = str(best) if study is not None else model or ""
    if name == "tiny":
        raise InputError("tiny is built by a study; evaluate takes a model folder, a name or a study folder")
    tree: dict[str, Any] = {"encoder": {"name": name}, "benchmark": {"path": benchmark}}
    if study is not None:
        tree["benchmark"]["low_resource"] = _low_resource(study)
    apply_overrides(tree, overrides)
    settings = check(Settings, tree, "--set")
    if model is not None:
        settings = settings.model_copy(update={"encoder": with_folder_settings(settings.encoder)})
    return Question(settings, study, tuple(dict.fromkeys(measures)) or MEASURES)


def evaluate(
    question: Question,
    out: Path | None,
    callback: StudyCallback,
    run_file: RunFile | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Score an encoder on a benchmark.

    Args:
        question: what is asked.
        out: folder of the results; None: of a study's model ``<study>/evaluations/<benchmark>``, of another nothing
            is kept.
        callback: receives messages and progress.
        run_file: a TREC run to write as well.
        dry_run: stop after the checks and give the sizes.

    Returns:
        ``{"model", "benchmark", "metrics", "per_language", "per_pair", "counts", ...}``: see ``result_of``.

    Raises:
        InputError: the benchmark or the model cannot be read.
    """
    settings = question.settings
    rows = read_benchmark(settings.benchmark)

    def check(scan: CorpusScan) -> None:
        if run_file is not None:
            check_run_file(run_file, rows, scan)

    if dry_run:
        check_model(settings.encoder, settings.resources, callback)
        scan = scan_locally(rows, callback)
        check(scan)
        return _sizes(settings.encoder.name, rows, scan)
    if out is None and question.study is not None:
        out = question.study / "evaluations" / re.sub(r"[^A-Za-z0-9.,-]+", "-", rows.name).strip("-.")
    with encoded(rows, settings.encoder, settings.resources, out, callback, check) as pool:
        with phase(callback, "ranking", "passages") as progress:
            ranked = rank_pool(pool.folder, rows, pool.scan, pool.actors, progress)
        result = result_of(question, settings.encoder.name, rows, pool.scan, ranked, out, callback)
        if run_file is not None:
            result["run_file"] = write_run_file(pool, run_file, callback)
        return result


def _sizes(name: str, rows: BenchmarkRows, scan: CorpusScan) -> dict[str, Any]:
    """What a dry run tells."""
    sizes = {"queries": len(rows.queries), "passages": sum(scan.passages.values())}
    return {"model": name, "benchmark": rows.name, **sizes, "settings": ", ".join(scan.relevance(rows).settings)}


def evaluate_run(
    question: Question, run: Path, out: Path | None, callback: StudyCallback, dry_run: bool = False
) -> dict[str, Any]:
    """Score a TREC run, as `evaluate` scores an encoder; Ray is not needed.

    Raises:
        InputError: the run or the benchmark cannot be read, or they do not belong together.
    """
    rows = read_benchmark(question.settings.benchmark)
    scan, ranked, notes = rank_run(run, rows, callback)
    if dry_run:
        return _sizes(str(run), rows, scan)
    return result_of(question, str(run), rows, scan, ranked, out, callback, notes)


def result_of(
    question: Question,
    name: str,
    rows: BenchmarkRows,
    scan: CorpusScan,
    ranked: Ranked,
    out: Path | None,
    callback: StudyCallback,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """All figures of a ranking; written to ``out`` where that is given.

    Args:
        question: what is asked.
        name: of the model or the run.
        rows: the benchmark.
        scan: of its corpus.
        ranked: what was found.
        out: folder of the results.
        callback: receives messages.
        notes: what a reader has to know of the ranking.

    Returns:
        the fields of ``Scores``, with ``model``, ``benchmark``, ``digest`` (of the benchmark), ``training_pairs``
        (None where the model does not tell), ``groups`` and ``trec_eval`` (``metrics.trec_eval_means``).
    """
    columns = per_query(ranked, question.measures)
    scores = score(ranked, columns)
    scores.notes.extend(notes)
    trained = training_pairs_of(name) if question.settings.encoder.name else None  # a run file tells nothing of it
    result = {
        "model": name,
        "benchmark": rows.name,
        "digest": scan.digest,
        **full_scores(scores, trained, question.settings.benchmark.low_resource),
        "trec_eval": trec_eval_means(ranked, columns),
    }
    if out is not None:
        make_folder(out)
        _tell_replaced(out, result, callback)
        (out / HEAT_MAP).unlink(missing_ok=True)
        if scores.over_represented:
            bias_heat_map(result, out / HEAT_MAP)
        scan.relevance(rows).write_per_query(out / PER_QUERY, columns, model=name)
        write_json(result, out / SCORES)
        callback.on_message(f"written: {out}")
    return result


def _tell_replaced(out: Path, result: Mapping[str, Any], callback: StudyCallback) -> None:
    """Say whose results give way to these."""
    try:
        before = json.loads((out / SCORES).read_text(encoding="utf-8"))
        whose = (before["model"], before["benchmark"])
    except (OSError, ValueError, TypeError, KeyError):
        return
    if whose != (result["model"], result["benchmark"]):
        callback.on_message(f"replacing the results of {whose[0]} on {whose[1]} in {out}")


def _low_resource(study: Path) -> list[str]:
    """The low-resource languages that a study's benchmarks name."""
    file = study / "study.yaml"
    if not file.is_file():
        return []
    benchmarks = load_study(file, ()).benchmarks
    sources = [benchmarks.dev, *([benchmarks.test] if benchmarks.test else [])]
    return sorted({language for source in sources for language in source.low_resource})
