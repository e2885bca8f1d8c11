"""The page of a leaderboard: encoders on one benchmark, one HTML file that opens from disk, without a network."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from hybridtune.metrics.metrics import SETTINGS
from hybridtune.report.chart import Chart, heat_map, safe, styled
from hybridtune.report.colours import SEQUENTIAL, SETTING_COLOURS, Scale
from hybridtune.report.render import render
from hybridtune.report.scripts import page_scripts
from hybridtune.report.several import Row, standing_cell
from hybridtune.report.text import Cell, Table, Value, counted, format_metric, format_value, shorten

PAGE = "leaderboard.html"
BEST, BEHIND = "best", "*"
_AP = Scale(SEQUENTIAL, 0.0, 1.0, "AP", ".2f")
_SIDES = ("query language", "passage language")


@dataclass(frozen=True)
class Contender:
    """An encoder of a leaderboard: its name, size, settings, rate of encoding, and the scores of its evaluation."""

    name: str
    parameters: int | None
    texts_per_second: float | None
    settings: Mapping[str, Any]
    scores: Mapping[str, Any]


@dataclass(frozen=True)
class Leaderboard:
    """Encoders, the best first, and their metrics in the same order; ``about`` has what the figures rest on."""

    benchmark: str
    contenders: Sequence[Contender]
    rows: Sequence[Row]
    about: Mapping[str, Any]


def leaderboard_page(board: Leaderboard) -> str:
    """Return the page as HTML."""
    maps = [_pair_map(number, one) for number, one in enumerate(board.contenders)]
    charts = [_settings_chart(board), *maps]
    figures = {chart.key: chart.figure.to_json() for chart in charts if chart.figure}
    return render(
        "hybridtune.report",
        "leaderboard.html.j2",
        board=board,
        headline=_headline(board),
        facts=_facts(board),
        standings=standings_table(board),
        settings=_settings_table(board),
        charts=charts,
        written=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        **page_scripts(figures),
    )


def standings_table(board: Leaderboard) -> Table:
    """Return the encoders by metric, with intervals and marks of what is significantly behind the best."""
    lines: list[list[Value]] = []
    for number, one in enumerate(board.contenders):
        cells = [_cell(row, number) for row in board.rows]
        lines.append([f"{number + 1}. {one.name}", *cells, _size(one.parameters), _rate(one.texts_per_second)])
    unit = board.about["unit"]
    note = (
        f"Below each figure its 95 % interval, bootstrap over {unit}s. {BEHIND}: significantly behind the best of the "
        f"column, p < .05 by sign-flip permutation over {unit}s, two-sided, after Holm's correction over all pairs of "
        "encoders of a metric; without a mark the difference from the best may be chance. Rank distance: the less the "
        "better. Texts a second: queries and passages on this machine, where the vectors were computed for this table."
    )
    columns = ["encoder", *(row.metric for row in board.rows), "parameters", "texts/s"]
    return Table(f"Encoders on {board.benchmark}", columns, lines, note, sortable=True, marked=frozenset([0]))


def _cell(row: Row, number: int) -> Cell:
    plain = standing_cell(row.metric, row.standings[number])
    mark = BEST if number == row.best else BEHIND if number in row.behind else ""
    return Cell(plain.text, plain.value, plain.small, mark)


def _size(parameters: int | None) -> Value:
    return None if parameters is None else Cell(f"{parameters / 1e6:,.1f} M", parameters)


def _rate(texts: float | None) -> Value:
    return None if texts is None else Cell(f"{texts:,.0f}" if texts >= 10 else f"{texts:.1f}", texts)


def _headline(board: Leaderboard) -> str:
    first, row = board.contenders[0], board.rows[0]
    row = next((one for one in board.rows if one.metric == board.about["by"]), row)
    rest = [board.contenders[n].name for n in range(1, len(board.contenders)) if n not in row.behind]
    words = f"{first.name} has the best {row.metric}, {format_metric(row.metric, row.standings[0].value)}"
    if not rest:
        return f"{words}, significantly ahead of all others."
    return f"{words}; the difference from {counted(len(rest), 'encoder')} ({', '.join(rest)}) may be chance."


def _facts(board: Leaderboard) -> list[tuple[str, str]]:
    counts = board.contenders[0].scores["counts"]
    return [
        ("encoders", str(len(board.contenders))),
        ("languages", str(len(counts["passages_per_language"]))),
        ("queries", format_value(max(counts["queries"].values()))),
        ("passages", format_value(counts["passages"])),
        (f"{board.about['unit']}s", format_value(board.about["units"])),
    ]


def _settings_table(board: Leaderboard) -> Table:
    """Return how each encoder was used."""
    names = list(dict.fromkeys(name for one in board.contenders for name in one.settings))
    lines: list[list[Value]] = [
        [one.name, *(_setting(one.settings.get(name)) for name in names)] for one in board.contenders
    ]
    return Table("Settings of the encoders", ["encoder", *(name.replace("_", " ") for name in names)], lines)


def _setting(value: object) -> Value:
    return repr(value) if isinstance(value, str) and (value != value.strip() or not value) else str(value)


def _settings_chart(board: Leaderboard) -> Chart:
    """Draw AP of every encoder in each setting, with its interval."""
    chart = Chart("settings", "AP by setting", ["encoder", "setting", "AP", "from", "to"])
    found = [row for row in board.rows if row.metric in {f"{setting}/AP" for setting in SETTINGS}]
    figure = styled(go.Figure(), 150 + 34 * len(board.contenders) * max(1, len(found)) // 2)
    labels = [safe(shorten(f"{number + 1}. {one.name}", 28)) for number, one in enumerate(board.contenders)]
    for step, row in enumerate(found):
        ends = [
            (one.low if one.low is not None else one.value, one.high if one.high is not None else one.value)
            for one in row.standings
        ]
        for one, standing, (low, high) in zip(board.contenders, row.standings, ends, strict=True):
            chart.rows.append(
                [one.name, row.metric.partition("/")[0], *(round(x, 4) for x in (standing.value, low, high))]
            )
        error = {
            "type": "data",
            "symmetric": False,
            "array": [high - one.value for one, (_, high) in zip(row.standings, ends, strict=True)],
            "arrayminus": [one.value - low for one, (low, _) in zip(row.standings, ends, strict=True)],
        }
        shift = 0.22 * (step - (len(found) - 1) / 2)
        figure.add_trace(
            go.Scatter(
                x=[one.value for one in row.standings],
                y=[number + shift for number in range(len(labels))],
                mode="markers",
                name=row.metric,
                marker={"size": 9, "color": SETTING_COLOURS[row.metric]},
                error_x={**error, "thickness": 1.5, "width": 4, "color": SETTING_COLOURS[row.metric]},
                hovertext=[
                    f"<b>{label}</b><br>{row.metric} {one.value:.4f}, {low:.3f} to {high:.3f}"
                    for label, one, (low, high) in zip(labels, row.standings, ends, strict=True)
                ],
                hoverinfo="text",
            )
        )
    figure.update_yaxes(tickvals=list(range(len(labels))), ticktext=labels, range=[len(labels) - 0.5, -0.5])
    figure.update_xaxes(title_text="AP")
    figure.update_layout(margin={"b": 60})
    return chart.saying(
        f"AP of each encoder with its 95 % interval, a mark a setting ({counted(len(found), 'setting')}).", figure
    )


def _pair_map(number: int, one: Contender) -> Chart:
    """Draw an encoder's AP by query language and passage language."""
    chart = Chart(f"pairs-{number}", f"AP by language pair: {one.name}", [*_SIDES, "AP", "queries"])
    names, found = list(one.scores["counts"]["passages_per_language"]), one.scores["per_pair"]
    cells = {(x, y): found[f"{x}-{y}"] for x in names for y in names if "AP" in found.get(f"{x}-{y}", {})}
    if not cells:
        return chart.saying("No language pair has a query.")
    chart.rows = [[*pair, round(cell["AP"], 4), int(cell["queries"])] for pair, cell in cells.items()]
    tips = {pair: f"AP {cell['AP']:.4f}, {counted(int(cell['queries']), 'query')}" for pair, cell in cells.items()}
    words = "Query language down, passage language across; on the diagonal both are the same. All maps have one scale."
    return chart.saying(words, heat_map(names, {pair: cell["AP"] for pair, cell in cells.items()}, tips, _AP))
