"""The bias heat map: which language stands above its share, for queries of which language; as SVG and for terminals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from rich.table import Table
from rich.text import Text

LIMIT = 3.0  # log2 units at which the colours are full: eight times the share, or an eighth
UNIT = "log2 of over-representation: +1 = twice its share"
_ORANGE, _WHITE, _BLUE = (230, 120, 20), (255, 255, 255), (40, 110, 180)  # told apart by every kind of colour vision
_INK, _FAINT, _NOTHING = "#1a1a1a", "#666666", "#e4e4e4"
_CELL, _MARGIN, _TOP, _WIDTH = 46, 16, 76, 560  # pixels
_LETTER = 7.4  # of 12 pixel text, on average


def bias_heat_map(scores: Mapping[str, Any], file: Path) -> None:
    """Draws ``over_represented`` as an SVG: query languages down, passage languages across, a value in each cell.

    Orange stands above its share, blue below, white is neutral. Grey cells are not defined.

    Args:
        scores: ``dataclasses.asdict`` of ``Scores``, or a result that holds it.
        file: written; a picture of its own white ground, for light and dark pages.
    """
    rows, columns = _axes(scores)
    values = scores["over_represented"]
    side = _MARGIN + 10 + _LETTER * max([len(name) for name in rows], default=0)
    longest = max([len(name) for name in columns], default=0)
    top = _TOP + (_LETTER * longest if longest > 4 else 16)  # long codes stand on end
    bottom = top + _CELL * len(rows)
    width = max(side + _CELL * len(columns) + _MARGIN, _WIDTH)
    parts = [
        _text(_MARGIN, 28, "Which language stands above relevant passages", size=16, weight="bold"),
        _text(
            _MARGIN,
            48,
            "Irrelevant passages above relevant ones, against their share of the multi pool.",
            fill=_FAINT,
        ),
        _text(_MARGIN, 64, "Row: language of the query. Column: language of those passages.", fill=_FAINT),
    ]
    for i, name in enumerate(columns):
        x = side + _CELL * (i + 0.5)
        parts.append(
            _text(x + 4, top - 6, name, upright=True) if longest > 4 else _text(x, top - 6, name, anchor="middle")
        )
    for j, query in enumerate(rows):
        y = top + _CELL * j
        parts.append(_text(side - 6, y + _CELL / 2 + 4, query, anchor="end"))
        for i, passage in enumerate(columns):
            parts += _cell(
                side + _CELL * i, y, values.get(f"{query}-{passage}"), f"{query} queries, {passage} passages"
            )
    parts += _legend(_MARGIN, bottom + 24)
    height = bottom + 92
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="Helvetica, Arial, sans-serif" role="img">\n'
        "<title>Over-representation of languages above relevant passages</title>\n"
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n",
        encoding="utf-8",
    )


def bias_table(scores: Mapping[str, Any]) -> Table:
    """The same for a terminal: the values on their colours; empty where not defined.

    Args:
        scores: ``dataclasses.asdict`` of ``Scores``, or a result that holds it.
    """
    rows, columns = _axes(scores)
    title = f"bias: query language by row; {UNIT}"
    table = Table(box=None, padding=(0, 0), title=title, title_justify="left", header_style="bold")
    table.add_column("", justify="left")
    for name in columns:
        table.add_column(f" {name}", justify="right")
    table.add_column("", min_width=max(0, len(title) - 6 * len(columns)))  # rich wraps a title at the table's width
    for query in rows:
        cells = [scores["over_represented"].get(f"{query}-{passage}") for passage in columns]
        shown = [Text("") if value is None else Text(f" {_number(value)} ", style=_style(value)) for value in cells]
        table.add_row(f"{query} ", *shown)
    return table


def _axes(scores: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Query and passage languages that have a cell, in the order of the benchmark."""
    cells, names = scores["over_represented"], list(scores["counts"]["passages_per_language"])
    rows = [x for x in names if any(f"{x}-{y}" in cells for y in names)]
    return rows, [y for y in names if any(f"{x}-{y}" in cells for x in names)]


def _colour(value: float) -> tuple[int, int, int]:
    """Blue at -LIMIT and below, white at 0, orange at LIMIT and above."""
    share = min(abs(value) / LIMIT, 1.0)
    red, green, blue = (
        round(w + (c - w) * share) for w, c in zip(_WHITE, _ORANGE if value > 0 else _BLUE, strict=True)
    )
    return red, green, blue


def _ink(value: float) -> str:
    """Black or white, whichever stands out more on the colour of the value (WCAG relative luminance)."""
    linear = [(c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in _colour(value)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"


def _style(value: float) -> str:
    red, green, blue = _colour(value)
    return f"{_ink(value)} on rgb({red},{green},{blue})"


def _fill(value: float) -> str:
    return "#{:02x}{:02x}{:02x}".format(*_colour(value))


def _number(value: float) -> str:
    """One digit, and no sign before a zero."""
    return f"{value:+.1f}" if abs(value) >= 0.05 else "0.0"


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 12,
    fill: str = _INK,
    anchor: str = "start",
    weight: str = "normal",
    upright: bool = False,
) -> str:
    """A line of text that starts, or is centred, or ends at (x, y); upright ones are read from below."""
    turned = f' transform="rotate(-90 {x:g} {y:g})"' if upright else ""
    return (
        f'<text x="{x:g}" y="{y:g}"{turned} font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )


def _cell(x: float, y: float, value: float | None, what: str) -> list[str]:
    fill, tip = (_NOTHING, "not defined") if value is None else (_fill(value), f"{value:+.2f}")
    square = (
        f'<rect x="{x:g}" y="{y:g}" width="{_CELL}" height="{_CELL}" fill="{fill}" stroke="#ffffff">'
        f"<title>{escape(what)}: {tip}</title></rect>"
    )
    if value is None:
        return [square]
    return [square, _text(x + _CELL / 2, y + _CELL / 2 + 4, _number(value), anchor="middle", fill=_ink(value))]


def _legend(x: float, y: float) -> list[str]:
    """Seven patches from -LIMIT to LIMIT, one for what is not defined, and the unit."""
    parts = []
    for i in range(8):
        value, left = LIMIT * (i - 3) / 3, x + 40 * i + (12 if i == 7 else 0)
        fill, words = (_fill(value), f"{value:+g}" if value else "0") if i < 7 else (_NOTHING, "undefined")
        parts.append(f'<rect x="{left:g}" y="{y:g}" width="40" height="16" fill="{fill}" stroke="#cccccc"/>')
        parts.append(_text(left + 20, y + 30, words, anchor="middle", size=11))
    return [*parts, _text(x, y + 50, f"{UNIT}, 0 = neutral, -1 = half", fill=_FAINT)]
