"""What `hybridtune data inspect` prints."""

from collections.abc import Mapping
from typing import Any

from hybridtune.terminal.pictures import print_pairs
from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import plain_table


def inspection_summary(result: Mapping[str, Any], screen: Screen) -> None:
    """Print the picture of the pairs, the lengths, and what is to be looked at."""
    languages = result["languages"]
    screen.print(
        f"{result['groups']:,} groups in {len(languages)} languages, {result['mono']:,} mono and {result['cross']:,} "
        f"cross pairs; {result['answer_sets']:,} answer sets, {result['documents']:,} documents, "
        f"{result['hard_negatives']:,} hard negatives"
    )
    for name, words in (("bitext", "groups of bitext"), ("translated_pairs", "pairs are translated by machine")):
        if result[name]:
            screen.print(f"{result[name]:,} {words}")
    print_pairs(languages, result["pairs"], "pairs", screen.console)
    rows = [{key: _cell(key, value) for key, value in row.items()} for row in result["lengths"]]
    screen.console.print(plain_table(rows, f"lengths in {result['unit']} (of 1,000 texts a language and side)"))
    for name, words in _REPEATED.items():
        if result["repeated"][name]:
            screen.print(f"{result['repeated'][name]:,} {words}")
    for found in result["mislabelled"]:
        screen.print(found["line"])
    if result["not_identified"]:
        screen.print(f"languages that no model tells: {', '.join(result['not_identified'])}")
    for path, leaks in result["leaks"].items():
        if leaks["found"]:
            screen.print(f"{path}: {leaks['groups']:,} groups hold texts of it: {leaks['line']}")
        else:
            screen.print(f"{path}: none of its {leaks['texts']:,} texts counts as found in the data")


_REPEATED = {
    "ids": "groups have the id of an earlier one: `hybridtune data group FILE --by id` joins rows of one id",
    "groups": "groups repeat all texts of an earlier one",
    "queries": "queries repeat one of another group in their language",
    "passages": "passages repeat one of another group",
}


def _cell(key: str, value: Any) -> Any:
    return f"{value:.1%}" if key == "cut" else value
