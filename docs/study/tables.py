"""Keep what a study ended with, and print it as tables of the study's page.

python docs/study/tables.py keep STUDY FOLDER        trials, environment and contestants of a study folder
python docs/study/tables.py show FOLDER              the contestants over seeds, as Markdown
python docs/study/tables.py gain ONE OTHER METRIC... contestants as STUDY:NAME: OTHER less ONE over their seeds
python docs/study/tables.py values STUDY             trials by their values, over seeds, each less the first
python docs/study/tables.py cost STUDY...            what searches cost: steps, and steps to what the first found
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from hybridtune.config.names import contestant_name, short_name
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.metrics.per_query import read_per_query
from hybridtune.metrics.significance import averaged, paired_by_unit, welch
from hybridtune.metrics.units import choose_unit
from hybridtune.report.text import format_metric, format_signed
from hybridtune.storage.trial_rows import TrialRow, read_rows

KEPT = ("trials.jsonl", "environment.json")
CONTESTANTS = "contestants.json"
GOAL = "balanced/AP"
METRICS = ("mono/AP", "cross/AP", "multi/AP", "multi/rank_distance", "balanced/AP")


def keep(study: Path, folder: Path) -> None:
    """Copy the evidence of a study, without the paths of the machine that it ran on."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*KEPT, *(["repeats/trials.jsonl"] if (study / "repeats").is_dir() else [])):
        text = (study / name).read_text(encoding="utf-8").replace(f"{study.absolute()}/", "")
        (folder / name.replace("/", "-")).write_text(re.sub(r"(?<![\w.])/[\w./-]*/", "", text), encoding="utf-8")
    result = json.loads((study / "result.json").read_text(encoding="utf-8"))
    kept = {name: result[name] for name in ("headline", "contestants", "reference", "contestant_scores")}
    (folder / CONTESTANTS).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def show(folder: Path) -> None:
    """Print the contestants over seeds: their means, and the tuned one less each other, plain and centred."""
    kept = json.loads((folder / CONTESTANTS).read_text(encoding="utf-8"))
    found, strongest = kept["contestant_scores"]["seeds"], kept["reference"]["arm"]
    names = [name for name in METRICS if name in found["metrics"]]
    print(f"{kept['headline']}\n\n| contestant, mean of {found['n']} seeds (spread) | {' | '.join(names)} |")
    print("|---" * (len(names) + 1) + "|")
    for who, one in found["contestants"].items():
        figures = [_mean(name, one["metrics"][name]) for name in names]
        print(f"| {contestant_name(who, strongest)} | {' | '.join(figures)} |")
    for base, against in (("tuned", found["against"]), ("tuned, centred", found["against_centred"])):
        print(f"\n| {base} less | {' | '.join(names)} |")
        print("|---" * (len(names) + 1) + "|")
        for who, versus in against.items():
            figures = [_difference(name, versus[name]) for name in names]
            print(f"| {contestant_name(who, strongest)} | {' | '.join(figures)} |")


def _mean(name: str, one: dict[str, Any]) -> str:
    spread = f" ({format_metric(name, one['spread'])})" if one["spread"] else ""
    return f"{format_metric(name, one['mean'])}{spread}"


def _difference(name: str, one: dict[str, Any]) -> str:
    ends = f" ({format_signed(name, one['low'])} to {format_signed(name, one['high'])})" if one["low"] else ""
    return f"{format_signed(name, one['difference'])}{ends} {one['verdict']}"


def gain(one: str, other: str, metrics: list[str]) -> None:
    """Print how far a contestant is above another over their seeds, with the test paired by documents or topics."""
    print("| metric | by seed | by seed | difference (95 % over seeds) | p | \n|---|---|---|---|---|")
    for metric in metrics:
        a, b = (_seeds(name, metric) for name in (one, other))
        low, high, _ = welch(a, b) or (float("nan"), float("nan"), 0.0)
        queries = [averaged([read_per_query(home / PER_QUERY) for home in _homes(name)]) for name in (one, other)]
        unit, _ = choose_unit(queries)
        p, units = paired_by_unit(*queries, metric, unit) or (float("nan"), 0)
        shown = [", ".join(format_metric(metric, value) for value in values) for values in (a, b)]
        apart = f"{format_signed(metric, float(np.mean(b) - np.mean(a)))}"
        ends = f"{format_signed(metric, low)} to {format_signed(metric, high)}"
        print(f"| {metric} | {shown[0]} | {shown[1]} | {apart} ({ends}) | {p:.4f} by {units} {unit}s |")


def _homes(contestant: str) -> list[Path]:
    """Return the folders with the scores of each seed of ``STUDY:NAME``."""
    study, _, name = contestant.rpartition(":")
    root = Path(study) / "repeats"
    seeds = sum(row.id.startswith("tuned-s") for row in read_rows(root))
    return [root / "contestants" / f"{name}-s{count}" for count in range(1, seeds + 1)]


def _seeds(contestant: str, metric: str) -> list[float]:
    """Return a metric of each seed; of a language (``multi/AP@so``) or a pair (``cross/AP@en-so``) too."""
    setting, _, measure = metric.partition("/")
    measure, _, group = measure.partition("@")
    values = []
    for home in _homes(contestant):
        scores = json.loads((home / "scores.json").read_text(encoding="utf-8"))
        if metric in scores["metrics"]:
            values.append(scores["metrics"][metric])
        else:
            found = scores["per_language"][setting] if setting == "multi" else scores["per_pair"]
            values.append(float(np.mean([found[name][measure] for name in group.split("+")])))
    return values


def values(study: Path) -> None:
    """Print the trials of a study whose values differ in the seed alone as one row, and each row less the first."""
    found: dict[str, list[TrialRow]] = {}
    rows = [row for row in read_rows(study) if row.status == "done"]
    first = {**rows[0].values}
    for row in sorted(rows, key=lambda row: row.number):
        changed = {short_name(name): value for name, value in row.values.items() if name != "seed"}
        label = ", ".join(f"{name} {value}" for name, value in changed.items() if value != _value(first, name))
        found.setdefault(label or "base", []).append(row)
    base = found["base"]
    print(f"| changed, mean of {len(base)} seeds (spread) | {' | '.join(METRICS)} |")
    print("|---" * (len(METRICS) + 1) + "|")
    for label, own in found.items():
        print(f"| {label} | {' | '.join(_of_rows(name, own) for name in METRICS)} |")
    print(f"\n| less base (95 % over seeds; p) | {' | '.join(METRICS)} |")
    print("|---" * (len(METRICS) + 1) + "|")
    for label, own in found.items():
        if own is not base:
            print(f"| {label} | {' | '.join(_less(study, name, base, own) for name in METRICS)} |")


def _value(values: dict[str, Any], name: str) -> Any:
    return next(value for full, value in values.items() if short_name(full) == name)


def _of_rows(name: str, rows: list[TrialRow]) -> str:
    numbers = [row.metrics[name] for row in rows]
    spread = f" ({format_metric(name, float(np.std(numbers, ddof=1)))})" if len(numbers) > 1 else ""
    return f"{format_metric(name, float(np.mean(numbers)))}{spread}"


def _less(study: Path, name: str, base: list[TrialRow], own: list[TrialRow]) -> str:
    numbers = [[row.metrics[name] for row in rows] for rows in (base, own)]
    low, high, _ = welch(*numbers) or (float("nan"), float("nan"), 0.0)
    of_base, of_own = (
        averaged([read_per_query(study / str(row.checkpoint) / PER_QUERY) for row in rows]) for rows in (base, own)
    )
    p, _ = paired_by_unit(of_base, of_own, name, choose_unit([of_base, of_own])[0]) or (float("nan"), 0)
    apart = format_signed(name, float(np.mean(numbers[1]) - np.mean(numbers[0])))
    return f"{apart} ({format_signed(name, low)} to {format_signed(name, high)}; p {p:.3f})"


def cost(studies: list[Path]) -> None:
    """Print what each search trained and found, and the steps until it had what the first one found at its end."""
    wanted = max(row.metrics[GOAL] for row in read_rows(studies[0]) if row.status == "done")
    print("| search | trials | steps | best on dev | steps to the first's best | to 98 % of it | its test |")
    print("|---" * 7 + "|")
    for study in studies:
        rows = [row for row in read_rows(study) if row.metrics]
        steps = np.cumsum([row.metrics["step"] for row in rows])
        best = np.maximum.accumulate([row.metrics[GOAL] if row.status == "done" else 0.0 for row in rows])
        reached = [_first(steps, best >= share * wanted) for share in (1.0, 0.98)]
        test = json.loads((study / "result.json").read_text(encoding="utf-8"))["test"]["metrics"][GOAL]
        figures = [str(len(rows)), f"{steps[-1]:,.0f}", f"{best[-1]:.4f}", *reached, f"{test:.4f}"]
        print(f"| {study.name} | {' | '.join(figures)} |")


def _first(steps: Any, reached: Any) -> str:
    return f"{steps[int(np.argmax(reached))]:,.0f}" if reached.any() else "never"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, arguments in (("keep", ("study", "folder")), ("show", ("folder",))):
        command = commands.add_parser(name)
        for argument in arguments:
            command.add_argument(argument, type=Path)
    commands.add_parser("values").add_argument("study", type=Path)
    commands.add_parser("cost").add_argument("studies", type=Path, nargs="+")
    command = commands.add_parser("gain")
    command.add_argument("one")
    command.add_argument("other")
    command.add_argument("metrics", nargs="+")
    given = parser.parse_args()
    if given.command == "keep":
        keep(given.study, given.folder)
    elif given.command == "show":
        show(given.folder)
    elif given.command == "values":
        values(given.study)
    elif given.command == "cost":
        cost(given.studies)
    else:
        gain(given.one, given.other, given.metrics)


if __name__ == "__main__":
    main()
