"""Tables that fit their terminal: columns are left out where there is no room for them, and no figure is cut."""

import re
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Column, Table
from rich.text import Text

_FIGURE = re.compile(r"\s*[-+−]?[.\d]")
_LONGEST_WORD = 28  # characters; a longer one, like a path, goes on below


class Fitted:
    """A table that leaves columns out where it is wider than its terminal, and says which in a line below.

    Words wrap before a column goes; figures are neither cut nor wrapped. The first column stays, and one beside it.

    Args:
        table: without a box. A column that may not wrap says so (``no_wrap``).
        goes_first: heads of columns in the order in which they go; all others go after them, the last one first.
    """

    def __init__(self, table: Table, goes_first: Sequence[str] = ()) -> None:
        self._table = table
        heads = [_plain(column.header) for column in table.columns]
        named = [heads.index(head) for head in goes_first if head in heads[1:]]
        self._order = list(dict.fromkeys([*named, *range(len(heads) - 1, 0, -1)]))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yield the table with the columns that there is room for, and the line."""
        width, columns = options.max_width, self._table.columns
        if not columns:
            yield self._table
            return
        _, right, _, left = self._table.padding
        shown = list(range(len(columns)))
        least = [_least(column) for column in columns]

        def room() -> int:
            return width - (left + right) * len(shown)

        going = iter(self._order[:-1])
        while sum(least[index] for index in shown) > room() and (last := next(going, None)) is not None:
            shown.remove(last)
        least[0] = min(least[0], max(1, room() - sum(least[index] for index in shown[1:])))  # words before figures
        kept = [columns[index] for index in shown]
        yield self._of(kept, _shared(kept, [least[index] for index in shown], room()))
        gone = [_plain(column.header).strip() for index, column in enumerate(columns) if index not in shown]
        if any(gone):
            yield Text(f"at {width} columns without: {', '.join(filter(None, gone))}", style="dim")

    def _of(self, columns: Sequence[Column], widths: Sequence[int]) -> Table:
        """Return the table of some of its columns."""
        own = self._table
        table = Table(
            box=None,
            padding=own.padding,
            pad_edge=own.pad_edge,
            title=own.title,
            title_justify=own.title_justify,
            header_style=own.header_style,
        )
        for column, width in zip(columns, widths, strict=True):
            table.add_column(
                column.header, justify=column.justify, no_wrap=column.no_wrap, overflow="fold", width=width
            )
        for row, *cells in zip(own.rows, *(column.cells for column in columns), strict=True):
            table.add_row(*cells, style=row.style)
        return table


def _shared(columns: Sequence[Column], least: Sequence[int], room: int) -> list[int]:
    """Return the width of each column: what it has, or where that is too much, less of the widest that may wrap."""
    widths = [max(_widest(column), low) for column, low in zip(columns, least, strict=True)]
    while sum(widths) > room:
        over = [index for index, low in enumerate(least) if widths[index] > low]
        if not over:
            break
        widths[max(over, key=widths.__getitem__)] -= 1
    return widths


def _widest(column: Column) -> int:
    return max(cell_len(line) for text in (column.header, *column.cells) for line in _plain(text).split("\n"))


def _least(column: Column) -> int:
    """Return the width below which a column cannot go: that of its figures, or of its longest word."""
    if column.no_wrap:
        return max(_widest(column), column.min_width or 0)
    cells = [_plain(cell) for cell in column.cells]
    words = [*_plain(column.header).split(), *(word for cell in cells for word in cell.split())]
    longest = min(max(map(cell_len, words), default=0), _LONGEST_WORD)
    if all(_FIGURE.match(cell) for cell in cells if cell):
        longest = max([longest, *(cell_len(line) for cell in cells for line in cell.split("\n"))])
    return max(longest, column.min_width or 0)


def _plain(text: RenderableType) -> str:
    return text.plain if isinstance(text, Text) else str(text)
