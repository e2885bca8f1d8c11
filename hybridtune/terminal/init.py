"""The output of `hybridtune init`: the findings, the use of each language, and the next command."""

from collections.abc import Mapping
from typing import Any

from hybridtune.terminal.cleaning import cleaned_tables
from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import plain_table

_WAYS = {"id": "rows of one id are one group", "text": "rows of equal query or passage are one group"}


def init_summary(result: Mapping[str, Any], screen: Screen) -> None:
    """Print what was found and written."""
    cleaned_tables(result["cleaning"], screen)
    grouped = result["grouped"]
    joined = _WAYS[result["by"]] if result["by"] is not None else "no rows were joined"
    screen.print(
        f"{result['cleaning']['rows']:,} rows, {result['rows']:,} of them clean, {grouped['groups']:,} groups "
        f"({joined}): {grouped['mono']:,} mono and {grouped['cross']:,} cross pairs"
    )
    for reason, count in result["left_out"].items():
        screen.print(f"left out: {count:,} {reason}")
    rows = [
        {"language": row["language"], "mono": row["groups"], "cross": row["cross"], "": row["remark"]}
        for row in result["languages"]
    ]
    screen.console.print(plain_table(rows, "training pairs, without a dev and a test part"))
    if result["leaking_groups"]:
        then = "trained on all the same: the scores are too good" if result["on_leak"] == "warn" else "left out"
        screen.print(f"{result['leaking_groups']:,} groups repeat a text of the dev or test part: {then}")
    screen.print(f"a batch of {result['batch_size']} pairs, {result['steps']} steps a training")
    screen.print(f"written: {result['study']}, {result['groups']}, {result['cleaning']['report']}")
    screen.print(f"next:  hybridtune run {result['study']}")
