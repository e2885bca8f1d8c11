"""The groups of languages that objectives name: what they are made by, and whether the study's benchmarks have them."""

import numpy as np

from hybridtune.config.study import Study
from hybridtune.data.corpus import Corpus
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import Benchmark
from hybridtune.metrics.groups import Grouping, Sides
from hybridtune.metrics.measures import BIAS
from hybridtune.metrics.metrics import SETTINGS, per_query
from hybridtune.metrics.names import parse_metric


def study_grouping(study: Study, corpus: Corpus) -> Grouping:
    """Return what a study's groups are made by: the pairs that its training data have, whatever a trial draws of them.

    So ``unseen`` is the same for all trials; a mono-only one would else have every cross pair in it.
    """
    languages, counts = corpus.languages, corpus.pair_counts()
    pairs = {f"{languages[x]}-{languages[y]}": int(counts[x, y]) for x, y in np.argwhere(counts).tolist()}
    sources = [source for source in (study.benchmarks.dev, study.benchmarks.test) if source is not None]
    return Grouping(pairs, tuple(sorted({language for source in sources for language in source.low_resource})))


def check_groups(study: Study, benchmark: Benchmark, grouping: Grouping) -> None:
    """Check that a benchmark has every group that an objective, or early stopping, goes by.

    Raises:
        InputError: no such group, or no query of it that defines the metric.
    """
    stopping = study.search.early_stopping
    names = {name: f"search.objective {name}" for name in study.search.objective}
    if stopping is not None and stopping.metric is not None:
        names.setdefault(stopping.metric, f"search.early_stopping.metric {stopping.metric}")
    for name, where in names.items():
        setting, measure, group = parse_metric(name)
        if not group:
            continue
        try:
            holds = grouping.rule(group, benchmark.relevance.languages)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        for one in SETTINGS if setting == "balanced" else (setting,):
            if not any(holds(one, sides) for sides in _scored(benchmark, measure, one)):
                defined = f" that defines {measure}" if measure in BIAS else ""
                raise InputError(
                    f"{where}: the benchmark {benchmark.name} has no query of {group} in the {one} setting{defined}"
                )


def _scored(benchmark: Benchmark, measure: str, setting: str) -> set[Sides]:
    """Return the languages, of query and pool, of the rankings that define a measure, whatever the ranks are."""
    judged = benchmark.relevance
    counts = np.zeros((len(judged.query_index), len(judged.languages)), np.int64)
    counts[:, 0] = np.arange(len(counts))  # some ranks, no two alike
    sizes = np.bincount(judged.passage_language[judged.passage_language >= 0], minlength=len(judged.languages))
    columns = per_query(judged.ranked(counts, np.zeros(len(counts), np.float32), sizes), ("AP",))
    values = columns[measure if measure in BIAS else "AP"]
    rows = (columns["setting"] == setting) & ~np.isnan(values)
    query, pool = columns["query_language"][rows], columns["pool_language"][rows]
    pairs = np.unique(np.stack([query, np.where(pool < 0, query, pool)], 1), axis=0)
    return {(judged.languages[x], judged.languages[y]) for x, y in pairs.tolist()}
