"""Study folders whose trials have checkpoints with random weights: what is exported, merged and scored again."""

import json
from dataclasses import asdict

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from hybridtune.callbacks import StudyCallback
from hybridtune.config.study import Study
from hybridtune.metrics.metrics import Ranked, per_query, score
from hybridtune.model.folder import build_tiny
from hybridtune.storage.manifests import seal
from hybridtune.storage.trial_rows import checkpoint_path
from hybridtune.study.folder import write_study


class Lines(StudyCallback):
    """Keeps the messages of a command."""

    def __init__(self):
        self.lines = []

    def on_message(self, text):
        self.lines.append(text)


def checkpoint(folder, step, weights):
    """A checkpoint as a training leaves it."""
    folder.mkdir(parents=True)
    queries = np.arange(40)
    counts = np.random.default_rng(step).integers(0, 9, (80, 2))
    ranked = Ranked(counts, np.repeat(queries, 2), np.tile([0, 1], 40), queries % 2, ["de", "en"], np.array([50, 50]))
    scores = score(ranked, per_query(ranked))
    save_file(weights, folder / "model.safetensors")
    (folder / "state.json").write_text(json.dumps({"step": step, "metrics": scores.metrics}))
    (folder / "scores.json").write_text(json.dumps(asdict(scores)))
    (folder / "per_query.parquet").write_bytes(b"figures")
    seal(folder)
    return scores


def other_weights(weights, seed):
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.randn(value.shape, generator=generator) / 8 for key, value in weights.items()}


def made_trials(tiny, folder):
    """A study folder with two trials, but without best/; made without a training. ``tiny`` is the fixture's."""
    data = folder.parent / "pairs.jsonl"
    groups = [
        {"group_id": str(n), "queries": {"de": f"frage {n}", "en": f"question {n}"}, "passages": {"de": f"antwort {n}"}}
        for n in range(40)
    ]
    data.write_text("".join(json.dumps(group) + "\n" for group in groups))
    study = Study.model_validate(
        {
            "name": "small",
            "data": {"train": str(data), "store": str(folder.parent / "stores")},
            "encoder": {"query_length": 16, "passage_length": 24, "tiny": tiny[1].tiny.model_dump()},
            "benchmarks": {"dev": {"path": "newsroom:dev"}},
            "train": {"batch_size": 4, "max_steps": 12},
        }
    )
    build_tiny(tiny[2].definition, tiny[1], 0, folder / "encoder")
    write_study(study, folder)
    weights = load_file(folder / "encoder" / "model.safetensors")
    rows = []
    for number, best in ((0, 12), (1, 6)):
        fit = folder / "trials" / f"{number:04d}" / "fit"
        for step in (6, 12):
            scores = checkpoint(fit / f"checkpoint_{step:07d}", step, other_weights(weights, 10 * number + step))
        rows.append(
            {
                "id": f"{number:04d}",
                "number": number,
                "arm": "tuned",
                "proposed": "sampler",
                "values": {"mix.mixing_ratio": float(number), "train.temperature": 0.125},
                "metrics": {"step": best, **scores.metrics},
                "status": "done",
                "checkpoint": checkpoint_path(f"{number:04d}", best),
            }
        )
    (folder / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
