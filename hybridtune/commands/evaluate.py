"""`hybridtune evaluate`: any encoder on any benchmark, in all settings at once."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybridtune.cluster.local import capacity, local_cluster
from hybridtune.commands.show import Screen
from hybridtune.config import BenchmarkSource, Encoder, Part, Resources
from hybridtune.data.tokenizer import pretrained_tokenizer
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import load_benchmark
from hybridtune.evaluate.service import EvaluatorService
from hybridtune.model.encoder import load_encoder
from hybridtune.model.folder import with_folder_settings
from hybridtune.study_file import apply_overrides, check
from hybridtune.train.loop import weights_of


class Settings(Part):
    """What ``--set`` reaches in an evaluation."""

    encoder: Encoder
    benchmark: BenchmarkSource
    resources: Resources = Resources()


def read_settings(model: str, benchmark: str, overrides: Sequence[str]) -> tuple[Encoder, BenchmarkSource, Resources]:
    """The encoder, benchmark and resources of an evaluation.

    Args:
        model: a model folder, a hub name, or a study folder (its ``best/``).
        benchmark: path of the benchmark.
        overrides: ``encoder.*``, ``benchmark.*`` and ``resources.*`` fields.

    Raises:
        InputError: a field that is not there, or a value it does not take.
    """
    best = Path(model) / "best"
    name = str(best) if (best / "modules.json").is_file() else model
    if name == "tiny":
        raise InputError("tiny is built by a study; evaluate takes a model folder, a name or a study folder")
    tree: dict[str, Any] = {"encoder": {"name": name}, "benchmark": {"path": benchmark}}
    apply_overrides(tree, overrides)
    settings = check(Settings, tree, "--set")
    return with_folder_settings(settings.encoder), settings.benchmark, settings.resources


def evaluate_model(
    encoder: Encoder, source: BenchmarkSource, resources: Resources, screen: Screen, dry_run: bool
) -> dict[str, Any]:
    """Score an encoder on a benchmark.

    Returns:
        ``{"model", "benchmark", "metrics", "per_language", "per_pair", "counts", "outranked"}``; a dry run stops
        after the checks and gives the sizes instead.

    Raises:
        InputError: the benchmark or the model cannot be read.
    """
    benchmark = load_benchmark(source)
    tokenizer = pretrained_tokenizer(encoder.name, encoder.trust_remote_code)
    model = load_encoder(encoder.name, encoder, tokenizer.pad_id)
    offered = capacity(resources)
    about = {"model": encoder.name, "benchmark": benchmark.name}
    sizes = {"queries": len(benchmark.queries), "passages": len(benchmark.passages)}
    if dry_run:
        return {**about, **sizes, "settings": ", ".join(benchmark.settings())}
    with local_cluster(offered, dashboard=False):
        screen.line(f"scoring {sizes['queries']:,} queries against {sizes['passages']:,} passages")
        service = EvaluatorService.start(
            "evaluate",
            {"benchmark": benchmark},
            source=encoder.name,
            encoder=encoder,
            tokenizer=tokenizer,
            actors=offered.evaluators,
        )
        return {**about, **dataclasses.asdict(service.score(weights_of(model), "benchmark"))}


def write_scores(result: dict[str, Any], out: Path) -> Path:
    """Write an evaluation to ``<out>/scores.json``."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "scores.json"
    file.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return file
