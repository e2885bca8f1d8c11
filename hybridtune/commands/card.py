"""The model card of an exported model: what it was trained on, how, and how well it does, with the counts."""

from collections.abc import Mapping
from typing import Any

import yaml

from hybridtune.config import Study
from hybridtune.data.corpus import Corpus
from hybridtune.study_file import dump_study

_SHOWN = ("mono/AP", "cross/AP", "multi/AP", "multi/rank_distance", "multi/language_preference")


def model_card(study: Study, corpus: Corpus, dev: Mapping[str, Any], test: Mapping[str, Any] | None) -> str:
    """README.md of a model folder, with the front matter that model hubs read."""
    front = {
        "language": list(corpus.languages),
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "feature-extraction", "hybridtune", "multilingual-retrieval"],
    }
    if study.encoder.name != "tiny":
        front["base_model"] = study.encoder.name
    scored = {f"dev: {study.benchmarks.dev.path}": dev}
    if test is not None and study.benchmarks.test is not None:
        scored[f"test: {study.benchmarks.test.path}"] = test
    return "\n".join(
        [
            "---",
            yaml.safe_dump(front, sort_keys=False).strip(),
            "---",
            f"# {study.name}",
            "",
            "A multilingual retriever: queries and passages of any of its languages share one space.",
            "Trained by hybridtune on hybrid batches (Elmahdy, Lin, Ahmad 2024, arXiv 2408.10536): "
            f"{study.mix.mixing_ratio:.3g} of the batches monolingual, temperature {study.train.temperature:.3g}.",
            "",
            "## Use",
            "```python",
            "from sentence_transformers import SentenceTransformer",
            "",
            'model = SentenceTransformer("this folder")',
            'queries = model.encode(["..."], prompt_name="query")',
            'passages = model.encode(["..."], prompt_name="passage")',
            "```",
            "",
            "## Scores",
            *_scores_table(scored),
            "",
            *_groups_table(scored),
            "## Training pairs (query language by row, passage language by column)",
            *_pairs_table(corpus),
            "",
            "## Study",
            "```yaml",
            dump_study(study).strip(),
            "```",
            "",
        ]
    )


def _scores_table(scored: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = ["| benchmark | queries | passages | " + " | ".join(_SHOWN) + " |", "|---" * (3 + len(_SHOWN)) + "|"]
    for name, scores in scored.items():
        counts, metrics = scores["counts"], scores["metrics"]
        cells = [f"{metrics[key]:.4f}" if key in metrics else "" for key in _SHOWN]
        queries = max(counts["queries"].values())
        lines.append(f"| {name} | {queries} | {counts['passages']} | " + " | ".join(cells) + " |")
    return lines


def _groups_table(scored: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """AP by groups of languages, where there is more than one: zero-shot ones apart, low-resource ones apart."""
    lines = []
    for name, scores in scored.items():
        for group, settings in scores["groups"].items():
            for setting, values in settings.items():
                lines.append(
                    f"| {name} | {group} | {setting} | {values['AP']:.4f} | {values['rows']} | {values['queries']} |"
                )
    if not any("| unseen |" in line or "| low-resource |" in line for line in lines):
        return []
    head = "| benchmark | group | setting | AP | languages or pairs | rankings |"
    return [
        "Seen: languages (cross: pairs) that training pairs had; unseen ones are zero-shot.",
        "",
        head,
        "|---" * 6 + "|",
        *lines,
        "",
    ]


def _pairs_table(corpus: Corpus) -> list[str]:
    lines = ["| | " + " | ".join(corpus.languages) + " |", "|---" * (len(corpus.languages) + 1) + "|"]
    for language, row in zip(corpus.languages, corpus.pair_counts().tolist(), strict=True):
        lines.append(f"| {language} | " + " | ".join(map(str, row)) + " |")
    return lines
