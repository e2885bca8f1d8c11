"""The output of `hybridtune data inspect`."""

from collections.abc import Mapping
from typing import Any

from hybridtune.prepare.inspection_page import opening_lines, remarks, shown_lengths
from hybridtune.terminal.pictures import print_pairs
from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import plain_table


def inspection_summary(result: Mapping[str, Any], screen: Screen) -> None:
    """Print the picture of the pairs, the lengths, and what is to be looked at."""
    for line in opening_lines(result):
        screen.print(line)
    print_pairs(result["languages"], result["pairs"], "pairs", screen.console)
    title = f"lengths in {result['unit']} (of 1,000 texts a language and side)"
    screen.console.print(plain_table(shown_lengths(result), title))
    for line in remarks(result):
        screen.print(line)
