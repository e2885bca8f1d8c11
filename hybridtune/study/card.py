"""The tables of a model card, in Markdown."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from hybridtune.config.names import short_name
from hybridtune.config.study import BenchmarkSource, Encoder, Study, dump_study
from hybridtune.data.plan import distinct_pairs
from hybridtune.metrics.metrics import direction
from hybridtune.study.folder import environment

SHOWN = ("mono/AP", "cross/AP", "multi/AP", "multi/rank_distance", "multi/language_preference")

Row = Mapping[str, Any]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The lines of a table."""
    return [
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
        *(f"| {' | '.join(_cell(value) for value in row)} |" for row in rows),
    ]


def _cell(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value).replace("|", "\\|")


def figure(value: Any) -> str:
    """A number or text in a cell or a list, at four digits."""
    return f"{value:.4g}" if isinstance(value, float) else _cell(value)


def scores_table(scored: Mapping[str, Row]) -> list[str]:
    """Figures and their counts, a row a benchmark: its name -> its scores."""
    rows = []
    for name, scores in scored.items():
        counts, metrics = scores["counts"], scores["metrics"]
        cells = [f"{metrics[key]:.4f}" if key in metrics else "" for key in SHOWN]
        rows.append([name, max(counts["queries"].values()), counts["passages"], *cells])
    return markdown_table(["benchmark", "queries", "passages", *SHOWN], rows)


def groups_table(scored: Mapping[str, Row]) -> list[str]:
    """AP by groups of languages, where there is more than one: zero-shot ones apart, low-resource ones apart."""
    rows = [
        [name, group, setting, f"{values['AP']:.4f}", values["rows"], values["queries"]]
        for name, scores in scored.items()
        for group, settings in scores["groups"].items()
        for setting, values in settings.items()
    ]
    if not any(row[1] in ("unseen", "low-resource") for row in rows):
        return []
    return [
        "Seen: languages (cross: pairs) that training pairs had; unseen ones are zero-shot.",
        "",
        *markdown_table(["benchmark", "group", "setting", "AP", "languages or pairs", "rankings"], rows),
        "",
    ]


CITATION = """@misc{elmahdy2024synergistic,
  title = {Synergistic Approach for Simultaneous Optimization of Monolingual, Cross-lingual, and Multilingual
           Information Retrieval},
  author = {Elmahdy, Adel and Lin, Sheng-Chieh and Ahmad, Amin},
  year = {2024},
  eprint = {2408.10536},
  archivePrefix = {arXiv}
}"""


def usage(encoder: Encoder, widths: Sequence[int], pooled_alone: bool = True) -> list[str]:
    """The lines of the card's section on use.

    Args:
        encoder: prefixes, lengths and pooling of the model.
        widths: at which its embeddings may be cut off; none: nowhere.
        pooled_alone: whether a transformer and its pooling give the vectors, and nothing follows.
    """
    plain = pooled_alone and encoder.pooling in ("mean", "cls")
    return [
        "## Use",
        *_sentence_transformers(encoder, widths),
        *(_transformers(encoder) if plain else []),
        *_onnx(encoder),
    ]


def _sentence_transformers(encoder: Encoder, widths: Sequence[int]) -> list[str]:
    lines = [
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        'model = SentenceTransformer("this folder")',
        'queries = model.encode(["..."], prompt_name="query")',
        'passages = model.encode(["..."], prompt_name="passage")',
        "scores = model.similarity(queries, passages)",
        "```",
    ]
    if encoder.query_length < encoder.passage_length:
        lines += [
            f"In training, queries were cut at {encoder.query_length} tokens and passages at {encoder.passage_length}; "
            f"sentence-transformers cuts both at {encoder.passage_length}.",
        ]
    if widths:
        shown = ", ".join(map(str, sorted(widths)))
        lines += [
            "",
            f"Its embeddings may be cut off at {shown} of their coordinates (Matryoshka):",
            "```python",
            f'model = SentenceTransformer("this folder", truncate_dim={max(widths)})',
            'queries = model.encode(["..."], prompt_name="query", normalize_embeddings=True)',
            "```",
        ]
    return [*lines, ""]


def _transformers(encoder: Encoder) -> list[str]:
    pool = "hidden[:, 0]" if encoder.pooling == "cls" else "(hidden * held).sum(1) / held.sum(1)"
    held = [] if encoder.pooling == "cls" else ['held = batch["attention_mask"][:, :, None]']
    return [
        "Plain transformers:",
        "```python",
        "import torch",
        "from transformers import AutoModel, AutoTokenizer",
        "",
        'tokenizer, model = AutoTokenizer.from_pretrained("this folder"), AutoModel.from_pretrained("this folder")',
        *_batch(encoder, "pt"),
        "with torch.no_grad():",
        "    hidden = model(**batch).last_hidden_state",
        *held,
        f"queries = torch.nn.functional.normalize({pool}, dim=-1)  # passages: {encoder.passage_prefix!r}",
        "```",
        "",
    ]


def _onnx(encoder: Encoder) -> list[str]:
    return [
        "ONNX Runtime, after `hybridtune export FOLDER --onnx`:",
        "```python",
        "import onnxruntime",
        "from transformers import AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("this folder")',
        'session = onnxruntime.InferenceSession("this folder/onnx/model.onnx")',
        *_batch(encoder, "np"),
        '(queries,) = session.run(["sentence_embedding"], dict(batch))',
        "```",
        "",
    ]


def _batch(encoder: Encoder, tensors: str) -> list[str]:
    return [
        f'texts = [{encoder.query_prefix!r} + text for text in ["..."]]',
        f'batch = tokenizer(texts, padding=True, truncation=True, return_tensors="{tensors}")',
    ]


_INDEXED = ("mono/AP", "cross/AP", "multi/AP", "balanced/AP", "mono/nDCG@10", "cross/nDCG@10", "multi/nDCG@10")
_MOST_TRIALS = 50


@dataclass(frozen=True)
class Trained:
    """A trained model, as its card tells of it.

    Attributes:
        study: with the values that it was trained with.
        languages: of its training texts.
        step: steps of its training.
        table: what the plan gave it until then (``HybridPlan.table``).
        dev: its scores on the dev benchmark (``full_scores``).
        test: the same of the test benchmark; None: it was not scored there.
        trials: the study's rows, as in ``trials.jsonl``; none of a single training.
        trial: the model's own trial among them.
        environment: what it was trained in; by default what runs now.
    """

    study: Study
    languages: Sequence[str]
    step: int
    table: list[dict[str, Any]]
    dev: Row
    test: Row | None = None
    trials: Sequence[Row] = ()
    trial: str | None = None
    environment: Row = field(default_factory=environment)


def model_card(trained: Trained, pooled_alone: bool = True) -> str:
    """Return README.md of a model folder, with the front matter that hubs read; it names no folder of this machine.

    Args:
        trained: what is told.
        pooled_alone: see `usage`.
    """
    study = trained.study
    mix, train = study.mix, study.train
    final = mix.final_ratio if mix.schedule != "constant" else None
    end = f" ({mix.schedule} to {final:.3g})" if final is not None else ""
    temperature = f"{train.temperature:.3g}{', learned from there on' if train.learn_temperature else ''}"
    scored = _scored(trained)
    return "\n".join(
        [
            "---",
            yaml.safe_dump(_front_matter(trained, scored), sort_keys=False, allow_unicode=True).strip(),
            "---",
            f"# {study.name}",
            "",
            "A multilingual retriever: queries and passages of any of its languages share one space.",
            "Trained by hybridtune on hybrid batches (Elmahdy, Lin, Ahmad 2024, arXiv 2408.10536): mixing ratio "
            f"{mix.mixing_ratio:.3g}{end}, the share of monolingual batches; temperature {temperature}.",
            "",
            f"Languages: {', '.join(trained.languages)}. Starting encoder: {_public(study.encoder.name)}.",
            "",
            *usage(study.encoder, train.matryoshka, pooled_alone),
            "## Scores",
            *scores_table(scored),
            "",
            *groups_table(scored),
            *_data(trained),
            *_trials_table(trained),
            "## Training arguments",
            *_arguments(trained),
            "",
            "## Versions",
            _versions(trained.environment),
            "",
            "## Study",
            "<details><summary>The study file, with these values put in</summary>",
            "",
            "```yaml",
            dump_study(_public_study(study)).strip(),
            "```",
            "",
            "</details>",
            "",
            "## Citation",
            "```bibtex",
            CITATION,
            "```",
            "",
        ]
    )


def _front_matter(trained: Trained, scored: Mapping[str, Row]) -> dict[str, Any]:
    study = trained.study
    front: dict[str, Any] = {
        "language": list(trained.languages),
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "feature-extraction", "hybridtune", "multilingual-retrieval"],
    }
    base = study.encoder.name
    if base != "tiny" and re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", base) and not Path(base).exists():
        front["base_model"] = base  # hubs refuse a card whose base model is a folder
    named = (re.match(r"hf://datasets/([^/]+/[^/@]+)", source.path) for source in study.data.train)
    datasets = list(dict.fromkeys(match[1] for match in named if match))
    if datasets:
        front["datasets"] = datasets
    task = {"type": "information-retrieval", "name": "Information Retrieval"}
    results = []
    for name, scores in scored.items():
        metrics = scores["metrics"]
        kept = [{"type": key, "value": round(metrics[key], 5), "name": key} for key in _INDEXED if key in metrics]
        results.append({"task": task.copy(), "dataset": {"name": name, "type": "custom"}, "metrics": kept})
    front["model-index"] = [{"name": study.name, "results": results}]
    return front


def _scored(trained: Trained) -> dict[str, Row]:
    benchmarks = trained.study.benchmarks
    scored = {f"dev: {_public(benchmarks.dev.path)}": trained.dev}
    if trained.test is not None and benchmarks.test is not None:
        scored[f"test: {_public(benchmarks.test.path)}"] = trained.test
    return scored


def _public(path: str) -> str:
    """A path as the user gave it, but of one that starts at a machine's root or home only the last part."""
    if path.startswith(("/", "~", "file:")):
        return PurePosixPath(path).name
    return path


def _public_study(study: Study) -> Study:
    def benchmark(source: BenchmarkSource) -> BenchmarkSource:
        return source.model_copy(update={"path": _public(source.path)})

    data, marks, train = study.data, study.benchmarks, study.train
    sets = [source.model_copy(update={"path": _public(source.path)}) for source in data.train]
    return study.model_copy(
        update={
            "data": data.model_copy(update={"train": sets, "store": data.store and _public(data.store)}),
            "encoder": study.encoder.model_copy(update={"name": _public(study.encoder.name)}),
            "benchmarks": marks.model_copy(
                update={"dev": benchmark(marks.dev), "test": marks.test and benchmark(marks.test)}
            ),
            "train": train.model_copy(update={"teacher": train.teacher and _public(train.teacher)}),
        }
    )


def _data(trained: Trained) -> list[str]:
    """What the training saw: its files, distinct pairs by language, and the plan's table."""
    languages, table = trained.languages, trained.table
    pairs = distinct_pairs(table)
    matrix = [[f"**{x}**", *(pairs.get(f"{x}-{y}", 0) for y in languages)] for x in languages]
    head = list(table[0]) if table else []
    kinds = [
        f"{sum(row['pairs'] for row in table if row['kind'] == kind):,} {kind} pairs"
        for kind in dict.fromkeys(row["kind"] for row in table)
    ]
    sources = [f"`{_public(source.path)}`" for source in trained.study.data.train]
    return [
        "## Training data",
        f"{', '.join(sources)}: {', '.join(kinds)} seen in {trained.step:,} steps. "
        "Distinct pairs by language of the query (row) and of the passage (column):",
        "",
        *markdown_table(["", *languages], matrix),
        "",
        "<details><summary>Batches, pairs, distinct groups and epochs of each kind and pair</summary>",
        "",
        *markdown_table(head, [list(row.values()) for row in table]),
        "",
        "</details>",
        "",
    ]


def _trials_table(trained: Trained) -> list[str]:
    """All trials: finished ones first, then by the first objective."""
    if not trained.trials:
        return []
    objectives = trained.study.search.objective
    sign = 1 if direction(objectives[0]) == "min" else -1
    order = sorted(
        trained.trials,
        key=lambda trial: (trial["status"] != "done", sign * trial["metrics"].get(objectives[0], sign * float("inf"))),
    )
    searched = list(dict.fromkeys(name for trial in order for name in trial["values"]))
    figures = list(dict.fromkeys([*objectives, *SHOWN[:4]]))
    rows = [
        [
            f"**{trial['id']}**" if trial["id"] == trained.trial else trial["id"],
            trial["baseline"] or "",
            *(figure(trial["values"].get(name)) for name in searched),
            trial["status"],
            trial["metrics"].get("step"),
            *(figure(trial["metrics"].get(name)) for name in figures),
        ]
        for trial in order[:_MOST_TRIALS]
    ]
    more = [f"... and {len(order) - _MOST_TRIALS:,} more.", ""] if len(order) > _MOST_TRIALS else []
    return [
        "## Trials",
        f"Scores on the dev benchmark; objective: {', '.join(objectives)}. This model is of trial {trained.trial}.",
        "",
        *markdown_table(["trial", "baseline", *map(short_name, searched), "status", "step", *figures], rows),
        "",
        *more,
    ]


def _arguments(trained: Trained) -> list[str]:
    """The fields of `train` and `mix`, this fit's values put in."""
    study = trained.study
    fields = {**study.train.model_dump(mode="json"), **study.mix.model_dump(mode="json")}
    fields["teacher"] = _public_study(study).train.teacher
    given = {"seed": study.seed, "workers": study.resources.workers, "steps": trained.step, **fields}
    return [f"- {name}: {figure(value)}" for name, value in given.items() if value not in (None, [], {})]


def _versions(found: Row) -> str:
    names = ("hybridtune", "torch", "ray", "transformers", "tokenizers", "optuna")
    packages = [f"{name} {found['packages'][name]}" for name in names if found["packages"].get(name)]
    return ", ".join([f"python {found['python']}", *packages])
