"""The output of `hybridtune data convert`: how the data were read, and what was written."""

from collections.abc import Mapping
from typing import Any

from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import plain_table


def converted_summary(result: Mapping[str, Any], screen: Screen) -> None:
    """Print the formats, the texts by language, what was left out, and the file."""
    for line in result["formats"]:
        screen.print(line)
    queries, passages = result["queries"], result["passages"]
    rows = [
        {"language": language, "queries": queries.get(language, 0), "passages": passages.get(language, 0)}
        for language in sorted({*queries, *passages})
    ]
    screen.console.print(plain_table(rows, f"{result['rows']:,} rows, {result['groups']:,} groups"))
    for reason, count in result["left_out"].items():
        screen.print(f"left out: {count:,} {reason}")
    screen.print(f"written: {result['file']}")
