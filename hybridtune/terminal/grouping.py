"""The output of `hybridtune data group`: the yield of each way, the file written, and rows that could not be joined."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import plain_table

_SAMPLED = 5  # language pairs of which samples are shown
_WIDTH = 100  # characters of a text in a sample
_NAMES = {"id": "by id", "text": "by text", "alignment": "by alignment", "mining": "by mining"}


def ways_table(result: Mapping[str, Any], paths: Sequence[str], screen: Screen) -> None:
    """Print what each way of grouping would give, and how the best is called."""
    ways = result["ways"]
    rows = [{"": "as read", **result["as read"]}]
    rows += [{"": _NAMES[way], **{key: found[key] for key in result["as read"]}} for way, found in ways.items()]
    screen.console.print(plain_table(rows, f"{result['rows']:,} rows in {len(result['languages'])} languages"))
    _print_mined(result, screen)
    for way, found in ways.items():
        _print_unclear(found, screen, f"{_NAMES[way]}: ")
    best = result["best"]
    if best is None:
        screen.print("no way joins any rows: they are the groups that there are")
        return
    screen.print(f"nothing was written; next:  hybridtune data group {' '.join(paths)} --by {best} --out groups.jsonl")


def grouped_summary(result: Mapping[str, Any], screen: Screen) -> None:
    """Print the counts before and after, what was left out, and the file."""
    grouped = result["grouped"]
    rows = [{"": "as read", **result["as read"]}]
    rows.append({"": _NAMES[result["by"]], **{key: grouped[key] for key in result["as read"]}})
    screen.console.print(plain_table(rows, f"{result['rows']:,} rows"))
    _print_mined(result, screen)
    _print_unclear(grouped, screen)
    for reason, count in result["left_out"].items():
        screen.print(f"left out: {count:,} {reason}")
    if not grouped["cross"]:
        screen.print("no cross pair: all batches will be mono (mix.mixing_ratio: 1); another way may join more")
    screen.print(f"written: {result['file']}")


def _print_mined(result: Mapping[str, Any], screen: Screen) -> None:
    """Print the pairs of texts that mining found, by language pair, and samples of them."""
    pairs = result.get("pairs", [])
    rows = [
        {
            "pair": found["pair"],
            "texts": " x ".join(f"{size:,}" for size in found["texts"]),
            "threshold": f"{found['threshold']:.3f}",
            "kept": found["kept"],
        }
        for found in pairs
    ]
    if rows:
        screen.console.print(plain_table(rows, "texts that translate each other"))
    for found in sorted(pairs, key=lambda found: -found["kept"])[:_SAMPLED]:
        screen.print(f"\n{found['pair']}, from the best to the first that is refused (margin)")
        for sample in found["samples"]:
            mark = " " if sample["kept"] else "x"
            for text, before in zip(sample["texts"], (f"{mark} {sample['margin']:.3f}", " " * 7), strict=True):
                screen.print(f"{before}  {' '.join(text.split())[:_WIDTH]}")
    if len(pairs) > _SAMPLED:
        screen.print(f"\n{len(pairs) - _SAMPLED} more language pairs: see --json", style="dim")


def _print_unclear(found: Mapping[str, Any], screen: Screen, before: str = "") -> None:
    if found["unclear"]:
        examples = "; ".join(repr(text) for text in found["unclear_examples"])
        screen.print(
            f"{before}{found['unclear']:,} passages have several queries of one language, and it is not known which of "
            f"them translate each other: left apart ({examples})"
        )
    if found["split"]:
        examples = ", ".join(repr(name) for name in found["split_examples"])
        screen.print(
            f"{before}{found['split']:,} sets of rows have several texts of one language on a side: the further ones "
            f"are groups of their own ({examples})"
        )
