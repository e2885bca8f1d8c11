"""The realised table of a plan, with what was asked for: what a trial's folder and ``--dry-run`` tell."""

import json
from pathlib import Path
from typing import Any

from hybridtune.data.plan import HybridPlan

FILE = "plan.json"


def describe(plan: HybridPlan, steps: int) -> dict[str, Any]:
    """What ``steps >= 1`` steps of a plan hold, asked and got.

    Returns:
        ``{"steps", "batch_size", "asked_ratio", "realised_ratio", "asked_align_share", "realised_align_share",
        "left_out_of_mono": [languages], "left_out_of_cross": [pairs], "table": [rows of HybridPlan.table]}``. The
        ratios are means over the steps, and of the question-passage batches alone.
    """
    return {
        "steps": steps,
        "batch_size": plan.batch_size,
        "asked_ratio": plan.asked_ratio(steps),
        "realised_ratio": plan.realised_ratio(steps),
        "asked_align_share": plan.align_share,
        "realised_align_share": plan.align_batches(steps) / steps,
        "left_out_of_mono": list(plan.left_out),
        "left_out_of_cross": list(plan.left_out_pairs),
        "table": plan.table(steps),
    }


def write_plan(plan: HybridPlan, steps: int, folder: Path) -> None:
    """Write `describe` to ``plan.json`` in a folder that is there; all batches are drawn, in about 0.5 us a pair."""
    described = describe(plan, steps)
    rows = ",\n  ".join(json.dumps(row) for row in described.pop("table"))
    text = json.dumps(described, indent=1)
    (folder / FILE).write_text(f'{text[:-2]},\n "table": [\n  {rows}\n ]\n}}\n', encoding="utf-8")


def distinct_pairs(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Distinct question-passage pairs in the rows of a table, by "query language-passage language"."""
    found: dict[str, int] = {}
    for row in rows:
        if row["kind"] != "align":
            found[row["pair"]] = found.get(row["pair"], 0) + row["groups"]
    return found
