"""Pictures of numbers in a terminal: the pairs of each language pair as a heat map, narrow terminals too."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from hybridtune.report.colours import SEQUENTIAL, Scale, colour_at, ink

_CELL = 6  # characters, one of them a blank


def print_pairs(languages: Sequence[str], counts: Sequence[Sequence[int]], title: str, console: Console) -> None:
    """Print the counts of pairs by language of query, down, and of passage, across; more of them are darker.

    Where the terminal has no room for all columns, they go on below.
    """
    label = max([len(language) for language in languages] + [5]) + 1
    at_once = max(1, (console.width - label) // _CELL)
    most = max((count for row in counts for count in row), default=0)
    scale = Scale(SEQUENTIAL, 0.0, math.log1p(max(1, most)), "", "")
    console.print(f"{title} (queries down, passages across)", style="bold", highlight=False)
    for first in range(0, len(languages), at_once):
        shown = languages[first : first + at_once]
        console.print(Text(" " * label + "".join(f"{name[: _CELL - 1]:>{_CELL}}" for name in shown), style="bold"))
        for language, row in zip(languages, counts, strict=True):
            line = Text(f"{language:<{label}}", style="bold")
            for count in row[first : first + at_once]:
                colour = colour_at(scale, math.log1p(count))
                ground = "{},{},{}".format(*colour)
                line.append(f"{brief_count(count):>{_CELL}}", f"{ink(colour)} on rgb({ground})" if count else "dim")
            console.print(line, no_wrap=True, crop=True)


def brief_count(count: int) -> str:
    """Return a count in at most five characters.

    Example:
        >>> [brief_count(count) for count in (0, 950, 1234, 99_960, 2_500_000)]
        ['·', '950', '1.2k', '100k', '2.5M']
    """
    if count < 1000:
        return str(count) if count else "·"
    for size, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        if count < 999.5 * size:
            return f"{count / size:.1f}{unit}" if count < 99.95 * size else f"{count / size:.0f}{unit}"
    return f"{count:.0e}"
