"""The groups of languages that objectives name: what they are made by, and whether the study's benchmarks have them."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from hybridtune.config.fields import FewerThan
from hybridtune.config.space import DATA_SET_WEIGHTS
from hybridtune.config.study import Study
from hybridtune.data.corpus import Corpus
from hybridtune.data.weights import Weights, count_drawable, make_weights, pair_name
from hybridtune.errors import InputError, nearest
from hybridtune.evaluate.benchmark import Benchmark
from hybridtune.metrics.groups import Grouping, Sides, fewer_than
from hybridtune.metrics.measures import BIAS
from hybridtune.metrics.metrics import SETTINGS, per_query
from hybridtune.metrics.names import parse_metric
from hybridtune.storage.feasibility import constraint_metrics
from hybridtune.train.plan import data_weights


def study_grouping(study: Study, corpus: Corpus, benchmarks: Iterable[Benchmark]) -> Grouping:
    """Return what a study's groups are made by: the pairs that its training data have, whatever a trial draws of them.

    So ``unseen`` is the same for all trials; a mono-only one would else have every cross pair in it. Pairs that the
    study never draws (``data.unseen_pairs``, a weight of 0 that is not searched) are not seen.

    Raises:
        InputError: a low-resource language that no text is in.
    """
    languages, counts = corpus.languages, count_drawable(corpus, _fixed_weights(study, corpus))
    pairs = {pair_name(languages, pair): count for pair, count in counts.items()}
    scored = {language for benchmark in benchmarks for language in benchmark.relevance.languages}
    return Grouping(pairs, _low_resource(study, pairs, sorted({*languages, *scored})))


def _low_resource(study: Study, pairs: Mapping[str, int], languages: Sequence[str]) -> tuple[str, ...]:
    """Return the low-resource languages among those of the training data and benchmarks."""
    given = study.low_resource
    if isinstance(given, FewerThan):
        return fewer_than(given.fewer_than, pairs, languages)
    for language in given:
        if language not in languages:
            raise InputError(
                f"low_resource: neither the training data nor a benchmark has a text in {language!r}"
                f"{nearest(language, languages)}"
            )
    return tuple(sorted(set(given)))


def _fixed_weights(study: Study, corpus: Corpus) -> Weights:
    """Return the weights of a study's mix; of those that are searched, 1."""
    mix, space = study.mix, study.search.space
    data_sets = {name: 1.0 if f"{DATA_SET_WEIGHTS}.{name}" in space else w for name, w in data_weights(study).items()}
    return make_weights(
        corpus.languages,
        {} if "mix.weights" in space else mix.weights,
        study.data.unseen_pairs,
        tuple(data_sets.values()),
        1.0 if "mix.translated_weight" in space else mix.translated_weight,
    )


def check_groups(study: Study, benchmark: Benchmark, grouping: Grouping) -> None:
    """Check that a benchmark has every group that an objective, early stopping or a constraint goes by.

    Raises:
        InputError: no such group, or no query of it that defines the metric.
    """
    stopping = study.search.early_stopping
    names = {name: f"search.objective {name}" for name in study.search.objective}
    if stopping is not None and stopping.metric is not None:
        names.setdefault(stopping.metric, f"search.early_stopping.metric {stopping.metric}")
    for name in constraint_metrics(study):
        names.setdefault(name, f"search.constraints {name}")
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
