"""PURE. Values as people read them: figures, durations, lists and tables, for the report, the terminal and the card.

The charts and tables of the report make `Table` and `Cell`; the page's template shows them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hybridtune.config.names import short_name
from hybridtune.metrics.names import is_distance

MISSING = "–"  # shown where there is no value; the note of the table says why


@dataclass(frozen=True)
class Cell:
    """A table cell that shows other text than its value, by which it is sorted; lines below it as an interval."""

    text: str
    value: float | None = None
    small: Sequence[str] = ()
    mark: str = ""  # raised behind the text, like that of a significant difference
    link: str = ""  # id in the page that the text leads to


Value = Cell | str | float | int | None


@dataclass(frozen=True)
class Table:
    """A table as the page shows it."""

    title: str  # its caption, and the name of the region it scrolls in; unlike any other on the page
    columns: Sequence[str]  # the first heads the rows
    rows: Sequence[Sequence[Value]]
    note: str = ""  # below it: what the figures rest on, and why some are missing
    sortable: bool = False
    marked: frozenset[int] = frozenset()  # rows, from 0, that are set off
    filters: Mapping[str, str] = field(default_factory=dict)  # the page's script filters by these, see `report.js`

    def views(self) -> list[list[dict[str, Any]]]:
        """Return the cells of each row as the template writes them."""
        return [[_view(value) for value in row] for row in self.rows]

    def text_columns(self) -> list[bool]:
        """Return for each column whether it holds words: its head is then on the left, as they are."""
        return [i == 0 or all(isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))]


def _view(value: Value) -> dict[str, Any]:
    """Return a cell with ``data_value`` or ``data_text``, by which the page's script sorts."""
    number = value.value if isinstance(value, Cell) else value
    text, numeric = format_value(value), isinstance(number, (int, float)) and not isinstance(number, bool)
    return {
        "text": text,
        "small": value.small if isinstance(value, Cell) else (),
        "mark": value.mark if isinstance(value, Cell) else "",
        "link": value.link if isinstance(value, Cell) else "",
        "number": not isinstance(value, str),
        "data_value": number if numeric and number == number else None,  # nothing for NaN
        "data_text": None if numeric or value is None else text,
    }


def format_value(value: Value) -> str:
    """Return a value as text: four significant digits, thousands apart, no trailing zeros.

    Example:
        >>> [format_value(value) for value in (0.123456, 12345.6, 12345, None, "asha")]
        ['0.1235', '12,346', '12,345', '–', 'asha']
    """
    if isinstance(value, Cell):
        return value.text
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.4g}"


def format_metric(name: str, value: float | None) -> str:
    """Return a metric's value with four digits, a rank distance with one; empty for None."""
    return "" if value is None else f"{value:,.1f}" if is_distance(name) else f"{value:.4f}"


def format_end(name: str, value: float) -> str:
    """Return an end of a metric's interval, with a digit less than the figure itself."""
    return f"{value:,.1f}" if is_distance(name) else f"{value:.3f}"


def format_signed(name: str, value: float) -> str:
    """Return a difference in a metric, or an end of its interval, with its sign."""
    return f"{'+' if value >= 0 else '−'}{format_end(name, abs(value))}"


def format_duration(seconds: float) -> str:
    """Return a length of time as people say it.

    Example:
        >>> [format_duration(seconds) for seconds in (74, 720, 11_100)]
        ['74 s', '12 min', '3 h 5 min']
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def plain_name(field_name: str) -> str:
    """Return a field of the study in words: ``mixing ratio``."""
    return short_name(field_name).replace("_", " ")


def shorten(text: object, length: int = 22) -> str:
    """Return a label of at most ``length`` characters; the middle of a longer one is left out.

    Example:
        >>> shorten("a-name-that-is-too-long", 11)
        'a-nam…-long'
    """
    plain = str(text)
    if len(plain) <= length:
        return plain
    tail = (length - 1) // 2
    return f"{plain[: length - 1 - tail]}…{plain[len(plain) - tail :]}"


def counted(count: int, noun: str) -> str:
    """Return a count and its noun: ``1,200 queries``."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them: ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def capital(text: str) -> str:
    """Return the text with a capital first, the rest as it is."""
    return text[:1].upper() + text[1:]
