"""PURE. Values as people read them: figures, durations, lists and tables, for the report, the terminal and the card.

The charts and tables of the report make `Table` and `Cell`; the page's template shows them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hybridtune.config.names import short_name

MISSING = "–"  # shown where there is no value; the note of the table says why


@dataclass(frozen=True)
class Cell:
    """A table cell that shows other text than its value.

    Attributes:
        text: shown.
        value: that it is sorted by; None: by the text, or last where there is none.
        small: lines below it, as an interval.

    Example: see `Table`.
    """

    text: str
    value: float | None = None
    small: str = ""


Value = Cell | str | float | int | None


class CellView(NamedTuple):
    """A cell as the page's template writes it; ``data_value`` or ``data_text`` is what its script sorts by."""

    text: str
    small: list[str]
    number: bool
    data_value: float | None
    data_text: str | None


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

    Example:
        >>> Table("Scores", ["trial", "AP"], [["trial 3", Cell("0.71", 0.7123)]]).views()[0][1].text
        '0.71'
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    note: str = ""
    sortable: bool = False
    marked: frozenset[int] = field(default_factory=frozenset)

    def views(self) -> list[list[CellView]]:
        """Return the cells of each row as a template writes them.

        Example: see `Table`.
        """
        return [[_view(value) for value in row] for row in self.rows]

    def text_columns(self) -> list[bool]:
        """Return for each column whether it holds words: its head then stands on the left, as they do.

        Example:
            >>> Table("t", ["trial", "status", "AP"], [["a", "done", 0.5]]).text_columns()
            [True, True, False]
        """
        return [i == 0 or all(isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))]


def _view(value: Value) -> CellView:
    cell = isinstance(value, Cell)
    number = value.value if isinstance(value, Cell) else value
    text = format_value(value)
    small = value.small.split("\n") if isinstance(value, Cell) and value.small else []
    data_value = data_text = None
    if isinstance(number, (int, float)) and not isinstance(number, bool):
        data_value = None if math.isnan(number) else number
    elif cell or number is not None:
        data_text = text
    return CellView(text, small, not isinstance(value, str), data_value, data_text)


def format_value(value: Value) -> str:
    """Return a value as text: four significant digits, thousands apart, no trailing noise.

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
    """Return a metric's value with the digits that it deserves, a rank distance with one; empty for None.

    Example:
        >>> format_metric("multi/AP", 0.71234), format_metric("multi/rank_distance", 1234.56)
        ('0.7123', '1,234.6')
    """
    return "" if value is None else f"{value:,.1f}" if name.endswith("rank_distance") else f"{value:.4f}"


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
    """Return a field of the study as people read it.

    Example:
        >>> plain_name("mix.mixing_ratio")
        'mixing ratio'
    """
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
    """Return a count and its noun.

    Example:
        >>> counted(1, "trial"), counted(1200, "query")
        ('1 trial', '1,200 queries')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b and c'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def capital(text: str) -> str:
    """Return the text with a capital first, as it begins a sentence.

    Example:
        >>> capital("half-half")
        'Half-half'
    """
    return text[:1].upper() + text[1:]
