"""PURE. The noise check of a study as tables: means and spread over fresh seeds, and the best against each baseline."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybridtune.report.chart import said
from hybridtune.report.markup import Cell, Table, Value
from hybridtune.report.record import StudyRecord
from hybridtune.report.sentences import tuned_label


def noise_tables(record: StudyRecord) -> list[Table]:
    """What ``repeats.json`` holds; none where the noise was not measured."""
    found = record.repeats
    if not found:
        return []
    names: list[str] = found["metrics"]
    tuned = tuned_label(record)
    label = {"best": tuned}
    rows: list[Sequence[Value]] = [
        [label.get(who, who), *(_mean(one["metrics"].get(name), name) for name in names)]
        for who, one in found["contestants"].items()
    ]
    failed = [name for one in found["contestants"].values() for name in one.get("failed", [])]
    note = (
        f"Each was trained again with {found['n']} fresh seeds. Small: sample standard deviation, seeds, and the first "
        "run, which the search chose by and which is in no mean."
    )
    if failed:
        note += f" Failed: {', '.join(failed)}."
    tables = [Table("Noise check: means over fresh seeds", ["model", *names], rows, note)]
    against = found["against"]
    if against:
        rows = [
            [f"against {who}", *(_difference(one.get(name), name) for name in names)] for who, one in against.items()
        ]
        note = (
            "Difference of the means over fresh seeds, its 95 % interval from the seeds, and the verdict, which also "
            "asks a paired test over topics."
        )
        tables.append(Table(f"Noise check: {tuned}, minus each baseline", ["difference", *names], rows, note))
    return tables


def _mean(found: Mapping[str, Any] | None, name: str) -> Value:
    if found is None or found.get("mean") is None:
        return None
    parts = [] if found["spread"] is None else [f"± {said(name, found['spread'])}"]
    parts.append(f"n {found['n']}")
    if found.get("first") is not None:
        return Cell(said(name, found["mean"]), found["mean"], f"{', '.join(parts)}\nfirst {said(name, found['first'])}")
    return Cell(said(name, found["mean"]), found["mean"], ", ".join(parts))


def _difference(found: Mapping[str, Any] | None, name: str) -> Value:
    if found is None or found.get("difference") is None:
        return None
    sign = "+" if found["difference"] >= 0 else "−"
    text = f"{sign}{said(name, abs(found['difference']))}"
    if found["low"] is None or found["high"] is None:
        return Cell(text, found["difference"], found["verdict"])
    ends = [f"{'+' if end >= 0 else '−'}{said(name, abs(end))}" for end in (found["low"], found["high"])]
    return Cell(text, found["difference"], f"{ends[0]} to {ends[1]}\n{found['verdict']}")
