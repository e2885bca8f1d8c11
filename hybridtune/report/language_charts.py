"""Charts of the languages: AP by language pair, its gain over mono-only, language bias, low-resource against others."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hybridtune.metrics.breakdown import group_means
from hybridtune.metrics.metrics import SETTINGS, Scores
from hybridtune.report.chart import (
    BLUE,
    DIVERGING,
    FAINT,
    ORANGE,
    SEQUENTIAL,
    TEMPLATE,
    Cell,
    Chart,
    Pair,
    Scale,
    counted,
    heat_map,
    safe,
)
from hybridtune.report.record import StudyRecord, TrialRecord

LIMIT = 3.0  # log2 units at which the colours of the bias map are full
_GONE = "The scores of the chosen trial's checkpoint are gone (pruned, or on another machine)."
_NONE_YET = "No trial has come to its last step yet."


def pair_map(record: StudyRecord) -> Chart:
    """AP of the chosen model on dev by query language and passage language, with its training pairs."""
    key, title = "pair-map", "AP by language pair"
    columns = [
        "query language",
        "passage language",
        "AP",
        "queries",
        "distinct training pairs",
        "pairs drawn in training",
    ]
    best, scores = record.best, None if record.best is None else record.best.scores
    if best is None or scores is None:
        return Chart(key, title, _NONE_YET if best is None else _GONE, None, columns)
    cells, counts = _pairs(scores), _training_pairs(best)
    rows: list[list[Cell]] = []
    tips = {}
    for (query, passage), values in cells.items():
        distinct, drawn = counts.get((query, passage), (0, 0)) if counts is not None else (None, None)
        rows.append([query, passage, round(values["AP"], 4), int(values["queries"]), distinct, drawn])
        trained = "" if distinct is None else f"<br>{distinct:,} distinct training pairs, {drawn:,} drawn"
        tips[query, passage] = f"AP {values['AP']:.4f}, {counted(int(values['queries']), 'query')}{trained}"
    if not cells:
        return Chart(key, title, "The dev benchmark has no language pair with a query.", None, columns, rows)
    found = {pair: means["AP"] for pair, means in cells.items()}
    figure = heat_map(_names(scores), found, tips, Scale(SEQUENTIAL, 0.0, 1.0, "AP", ".2f"))
    zero = [pair for pair in cells if counts is not None and pair not in counts]
    words = (
        f"{best.label} on the dev benchmark, {_queries(scores)}: query language down, passage language across; on the "
        "diagonal both are the same."
    )
    if counts is None:
        words += " Training counts are not known: the trial's plan is gone."
    elif zero:
        words += f" {len(zero)} of {len(cells)} pairs had no training pair (zero-shot)."
    else:
        words += " Every pair had training pairs; the table has their numbers."
    return Chart(key, title, words, figure, columns, rows)


def gain_map(record: StudyRecord) -> Chart:
    """AP of the chosen model less that of the mono-only baseline, by language pair."""
    key, title = "gain-map", "Gain over mono-only by language pair"
    columns = ["query language", "passage language", "mono-only", "chosen", "gain", "queries"]
    base = next((trial for trial in record.trials if trial.baseline == "mono-only"), None)
    best = record.best
    reason = None
    if best is None:
        reason = _NONE_YET
    elif base is None:
        reason = "The study has no mono-only baseline."
    elif base.id == best.id:
        reason = "The chosen trial is mono-only itself."
    elif best.scores is None:
        reason = _GONE
    elif base.scores is None:
        reason = "The scores of the mono-only baseline are gone, or it has none yet."
    if best is None or base is None or best.scores is None or base.scores is None or reason is not None:
        return Chart(key, title, str(reason), None, columns)
    after, before = _pairs(best.scores), _pairs(base.scores)
    shared = [pair for pair in after if pair in before]
    gains = {pair: after[pair]["AP"] - before[pair]["AP"] for pair in shared}
    rows: list[list[Cell]] = []
    tips = {}
    for (query, passage), gain in gains.items():
        old, new = before[query, passage]["AP"], after[query, passage]["AP"]
        queries = int(after[query, passage]["queries"])
        rows.append([query, passage, round(old, 4), round(new, 4), round(gain, 4), queries])
        tips[query, passage] = f"{gain:+.4f} AP<br>from {old:.4f} to {new:.4f}, {counted(queries, 'query')}"
    if not gains:
        return Chart(key, title, "The two trials share no language pair.", None, columns, rows)
    limit = max(0.01, *(abs(gain) for gain in gains.values()))
    figure = heat_map(_names(best.scores), gains, tips, Scale(DIVERGING, -limit, limit, "AP gained", "+.2f"))
    return Chart(key, title, _gain_words(best, gains, _queries(best.scores)), figure, columns, rows)


def _gain_words(best: TrialRecord, gains: Mapping[Pair, float], queries: str) -> str:
    words = f"{best.label} less mono-only on the dev benchmark, {queries}; orange gained, blue lost. One seed each."
    for what, same in (("mono", True), ("cross", False)):
        part = [gain for (query, passage), gain in gains.items() if (query == passage) is same]
        if part:
            up, mean = sum(gain > 0 for gain in part), sum(part) / len(part)
            words += f" Of {counted(len(part), f'{what} pair')} {up} gained, on average {mean:+.4f}."
    return words


def bias_map(record: StudyRecord) -> Chart:
    """Which language stands above its share for queries of which language, of the chosen model on dev."""
    key, title = "bias-map", "Language bias"
    columns = ["query language", "passage language", "log2 of over-representation"]
    best, scores = record.best, None if record.best is None else record.best.scores
    if best is None or scores is None:
        return Chart(key, title, _NONE_YET if best is None else _GONE, None, columns)
    names = _names(scores)
    found = scores.get("over_represented", {})
    values = {(x, y): found[f"{x}-{y}"] for x in names for y in names if f"{x}-{y}" in found}
    rows: list[list[Cell]] = [[x, y, round(value, 3)] for (x, y), value in values.items()]
    if not values:
        return Chart(key, title, "The benchmark has no multi setting in which a bias shows.", None, columns, rows)
    tips = {pair: f"{value:+.2f}: {2**value:.2f} times its share" for pair, value in values.items()}
    scale = Scale(DIVERGING, -LIMIT, LIMIT, "log2 of over-representation", "+.1f")
    figure = heat_map(names, values, tips, scale)
    words = (
        f"{best.label} on the dev benchmark, {_queries(scores)}: irrelevant passages above relevant ones, by their "
        f"language across, against its share of the pool of {scores['counts']['passages']:,} passages; query language "
        "down. Orange (+1) is twice its share, blue (-1) half, white neutral, empty not defined."
    )
    return Chart(key, title, words, figure, columns, rows)


def low_resource(record: StudyRecord) -> Chart:
    """AP of the low-resource languages against that of the others, of the baselines and the chosen trial."""
    key, title = "low-resource", "Low-resource languages against the others"
    columns = ["trial", "setting", "languages", "AP", "languages or pairs", "queries"]
    named = record.study.benchmarks.dev.low_resource
    if not named:
        return Chart(
            key, title, "The study names no low-resource languages (benchmarks.dev.low_resource).", None, columns
        )
    best = record.best
    shown = [t for t in record.trials if t.baseline or (best is not None and t.id == best.id)]
    groups = {t.label: group_means(Scores(**t.scores), None, named) for t in shown if t.scores is not None}
    groups = {label: found for label, found in groups.items() if {"rich", "low-resource"} <= set(found)}
    if not groups:
        reason = f"No trial has scores of both {', '.join(named)} and other languages."
        return Chart(key, title, reason, None, columns)
    rows: list[list[Cell]] = [
        [label, setting, group, round(values["AP"], 4), int(values["rows"]), int(values["queries"])]
        for label, found in groups.items()
        for group in ("rich", "low-resource")
        for setting, values in found[group].items()
    ]
    settings = [setting for setting in SETTINGS if any(row[1] == setting for row in rows)]
    figure = make_subplots(rows=len(settings), cols=1, shared_xaxes=True, vertical_spacing=0.06)
    figure.update_layout(template=TEMPLATE, height=110 + len(settings) * (50 + 26 * len(groups)), margin_b=60)
    for place, setting in enumerate(settings, start=1):
        _sides_of(figure, groups, setting, place)
    figure.update_xaxes(title_text="AP", row=len(settings), col=1)
    words = (
        f"Low-resource: {', '.join(named)}; a cross pair counts as such if either side is. Means over languages "
        "(mono, multi) or ordered pairs (cross) of the dev benchmark; a shorter line is a smaller gap. The table has "
        "the numbers of queries."
    )
    return Chart(key, title, words, figure, columns, rows)


def _sides_of(figure: go.Figure, groups: Mapping[str, Any], setting: str, place: int) -> None:
    """One panel: a mark for either side of each trial, and a line between."""
    labels = [label for label, found in groups.items() if all(setting in found[g] for g in ("rich", "low-resource"))]
    names = [safe(label) for label in labels]
    for label, name in zip(labels, names, strict=True):
        ends = [groups[label][group][setting]["AP"] for group in ("rich", "low-resource")]
        line = {"color": FAINT, "width": 4}
        joined = go.Scatter(x=ends, y=[name] * 2, mode="lines", line=line, hoverinfo="skip", showlegend=False)
        figure.add_trace(joined, row=place, col=1)
    for group, colour, mark in (("rich", BLUE, "circle"), ("low-resource", ORANGE, "diamond")):
        found = [groups[label][group][setting] for label in labels]
        tips = [f"{n}, {group}: AP {v['AP']:.4f} ({v['queries']:,} queries)" for n, v in zip(names, found, strict=True)]
        points = go.Scatter(
            x=[values["AP"] for values in found],
            y=names,
            mode="markers",
            name="others" if group == "rich" else group,
            legendgroup=group,
            showlegend=place == 1,
            marker={"color": colour, "symbol": mark, "size": 11},
            hovertext=tips,
            hoverinfo="text",
        )
        figure.add_trace(points, row=place, col=1)
    figure.update_yaxes(title_text=setting, type="category", autorange="reversed", row=place, col=1)


def _names(scores: Mapping[str, Any]) -> list[str]:
    """The languages, in the order of the benchmark."""
    return list(scores["counts"]["passages_per_language"])


def _pairs(scores: Mapping[str, Any]) -> dict[Pair, Mapping[str, float]]:
    """Means by (query language, passage language); without AP where the pair has none."""
    names, found = _names(scores), scores["per_pair"]
    return {(x, y): found[f"{x}-{y}"] for x in names for y in names if "AP" in found.get(f"{x}-{y}", {})}


def _queries(scores: Mapping[str, Any]) -> str:
    return counted(max(scores["counts"]["queries"].values()), "query")


def _training_pairs(trial: TrialRecord) -> dict[Pair, tuple[int, int]] | None:
    """(distinct, drawn) question-passage pairs of a trial's plan; None: the plan is gone."""
    if trial.plan is None:
        return None
    counts: dict[str, tuple[int, int]] = {}
    for row in trial.plan["table"]:
        if row["kind"] != "align":
            distinct, drawn = counts.get(row["pair"], (0, 0))
            counts[row["pair"]] = (distinct + row["groups"], drawn + row["pairs"])
    names = _names(trial.scores) if trial.scores is not None else []
    return {(x, y): counts[f"{x}-{y}"] for x in names for y in names if counts.get(f"{x}-{y}", (0, 0))[0] > 0}
