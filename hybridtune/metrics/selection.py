"""PURE. The rankings of per-query values that a metric of a group is over, by what their files say of their groups."""

import json
from collections.abc import Sequence

import numpy as np

from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Bool
from hybridtune.metrics.groups import Grouping, Rule, everything
from hybridtune.metrics.per_query import ALL, PerQuery
from hybridtune.metrics.resampling import cells


def group_rule(files: Sequence[PerQuery], group: str) -> Rule:
    """Return a group by its name, of per-query values that are used together, see `Grouping.rule`.

    Raises:
        InputError: no such group, or files that group otherwise.
    """
    if not group:
        return everything
    return grouping_of(files).rule(group, set().union(*map(languages_of, files)))


def grouping_of(files: Sequence[PerQuery]) -> Grouping:
    """Return the grouping of per-query values that are compared: a pair is seen if any model was trained on it.

    Raises:
        InputError: they name other low-resource languages.
    """
    trained: dict[str, int] | None = None
    low: list[tuple[str, ...]] = []
    for about in (file.about for file in files):
        if "training_pairs" in about:
            trained = {**(trained or {}), **{k: n for k, n in json.loads(about["training_pairs"]).items() if n}}
        named = tuple(sorted(json.loads(about.get("low_resource", "[]"))))
        if named and named not in low:
            low.append(named)
    if len(low) > 1:
        listed = " and ".join(", ".join(named) for named in low)
        raise InputError(
            f"A and B name other low-resource languages ({listed}); name the languages, like AP@{low[0][0]}"
        )
    return Grouping(trained, low[0] if low else ())


def rankings_of(values: PerQuery, setting: str, rule: Rule) -> Bool:
    """Return which rankings are of a setting and of a group, bool [N]."""
    chosen: Bool = values.setting == setting
    if rule is everything:
        return chosen
    rows = np.flatnonzero(chosen)
    cell = cells(values, rows)
    held = []
    for row in rows[np.unique(cell, return_index=True)[1]]:
        query, pool = str(values.query_language[row]), str(values.pool_language[row])
        held.append(rule(setting, (query, query if pool == ALL else pool)))
    chosen[rows] = np.array(held, bool)[cell]
    return chosen


def languages_of(values: PerQuery) -> set[str]:
    """Return the languages of queries and pools."""
    return {*np.unique(values.query_language).tolist(), *np.unique(values.pool_language).tolist()} - {ALL}
