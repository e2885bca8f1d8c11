"""Results in mteb's form: a file a task below ``results/MODEL/REVISION``, and what the model is."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from hybridtune.config.fields import Encoder
from hybridtune.data.readers.records import BenchmarkRows
from hybridtune.errors import InputError
from hybridtune.metrics.metrics import Ranked
from hybridtune.metrics.mteb_scores import Subset, mteb_scores
from hybridtune.model.folder import model_config, model_digest, parameter_count, vector_width
from hybridtune.study.folder import make_folder, write_json

_COMMIT = re.compile(r"/snapshots/([0-9a-f]{40})(?:/|$)")  # in the cache of the hub


class MtebFiles(NamedTuple):
    """A folder for results in mteb's form; ``task``: of mteb's, None: what the path of the benchmark ends in."""

    folder: Path
    task: str | None = None


def check_mteb(wanted: MtebFiles, rows: BenchmarkRows) -> None:
    """Raise InputError where no figure would be one of mteb's."""
    if rows.subsets is not None and not rows.subsets:
        raise InputError(
            f"--mteb: no pool of {rows.name} is one that mteb ranks; give the whole data set, without "
            "benchmark.languages"
        )
    if wanted.task is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", wanted.task):
        raise InputError(f"--mteb-task {wanted.task!r}: is the name of a file; write it like MIRACLRetrieval")


def write_mteb(
    wanted: MtebFiles,
    encoder: Encoder,
    shown: str,
    benchmark: str,
    rows: BenchmarkRows,
    ranked: Ranked,
    digest: str,
    seconds: float,
) -> Path:
    """Write the scores of a task and the model's description; return the file of the scores.

    Args:
        wanted: where.
        encoder: that was scored. shown: its name.
        benchmark: the path it was read from. rows: what was read. ranked: its rankings. digest: of it.
        seconds: that the evaluation took.
    """
    name, revision = _model_of(encoder, shown)
    folder = wanted.folder / "results" / name.replace("/", "__") / revision
    make_folder(folder)
    task = (
        wanted.task or re.sub(r"[^A-Za-z0-9._-]+", "-", PurePosixPath(benchmark.rstrip("/")).name).strip("-.") or "task"
    )
    subsets = rows.subsets if rows.subsets is not None else _subsets_of(ranked)
    scores = [
        {**figures, "hf_subset": subset, "languages": _languages(subsets[subset], ranked.languages)}
        for subset, figures in mteb_scores(ranked, subsets).items()
    ]
    commit = _COMMIT.search(benchmark)
    result = {
        "dataset_revision": commit[1] if commit else digest,
        "task_name": task,
        "mteb_version": None,  # no mteb was here
        "scores": {rows.split or "test": scores},
        "evaluation_time": round(seconds, 2),
        "kg_co2_emissions": None,
    }
    write_json(result, folder / f"{task}.json")
    write_json(_meta(encoder, name, revision), folder / "model_meta.json")
    return folder / f"{task}.json"


def _model_of(encoder: Encoder, shown: str) -> tuple[str, str]:
    """Return the name, ``organisation/model``, and the revision of a model: a commit of the hub, or a digest."""
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-.") for part in shown.rstrip("/").split("/")]
    parts = [part for part in plain if part]
    if Path(encoder.name).is_dir():
        last = parts[-2:] if parts[-1:] == ["best"] else parts[-1:]
        return f"local/{'-'.join(last) or 'model'}", model_digest(encoder)[:40]
    name = "/".join(parts[-2:]) if len(parts) > 1 else f"local/{parts[0]}"
    return name, getattr(model_config(encoder), "_commit_hash", None) or "no_revision_available"


def _subsets_of(ranked: Ranked) -> dict[str, Subset]:
    """Return the pools of one language each as subsets: ``de``, or ``de-en`` with the passages' language first."""
    codes = ranked.languages
    return {y if x == y else f"{y}-{x}": (y, x) for x in codes for y in codes}


def _languages(subset: Subset, every: Sequence[str]) -> list[str]:
    """Return the languages of a subset as mteb writes them, ``deu-Latn``: of the passages, then of the queries."""
    import langcodes

    named = [code for code in subset if code is not None] if subset != (None, None) else []
    tags = [langcodes.Language.get(code) for code in dict.fromkeys(named if None not in subset else [*named, *every])]
    return [f"{tag.to_alpha3()}-{tag.maximize().script}" for tag in tags]


def _meta(encoder: Encoder, name: str, revision: str) -> Mapping[str, Any]:
    """Return what mteb's ``ModelMeta`` holds; null: it is not known here."""
    unknown = ("loader", "release_date", "languages", "memory_usage_mb", "license", "public_training_code")
    return {
        **dict.fromkeys([*unknown, "public_training_data", "reference", "training_datasets", "adapted_from"]),
        "loader_kwargs": {},
        "name": name,
        "revision": revision,
        "n_parameters": parameter_count(encoder),
        "max_tokens": encoder.passage_length,
        "embed_dim": vector_width(encoder),
        "open_weights": True,
        "framework": ["PyTorch"],
        "similarity_fn_name": "cosine",
        "use_instructions": bool(encoder.query_prefix or encoder.passage_prefix),
        "modalities": ["text"],
        "is_cross_encoder": False,
    }
