"""`hybridtune compare`: two evaluations of one benchmark, and whether their difference is more than chance."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybridtune.errors import InputError
from hybridtune.metrics.per_query import FILE, read_per_query
from hybridtune.metrics.significance import DRAWS, compare
from hybridtune.storage.study_folder import check_format
from hybridtune.study.folder import make_folder, write_json
from hybridtune.terminal.screen import Screen, plain_table

MEASURES = ("AP", "nDCG@10", "rank_distance")  # where both have them; few, for each is another chance to be lucky
_DIGITS = {"rank_distance": 2}  # in places of the pool; all other measures lie in [0, 1]
_LEFT_OUT = {
    "only_a": "rankings that only A has",
    "only_b": "rankings that only B has",
    "undefined": "rankings that do not define it",
}
_WIDTH = 61  # of a drawn interval; odd, so that 0 has a place of its own


def find_per_query(where: str) -> Path:
    """The file of per-query values that a person means.

    Args:
        where: an evaluation's ``--out``, a trial's folder, a study folder (its best trial), or the file itself.

    Raises:
        InputError: none there.
    """
    place = Path(where)
    check_format(place)
    tried = [place / FILE, place / "best" / FILE]
    of_trial = sorted(place.glob(f"fit/checkpoint_*/{FILE}"))  # Ray Train names checkpoints by their step
    for file in (place, *tried, *of_trial[-1:]):
        if file.is_file():
            return file
    made = f"make one with: hybridtune evaluate MODEL --benchmark PATH --out {where}"
    if not place.exists():
        raise InputError(f"{where}: no such file or folder; {made}")
    raise InputError(f"{where}: no per-query values there: looked for {tried[0]} and {tried[1]}; {made}")


def compare_runs(
    a: str, b: str, measures: Sequence[str], seed: int, screen: Screen, draws: int = DRAWS
) -> dict[str, Any]:
    """Compare B with A; a difference above 0 means that B has more of the measure.

    Args:
        a: where A is, see ``find_per_query``.
        b: where B is.
        measures: ir_measures names, rank_distance, ..; none: ``MEASURES``, as far as both have them.
        seed: >= 0, of the permutation and the bootstrap.
        screen: where notices go.
        draws: of each.

    Returns:
        ``{"a": {"file", "model", "benchmark", ..}, "b": .., "seed", "draws", "differences": [..]}``, see
        ``evidence.Difference``.

    Raises:
        InputError: nothing to read, other benchmarks, a measure that one side does not have.
    """
    files = [find_per_query(where) for where in (a, b)]
    one, other = (read_per_query(file) for file in files)
    asked = list(measures) or [name for name in MEASURES if name in one.measures and name in other.measures]
    comparison = dataclasses.asdict(compare(one, other, asked or MEASURES, seed=seed, draws=draws))
    for side, file in zip(("a", "b"), files, strict=True):
        comparison[side] = {"file": str(file), **comparison[side]}
    found = {row["measure"] for row in comparison["differences"]}
    for measure in dict.fromkeys(measures):
        if measure not in found:
            screen.line(f"{measure}: no ranking defines it; left out")
    return comparison


def write_comparison(result: Mapping[str, Any], out: Path) -> Path:
    """Write a comparison to ``<out>/comparison.json``."""
    make_folder(out)
    file = out / "comparison.json"
    write_json(result, file)
    return file


def comparison_tables(result: Mapping[str, Any], screen: Screen) -> None:
    """Who A and B are, the table of differences, their intervals drawn, and what was left out."""
    for side in ("a", "b"):
        about = result[side]
        name = about.get("model", "model not known")
        screen.console.print(f"{side.upper()}: {name} ({about['file']})", soft_wrap=True, markup=False)
    rows = result["differences"]
    title = f"benchmark {result['a'].get('benchmark', 'not known')}, over the rankings that both have"
    screen.console.print(plain_table([_cells(row) for row in rows], title))
    for measure in dict.fromkeys(row["measure"] for row in rows):
        _draw([row for row in rows if row["measure"] == measure and row["low"] is not None], measure, screen)
    for row in rows:
        left = [f"{row[key]:,} {text}" for key, text in _LEFT_OUT.items() if row[key]]
        if left:
            name = f"{row['setting']}/{row['measure']}"
            screen.console.print(f"{name}: left out {', '.join(left)}", soft_wrap=True, markup=False)
    screen.console.print(
        f"p: sign-flip permutation over topics, two-sided ({result['draws']:,} draws or all); p Holm: corrected over "
        "the settings of a measure, below .05 a verdict; interval: bootstrap over topics. A topic is all queries with "
        f"the same relevant passages. Seed {result['seed']}.",
        style="dim",
        soft_wrap=True,
        markup=False,
    )


def forest(low: float, middle: float, high: float, limit: float) -> str:
    """An interval within [-limit, limit] as a line of characters: ``(--o--)``, with ``|`` where 0 is."""

    def place(value: float) -> int:
        return round((value / limit + 1) / 2 * (_WIDTH - 1)) if limit else _WIDTH // 2

    line = [" "] * _WIDTH
    line[place(low) : place(high) + 1] = "-" * (place(high) - place(low) + 1)
    line[_WIDTH // 2] = "|"
    line[place(low)], line[place(high)] = "(", ")"
    line[place(middle)] = "o"
    return "".join(line)


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row as the table shows it."""
    digits = _DIGITS.get(row["measure"], 4)
    interval = "" if row["low"] is None else f"{row['low']:+.{digits}f} to {row['high']:+.{digits}f}"
    return {
        "metric": f"{row['setting']}/{row['measure']}",
        "A": _number(row["a"], f".{digits}f"),
        "B": _number(row["b"], f".{digits}f"),
        "B - A": _number(row["difference"], f"+.{digits}f"),
        "95 % interval": interval,
        "p": _chance(row["p"]),
        "p Holm": _chance(row["p_holm"]),
        "verdict": row["verdict"],
        "topics": row["topics"],
        "rankings": row["rankings"],
    }


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _chance(p: float | None) -> str:
    # Cut, not rounded: 0.04996 must not read 0.0500 beside the verdict of a p below .05.
    return "" if p is None else f"{math.floor(p * 1e4 + 1e-6) / 1e4:.4f}" if p >= 1e-4 else f"{p:.0e}"


def _draw(rows: Sequence[Mapping[str, Any]], measure: str, screen: Screen) -> None:
    if not rows:
        return
    limit = max(max(abs(row["low"]), abs(row["high"])) for row in rows)
    edge = f"{limit:.{_DIGITS.get(measure, 4)}f}"
    sides = ("A better", "B better") if rows[0]["better"] == "max" else ("B better", "A better")
    screen.console.print(
        f"\n{'':8}{'-' + edge + '  ' + sides[0]:<{_WIDTH // 2}}0{sides[1] + '  +' + edge:>{_WIDTH // 2}}  {measure}",
        markup=False,
        soft_wrap=True,
    )
    for row in rows:
        line = forest(row["low"], row["difference"], row["high"], limit)
        screen.console.print(f"{row['setting']:<8}{line}", markup=False, soft_wrap=True)
