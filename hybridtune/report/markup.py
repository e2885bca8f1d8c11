"""PURE. Small pieces of HTML: text that is escaped, figures with sensible digits, tables, JSON for a script element."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

_MOST_ROWS = 25  # of a table that is shown at its full height
MISSING = "–"  # shown where there is no value; the note of the table says why


@dataclass(frozen=True)
class Cell:
    """A table cell that shows other text than its value.

    Attributes:
        text: shown.
        value: that it is sorted by; None: by the text, or last where there is none.
        small: lines below it, as an interval.
    """

    text: str
    value: float | None = None
    small: str = ""


Value = Cell | str | float | int | None


@dataclass(frozen=True)
class Table:
    """A table as the page shows it.

    Attributes:
        title: its caption, and the name of the region it scrolls in; unlike any other on the page.
        columns: names; the first column heads its rows.
        rows: one value a column.
        note: below it: what the figures rest on, and why some are missing.
        sortable: whether its heads sort it.
        marked: rows, from 0, that stand out.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    note: str = ""
    sortable: bool = False
    marked: frozenset[int] = field(default_factory=frozenset)


def escape(text: object) -> str:
    """Text for HTML, in an element or in a quoted attribute; control characters, which HTML forbids, become U+FFFD."""
    shown = "".join(c if c >= " " or c in "\n\t" else "�" for c in str(text))
    return html.escape(shown, quote=True)


def figure(value: Value) -> str:
    """A value as text: four significant digits, thousands apart, no trailing noise."""
    if isinstance(value, Cell):
        return value.text
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.4g}"


def script_json(text: str) -> str:
    """JSON that may stand in a script element: nothing in it ends the element or a line of script."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def table_html(table: Table) -> str:
    """A table under its title, in a region of its own that scrolls, by the keyboard too."""
    heads = [
        f'<th scope="col"{"" if _is_text(table.rows, place) else _NUMBER}>{escape(name)}</th>'
        for place, name in enumerate(table.columns)
    ]
    rows = [_row(row, place in table.marked) for place, row in enumerate(table.rows)]
    sortable = " data-sortable" if table.sortable else ""
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    name = f"t-{slug(table.title)}"
    tall = " tall" if len(rows) > _MOST_ROWS else ""
    return (
        f'<p class="caption" id="{name}">{escape(table.title)}</p>'
        f'<div class="scroll{tall}" tabindex="0" role="region" aria-labelledby="{name}">'
        f'<table{sortable} aria-labelledby="{name}">\n<thead><tr>{"".join(heads)}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>{note}"
    )


def slug(title: str) -> str:
    """A title as an id: other characters than letters and digits of ASCII become hyphens."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in title.lower())


_NUMBER = ' class="number"'


def _row(values: Sequence[Value], marked: bool) -> str:
    cells = []
    for place, value in enumerate(values):
        tag, scope = ("th", ' scope="row"') if place == 0 else ("td", "")
        kind = "" if isinstance(value, str) else _NUMBER
        lines = value.small.split("\n") if isinstance(value, Cell) and value.small else []
        small = "".join(f"<small>{escape(line)}</small>" for line in lines)
        cells.append(f"<{tag}{scope}{kind}{_sort_key(value)}>{escape(figure(value))}{small}</{tag}>")
    return f"<tr{' class=marked' if marked else ''}>{''.join(cells)}</tr>"


def _sort_key(value: Value) -> str:
    """What the script sorts by; an absent one goes last."""
    number = value.value if isinstance(value, Cell) else value
    if isinstance(number, (int, float)) and not isinstance(number, bool):
        return "" if math.isnan(number) else f' data-value="{number!r}"'
    return "" if number is None and not isinstance(value, Cell) else f' data-text="{escape(figure(value))}"'


def _is_text(rows: Sequence[Sequence[Value]], place: int) -> bool:
    """Whether a column holds words: its head then stands on the left, as they do."""
    return place == 0 or all(isinstance(row[place], str) for row in rows)
