"""PURE. The low-resource view: scores per language pair beside its training pairs, and means over groups of pairs.

Training pairs are counted by "query language-passage language", as ``model.folder.training_pairs_of`` gives them
(None: not known). A pair without any is scored zero-shot.
"""

import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from hybridtune.metrics.metrics import SETTINGS, Scores

Row = dict[str, Any]
Values = Mapping[str, float]
Sides = tuple[str, str]  # language of the query, of the passage; one language twice in mono and multi

# Where a pair may be cut: before a primary language code. "zh-Hans-en" is zh-Hans and en.
_CUT = re.compile(r"-(?=[a-z]{2,3}(?:-|$))")


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
    rows, trained = list(_rows(scores)), _by_sides(scores, training_pairs or {})
    measures = dict.fromkeys(name for _, _, values in rows for name in values if name != "queries")
    table = []
    for setting, sides, values in rows:
        row: Row = {"setting": setting, "pair": sides[0] if setting == "multi" else "-".join(sides)}
        row |= {name: values.get(name) for name in measures}
        row["queries"] = int(values["queries"])
        if training_pairs is not None:
            row["training_pairs"] = _touching(sides[0], trained) if setting == "multi" else trained.get(sides, 0)
        table.append(row)
    return table


def group_means(
    scores: Scores, training_pairs: Mapping[str, int] | None, low_resource: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return means over groups of languages and pairs: trained against not trained, rich against low-resource.

    ``seen`` and ``unseen``, where training pairs are known: in mono and multi a language is seen if any training pair
    has it on either side; a cross pair is seen if that pair, in that direction, has training pairs, whatever its
    languages have elsewhere. ``low-resource`` and ``rich``, where such languages are given: a cross pair is
    low-resource if either side is.

    Returns:
        group -> setting -> measure -> mean of the means of its languages (mono, multi) or ordered pairs (cross);
        beside the measures ``rows``, how many of those, and ``queries``, the rankings they hold. A measure is over
        the rows that define it. Groups and settings without a row are absent, never 0.
    """
    low, trained = set(low_resource), _by_sides(scores, training_pairs or {})

    def seen(setting: str, sides: Sides) -> bool:
        return (trained.get(sides, 0) if setting == "cross" else _touching(sides[0], trained)) > 0

    groups: dict[str, Callable[[str, Sides], bool]] = {}
    if training_pairs is not None:
        groups |= {"seen": seen, "unseen": lambda setting, sides: not seen(setting, sides)}
    if low:
        groups["rich"] = lambda setting, sides: low.isdisjoint(sides)
        groups["low-resource"] = lambda setting, sides: not low.isdisjoint(sides)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for group, holds in groups.items():
        for setting in SETTINGS:
            rows = [values for kind, sides, values in _rows(scores) if kind == setting and holds(kind, sides)]
            if rows:
                found.setdefault(group, {})[setting] = _mean(rows)
    return found


def _rows(scores: Scores) -> Iterable[tuple[str, Sides, Values]]:
    """Yield (setting, languages, means) of each row, mono first."""
    for language, values in scores.per_language["mono"].items():
        yield "mono", (language, language), values
    languages = scores.counts["passages_per_language"]
    for pair, values in scores.per_pair.items():
        query, passage = _sides(pair, languages)
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


def _by_sides(scores: Scores, training_pairs: Mapping[str, int]) -> dict[Sides, int]:
    languages = scores.counts["passages_per_language"]
    return {_sides(pair, languages): count for pair, count in training_pairs.items()}


def _touching(language: str, trained: Mapping[Sides, int]) -> int:
    """Count the training pairs that have the language on either side."""
    return sum(count for sides, count in trained.items() if language in sides)


def _sides(pair: str, languages: Collection[str]) -> Sides:
    """Return the two languages of a pair; where codes with hyphens leave it open, those that the benchmark has."""
    cuts = [(pair[: found.start()], pair[found.end() :]) for found in _CUT.finditer(pair)]
    known = [sides for sides in cuts if set(sides) <= set(languages)]
    return (known or cuts or [(pair, pair)])[0]
