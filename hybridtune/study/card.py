"""The model card: README.md of an exported model, with the front matter that hubs read.

What a trained model is goes in as `Trained`; its words are in `templates/card.md.j2`.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from hybridtune.config.fields import Part
from hybridtune.config.names import ORIGINS, short_name
from hybridtune.config.search import Search, is_url
from hybridtune.config.study import Study
from hybridtune.config.yaml_text import dump_yaml
from hybridtune.data.corpus import TranslatedTexts
from hybridtune.data.plan import distinct_pairs
from hybridtune.metrics.metrics import direction
from hybridtune.model.language_vectors import FILE as LANGUAGE_VECTORS
from hybridtune.model.language_vectors import LanguageVectors
from hybridtune.model.published import licence_of
from hybridtune.report.render import render
from hybridtune.report.text import format_metric
from hybridtune.study.folder import environment, starting_encoder

SHOWN = ("mono/AP", "cross/AP", "multi/AP", "multi/rank_distance", "multi/language_preference")
_INDEXED = ("mono/AP", "cross/AP", "multi/AP", "balanced/AP", "mono/nDCG@10", "cross/nDCG@10", "multi/nDCG@10")
_TAGS = ("sentence-transformers", "feature-extraction", "hybridtune", "multilingual-retrieval")
_MOST_TRIALS = 50
_PACKAGES = ("hybridtune", "torch", "ray", "transformers", "tokenizers", "optuna")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """A trained model, for its card."""

    study: Study  # with the values that it was trained with
    languages: Sequence[str]  # of its training texts
    step: int  # the last of its training
    table: list[dict[str, Any]]  # what the plan gave it until then, see `HybridPlan.table`
    dev: Row  # its scores, see `full_scores`
    test: Row | None = None
    trials: Sequence[Row] = ()  # the rows of `trials.jsonl`; empty for a single training
    trial: str | None = None  # the model's own among them
    translations: Sequence[TranslatedTexts] = ()  # the training texts that a machine translated
    dropped: Mapping[str, int] = field(default_factory=dict)  # translations that were left out, by reason
    moved: LanguageVectors | None = None  # fitted on its training texts, to be written beside it
    environment: Row = field(default_factory=environment)


def model_card(trained: Trained, pooled_alone: bool = True) -> str:
    """Return README.md of a model folder; it names no folder of this machine.

    ``pooled_alone`` says that a transformer and its pooling give the vectors, and nothing follows.
    """
    study = _public_study(trained.study)
    benchmarks = study.benchmarks
    scored = {f"dev: {benchmarks.dev.path}": trained.dev}
    if trained.test is not None and benchmarks.test is not None:
        scored[f"test: {benchmarks.test.path}"] = trained.test
    trial_columns, trials = _trials(trained)
    columns = list(dict.fromkeys(name for row in trained.table for name in row))
    return render(
        "hybridtune.study",
        "card.md.j2",
        trained=trained,
        pooled_alone=pooled_alone,
        **language_vectors_section(trained.moved),
        **{"study": study, "encoder": study.encoder, "mix": study.mix, "train": study.train},
        mono_share=_mono_share(trained.table),
        front_matter=dump_yaml(_front_matter(trained, scored)).strip(),
        metrics=list(SHOWN),
        scores=[scores_row(name, scores) for name, scores in scored.items()],
        groups=_groups(scored),
        kinds=_kinds(trained.table),
        pairs=_pairs(trained),
        plan_columns=columns,
        plan=[[row.get(name) for name in columns] for row in trained.table],
        translations=[list(row) for row in trained.translations],
        dropped=[f"{count:,} {reason}" for reason, count in trained.dropped.items()],
        trial_columns=trial_columns,
        trials=trials[:_MOST_TRIALS],
        more_trials=len(trials) - _MOST_TRIALS,
        arguments=_arguments(trained, study),
        matryoshka=study.train.matryoshka,
        versions=versions(trained.environment),
        commit=starting_encoder(trained.study)["commit"],
        study_yaml=dump_yaml({**study.model_dump(mode="json"), "search": _public_search(study.search)}).strip(),
        taught=_taught(trained.study, study),
    )


def language_vectors_section(fitted: LanguageVectors | None) -> dict[str, Any]:
    """Return what a card's section on language vectors needs."""
    if fitted is None:
        return {"language_vectors": None}
    return {"language_vectors": LANGUAGE_VECTORS, "fitted_on": max(max(of.values()) for of in fitted.texts.values())}


def versions(environment: Row) -> list[str]:
    """Return the versions that a card names, of `environment`."""
    found = [f"{name} {version}" for name in _PACKAGES if (version := environment["packages"].get(name))]
    return [f"python {environment['python']}", *found]


def _taught(study: Study, public: Study) -> str:
    """Return sentences on what was learnt beside the pairs, of the teacher by its public name with its licence."""
    learnt = f"Scores that the training data have were distilled ({study.train.distil})." * study.learns_data_scores
    if study.teacher_key is None:
        return learnt
    name = public.train.teacher
    if name is None:
        who = "the starting encoder"
    else:
        who = f"{name} ({licence_of(str(study.train.teacher)) or 'licence not given'})"
    taught = []
    if study.mix.align_share:
        taught.append(f"{study.mix.align_share:.3g} of all batches drew translations to its vectors")
    if study.scored_by_teacher:
        taught.append(f"its scores of the other batches were distilled ({study.train.distil})")
    return f"Teacher: {who}; {'; '.join(taught)}. {learnt}".rstrip()


def _kinds(table: Sequence[Row]) -> list[str]:
    """Return ``1,600 mono pairs (1,200 native, 400 translated)`` for each kind of batch."""
    drawn: dict[str, Counter[str]] = {}
    for row in table:
        drawn.setdefault(row["kind"], Counter())[row.get("origin", ORIGINS[0])] += row["pairs"]
    return [
        f"{origins.total():,} {kind} pairs"
        + (f" ({', '.join(f'{n:,} {origin}' for origin, n in origins.items())})" if {*origins} - {ORIGINS[0]} else "")
        for kind, origins in drawn.items()
    ]


def _pairs(trained: Trained) -> list[list[Any]]:
    """Return distinct pairs by language of the query (row) and of the passage; of these, the translated ones."""
    every = distinct_pairs(trained.table)
    translated = distinct_pairs([row for row in trained.table if row.get("origin") == "translated"])

    def count(pair: str) -> Any:
        shown = every.get(pair, 0)
        return f"{shown:,} ({translated[pair]:,} translated)" if pair in translated else shown

    return [[f"**{x}**", *(count(f"{x}-{y}") for y in trained.languages)] for x in trained.languages]


def _figure(value: Any) -> Any:
    """Return a number at four digits, a text without a folder of this machine, and anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else public_path(value) if isinstance(value, str) else value


def scores_row(name: str, scores: Row) -> list[Any]:
    """Return the figures of a benchmark with their counts."""
    counts, metrics = scores["counts"], scores["metrics"]
    cells = [format_metric(key, metrics.get(key)) for key in SHOWN]
    return [name, max(counts["queries"].values()), counts["passages"], *cells]


def _groups(scored: Mapping[str, Row]) -> list[list[Any]]:
    """Return AP by groups of languages, where zero-shot or low-resource ones are apart."""
    rows = [
        [name, group, setting, f"{values['AP']:.4f}", values["rows"], values["queries"]]
        for name, scores in scored.items()
        for group, settings in scores["groups"].items()
        for setting, values in settings.items()
    ]
    return rows if any(row[1] in ("unseen", "low-resource") for row in rows) else []


def card_data(
    name: str, languages: Sequence[str], scored: Mapping[str, Row], tags: Sequence[str] = (), **more: Any
) -> dict[str, Any]:
    """Return the front matter of a card, in the form that the hub reads; ``more`` are other fields of `ModelCardData`.

    The benchmarks in ``scored`` are called ``dev: NAME`` or ``test: NAME``.
    """
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="information-retrieval",
            task_name="Information Retrieval",
            dataset_type="custom",
            dataset_name=benchmark,
            dataset_split=benchmark.partition(":")[0],
            metric_type=key,
            metric_name=key,
            metric_value=round(scores["metrics"][key], 5),
        )
        for benchmark, scores in scored.items()
        for key in _INDEXED
        if key in scores["metrics"]
    ]
    if results:
        more |= {"model_name": name, "eval_results": results}
    data = ModelCardData(
        language=list(languages) or None,
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=[*_TAGS, *tags],
        **more,
    )
    return dict(data.to_dict())  # type: ignore[no-untyped-call]


def _front_matter(trained: Trained, scored: Mapping[str, Row]) -> dict[str, Any]:
    study, more = trained.study, dict[str, Any]()
    base = study.encoder.name.partition("@")[0]
    if base != "tiny" and re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", base) and not Path(base).exists():
        more["base_model"] = base  # hubs refuse a card whose base model is a folder
    named = (re.match(r"hf://datasets/([^/]+/[^/@]+)", source.path) for source in study.data.train)
    datasets = list(dict.fromkeys(match[1] for match in named if match))
    if datasets:
        more["datasets"] = datasets
    if trained.translations:
        more["translated_from"] = translated_from(trained.translations)
    return card_data(study.name, trained.languages, scored, **more)


def translated_from(translations: Sequence[TranslatedTexts]) -> dict[str, list[str]]:
    """Return by language those that its machine-translated texts were translated from."""
    found: dict[str, set[str]] = {}
    for row in translations:
        found.setdefault(row.language, set()).add(row.translated_from)
    return {language: sorted(sources) for language, sources in sorted(found.items())}


def public_path(path: str) -> str:
    """Return a path as the user gave it, but of one that starts at a machine's root or home only the last part."""
    scheme, name = re.match(r"(sqlite(?:\+\w+)?:///)?(.*)", path, re.DOTALL).groups()  # type: ignore[union-attr]
    return (scheme or "") + (PurePosixPath(name).name if name.startswith(("/", "~", "file:")) else name)


def _mono_share(table: Sequence[Mapping[str, Any]]) -> float:
    """Return the share of mono pairs in the question-passage pairs of a training, which is that of its batches."""
    pairs = {kind: sum(row["pairs"] for row in table if row["kind"] == kind) for kind in ("mono", "cross")}
    return float(pairs["mono"] / max(1, sum(pairs.values())))


def _public_values(value: Any) -> Any:
    """Return the plain values of a section without the folders of this machine, wherever one stands."""
    if isinstance(value, Part):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: _public_values(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_public_values(one) for one in value]
    return public_path(value) if isinstance(value, str) else value


def _public_search(search: Search) -> dict[str, Any]:
    """Return the section without the folders of this machine and without the hosts of databases."""
    values: dict[str, Any] = _public_values(search)
    for name in ("storage", "warm_start"):
        where = values[name]
        if where is not None and is_url(where) and not where.startswith("sqlite"):
            values[name] = f"{where.partition('://')[0]}://..."
    return values


def _public_study(study: Study) -> Study:
    """Return the study without the folders of this machine."""

    def public(part: Any, name: str) -> Any:
        path = part and getattr(part, name)
        return part.model_copy(update={name: public_path(path)}) if path else part

    data, benchmarks = public(study.data, "store"), study.benchmarks
    both = {"dev": public(benchmarks.dev, "path"), "test": public(benchmarks.test, "path")}
    return study.model_copy(
        update={
            "data": data.model_copy(update={"train": [public(source, "path") for source in data.train]}),
            "encoder": public(study.encoder, "name"),
            "benchmarks": benchmarks.model_copy(update=both),
            "train": public(study.train, "teacher"),
        }
    )


def _trials(trained: Trained) -> tuple[list[str], list[list[Any]]]:
    """Return all trials: finished ones first, then by the first objective."""
    objectives = trained.study.search.objective
    sign = 1 if direction(objectives[0]) == "min" else -1
    order = sorted(
        trained.trials,
        key=lambda trial: (trial["status"] != "done", sign * trial["metrics"].get(objectives[0], sign * float("inf"))),
    )
    searched = list(dict.fromkeys(name for trial in order for name in trial["values"]))
    metrics = list(dict.fromkeys([*objectives, *SHOWN[:4]]))
    rows = [
        [
            f"**{trial['id']}**" if trial["id"] == trained.trial else trial["id"],
            trial["arm"],
            trial["proposed"],
            *(_figure(trial["values"].get(name)) for name in searched),
            trial["status"],
            trial["metrics"].get("step"),
            *(format_metric(name, trial["metrics"].get(name)) for name in metrics),
        ]
        for trial in order
    ]
    return ["trial", "arm", "proposed", *map(short_name, searched), "status", "step", *metrics], rows


def _arguments(trained: Trained, study: Study) -> list[tuple[str, Any]]:
    """Return the fields of `train` and `mix`, with the values of this training."""
    given = {"seed": study.seed, "workers": study.resources.workers, "steps": trained.step}
    fields = {**given, **study.train.model_dump(mode="json"), **study.mix.model_dump(mode="json")}
    return [(name, _figure(value)) for name, value in fields.items() if value not in (None, [], {})]
