"""The tables of a model card, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = ("mono/AP", "cross/AP", "multi/AP", "multi/rank_distance", "multi/language_preference")

Row = Mapping[str, Any]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The lines of a table."""
    return [
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
        *(f"| {' | '.join(_cell(value) for value in row)} |" for row in rows),
    ]


def _cell(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value).replace("|", "\\|")


def figure(value: Any) -> str:
    """A number or text in a cell or a list, at four digits."""
    return f"{value:.4g}" if isinstance(value, float) else _cell(value)


def scores_table(scored: Mapping[str, Row]) -> list[str]:
    """Figures and their counts, a row a benchmark: its name -> its scores."""
    rows = []
    for name, scores in scored.items():
        counts, metrics = scores["counts"], scores["metrics"]
        cells = [f"{metrics[key]:.4f}" if key in metrics else "" for key in SHOWN]
        rows.append([name, max(counts["queries"].values()), counts["passages"], *cells])
    return markdown_table(["benchmark", "queries", "passages", *SHOWN], rows)


def groups_table(scored: Mapping[str, Row]) -> list[str]:
    """AP by groups of languages, where there is more than one: zero-shot ones apart, low-resource ones apart."""
    rows = [
        [name, group, setting, f"{values['AP']:.4f}", values["rows"], values["queries"]]
        for name, scores in scored.items()
        for group, settings in scores["groups"].items()
        for setting, values in settings.items()
    ]
    if not any(row[1] in ("unseen", "low-resource") for row in rows):
        return []
    return [
        "Seen: languages (cross: pairs) that training pairs had; unseen ones are zero-shot.",
        "",
        *markdown_table(["benchmark", "group", "setting", "AP", "languages or pairs", "rankings"], rows),
        "",
    ]
