"""PURE. The low-resource view: scores per language pair beside its training pairs, and means over groups of pairs.

Training pairs are counted by "query language-passage language", as ``model.folder.training_pairs_of`` gives them
(None: not known). A pair without any is scored zero-shot.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hybridtune.metrics.groups import Grouping, Sides, pairs_by_sides, sides_of, touching
from hybridtune.metrics.measures import BIAS
from hybridtune.metrics.metrics import SETTINGS, Columns, Ranked, Scores, balanced, per_query, score
from hybridtune.metrics.names import split_group

Row = dict[str, Any]
Values = Mapping[str, float]


def full_scores(
    scores: Scores, training_pairs: Mapping[str, int] | None, low_resource: Sequence[str]
) -> dict[str, Any]:
    """Return scores as JSON, with ``training_pairs``, ``pairs`` (`pair_table`) and ``groups`` (`group_means`)."""
    return {
        **dataclasses.asdict(scores),
        "training_pairs": training_pairs,
        "pairs": pair_table(scores, training_pairs),
        "groups": group_means(scores, training_pairs, low_resource),
    }


def pair_table(scores: Scores, training_pairs: Mapping[str, int] | None) -> list[Row]:
    """Return one row per language pair, and one per query language for the multi pool.

    Returns:
        Rows of like keys, mono pairs first, then cross, then multi: ``setting``, ``pair`` ("sw-sw", "en-sw"; of a
        multi row the query language, "sw"), the mean of each measure (None where not defined), ``queries``, and,
        where known, ``training_pairs``: of the pair itself; of a multi row all pairs with the language on either
        side; 0 is zero-shot.
    """
    languages = scores.counts["passages_per_language"]
    rows, trained = list(_rows(scores)), pairs_by_sides(training_pairs or {}, languages)
    measures = dict.fromkeys(name for _, _, values in rows for name in values if name != "queries")
    table = []
    for setting, sides, values in rows:
        row: Row = {"setting": setting, "pair": sides[0] if setting == "multi" else "-".join(sides)}
        row |= {name: values.get(name) for name in measures}
        row["queries"] = int(values["queries"])
        if training_pairs is not None:
            row["training_pairs"] = touching(sides[0], trained) if setting == "multi" else trained.get(sides, 0)
        table.append(row)
    return table


def group_means(
    scores: Scores, training_pairs: Mapping[str, int] | None, low_resource: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return means over groups of languages and pairs: trained against not trained, rich against low-resource.

    Returns:
        group (`Grouping.rules`) -> setting -> measure -> mean of the means of its languages (mono, multi) or ordered
        pairs (cross); beside the measures ``rows``, how many of those, and ``queries``, the rankings they hold. A
        measure is over the rows that define it. Groups and settings without a row are absent, never 0.
    """
    rules = Grouping(training_pairs, tuple(low_resource)).rules(scores.counts["passages_per_language"])
    found: dict[str, dict[str, dict[str, float]]] = {}
    for group, holds in rules.items():
        for setting in SETTINGS:
            rows = [values for kind, sides, values in _rows(scores) if kind == setting and holds(kind, sides)]
            if rows:
                found.setdefault(group, {})[setting] = _mean(rows)
    return found


def score_measures(ranked: Ranked, measures: Sequence[str], grouping: Grouping) -> tuple[Columns, Scores]:
    """Return ``per_query`` and ``score`` of measures, those of a group (``AP@low-resource``) among them.

    ``metrics`` has each such measure in every setting that defines it: ``multi/AP@low-resource``, and of AP
    ``balanced/AP@low-resource``.

    Raises:
        InputError: no such group, language or pair.
    """
    plain = dict.fromkeys(split_group(name)[0] for name in measures)
    columns = per_query(ranked, [name for name in plain if name not in BIAS])
    scores = score(ranked, columns)
    for name in measures:
        measure, group = split_group(name)
        if not group:
            continue
        holds = grouping.rule(group, scores.counts["passages_per_language"])
        found = {}
        for setting in SETTINGS:
            rows = [values for kind, sides, values in _rows(scores) if kind == setting and holds(kind, sides)]
            means = _mean(rows) if rows else {}
            if measure in means:
                found[setting] = scores.metrics[f"{setting}/{name}"] = means[measure]
        if measure == "AP" and len(found) == len(SETTINGS):
            scores.metrics[f"balanced/{name}"] = balanced(list(found.values()))
    return columns, scores


def _rows(scores: Scores) -> Iterable[tuple[str, Sides, Values]]:
    """Yield (setting, languages, means) of each row, mono first."""
    for language, values in scores.per_language["mono"].items():
        yield "mono", (language, language), values
    languages = scores.counts["passages_per_language"]
    for pair, values in scores.per_pair.items():
        query, passage = sides_of(pair, languages)
        if query != passage:
            yield "cross", (query, passage), values
    for language, values in scores.per_language["multi"].items():
        yield "multi", (language, language), values


def _mean(rows: Sequence[Values]) -> dict[str, float]:
    means: dict[str, float] = {"rows": len(rows), "queries": int(sum(row["queries"] for row in rows))}
    for name in dict.fromkeys(name for row in rows for name in row if name != "queries"):
        values = [row[name] for row in rows if name in row]
        means[name] = sum(values) / len(values)
    return means
