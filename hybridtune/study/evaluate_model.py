"""`hybridtune evaluate`: any encoder, or anybody's run file, on any benchmark, in all settings at once.

The benchmark is encoded by `encoded`, ranked by `evaluate.sweep`, scored by `metrics.metrics`.
"""

import contextlib
import dataclasses
import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hybridtune.callbacks import Callbacks, StudyCallback, phase
from hybridtune.config.fields import BenchmarkSource, Encoder, FewerThan, LowResource, Part, Resources
from hybridtune.config.study import apply_overrides, load_stored_study
from hybridtune.config.validation import check
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.data.readers.records import BenchmarkRows
from hybridtune.errors import InputError
from hybridtune.evaluate.agnostic import MOST_PASSAGES, measure_encoded
from hybridtune.evaluate.corpus_scan import CorpusScan
from hybridtune.evaluate.sweep import rank_pool
from hybridtune.metrics.breakdown import full_scores
from hybridtune.metrics.groups import Grouping, fewer_than
from hybridtune.metrics.measures import MEASURES, check_measure
from hybridtune.metrics.metrics import Ranked, Scores, per_query, score, trec_eval_means
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.model.folder import language_vectors_for, training_pairs_of, with_folder_settings
from hybridtune.report.bias_map import bias_heat_map
from hybridtune.storage.files import is_remote
from hybridtune.storage.manifests import MANIFEST
from hybridtune.storage.study_folder import check_format
from hybridtune.study.encoded import check_model, encoded, scan_benchmark
from hybridtune.study.folder import check_model_folder, make_folder, write_json
from hybridtune.study.leak_guard import check_evaluation
from hybridtune.study.mteb_files import MtebFiles, check_mteb, write_mteb
from hybridtune.study.opened import opened_model
from hybridtune.study.run_files import RunFile, check_run_file, rank_run_file, write_run_file

SCORES, HEAT_MAP = "scores.json", "bias.svg"
_TOO_MANY = f"vectors of more than {MOST_PASSAGES:,} passages are not measured directly"


class EvaluationOptions(Part):
    """The input of an evaluation; ``--set`` and keywords reach its first four parts."""

    encoder: Encoder
    benchmark: BenchmarkSource
    resources: Resources = Resources()
    low_resource: LowResource = Field(default=[])
    study: Path | None = None  # the folder that the model was given by, if any, which takes the results
    shown: str | None = None  # the URL of the model; None: it has the encoder's name
    measures: tuple[str, ...] = MEASURES
    on_leak: Literal["error", "warn"] = "error"  # where the model was trained on texts of the benchmark
    centre: Path | None = None  # language vectors, or a folder that has them, to move the model's vectors by


def evaluation_options(
    model: str | None,
    benchmark: str,
    overrides: Sequence[str] = (),
    measures: Sequence[str] = (),
    parts: Sequence[str] = ("encoder", "benchmark", "resources", "low_resource"),
    fields: Mapping[str, Any] | None = None,
) -> EvaluationOptions:
    """Check the encoder, benchmark and resources of an evaluation.

    Without a model a run is scored. The sections in ``parts`` are set by ``overrides``, texts of the command line, and
    by ``fields``, ``section__field`` -> value.

    Raises:
        InputError: an unknown field or measure, or a value that it does not take.
    """
    for measure in measures:
        check_measure(measure)
    shown = {f"--set {text}": re.split("[.=]", text)[0] for text in overrides} | {
        name: name.split("__")[0] for name in fields or {}
    }
    for text, section in shown.items():
        if section not in parts:
            raise InputError(f"{text}: fields of {', '.join(parts)} can be set here, like {parts[0]}.pooling=cls")
    best = Path(model or "") / "best"
    study = Path(model) if model and any((best / one).is_file() for one in ("modules.json", MANIFEST)) else None
    name = str(best) if study is not None else model or ""
    if name == "tiny":
        raise InputError("tiny is built by a study; evaluate takes a model folder, a name or a study folder")
    tree: dict[str, Any] = {"encoder": {"name": name} if name else {}, "benchmark": {"path": benchmark}}
    if study is not None:
        check_format(study)
    if name and Path(name).is_dir():
        check_model_folder(Path(name))
    if study is not None:
        tree["low_resource"] = _low_resource(study)
    apply_overrides(tree, overrides, fields)
    options = check(EvaluationOptions, tree, "--set" if overrides or not fields else "evaluate_model")
    encoder = options.encoder if model is None else with_folder_settings(options.encoder)
    if isinstance(options.low_resource, FewerThan) and (model is None or training_pairs_of(encoder.name) is None):
        raise InputError(
            f"low_resource: fewer_than {options.low_resource.fewer_than} needs training pairs, which are not known "
            "here; name the languages, like [sw, ha]"
        )
    chosen = tuple(dict.fromkeys(measures)) or MEASURES
    return options.model_copy(update={"encoder": encoder, "study": study, "measures": chosen})


@contextlib.contextmanager
def opened_options(model: str | None, *given: Any, **named: Any) -> Iterator[EvaluationOptions]:
    """Yield `evaluation_options`, whose model may be at a URL: it is copied here while the block runs."""
    with opened_model(model) if model is not None else contextlib.nullcontext() as name:
        options = evaluation_options(name, *given, **named)
        remote = model is not None and is_remote(model)
        yield options.model_copy(update={"study": None, "shown": model}) if remote else options


def evaluate_model(
    name: str | Path,
    benchmark: str | Path,
    *,
    measures: Sequence[str] = (),
    out: str | Path | None = None,
    callbacks: Sequence[StudyCallback] = (),
    on_leak: Literal["error", "warn"] = "error",
    centre: str | Path | None = None,
    **settings: Any,
) -> Scores:
    """Score a model on a benchmark in the mono, cross and multi setting; Ray runs on this machine meanwhile.

    Args:
        name: a model folder, a hub name, or a study folder (its best model); a folder may be at a URL.
        benchmark: folder, files or URI of any known format, or ``newsroom:dev``.
        measures: ir_measures names, like ``nDCG@10``; none: the usual ones.
        out: folder that keeps the results and the vectors; None: of a study's model a folder in the study's, of
            another, or at a URL, nothing is kept.
        callbacks: receive what happens, see `StudyCallback`.
        on_leak: where the model's folder says that it was trained on texts of the benchmark: refuse, or report it.
        centre: language vectors, or a folder with them, to move the model's vectors by; see `debias`.
        settings: fields of the encoder, the benchmark and the resources, like ``encoder__pooling="cls"``.

    Raises:
        InputError: the benchmark, the model or a setting cannot be used.

    Example:
        >>> scores = evaluate_model("intfloat/multilingual-e5-small", "xquad/")  # doctest: +SKIP
        >>> scores.metrics["multi/AP"], scores.per_pair["en-sw"]["AP"]  # doctest: +SKIP
    """
    update = {"on_leak": on_leak, "centre": None if centre is None else Path(centre)}
    with opened_options(str(name), str(benchmark), (), measures, fields=settings) as options:
        taken = options.model_copy(update=update)
        result = evaluate(taken, None if out is None else Path(out), Callbacks(callbacks))
    return Scores(**{field.name: result[field.name] for field in dataclasses.fields(Scores)})


def evaluate(
    options: EvaluationOptions,
    out: Path | None,
    callback: StudyCallback,
    run_file: RunFile | None = None,
    dry_run: bool = False,
    mteb: MtebFiles | None = None,
) -> dict[str, Any]:
    """Score an encoder on a benchmark, and write its lists as a TREC run, or its scores as mteb's, where wanted.

    Returns:
        the fields of ``Scores``, with ``model``, ``benchmark``, ``digest`` (of the benchmark), ``training_pairs``
        (None where they are not known), ``groups``, ``trec_eval`` (`trec_eval_means`) and ``agnosticism``
        (`measure_encoded`); of a dry run the sizes alone.

    Raises:
        InputError: the benchmark or the model cannot be read, or the model was trained on texts of the benchmark.
    """
    moved_by = None if options.centre is None else language_vectors_for(options.centre, options.encoder)
    if moved_by is not None and run_file is not None:
        raise InputError("--run-file lists what the model's own vectors find; leave --centre or --run-file out")
    if moved_by is not None and mteb is not None:
        raise InputError("--mteb is of what the model's own vectors find; leave --centre or --mteb out")
    began = time.monotonic()
    rows, name = read_benchmark(options.benchmark), options.shown or options.encoder.name
    if mteb is not None:
        check_mteb(mteb, rows)
    check_evaluation(options.encoder.name, rows, options.on_leak, callback)
    check = partial(check_run_file, run_file, rows)
    if dry_run:
        check_model(options.encoder, options.resources, callback)
        scan = scan_benchmark(rows, callback)
        check(scan)
        return _sizes(name, rows, scan)
    if out is None and options.study is not None:
        centred = "" if moved_by is None else "-centred"
        out = options.study / "evaluations" / f"{re.sub(r'[^A-Za-z0-9.,-]+', '-', rows.name).strip('-.')}{centred}"
    with encoded(rows, options.encoder, options.resources, out, callback, check) as pool:
        if moved_by is not None and (lacking := moved_by.lacks(pool.scan.languages(rows))):
            callback.on_message(lacking)
        with phase(callback, "ranking", "passages") as progress:
            ranked = rank_pool(pool.folder, rows, pool.scan, pool.actors, progress, moved_by)
        with phase(callback, "measuring the vectors", "sides") as progress:
            agnosticism = measure_encoded(pool.folder, rows, pool.scan, progress, moved_by)
        notes = [_TOO_MANY] * (sum(pool.scan.passages.values()) > MOST_PASSAGES)
        shown = name if moved_by is None else f"{name}, {moved_by.words()}"
        result = _figures(options, shown, rows, pool.scan, ranked, out, callback, notes, agnosticism)
        if run_file is not None:
            result["run_file"] = write_run_file(pool, run_file, callback)
        if mteb is not None:
            taken = options.encoder, name, options.benchmark.path, rows, ranked, pool.scan.digest
            result["mteb"] = str(write_mteb(mteb, *taken, time.monotonic() - began))
            callback.on_message(f"written: {result['mteb']}")
        return result


def evaluate_run(
    options: EvaluationOptions, run: Path, out: Path | None, callback: StudyCallback, dry_run: bool = False
) -> dict[str, Any]:
    """Score a TREC run, as `evaluate` scores an encoder; Ray is not needed."""
    rows = read_benchmark(options.benchmark)
    scan, ranked, notes = rank_run_file(run, rows, callback)
    if dry_run:
        return _sizes(str(run), rows, scan)
    return _figures(options, str(run), rows, scan, ranked, out, callback, notes)


def _sizes(name: str, rows: BenchmarkRows, scan: CorpusScan) -> dict[str, Any]:
    sizes = {"queries": len(rows.queries), "passages": sum(scan.passages.values())}
    return {"model": name, "benchmark": rows.name, **sizes, "settings": ", ".join(scan.relevance(rows).settings)}


def _figures(
    options: EvaluationOptions,
    name: str,
    rows: BenchmarkRows,
    scan: CorpusScan,
    ranked: Ranked,
    out: Path | None,
    callback: StudyCallback,
    notes: Sequence[str] = (),
    agnosticism: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return all figures of a ranking by a model or run of this name; write them to ``out`` where that is given."""
    columns = per_query(ranked, options.measures)
    scores = score(ranked, columns)
    scores.notes.extend(notes)
    trained = training_pairs_of(options.encoder.name) if options.encoder.name else None  # not known of a run file
    low_resource = _low_resource_languages(options.low_resource, trained, scan.passages)
    result = {
        "model": name,
        "benchmark": rows.name,
        "digest": scan.digest,
        **full_scores(scores, trained, low_resource),
        "trec_eval": trec_eval_means(ranked, columns),
        "agnosticism": agnosticism or {},
    }
    if out is not None:
        make_folder(out)
        _report_replaced(out, result, callback)
        (out / HEAT_MAP).unlink(missing_ok=True)
        if scores.over_represented:
            bias_heat_map(result, out / HEAT_MAP)
        grouping = Grouping(trained, low_resource)
        scan.relevance(rows).write_per_query(out / PER_QUERY, columns, model=name, **grouping.about())
        write_json(result, out / SCORES)
        callback.on_message(f"written: {out}")
    return result


def _report_replaced(out: Path, result: Mapping[str, Any], callback: StudyCallback) -> None:
    try:
        before = json.loads((out / SCORES).read_text(encoding="utf-8"))
        model, benchmark = before["model"], before["benchmark"]
    except (OSError, ValueError, TypeError, KeyError):
        return
    if (model, benchmark) != (result["model"], result["benchmark"]):
        callback.on_message(f"replacing the results of {model} on {benchmark} in {out}")


def _low_resource(study: Path) -> list[str]:
    """Return the low-resource languages of a study."""
    return load_stored_study(study).low_resource_languages if (study / "study.yaml").is_file() else []


def _low_resource_languages(
    given: list[str] | FewerThan, trained: Mapping[str, int] | None, languages: Collection[str]
) -> tuple[str, ...]:
    """Return the low-resource languages of a benchmark in some languages, by the model's training pairs if need be."""
    return tuple(given) if isinstance(given, list) else fewer_than(given.fewer_than, trained or {}, languages)
