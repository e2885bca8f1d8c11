"""Everything that can be checked before anything starts, so that a mistake costs a second and writes nothing."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hybridtune.cluster.local import Capacity, capacity
from hybridtune.config import Study
from hybridtune.data.corpus import Corpus
from hybridtune.data.plan import HybridPlan
from hybridtune.data.store import StoreRecipe, existing_store, recipe, store_root
from hybridtune.evaluate.benchmark import Benchmark, load_benchmark
from hybridtune.model.folder import check_lengths, with_folder_settings
from hybridtune.search.space import BASELINES, baseline_points, objectives
from hybridtune.train.loop import make_plan


@dataclass(frozen=True)
class Prepared:
    """A study whose input is known to be good.

    Attributes:
        study: resolved, with the encoder folder's own settings put in.
        recipe: what its token store is made of.
        corpus: which training texts there are.
        benchmarks: ``dev`` and, if given, ``test``.
        goals: objective -> ``max`` or ``min``.
        offered: what this machine offers.
        plan: the batches of the study's fixed values.
    """

    study: Study
    recipe: StoreRecipe
    corpus: Corpus
    benchmarks: Mapping[str, Benchmark]
    goals: Mapping[str, str]
    offered: Capacity
    plan: HybridPlan


def prepare(study: Study, searching: bool) -> Prepared:
    """Check a study's data, benchmarks, objectives, batches and resources.

    Args:
        study: as read.
        searching: whether trials will be searched; else only the fixed values need to work.

    Raises:
        InputError: the first thing that is wrong.
    """
    offered = capacity(study.resources)
    study = study.model_copy(update={"encoder": with_folder_settings(study.encoder)})
    sources = {"dev": study.benchmarks.dev, "test": study.benchmarks.test}
    benchmarks = {name: load_benchmark(source) for name, source in sources.items() if source is not None}
    goals = objectives(study, benchmarks["dev"])
    made_of = recipe(study.data, study.encoder)
    check_lengths(study.encoder)
    found = existing_store(store_root(study.data), made_of)
    corpus = found.corpus() if found is not None else made_of.survey()
    plan = make_plan(corpus, study)
    if searching:
        baseline_points(study)
        for values in _extremes(study):
            make_plan(corpus, study.with_values(values))
    return Prepared(study, made_of, corpus, benchmarks, goals, offered, plan)


def _extremes(study: Study) -> list[dict[str, Any]]:
    """The values of the plan at which a batch could turn out impossible: if these work, all between do."""
    space = study.search.space
    ends = {
        name: space[key].ends()
        for name in ("mixing_ratio", "batch_size", "cross_batch")
        for key in space
        if key.split(".")[-1] == name
    }
    if study.search.baselines:
        ends["mixing_ratio"] = [*ends.get("mixing_ratio", []), *BASELINES.values()]
    return [dict(zip(ends, values, strict=True)) for values in itertools.product(*ends.values())]


def data_table(corpus: Corpus) -> list[dict[str, Any]]:
    """Training pairs by language: one row a language.

    Returns:
        rows ``{"language", "queries", "passages", "mono", "cross"}``; cross counts pairs with the language on
        either side.
    """
    pairs = corpus.pair_counts()
    own = pairs.diagonal()
    return [
        {
            "language": language,
            "queries": int((corpus.queries[:, i] >= 0).sum()),
            "passages": int((corpus.passages[:, i] >= 0).sum()),
            "mono": int(own[i]),
            "cross": int(pairs[i].sum() + pairs[:, i].sum() - 2 * own[i]),
        }
        for i, language in enumerate(corpus.languages)
    ]


def notices(prepared: Prepared) -> list[str]:
    """What a user should know before the study starts."""
    lines = []
    if prepared.plan.left_out:
        lines.append(
            f"left out of mono batches: {', '.join(prepared.plan.left_out)} "
            f"(fewer distinct groups than train.batch_size {prepared.plan.batch_size})"
        )
    scored = {text.language for text in prepared.benchmarks["dev"].queries}
    unseen = sorted(scored - set(prepared.corpus.languages))
    if unseen:
        lines.append(f"zero-shot languages (in the dev benchmark, not in training): {', '.join(unseen)}")
    return lines
