"""The output of `hybridtune data clean`, `check` and `split`: counts by reason with examples, leaks, and parts."""

from collections.abc import Mapping
from typing import Any

from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import plain_table


def cleaned_summary(result: Mapping[str, Any], screen: Screen) -> None:
    """Print what was changed and dropped by reason, an example of each, and where the rows are."""
    cleaned_tables(result, screen)
    screen.print(f"{result['written']:,} of {result['rows']:,} rows written: {result['file']}")
    screen.print(f"report: {result['report']}")


def cleaned_tables(result: Mapping[str, Any], screen: Screen) -> None:
    """Print what was changed and dropped by reason, and examples of each."""
    for title, column in (("changed", ("texts",)), ("dropped", ("texts", "rows"))):
        found = result[title]
        if found:
            rows = [{title: reason, **{name: about[name] for name in column}} for reason, about in found.items()]
            screen.console.print(plain_table(rows, ""))
            for reason, about in found.items():
                for example in about["examples"]:
                    note = f", {example['note']}" if example["note"] else ""
                    screen.print(f"  {reason}: {example['where']} ({example['language']}{note}): {example['text']}")
    if result["not judged"]:
        screen.print(f"no text was judged to be in a wrong language of: {', '.join(result['not judged'])}")


def checked_summary(result: Mapping[str, Any], screen: Screen) -> None:
    """Print what was found of each benchmark."""
    rows = [
        {
            "benchmark": name,
            **{f"{side} found": about["found"].get(side, 0) for side in about["texts"]},
            **{f"of {side}": count for side, count in about["texts"].items()},
        }
        for name, about in result["benchmarks"].items()
    ]
    screen.console.print(plain_table(rows, f"looked through {result['searched']:,} groups"))
    for name, about in result["benchmarks"].items():
        if about["short"]:
            screen.print(f"{name}: {about['short']:,} texts of under 5 words are there too, which is mostly chance")
    if result["found"]:
        screen.print(f"found: {result['line']}")
        screen.print(
            "a study refuses these data for these benchmarks, or with data.on_leak: drop leaves the groups out"
        )
    else:
        screen.print("no text of a benchmark stands in the data")


def split_summary(result: Mapping[str, Any], screen: Screen) -> None:
    """Print the three files, and their groups."""
    rows = [{"part": part, "groups": count, "file": result["files"][part]} for part, count in result["groups"].items()]
    screen.console.print(plain_table(rows, ""))
