"""`hybridtune compare` of three evaluations of one benchmark and more: one table, and all pairs tested."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybridtune.callbacks import StudyCallback
from hybridtune.errors import InputError
from hybridtune.metrics.groups import GROUPED_BY
from hybridtune.metrics.significance import DRAWS
from hybridtune.metrics.units import FEW, Unit, choose_unit, few_units, unit_numbers
from hybridtune.report.several import (
    LETTERS,
    Pair,
    Row,
    Standing,
    comparison_table,
    metrics_of,
    on_common_rankings,
    rows_of,
)
from hybridtune.report.text import Table
from hybridtune.study.compare import MEASURES, read_evaluation


def compare_several(
    locations: Sequence[str],
    measures: Sequence[str],
    seed: int,
    callback: StudyCallback,
    draws: int = DRAWS,
    unit: Unit | None = None,
) -> dict[str, Any]:
    """Compare evaluations with each other, over the rankings that all have.

    Args:
        locations: folders or URLs, see `compare.find_per_query`; at most 26, since each has a letter.
        measures: as of `compare_evaluations`.
        seed: >= 0, of the permutations and the bootstrap.
        callback: receives messages.
        draws: of the bootstrap.
        unit: as of `compare_evaluations`.

    Returns:
        ``systems`` (letter, file, model, ..), ``benchmark``, ``unit``, ``rankings``, ``units``, ``seed``, ``draws``,
        ``rows`` (metric, standings, pairs; systems by number) and ``notes``.

    Raises:
        InputError: nothing to read, other benchmarks, too many systems, or a measure that one does not have.
    """
    if len(locations) > len(LETTERS):
        raise InputError(f"{len(locations)} systems are compared; {len(LETTERS)} at most, a letter each")
    read = [read_evaluation(location) for location in locations]
    whole = [values for values, _ in read]
    files = on_common_rankings(whole)
    chosen, note = choose_unit(files, unit)
    measured = measures or [name for name in MEASURES if all(name in values.measures for values in files)]
    metrics = metrics_of(files, measured or MEASURES)
    rows = rows_of(files, metrics, chosen, seed=seed, draws=draws)
    if not rows:
        raise InputError(f"no ranking of all {len(files)} systems defines {', '.join(measured)}")
    for metric in metrics:
        if measures and metric not in {row.metric for row in rows}:
            callback.on_message(f"{metric}: no ranking defines it, or in one {chosen} alone; left out")
    units = len(set(unit_numbers(files[0], chosen).tolist()))
    left_out = max(len(values.topic) for values in whole) - len(files[0].topic)
    lost = f"{left_out:,} rankings that not all systems have are left out" if left_out else ""
    systems = [
        {"letter": letter, "file": file} | {key: value for key, value in values.about.items() if key not in GROUPED_BY}
        for letter, values, (_, file) in zip(LETTERS, whole, read, strict=False)
    ]
    return {
        "systems": systems,
        "benchmark": whole[0].about.get("benchmark", "not known"),
        "unit": chosen,
        "units": units,
        "rankings": len(files[0].topic),
        "seed": seed,
        "draws": draws,
        "rows": [dataclasses.asdict(row) for row in rows],
        "notes": [*filter(None, (note, few_units(chosen, min(units, FEW)), lost))],
    }


def table_of(result: Mapping[str, Any]) -> Table:
    """Return the table of what `compare_several` returns."""
    names = [system.get("model", system["file"]) for system in result["systems"]]
    rows = [
        Row(
            row["metric"],
            [Standing(**{**one, "ahead_of": tuple(one["ahead_of"])}) for one in row["standings"]],
            [Pair(**pair) for pair in row["pairs"]],
        )
        for row in result["rows"]
    ]
    return comparison_table(rows, names, result)


def write_comparison(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the table as CSV and LaTeX, as `report --tables` writes those of a report; return the files."""
    from hybridtune.report.table_files import write_files

    return write_files([table_of(result)], folder)
