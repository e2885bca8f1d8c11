"""What `hybridtune data clean`, `check` and `split` print: counts by reason with examples, leaks, and parts."""

from collections.abc import Mapping
from typing import Any

from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import plain_table


def cleaned_summary(result: Mapping[str, Any], screen: Screen) -> None:
    """Print what was changed and dropped by reason, an example of each, and where the rows are."""
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
    screen.print(f"{result['written']:,} of {result['rows']:,} rows written: {result['file']}")
    screen.print(f"report: {result['report']}")
