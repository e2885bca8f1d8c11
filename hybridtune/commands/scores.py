"""The figures of an evaluation for people: means with their counts, per pair, by group, and the language bias."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from hybridtune.commands.pictures import bias_table
from hybridtune.commands.show import Screen, plain_table
from hybridtune.evaluate.groups import group_means, pair_table
from hybridtune.evaluate.metrics import BIAS, SETTINGS, Scores

Cells = Mapping[str, Any]


def full_scores(
    scores: Scores, training_pairs: Mapping[str, int] | None, low_resource: Sequence[str]
) -> dict[str, Any]:
    """Scores as JSON, with the low-resource view of them.

    Args:
        scores: of one benchmark.
        training_pairs: of the model, by pair; None: not known.
        low_resource: languages.

    Returns:
        the fields of ``Scores``, ``training_pairs``, ``pairs`` (``groups.pair_table``) and ``groups``
        (``groups.group_means``).
    """
    return {
        **dataclasses.asdict(scores),
        "training_pairs": training_pairs,
        "pairs": pair_table(scores, training_pairs),
        "groups": group_means(scores, training_pairs, low_resource),
    }


def evaluation_summary(result: Mapping[str, Any], screen: Screen) -> None:
    """The tables of one evaluation, or what a dry run found."""
    print_to = screen.console.print
    if "metrics" not in result:
        print_to(plain_table([result], "would score"))
        return
    for table in scores_tables(result):
        print_to(table)
    metrics, counts = result["metrics"], result["counts"]
    if "balanced/AP" in metrics:
        print_to(f"balanced/AP {metrics['balanced/AP']:.4f} (harmonic mean of the three settings)")
    for name in BIAS:
        if f"multi/{name}" in metrics:
            queries, passages = counts["queries_with"][name], counts["passages"]
            print_to(
                f"multi/{name} {metrics[f'multi/{name}']:.4f} ({queries:,} queries, pool of {passages:,} passages)"
            )
    other = other_means(result)
    if other:
        print_to(other, soft_wrap=True)
    if counts.get("not_retrieved"):
        print_to(f"relevant passages not in the run: {counts['not_retrieved']:,} of {counts['relevant_pairs']:,}")
    for note in result["notes"]:
        print_to(note, style="dim", soft_wrap=True, markup=False)


def other_means(result: Mapping[str, Any]) -> str:
    """The means that trec_eval prints, in one line; empty where they are those of the table."""
    own, counts = result["metrics"], result["counts"]
    means = {
        name: value
        for name, value in result["trec_eval"].items()
        if not math.isclose(value, own.get(name, -1.0), rel_tol=1e-9)
    }
    if not means:
        return ""
    setting = next(iter(means)).split("/")[0]
    silent = counts["queries_without_relevant"][setting]
    queries = counts["queries"][setting] + silent
    shown = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
    return (
        f"trec_eval prints {shown}: means over all {queries:,} judged queries at once, those without a relevant "
        f"passage ({silent:,}) at 0"
    )


def scores_tables(result: Mapping[str, Any]) -> list[Table]:
    """Means with their counts, the matrix of languages, its training pairs, groups of languages, and the bias."""
    measures = [name for name in dict.fromkeys(key.split("/")[1] for key in result["metrics"]) if name not in BIAS]
    shown = measures[0]
    tables = [
        plain_table(_means(result, measures), "means over query languages (mono, multi) or ordered pairs (cross)")
    ]
    multi = {language: values.get(shown) for language, values in result["per_language"]["multi"].items()}
    cells = {pair: values.get(shown) for pair, values in result["per_pair"].items()}
    tables.append(plain_table(_matrix(result, shown, cells, multi), "query language by row, pool by column"))
    if result["training_pairs"] is not None:
        trained = {pair: result["training_pairs"].get(pair, 0) for pair in cells}
        title = "training pairs of each pair (0: zero-shot)"
        tables.append(plain_table(_matrix(result, "pairs", trained, {}), title))
    if result["groups"]:
        tables.append(groups_table(result["groups"], measures))
    if result["over_represented"]:
        tables.append(bias_table(result))
    return tables


def _means(result: Mapping[str, Any], measures: list[str]) -> list[dict[str, Any]]:
    metrics, counts = result["metrics"], result["counts"]
    return [
        {
            "setting": setting,
            **{name: f"{metrics[f'{setting}/{name}']:.4f}" for name in measures},
            "queries": counts["queries"][setting],
            "without answer": counts["queries_without_relevant"][setting],
        }
        for setting in SETTINGS
        if f"{setting}/{measures[0]}" in metrics
    ]


def _matrix(result: Mapping[str, Any], corner: str, cells: Cells, multi: Cells) -> list[dict[str, Any]]:
    """One row a query language, one column a passage language; empty where nothing was scored."""
    names = list(result["counts"]["passages_per_language"])
    asked = [x for x in names if x in multi or any(f"{x}-{y}" in cells for y in names)]
    pools = [y for y in names if any(f"{x}-{y}" in cells for x in names)]
    last = {x: {"multi": _cell(multi.get(x))} for x in asked} if multi else {x: {} for x in asked}
    return [{corner: x, **{y: _cell(cells.get(f"{x}-{y}")) for y in pools}, **last[x]} for x in asked]


def _cell(value: float | int | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def groups_table(groups: Mapping[str, Any], measures: Sequence[str]) -> Table:
    """Means over groups of languages: ``groups.group_means``."""
    rows = [
        {
            "group": group,
            "setting": setting,
            **{name: f"{values[name]:.4f}" if name in values else "" for name in measures},
            "languages or pairs": values["rows"],
            "queries": values["queries"],
        }
        for group, settings in groups.items()
        for setting, values in settings.items()
    ]
    return plain_table(rows, "groups of languages and pairs")
