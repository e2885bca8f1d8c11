"""The findings of `hybridtune data inspect`, in words and as a self-contained HTML page."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hybridtune.report.colours import SEQUENTIAL, Scale, colour_at, ink
from hybridtune.report.render import render
from hybridtune.storage.files import write_atomically

_SOME = 0.02  # of the texts that were looked at; fewer in another language are names, titles and chance
_REPEATED = {
    "ids": "groups have the id of an earlier one: `hybridtune data group FILE --by id` joins rows of one id",
    "groups": "groups repeat all texts of an earlier one",
    "queries": "queries repeat one of another group in their language",
    "passages": "passages repeat one of another group",
}


def opening_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is said before the picture of the pairs."""
    yield (
        f"{result['groups']:,} groups in {len(result['languages'])} languages, {result['mono']:,} mono and "
        f"{result['cross']:,} cross pairs; {result['answer_sets']:,} answer sets, {result['documents']:,} documents, "
        f"{result['hard_negatives']:,} hard negatives"
    )
    for name, words in (
        ("bitext", "groups of bitext"),
        ("translated_pairs", "pairs are translated by machine"),
        ("scored_negatives", "hard negatives have a score, to be learnt by train.distil_from: data"),
    ):
        if result[name]:
            yield f"{result[name]:,} {words}"


def remarks(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is to be looked at: repetitions, languages, leaks."""
    for name, words in _REPEATED.items():
        if result["repeated"][name]:
            yield f"{result['repeated'][name]:,} {words}"
    for found in result["mislabelled"]:
        if found["texts"] >= _SOME * found["of"]:
            yield found["line"]
    if result["not_identified"]:
        yield f"languages that no model tells: {', '.join(result['not_identified'])}"
    for path, leaks in result["leaks"].items():
        if leaks["found"]:
            yield f"{path}: {leaks['groups']:,} groups hold texts of it: {leaks['line']}"
        else:
            yield f"{path}: none of its {leaks['texts']:,} texts counts as found in the data"


def shown_lengths(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of lengths as people read them."""
    return [{key: f"{cell:.1%}" if key == "cut" else cell for key, cell in row.items()} for row in result["lengths"]]


def write_page(result: Mapping[str, Any], name: str, file: Path) -> None:
    """Write the page; the same data give the same bytes."""
    most = max((count for row in result["pairs"] for count in row), default=0)
    scale = Scale(SEQUENTIAL, 0.0, math.log1p(max(1, most)), "", "")
    text = render(
        "hybridtune.prepare",
        "inspection.html.j2",
        name=name,
        lines=[*opening_lines(result), *remarks(result)],
        languages=result["languages"],
        map=[[_cell(count, scale) for count in row] for row in result["pairs"]],
        unit=result["unit"],
        lengths=shown_lengths(result),
    )
    write_atomically(file, text.encode("utf-8", "replace"))


def _cell(count: int, scale: Scale) -> dict[str, Any]:
    colour = colour_at(scale, math.log1p(count))
    return {"count": count, "ground": "rgb({},{},{})".format(*colour), "ink": ink(colour)}
