"""Charts of the languages: AP by language pair, also beside mono-only, language bias, low-resource against others."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from hybridtune.metrics.breakdown import group_means
from hybridtune.metrics.metrics import SETTINGS, Scores
from hybridtune.report.chart import Chart, Pair, heat_map, panels, safe
from hybridtune.report.colours import BIAS, BLUE, DIVERGING, FAINT, ORANGE, SEQUENTIAL, Scale
from hybridtune.report.record import StudyRecord
from hybridtune.report.text import counted

_GONE = "The scores of the chosen trial's checkpoint are gone (pruned, or on another machine)."
_NONE_YET = "No trial has come to its last step yet."
_SIDES = ("query language", "passage language")
_ENDS = (("rich", "others", BLUE, "circle"), ("low-resource", "low-resource", ORANGE, "diamond"))  # of a line
_AP = Scale(SEQUENTIAL, 0.0, 1.0, "AP", ".2f")


def pair_map(record: StudyRecord) -> Chart:
    """Draw AP of the chosen model on dev by query language and passage language, with its training pairs."""
    columns = [*_SIDES, "AP", "queries", "distinct training pairs", "pairs drawn in training"]
    chart = Chart("pair-map", "AP by language pair", columns)
    best = record.best
    if best is None or best.scores is None:
        return chart.saying(_NONE_YET if best is None else _GONE)
    cells, counts = _pairs(best.scores), best.training_pairs()
    if not cells:
        return chart.saying("The dev benchmark has no language pair with a query.")
    tips, translated = {}, best.pairs_of("translated")
    for pair, values in cells.items():
        distinct, drawn = (None, None) if counts is None else counts.get("-".join(pair), (0, 0))
        chart.rows.append([*pair, round(values["AP"], 4), int(values["queries"]), distinct, drawn])
        trained = "" if distinct is None else f"<br>{distinct:,} distinct training pairs, {drawn:,} drawn"
        if translated["-".join(pair)]:
            trained += f"; {translated['-'.join(pair)]:,} of the distinct ones translated"
        tips[pair] = f"AP {values['AP']:.4f}, {counted(int(values['queries']), 'query')}{trained}"
    figure = heat_map(_names(best.scores), {pair: means["AP"] for pair, means in cells.items()}, tips, _AP)
    zero = [pair for pair in cells if counts is not None and not counts.get("-".join(pair), (0, 0))[0]]
    words = (
        f"{best.label} on the dev benchmark, {_queries(best.scores)}: query language down, passage language across; on "
        "the diagonal both are the same."
    )
    if counts is None:
        words += " Training counts are not known: the trial's plan is gone."
    elif zero:
        words += f" {len(zero)} of {len(cells)} pairs had no training pair (zero-shot)."
    else:
        words += " Every pair had training pairs; the table has their numbers."
    return chart.saying(words, figure)


def gain_map(record: StudyRecord) -> Chart:
    """Draw AP of the chosen model less that of mono-only, by language pair."""
    columns = [*_SIDES, "mono-only", "chosen", "difference", "queries"]
    chart = Chart("gain-map", "Difference from mono-only by language pair", columns)
    base = record.contestants.get("mono-only")
    best = record.best
    if best is None:
        return chart.saying(_NONE_YET)
    if base is None:
        return chart.saying("No trial of mono-only has come to its last step.")
    if base.id == best.id:
        return chart.saying("The chosen trial is mono-only itself.")
    if best.scores is None:
        return chart.saying(_GONE)
    if base.scores is None:
        return chart.saying("The scores of mono-only are gone.")
    after, before = _pairs(best.scores), _pairs(base.scores)
    gains = {pair: after[pair]["AP"] - before[pair]["AP"] for pair in after if pair in before}
    if not gains:
        return chart.saying("The two trials share no language pair.")
    tips = {}
    for pair, gain in gains.items():
        old, new, queries = before[pair]["AP"], after[pair]["AP"], int(after[pair]["queries"])
        chart.rows.append([*pair, round(old, 4), round(new, 4), round(gain, 4), queries])
        tips[pair] = f"{gain:+.4f} AP<br>from {old:.4f} to {new:.4f}, {counted(queries, 'query')}"
    limit = max(0.01, *(abs(gain) for gain in gains.values()))
    figure = heat_map(_names(best.scores), gains, tips, Scale(DIVERGING, -limit, limit, "difference in AP", "+.2f"))
    words = f"{best.label} less mono-only on the dev benchmark, {_queries(best.scores)}; orange more AP, blue less."
    return chart.saying(f"{words} These are two models, one seed each.{_gain_words(gains)}", figure)


def _gain_words(gains: Mapping[Pair, float]) -> str:
    words = ""
    for kind, same in (("mono", True), ("cross", False)):
        part = [gain for (query, passage), gain in gains.items() if (query == passage) is same]
        if part:
            up, mean = sum(gain > 0 for gain in part), sum(part) / len(part)
            words += f" Of {counted(len(part), f'{kind} pair')} {up} with more AP, on average {mean:+.4f}."
    return words


def bias_map(record: StudyRecord) -> Chart:
    """Draw which language is above its share for queries of which language, of the chosen model on dev."""
    chart = Chart("bias-map", "Language bias", [*_SIDES, BIAS.unit])
    best = record.best
    if best is None or best.scores is None:
        return chart.saying(_NONE_YET if best is None else _GONE)
    names, found = _names(best.scores), best.scores.get("over_represented", {})
    values = {(x, y): found[f"{x}-{y}"] for x in names for y in names if f"{x}-{y}" in found}
    if not values:
        return chart.saying("The benchmark has no multi setting in which a bias shows.")
    chart.rows += [[x, y, round(value, 3)] for (x, y), value in values.items()]
    tips = {pair: f"{value:+.2f}: {2**value:.2f} times its share" for pair, value in values.items()}
    words = (
        f"{best.label} on the dev benchmark, {_queries(best.scores)}: irrelevant passages above relevant ones, by "
        f"their language across, against its share of the pool of {best.scores['counts']['passages']:,} passages; "
        "query language down. Orange (+1) is twice its share, blue (-1) half, white neutral, empty not defined."
    )
    return chart.saying(words, heat_map(names, values, tips, BIAS))


def low_resource(record: StudyRecord) -> Chart:
    """Draw AP of the low-resource languages against that of the others, of the contestants and the chosen trial."""
    columns = ["trial", "setting", "languages", "AP", "languages or pairs", "queries"]
    chart = Chart("low-resource", "Low-resource languages against the others", columns)
    named = record.study.low_resource_languages
    if not named:
        return chart.saying("The study names no low-resource languages (low_resource).")
    shown = [trial for trial in record.trials if trial in record.contestants.values() or record.is_best(trial)]
    groups = {t.label: group_means(Scores(**t.scores), None, named) for t in shown if t.scores is not None}
    groups = {label: found for label, found in groups.items() if all(group in found for group, *_ in _ENDS)}
    if not groups:
        return chart.saying(f"No trial has scores of both {', '.join(named)} and other languages.")
    chart.rows += [
        [label, setting, group, round(values["AP"], 4), int(values["rows"]), int(values["queries"])]
        for label, found in groups.items()
        for group, *_ in _ENDS
        for setting, values in found[group].items()
    ]
    settings = [setting for setting in SETTINGS if any(row[1] == setting for row in chart.rows)]
    figure = panels(len(settings), 110 + len(settings) * (50 + 26 * len(groups)), spacing=0.06, margin_b=60)
    for panel, setting in enumerate(settings, start=1):
        for trace in _sides(groups, setting, legend=panel == 1):
            figure.add_trace(trace, row=panel, col=1)
        figure.update_yaxes(title_text=setting, type="category", autorange="reversed", row=panel, col=1)
    figure.update_xaxes(title_text="AP", row=len(settings), col=1)
    words = (
        f"Low-resource: {', '.join(named)}; a cross pair counts as such if either side is. Means over languages "
        "(mono, multi) or ordered pairs (cross) of the dev benchmark; a shorter line is a smaller gap. The table has "
        "the numbers of queries."
    )
    return chart.saying(words, figure)


def _sides(groups: Mapping[str, Any], setting: str, legend: bool) -> list[go.Scatter]:
    """Return the traces of one setting: a line for each trial, and a mark at either end of it."""
    found = {safe(label): of for label, of in groups.items() if all(setting in of[group] for group, *_ in _ENDS)}
    look = {"mode": "lines", "line": {"color": FAINT, "width": 4}, "hoverinfo": "skip", "showlegend": False}
    traces = [
        go.Scatter(x=[of[group][setting]["AP"] for group, *_ in _ENDS], y=[label] * 2, **look)
        for label, of in found.items()
    ]
    for group, name, colour, mark in _ENDS:
        ends = {label: of[group][setting] for label, of in found.items()}
        points = go.Scatter(
            x=[values["AP"] for values in ends.values()],
            y=list(ends),
            mode="markers",
            name=name,
            legendgroup=group,
            showlegend=legend,
            marker={"color": colour, "symbol": mark, "size": 11},
            hovertext=[f"{n}, {group}: AP {v['AP']:.4f} ({v['queries']:,} queries)" for n, v in ends.items()],
            hoverinfo="text",
        )
        traces.append(points)
    return traces


def _names(scores: Mapping[str, Any]) -> list[str]:
    """Return the languages, in the order of the benchmark."""
    return list(scores["counts"]["passages_per_language"])


def _pairs(scores: Mapping[str, Any]) -> dict[Pair, Mapping[str, float]]:
    """Return means by (query language, passage language), of the pairs that have an AP."""
    names, found = _names(scores), scores["per_pair"]
    return {(x, y): found[f"{x}-{y}"] for x in names for y in names if "AP" in found.get(f"{x}-{y}", {})}


def _queries(scores: Mapping[str, Any]) -> str:
    return counted(max(scores["counts"]["queries"].values()), "query")
