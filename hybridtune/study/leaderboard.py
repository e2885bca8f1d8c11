"""`hybridtune evaluate A B C --out DIR`: encoders one after the other on one benchmark, and one page of all."""

import dataclasses
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from hybridtune.callbacks import Callbacks, StudyCallback
from hybridtune.config.fields import Encoder
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.errors import InputError
from hybridtune.metrics.measures import MEASURES
from hybridtune.metrics.metrics import SETTINGS
from hybridtune.metrics.per_query import FILE, read_per_query
from hybridtune.metrics.significance import DRAWS
from hybridtune.metrics.units import FEW, choose_unit, few_units, unit_numbers
from hybridtune.model.folder import model_digest, parameter_count
from hybridtune.report.leaderboard_page import PAGE, Contender, Leaderboard, leaderboard_page
from hybridtune.report.several import metrics_of, rows_of
from hybridtune.storage.files import is_remote, write_atomically
from hybridtune.study.encoded import scan_benchmark
from hybridtune.study.evaluate_model import SCORES, EvaluationOptions, evaluate, evaluation_options, opened_options
from hybridtune.study.folder import make_folder, write_json
from hybridtune.study.mteb_files import MtebFiles

LEADERBOARD, ENTRY = "leaderboard.json", "encoder.json"
SHOWN = ("AP", "nDCG@10")  # in every setting, then the rank distance
_SETTINGS = ("pooling", "query_prefix", "passage_prefix", "query_length", "passage_length")


class Clock(StudyCallback):
    """Takes the rate of the encoding, from the first texts that are done to the last: models load before."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def on_phase_progress(self, name: str, done: int, total: int) -> None:
        """Note how many texts are encoded."""
        if name == "encoding":
            self._seen.append((time.monotonic(), done))

    @property
    def texts_per_second(self) -> float | None:
        """The rate; None where all was encoded before, or at once."""
        texts = [one for one in self._seen[1:] if one[1] > self._seen[0][1]]
        if len(texts) < 2 or texts[-1][0] <= texts[0][0]:
            return None
        return (texts[-1][1] - texts[0][1]) / (texts[-1][0] - texts[0][0])


def evaluate_several(
    models: Sequence[str],
    benchmark: str,
    out: Path,
    callback: StudyCallback,
    *,
    overrides: Sequence[str] = (),
    measures: Sequence[str] = (),
    on_leak: Literal["error", "warn"] = "error",
    mteb: MtebFiles | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Evaluate encoders that are not evaluated yet, and write ``leaderboard.html`` and ``leaderboard.json``.

    Args:
        models: two or more, as `evaluate` takes them.
        benchmark: for all. overrides: of ``--set``, for all.
        out: has a folder a model, as ``evaluate --out`` writes it, and the page.
        callback: receives what happens.
        measures: beside those shown. on_leak, mteb: see `evaluate`.
        seed: of the intervals and permutations.

    Returns:
        What ``leaderboard.json`` holds.

    Raises:
        InputError: a model twice, or one that cannot be used: all that are here are checked before any is scored.
    """
    if twice := [model for n, model in enumerate(models) if model in models[:n]]:
        raise InputError(f"{twice[0]}: is given twice; a leaderboard has each encoder once")
    taken = tuple(dict.fromkeys([*(measures or MEASURES), *SHOWN]))
    for model in models:
        if not is_remote(model):
            evaluation_options(model, benchmark, overrides, taken)
    make_folder(out)
    entries = []
    for model, name in zip(models, _folders(models), strict=True):
        with opened_options(model, benchmark, overrides, taken) as options:
            asked = options.model_copy(update={"on_leak": on_leak, "shown": model})
            entries.append(_entry(asked, out / name, callback, mteb))
    return _board(entries, out, seed, callback)


def _folders(models: Sequence[str]) -> list[str]:
    """Return a folder's name for each model: the shortest end of its path that no other has."""
    parts = [[part for part in re.split(r"[^A-Za-z0-9._-]+", model.rstrip("/")) if part.strip(".")] for model in models]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["-".join(part[-length:]) for part in parts]
        if len({*names}) == len(names):
            return names
    return [f"{number + 1}-{name}" for number, name in enumerate(names)]


def _entry(
    options: EvaluationOptions, folder: Path, callback: StudyCallback, mteb: MtebFiles | None
) -> tuple[Path, dict[str, Any]]:
    """Evaluate an encoder unless its folder has that already; return the folder, and what is known of the encoder."""
    encoder: Encoder = options.encoder
    made_of = {
        "weights": model_digest(encoder),
        "encoder": encoder.model_dump(mode="json", exclude={"tiny", "name"}),
        "benchmark": options.benchmark.model_dump(mode="json"),
        "measures": list(options.measures),
    }
    before = _read(folder / ENTRY)
    scores = _read(folder / SCORES)
    if before.get("made_of") == made_of and scores and (folder / FILE).is_file() and mteb is None:
        scan = scan_benchmark(read_benchmark(options.benchmark), StudyCallback())
        if scan.digest == scores.get("digest"):
            callback.on_message(f"{options.shown}: evaluated already, in {folder}")
            return folder, before
    clock = Clock()
    evaluate(options, folder, Callbacks([callback, clock]), mteb=mteb)
    same = before.get("made_of") == made_of
    entry = {
        "model": options.shown,
        "made_of": made_of,
        "parameters": parameter_count(encoder),
        "texts_per_second": clock.texts_per_second or (before.get("texts_per_second") if same else None),
    }
    write_json(entry, folder / ENTRY)
    return folder, entry


def _read(file: Path) -> dict[str, Any]:
    """Return the JSON object of a file; empty where there is none that can be read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _board(
    entries: Sequence[tuple[Path, dict[str, Any]]], out: Path, seed: int, callback: StudyCallback
) -> dict[str, Any]:
    """Write the page and the figures of encoders that are evaluated; return the figures."""
    files = [read_per_query(folder / FILE) for folder, _ in entries]
    unit, note = choose_unit(files, None)
    metrics = [*metrics_of(files, SHOWN), "multi/rank_distance"]
    metrics.sort(key=lambda name: name.partition("/")[2] not in SHOWN)
    by = next(f"{setting}/AP" for setting in reversed(SETTINGS) if f"{setting}/AP" in metrics)
    (first,) = rows_of(files, [by], unit, seed=seed, draws=1)
    order = sorted(range(len(files)), key=lambda n: -first.standings[n].value)
    rows = rows_of([files[n] for n in order], metrics, unit, seed=seed, draws=DRAWS)
    units = len(set(unit_numbers(files[0], unit).tolist()))
    about = {
        "by": by,
        "unit": unit,
        "units": units,
        "seed": seed,
        "draws": DRAWS,
        "notes": [*filter(None, (note, few_units(unit, min(units, FEW))))],
    }
    contenders = []
    for folder, entry in (entries[n] for n in order):
        settings = {name: entry["made_of"]["encoder"][name] for name in _SETTINGS}
        scores = json.loads((folder / SCORES).read_text(encoding="utf-8"))
        contenders.append(Contender(entry["model"], entry["parameters"], entry["texts_per_second"], settings, scores))
    board = Leaderboard(files[0].about.get("benchmark", "not known"), contenders, rows, about)
    write_atomically(out / PAGE, leaderboard_page(board))
    result = {
        "benchmark": board.benchmark,
        **about,
        "encoders": [
            {
                "model": one.name,
                "folder": str(entries[n][0]),
                "parameters": one.parameters,
                "texts_per_second": one.texts_per_second,
                "settings": one.settings,
                "metrics": one.scores["metrics"],
            }
            for n, one in zip(order, contenders, strict=True)
        ],
        "rows": [dataclasses.asdict(row) for row in rows],
        "page": str(out / PAGE),
    }
    write_json(result, out / LEADERBOARD)
    callback.on_message(f"written: {out / PAGE}")
    return result
