"""The closing output of `hybridtune translate`: texts translated and left out, or the estimate of a run."""

from collections.abc import Mapping
from typing import Any

from hybridtune.report.text import format_duration
from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import plain_table


def translation_summary(report: Mapping[str, Any], screen: Screen) -> None:
    """Print the counts of a translation, the reasons of what was left out with an example each, and its agreement."""
    added = ", ".join(f"{count:,} {side}" for side, count in report["added"].items()) or "no text"
    screen.print(f"{report['groups']:,} groups, {added} added by {report['model']} ({report['licence']})")
    screen.print(
        f"{report['distinct']:,} distinct texts: {report['translated']:,} translated now, "
        f"{report['from_cache']:,} from the cache"
    )
    if report["dropped"]:
        rows = [
            {"left out because": reason, "texts": count, **_example(report["examples"][reason][0])}
            for reason, count in sorted(report["dropped"].items(), key=lambda item: -item[1])
        ]
        screen.console.print(plain_table(rows, "translations left out, with an example each"))
    if report["agreement"]:
        rows = [{"pair": pair, **found} for pair, found in report["agreement"].items()]
        screen.console.print(plain_table(rows, f"agreement with the source ({report['settings']['agreement']})"))
    if report["notice"]:
        screen.print(report["notice"], style="bold")


def show_estimate(found: Mapping[str, Any], screen: Screen) -> None:
    """Print what a translation will take."""
    pairs = ", ".join(f"{count:,} {pair}" for pair, count in found["by_direction"].items())
    screen.print(
        f"{found['texts']:,} texts, {found['distinct']:,} distinct; {found['from_cache']:,} in the cache, "
        f"{found['left']:,} left{f': {pairs}' if pairs else ''}"
    )
    if not found["left"]:
        return
    measured = found["measured"]
    workers = measured["workers"]
    screen.print(
        f"about {found['tokens']:,} tokens, {format_duration(found['seconds'])} on this machine with {workers} "
        f"engine{'s' * (workers > 1)}: measured on {measured['texts']:,} texts in {measured['batches']} of its own "
        f"batches ({measured['tokens']:,} tokens in {measured['seconds']:.1f} s)"
    )
    screen.print(
        f"about {_megabytes(found['cache_bytes'])} of cache and {_megabytes(found['file_bytes'])} more in the file "
        "than in the data; nothing was kept of the sample"
    )


def _example(example: Mapping[str, str]) -> dict[str, str]:
    return {
        "pair": example["direction"],
        "source": _short(example["source"]),
        "translation": _short(example["translation"]),
    }


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:39]}…"


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"
