"""The bias heat map as SVG and for terminals: which language is above its share, for queries of which language.

The report draws the same with Plotly: `language_charts.bias_map`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from hybridtune.report.colours import BIAS, colour_at, ink

UNIT = f"{BIAS.unit}: +1 = twice its share"
_UNDEFINED = "#e4e4e4"
_CELL, _MARGIN, _TOP, _WIDTH = 46, 16, 76, 560  # pixels
_LETTER = 7.4  # of 12 pixel text, on average


def bias_heat_map(scores: Mapping[str, Any], file: Path) -> None:
    """Draw the over-representation of `Scores` as an SVG: query languages down, passage languages across.

    Orange is above a language's share, blue below, white neutral, grey not defined. The ground is white, for light and
    dark pages.
    """
    from hybridtune.report.render import render  # a terminal, which the table below is for, needs no templates

    queries, passages, values = *_axes(scores), scores["over_represented"]
    longest = max(map(len, passages), default=0)
    left = _MARGIN + 10 + _LETTER * max(map(len, queries), default=0)
    top = _TOP + (_LETTER * longest if longest > 4 else 16)  # long codes stand on end
    bottom = top + _CELL * len(queries)
    picture = render(
        "hybridtune.report",
        "bias.svg.j2",
        width=max(left + _CELL * len(passages) + _MARGIN, _WIDTH),
        height=bottom + 92,
        **{"left": left, "top": top, "bottom": bottom, "margin": _MARGIN, "size": _CELL, "faint": "#666666"},
        upright=longest > 4,
        columns=passages,
        rows=[{"name": x, "cells": [_cell(values.get(f"{x}-{y}")) for y in passages]} for x in queries],
        patches=[
            *((_fill(value), f"{value:+g}" if value else "0") for value in range(-3, 4)),
            (_UNDEFINED, "undefined"),
        ],
        unit=UNIT,
    )
    file.write_text(picture, encoding="utf-8")


def bias_table(scores: Mapping[str, Any]) -> Table:
    """Return the same for a terminal: the values on their colours; empty where not defined."""
    queries, passages = _axes(scores)
    title = f"bias: query language by row; {UNIT}"
    table = Table(box=None, padding=(0, 0), title=title, title_justify="left", header_style="bold")
    table.add_column("", justify="left")
    for name in passages:
        table.add_column(f" {name}", justify="right")
    table.add_column("", min_width=max(0, len(title) - 6 * len(passages)))  # rich wraps a title at the table's width
    for query in queries:
        cells = [scores["over_represented"].get(f"{query}-{passage}") for passage in passages]
        shown = [Text("") if value is None else _coloured(value) for value in cells]
        table.add_row(f"{query} ", *shown)
    return table


def _axes(scores: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the query and passage languages that have a cell, in the order of the benchmark."""
    cells, names = scores["over_represented"], list(scores["counts"]["passages_per_language"])
    rows = [x for x in names if any(f"{x}-{y}" in cells for y in names)]
    return rows, [y for y in names if any(f"{x}-{y}" in cells for x in names)]


def _cell(value: float | None) -> dict[str, str]:
    if value is None:
        return {"fill": _UNDEFINED, "tip": "not defined", "number": ""}
    return {"fill": _fill(value), "tip": f"{value:+.2f}", "number": _number(value), "ink": ink(colour_at(BIAS, value))}


def _fill(value: float) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour_at(BIAS, value))


def _coloured(value: float) -> Text:
    colour = colour_at(BIAS, value)
    return Text(f" {_number(value)} ", style="{} on rgb({},{},{})".format(ink(colour), *colour))


def _number(value: float) -> str:
    """Return a number with one digit, and no sign before a zero."""
    return f"{value:+.1f}" if abs(value) >= 0.05 else "0.0"
