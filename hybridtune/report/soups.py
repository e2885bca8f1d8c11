"""PURE. The soups of a study in words: what the best one is made of, and how it stands beside the best trial on dev."""

import shlex
from collections.abc import Mapping
from typing import Any

from hybridtune.report.text import counted, format_metric, format_signed
from hybridtune.storage.files import is_remote
from hybridtune.storage.soup_rows import SoupRow
from hybridtune.storage.trial_rows import TrialRow


def soup_words(chosen: SoupRow, count: int, best: TrialRow, goal: str) -> str:
    """Say what the best soup on dev is made of, and what it has over the best trial.

    Args:
        chosen: the soup.
        count: of all soups.
        best: the best trial.
        goal: the first objective.
    """
    made = " + ".join(f"{share:.3g} x {name} ({chosen.models[name]})" for name, share in chosen.shares.items())
    apart = format_signed(goal, chosen.metrics[goal] - best.metrics[goal])
    return (
        f"Soup: {made}, weights averaged without training; the best of {counted(count, 'soup')} on dev, {goal} "
        f"{format_metric(goal, chosen.metrics[goal])}, {apart} from the best trial ({best.label})."
    )


def merge_command(study: str, row: SoupRow) -> str:
    """Return the command that makes a soup of a study, in a folder or at a URL."""
    base, *query = study.split("?", 1) if is_remote(study) else (study,)
    models = " ".join(shlex.quote("?".join([f"{base}:{row.models[name]}", *query])) for name in row.weights)
    weights = ",".join(f"{weight:g}" for weight in row.weights.values())
    return f"hybridtune merge {models} --weights {weights} --out FOLDER"


def soups_of(result: Mapping[str, Any] | None) -> list[SoupRow]:
    """Return the soups of a ``result.json``; none where the study made none."""
    found = (result or {}).get("soups")
    return [SoupRow(**row) for row in found["rows"]] if found else []
