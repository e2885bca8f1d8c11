"""`hybridtune debias`: how far a model leans on languages, what takes that away without training, and a file of it.

The texts are encoded by `encoded`; every way of `evaluate.debias` is ranked on documents that it was not fitted on; the
one with the best held-out score is fitted on all texts and written, with the lines that an index needs.
"""

import contextlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.fields import BenchmarkSource, DataSet
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.data.readers.plain import read_plain_texts
from hybridtune.data.readers.records import BenchmarkRows
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import Benchmark, benchmark_of_rows, rank_vectors
from hybridtune.evaluate.debias import CANDIDATES, START, Candidate, EncodedTexts, deal_folds
from hybridtune.evaluate.sweep import passage_vectors, query_vectors
from hybridtune.metrics.arrays import Float32
from hybridtune.metrics.metrics import per_query, score
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.metrics.per_query import PerQuery, read_per_query
from hybridtune.metrics.units import choose_unit, few_units
from hybridtune.model.folder import vectors_digest
from hybridtune.model.language_vectors import FILE, LanguageVectors, Side
from hybridtune.report.intervals import Interval, count_units, difference_intervals, intervals
from hybridtune.storage.files import write_atomically
from hybridtune.study.debias_texts import debias_texts
from hybridtune.study.encoded import Encoded, check_model, encoded
from hybridtune.study.evaluate_model import SCORES, EvaluationOptions
from hybridtune.study.folder import write_json
from hybridtune.study.index_lines import index_lines
from hybridtune.study.leak_guard import check_evaluation

RESULT, LINES = "debias.json", "index_lines.py"
SHOWN = ("mono/AP", "cross/AP", "multi/AP", "multi/rank_distance", "multi/language_preference", "balanced/AP")
GOALS = ("balanced/AP", "multi/AP")  # by the first that is defined the best is chosen
_MEASURES = ("AP",)
_HELD_OUT, _IN_PLACE = "held-out", "in-place"  # folders of the per-query values


def read_texts(data: DataSet, source: BenchmarkSource) -> BenchmarkRows:
    """Read the texts to debias with: a benchmark, groups or pairs.

    Raises:
        InputError: unreadable, or in one language.
    """
    given = [name for name in ("format", "columns") if getattr(data, name)]
    if given:
        groups = [group for found in find_sources([data]) for group in read_groups(found)]
        rows = read_benchmark(source, groups)
    else:
        named = {name: getattr(data, name) for name in ("language", "split") if getattr(data, name)}
        rows = read_benchmark(source.model_copy(update=named))
    return rows


def debias(
    options: EvaluationOptions,
    data: DataSet,
    out: Path | None,
    callback: StudyCallback,
    *,
    method: str | None = None,
    seed: int = 0,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Measure a model's language bias, and what takes it away without training.

    Args:
        options: the encoder, the benchmark's part and the resources.
        data: texts of every language, with their answers.
        out: folder that takes the vectors, the per-query values, ``debias.json`` and what is chosen; None: nothing is
            kept.
        callback: receives the progress.
        method: name of a candidate that is written whatever it gains; None: the best, if its gain is shown.
        seed: of the resamples.
        dry_run: check alone.

    Returns:
        ``{"model", "benchmark", "digest", "goal", "unit", "units", "unit_notes", "seed", "counts", "rows": [{"name",
        "method", "standardised", "metrics": {metric: {"value", "low", "high"}}, "gain": {metric: {"difference", "low",
        "high"}}, "in_place": {metric: value}}], "best", "helps", "chosen", "file", "lines"}``; of a dry run the sizes.

    Raises:
        InputError: the data or the model cannot be read, or the texts are all in one language.
    """
    _check_method(method)
    texts = read_plain_texts(data)
    if texts is not None:
        result, fitted = debias_texts(options, data.path, texts, out, callback, method, dry_run)
        return result if dry_run else _kept(out, result, fitted, callback)
    rows, name = read_texts(data, options.benchmark), options.encoder.name
    check_evaluation(name, rows, "warn", callback)
    benchmark = benchmark_of_rows(rows)
    if "multi" not in benchmark.settings:
        raise InputError(f"{rows.name}: all texts are in one language: there is no language to take out of the vectors")
    if dry_run:
        check_model(options.encoder, options.resources, callback)
        sizes = {"queries": len(benchmark.queries), "passages": len(benchmark.passages)}
        return {"model": name, "benchmark": rows.name, **sizes, "methods": ", ".join(one.name for one in CANDIDATES)}
    with encoded(rows, options.encoder, options.resources, out, callback) as pool:
        vectors, address = _read_vectors(pool, rows, benchmark), pool.folder.name
    with contextlib.ExitStack() as stack:
        home = out / "methods" if out else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridtune-")))
        found = _compared(_Scoring(benchmark, vectors, home, address).all(callback), seed)
    result = {"model": name, "benchmark": rows.name, "digest": benchmark.relevance.digest, "seed": seed, **found}
    chosen = method or (result["best"] if result["helps"] else None)
    fitted = None
    if chosen is not None:
        candidate = next(one for one in CANDIDATES if one.name == chosen)
        fitted = vectors.fit(candidate, vectors_digest(options.encoder))
    return _kept(out, {**result, "chosen": chosen}, fitted, callback)


def _kept(
    out: Path | None, result: dict[str, Any], fitted: LanguageVectors | None, callback: StudyCallback
) -> dict[str, Any]:
    """Write what was found and fitted; return it with the file and the lines of an index.

    Files of an earlier call, with other texts, go where nothing is chosen.
    """
    lines = None if fitted is None else index_lines(fitted)
    result |= {"file": str(out / FILE) if out and fitted else None, "lines": lines}
    if out is None:
        return result
    if fitted is not None and lines is not None:
        write_atomically(out / FILE, fitted.to_bytes())
        write_atomically(out / LINES, lines)
    else:
        for file in (out / FILE, out / LINES):
            file.unlink(missing_ok=True)
    write_json(result, out / RESULT)
    callback.on_message(f"written: {out}")
    return result


def _read_vectors(pool: Encoded, rows: BenchmarkRows, benchmark: Benchmark) -> EncodedTexts:
    vectors: dict[Side, Float32] = {
        "queries": query_vectors(pool.folder, len(benchmark.queries)),
        "passages": passage_vectors(pool.folder, benchmark.passages.ids),
    }
    languages: dict[Side, Sequence[str]] = {
        "queries": benchmark.queries.languages,
        "passages": benchmark.passages.languages,
    }
    return EncodedTexts(vectors, languages, deal_folds(benchmark, rows.passage_documents))


class _Scored(NamedTuple):
    """A way to rank on documents that it was not fitted on: its scores, and the values of its rankings."""

    candidate: Candidate
    metrics: Mapping[str, float]
    counts: Mapping[str, Any]
    values: PerQuery
    in_place: Mapping[str, float]  # fitted on the texts that are ranked


@dataclass(frozen=True)
class _Scoring:
    """Ranks a benchmark by each candidate; what was ranked before with the same vectors is read again."""

    benchmark: Benchmark
    texts: EncodedTexts
    home: Path
    address: str

    def all(self, callback: StudyCallback) -> list[_Scored]:
        """Return the scores of all candidates, the start first."""
        done, scored = 0, []
        total = sum(1 + (one.method is not None) for one in CANDIDATES)
        with phase(callback, "ranking without the languages", "rankings") as progress:
            for candidate in CANDIDATES:
                progress(done, total)
                metrics, counts = self._scores(candidate, _HELD_OUT)
                done += 1
                progress(done, total)
                in_place = metrics
                if candidate.method is not None:
                    in_place, _ = self._scores(candidate, _IN_PLACE)
                    done += 1
                values = read_per_query(self._folder(candidate, _HELD_OUT) / PER_QUERY)
                scored.append(_Scored(candidate, metrics, counts, values, in_place))
            progress(total, total)
        return scored

    def _folder(self, candidate: Candidate, how: str) -> Path:
        return self.home / candidate.name / how

    def _scores(self, candidate: Candidate, how: str) -> tuple[dict[str, float], dict[str, Any]]:
        folder = self._folder(candidate, how)
        key, file = self.address, folder / SCORES
        if file.is_file():
            known = json.loads(file.read_text(encoding="utf-8"))
            if known["key"] == key:
                return known["metrics"], known["counts"]
        moved = self.texts.held_out(candidate.method) if how == _HELD_OUT else self.texts.in_place(candidate.method)
        ranked = rank_vectors(self.benchmark, moved["queries"], moved["passages"], candidate.standardised)
        columns = per_query(ranked, _MEASURES)
        found = score(ranked, columns)
        self.benchmark.relevance.write_per_query(folder / PER_QUERY, columns, model=candidate.name)
        metrics = {name: found.metrics[name] for name in SHOWN if name in found.metrics}
        write_json({"key": key, "metrics": metrics, "counts": found.counts}, file)
        return metrics, found.counts


def _compared(scored: Sequence[_Scored], seed: int) -> dict[str, Any]:
    """Return the candidates' scores with intervals, their gains over the start, and the best of them."""
    start = scored[0]
    names = [name for name in SHOWN if name in start.metrics]
    goal = next(name for name in GOALS if name in names)
    unit, note = choose_unit([one.values for one in scored])
    units = max(count_units(start.values, name, unit) for name in names)
    rows: list[dict[str, Any]] = []
    for one in scored:
        ends = intervals(one.values, names, unit, seed=seed)
        apart = difference_intervals(start.values, one.values, names, unit, seed=seed) if one is not start else {}
        rows.append(
            {
                "name": one.candidate.name,
                "method": one.candidate.method,
                "standardised": one.candidate.standardised,
                "metrics": {name: {"value": one.metrics[name], **_ends(ends.get(name))} for name in names},
                "gain": {
                    name: {"difference": one.metrics[name] - start.metrics[name], **_ends(apart.get(name))}
                    for name in (names if one is not start else ())
                },
                "in_place": dict(one.in_place),
            }
        )
    best = max(rows[1:], key=lambda row: row["metrics"][goal]["value"])
    low = best["gain"][goal]["low"]
    return {
        "goal": goal,
        "unit": unit,
        "units": units,
        "unit_notes": [line for line in (note, few_units(unit, units)) if line],
        "counts": dict(start.counts),
        "rows": rows,
        "best": best["name"],
        "helps": low is not None and low > 0,
    }


def _ends(found: Interval | None) -> dict[str, float | None]:
    return {"low": found[0], "high": found[1]} if found is not None else {"low": None, "high": None}


def _check_method(method: str | None) -> None:
    known = [one.name for one in CANDIDATES if one != START]
    if method is not None and method not in known:
        raise InputError(f"--method {method}: is unknown; known: {', '.join(known)}")
