"""The tables of `hybridtune debias`: the scores of every way on held-out documents, its gain drawn, the choice."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybridtune.terminal.scores import forest
from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import plain_table

_HEADS = {
    "mono/AP": "mono AP",
    "cross/AP": "cross AP",
    "multi/AP": "multi AP",
    "multi/rank_distance": "rank distance",
    "multi/language_preference": "own language first",
    "balanced/AP": "balanced AP",
}


_DIRECT = {"mean_distance": "distance of language means", "probe_accuracy": "language named by a linear probe"}


def debias_tables(result: Mapping[str, Any], screen: Screen) -> None:
    """Print what each way scores and gains, what was chosen, and the lines for an index."""
    if "rows" not in result:
        screen.console.print(plain_table([result], "would measure"))
        return
    if "goal" not in result:
        _plain_texts(result, screen)
        return
    rows, goal, counts = result["rows"], result["goal"], result["counts"]
    sizes = f"{max(counts['queries'].values()):,} queries, pool of {counts['passages']:,} passages"
    held = [{"": row["name"], **_cells({name: one["value"] for name, one in row["metrics"].items()})} for row in rows]
    screen.console.print(plain_table(held, f"on {result['unit']}s that it was not fitted on ({sizes})"))
    fitted = [row for row in rows if row["method"] is not None]
    in_place = [{"": row["name"], **_cells(row["in_place"])} for row in fitted]
    screen.console.print(plain_table(in_place, "fitted on all of these texts, as for an index that holds no others"))
    _draw(rows[1:], goal, screen)
    for note in result["unit_notes"]:
        screen.print(note)
    screen.print(
        f"Intervals: 95 % bootstrap over {result['units']:,} {result['unit']}s, of gains paired. Own language first: "
        "the share of queries whose best answer in the ranking over all languages is in their own. Standardised: "
        "scores less their mean over the passages of a language, over their deviation.",
        style="dim",
    )
    _verdict(result, screen)


def _plain_texts(result: Mapping[str, Any], screen: Screen) -> None:
    """Print the direct measures of plain texts, and the lines for an index."""
    digits = {"mean_distance": "{:.4f}", "probe_accuracy": "{:.3f}"}
    rows = [
        {
            "": row["name"],
            **{_DIRECT[name]: form.format(row[name]) for name, form in digits.items() if row[name] is not None},
        }
        for row in result["rows"]
    ]
    screen.console.print(plain_table(rows, f"{result['texts']:,} texts, each moved by what was fitted on others"))
    screen.print("Which way helps a ranking, only queries and their answers can tell.", style="dim")
    _written(result, screen)


def _written(result: Mapping[str, Any], screen: Screen) -> None:
    if result["file"] is None:
        screen.print(f"{result['chosen']}: --out FOLDER writes it, fitted on all of these texts; for an index:\n")
    else:
        screen.print(
            f"{result['chosen']}, fitted on all of these texts: {result['file']}; hybridtune evaluate --centre takes "
            "it, and for an index:\n"
        )
    screen.print(result["lines"])


def _cells(metrics: Mapping[str, float]) -> dict[str, str]:
    return {
        _HEADS[name]: f"{value:,.1f}" if name == "multi/rank_distance" else f"{value:.4f}"
        for name, value in metrics.items()
    }


def _draw(rows: Sequence[Mapping[str, Any]], goal: str, screen: Screen) -> None:
    gains = [(row["name"], row["gain"][goal]) for row in rows if row["gain"][goal]["low"] is not None]
    if not gains:
        return
    limit = max(max(abs(gain["low"]), abs(gain["high"])) for _, gain in gains)
    width = max(len(name) for name, _ in gains)
    screen.print(f"\n{'':{width}}  gain in {goal} over the start, from -{limit:.4f} to +{limit:.4f}")
    for name, gain in gains:
        drawn = forest(gain["low"], gain["difference"], gain["high"], limit)
        screen.print(f"{name:{width}}  {drawn}  {gain['difference']:+.4f}")


def _verdict(result: Mapping[str, Any], screen: Screen) -> None:
    goal, best = result["goal"], next(row for row in result["rows"] if row["name"] == result["best"])
    gain = best["gain"][goal]
    between = "no interval" if gain["low"] is None else f"{gain['low']:+.4f} to {gain['high']:+.4f}"
    said = f"{best['name']} has the best {goal}: {gain['difference']:+.4f} over the start ({between})"
    if result["chosen"] is None:
        screen.print(
            f"{said}: that is no gain over chance. Nothing helps here, and nothing is written; --method {best['name']} "
            "writes it all the same"
        )
        return
    screen.print(said if result["helps"] else f"{said}: that is no gain over chance")
    _written(result, screen)
