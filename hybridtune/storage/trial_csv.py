"""The trials of a study as rows of CSV: what a spreadsheet or a program reads back without a loss."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from hybridtune.storage.trial_rows import TrialRow


def trial_records(rows: Sequence[TrialRow], seed: int) -> list[dict[str, Any]]:
    """Return all that a row of a table has of each trial, by its column: the same columns, None where it has nothing.

    Args:
        rows: of the study.
        seed: of the study, with which every trial is trained that sets none.
    """
    found: list[dict[str, Any]] = [
        {
            **{"trial": row.id, "number": row.number, "arm": row.arm, "status": row.status},
            **{"proposed": row.proposed, "seed": row.values.get("seed", seed), "seconds": row.seconds},
            **{name: value for name, value in row.values.items() if name != "seed"},
            **row.metrics,
        }
        for row in rows
    ]
    columns = dict.fromkeys(name for record in found for name in record)
    return [{name: record.get(name) for name in columns} for record in found]


def trials_csv(rows: Sequence[TrialRow], seed: int) -> str:
    """Return all trials as CSV, a row each, in full precision; of no trial the names of the columns that all have."""
    records = trial_records(rows, seed)
    columns = ["trial", "number", "arm", "status", "proposed", "seed", "seconds"] if not records else [*records[0]]
    return csv_text(columns, [[*record.values()] for record in records])


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as CSV with a line of heads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([list(map(_harmless, row)) for row in [columns, *rows]])
    return text.getvalue()


def _harmless(value: Any) -> Any:
    """Return a value such that no spreadsheet takes it for a formula: names in a stranger's study may be one."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "@", "\t", "\r")) else value
