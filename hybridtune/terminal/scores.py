"""The tables of `hybridtune evaluate`, `compare` and `mine`, from their results as plain values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hybridtune.metrics.measures import BIAS
from hybridtune.metrics.metrics import SETTINGS
from hybridtune.report.bias_map import bias_table
from hybridtune.report.several import Row, Standing
from hybridtune.report.text import Cell, Value, format_metric, format_value
from hybridtune.report.text import Table as ReportTable
from hybridtune.terminal.fitted import Fitted
from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import plain_table

_DIGITS = {"rank_distance": 2}  # in ranks of the pool; all other measures lie in [0, 1]
_LEFT_OUT = {
    "only_a": "rankings that only A has",
    "only_b": "rankings that only B has",
    "undefined": "rankings that do not define it",
}
_UNITS = {
    "topic": "A topic is all queries with the same relevant passages",
    "document": "A document is all queries of one text, such as an article",
}
_BEFORE_VERDICT = ("rankings", "units", "p", "B", "A", "95 % interval", "p Holm")  # go first from a narrow table
_WIDTH = 61  # of a drawn interval; odd, so that 0 has a column of its own
_LEAST_WIDTH = 41  # below it an interval is not drawn

Cells = Mapping[str, Any]


def evaluation_summary(result: Mapping[str, Any], screen: Screen) -> None:
    """Print the tables of one evaluation, or what a dry run found."""
    if "metrics" not in result:
        screen.console.print(plain_table([result], "would score"))
        return
    for table in _scores_tables(result):
        screen.console.print(table)
    metrics, counts = result["metrics"], result["counts"]
    if "balanced/AP" in metrics:
        screen.print(f"balanced/AP {metrics['balanced/AP']:.4f} (harmonic mean of the three settings)")
    for name in BIAS:
        if f"multi/{name}" in metrics:
            queries, passages = counts["queries_with"][name], counts["passages"]
            value = metrics[f"multi/{name}"]
            screen.print(f"multi/{name} {value:.4f} ({queries:,} queries, pool of {passages:,} passages)")
    if result["agnosticism"]:
        screen.console.print(agnosticism_table(result["agnosticism"]))
    other = _other_means(result)
    if other:
        screen.print(other)
    if counts.get("not_retrieved"):
        missing = f"{counts['not_retrieved']:,} of {counts['relevant_pairs']:,}"
        screen.print(f"relevant passages not in the run: {missing}")
    for note in result["notes"]:
        screen.print(note, style="dim")


def agnosticism_table(sides: Mapping[str, Mapping[str, Any]]) -> Fitted:
    """Return the table of direct measures of vectors, by what the vectors are of (`metrics.agnostic`)."""
    rows = []
    for side, found in sides.items():
        shown = {
            name: "" if found[field] is None else f"{found[field]:.4f}"
            for name, field in (
                ("distance of means", "mean_distance"),
                ("language named", "probe_accuracy"),
                ("by chance", "probe_chance"),
                ("translation found", "translation_accuracy"),
            )
        }
        rows.append({"vectors of": side, "texts": f"{found['texts']:,}", **shown})
    return plain_table(rows, "direct measures of the vectors")


def _other_means(result: Mapping[str, Any]) -> str:
    """Return the means that trec_eval prints, in one line; empty where they are those of the table."""
    own, counts = result["metrics"], result["counts"]
    means = {
        name: value
        for name, value in result["trec_eval"].items()
        if not math.isclose(value, own.get(name, -1.0), rel_tol=1e-9)
    }
    if not means:
        return ""
    setting = next(iter(means)).split("/")[0]
    unanswered = counts["queries_without_relevant"][setting]
    queries = counts["queries"][setting] + unanswered
    shown = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
    return (
        f"trec_eval prints {shown}: means over all {queries:,} judged queries at once, those without a relevant "
        f"passage ({unanswered:,}) at 0"
    )


def _scores_tables(result: Mapping[str, Any]) -> list[Fitted]:
    """Return means with counts, the matrix of languages, its training pairs, groups of languages, and the bias."""
    measures = [name for name in dict.fromkeys(key.split("/")[1] for key in result["metrics"]) if name not in BIAS]
    shown = measures[0]
    means = plain_table(_means(result, measures), "means over query languages (mono, multi) or ordered pairs (cross)")
    multi = {language: values.get(shown) for language, values in result["per_language"]["multi"].items()}
    cells = {pair: values.get(shown) for pair, values in result["per_pair"].items()}
    tables = [means, plain_table(_matrix(result, shown, cells, multi), "query language by row, pool by column")]
    if result["training_pairs"] is not None:
        trained = {pair: result["training_pairs"].get(pair, 0) for pair in cells}
        title = "training pairs of each pair (0: zero-shot)"
        tables.append(plain_table(_matrix(result, "pairs", trained, {}), title))
    if result["groups"]:
        tables.append(groups_table(result["groups"], measures))
    if result["over_represented"]:
        tables.append(Fitted(bias_table(result)))
    return tables


def _means(result: Mapping[str, Any], measures: list[str]) -> list[dict[str, Any]]:
    metrics, counts = result["metrics"], result["counts"]
    return [
        {
            "setting": setting,
            **{name: f"{metrics[f'{setting}/{name}']:.4f}" for name in measures},
            "queries": counts["queries"][setting],
            "without answer": counts["queries_without_relevant"][setting],
        }
        for setting in SETTINGS
        if f"{setting}/{measures[0]}" in metrics
    ]


def _matrix(result: Mapping[str, Any], corner: str, cells: Cells, multi: Cells) -> list[dict[str, Any]]:
    """Return one row a query language, one column a passage language; empty where nothing was scored."""
    names = list(result["counts"]["passages_per_language"])
    rows = [x for x in names if x in multi or any(f"{x}-{y}" in cells for y in names)]
    pools = [y for y in names if any(f"{x}-{y}" in cells for x in names)]
    last = {x: {"multi": _cell(multi.get(x))} for x in rows} if multi else {x: {} for x in rows}
    return [{corner: x, **{y: _cell(cells.get(f"{x}-{y}")) for y in pools}, **last[x]} for x in rows]


def _cell(value: float | int | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def groups_table(groups: Mapping[str, Any], measures: Sequence[str]) -> Fitted:
    """Return the table of means over groups of languages (`group_means`)."""
    rows = [
        {
            "group": group,
            "setting": setting,
            **{name: f"{values[name]:.4f}" if name in values else "" for name in measures},
            "languages or pairs": values["rows"],
            "queries": values["queries"],
        }
        for group, settings in groups.items()
        for setting, values in settings.items()
    ]
    return plain_table(rows, "groups of languages and pairs")


def comparison_tables(result: Mapping[str, Any], screen: Screen) -> None:
    """Print who A and B are, the differences, their intervals drawn, and what was left out."""
    for side in ("a", "b"):
        name = result[side].get("model", "model not known")
        screen.print(f"{side.upper()}: {name} ({result[side]['file']})")
    rows = result["differences"]
    unit = result["unit"]
    benchmark = result["a"].get("benchmark", "not known")
    title = f"benchmark {benchmark}, over the rankings that both have, by {unit}"
    screen.console.print(plain_table([_cells(row) for row in rows], title, _BEFORE_VERDICT))
    for measure in dict.fromkeys(row["measure"] for row in rows):
        _draw([row for row in rows if row["measure"] == measure and row["low"] is not None], measure, screen)
    for row in rows:
        left_out = [f"{row[key]:,} {text}" for key, text in _LEFT_OUT.items() if row[key]]
        if left_out:
            screen.print(f"{row['setting']}/{row['measure']}: left out {', '.join(left_out)}")
    for note in result["notes"]:
        screen.print(note)
    screen.print(
        f"p: sign-flip permutation over {unit}s, two-sided ({result['draws']:,} draws or all); p Holm: corrected over "
        f"the settings of a measure, below .05 a verdict; interval: bootstrap over {unit}s. {_UNITS[unit]}. "
        f"Seed {result['seed']}. A verdict is about these two models: of the ways they were trained it says nothing, "
        "for that takes several seeds.",
        style="dim",
    )


def several_table(result: Mapping[str, Any], table: ReportTable, screen: Screen) -> None:
    """Print who the systems are, their figures with intervals and marks, and how to read them."""
    for system in result["systems"]:
        screen.print(f"{system['letter']}: {system.get('model', 'model not known')} ({system['file']})")
    rows = [{name: _lines(value) for name, value in zip(table.columns, row, strict=True)} for row in table.rows]
    screen.console.print(
        plain_table(rows, f"benchmark {result['benchmark']}, over {result['rankings']:,} rankings that all have")
    )
    for note in result["notes"]:
        screen.print(note)
    screen.print(f"{table.note.partition('. ')[2]} {_UNITS[result['unit']]}. Seed {result['seed']}.", style="dim")


def leaderboard_table(result: Mapping[str, Any], screen: Screen) -> None:
    """Print the encoders of a leaderboard, the best first, with what is significantly behind the best of a column."""
    rows = []
    for number, one in enumerate(result["encoders"]):
        shown = {"encoder": f"{number + 1}. {one['model']}"}
        for row in result["rows"]:
            best = Row(row["metric"], [Standing(**of) for of in row["standings"]], ())
            figure = format_metric(row["metric"], row["standings"][number]["value"])
            shown[row["metric"]] = f"{figure} {'*' if number in best.behind else ' '}"
        rows.append(shown)
    screen.console.print(plain_table(rows, f"benchmark {result['benchmark']}"))
    for note in result["notes"]:
        screen.print(note)
    screen.print(
        "*: significantly behind the best of the column, p < .05 with Holm's correction over all pairs", style="dim"
    )
    screen.print(f"page: {result['page']}")


def _lines(value: Value) -> str:
    """Return a cell as text, with what stands behind and below it."""
    text = format_value(value)
    return "\n".join([f"{text} {value.mark}".rstrip(), *value.small]) if isinstance(value, Cell) else text


def forest(low: float, middle: float, high: float, limit: float, width: int = _WIDTH) -> str:
    """Draw an interval within [-limit, limit] as ``width`` characters: ``(--o--)``, with ``|`` where 0 is."""

    def column(value: float) -> int:
        return round((value / limit + 1) / 2 * (width - 1)) if limit else width // 2

    line = [" "] * width
    line[column(low) : column(high) + 1] = "-" * (column(high) - column(low) + 1)
    line[width // 2] = "|"
    line[column(low)], line[column(high)] = "(", ")"
    line[column(middle)] = "o"
    return "".join(line)


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    digits = _DIGITS.get(row["measure"], 4)
    interval = "" if row["low"] is None else f"{row['low']:+.{digits}f} to {row['high']:+.{digits}f}"
    forms = {"a": f".{digits}f", "b": f".{digits}f", "difference": f"+.{digits}f"}
    a, b, difference = ("" if row[name] is None else format(row[name], form) for name, form in forms.items())
    return {
        "metric": f"{row['setting']}/{row['measure']}",
        "A": a,
        "B": b,
        "B - A": difference,
        "95 % interval": interval,
        "p": _chance(row["p"]),
        "p Holm": _chance(row["p_holm"]),
        "verdict": row["verdict"],
        "units": row["units"],
        "rankings": row["rankings"],
    }


def _chance(p: float | None) -> str:
    # Cut, not rounded: 0.04996 must not read 0.0500 beside the verdict of a p below .05.
    return "" if p is None else f"{math.floor(p * 1e4 + 1e-6) / 1e4:.4f}" if p >= 1e-4 else f"{p:.0e}"


def _draw(rows: Sequence[Mapping[str, Any]], measure: str, screen: Screen) -> None:
    width = min(_WIDTH, (screen.console.width - len(measure) - 11) // 2 * 2 + 1)
    if not rows or width < _LEAST_WIDTH:
        return
    limit = max(max(abs(row["low"]), abs(row["high"])) for row in rows)
    edge, half = f"{limit:.{_DIGITS.get(measure, 4)}f}", width // 2
    left, right = ("A ahead", "B ahead") if rows[0]["better"] == "max" else ("B ahead", "A ahead")
    screen.print(f"\n{'':8}{f'-{edge}  {left}':<{half}}0{f'{right}  +{edge}':>{half}}  {measure}")
    for row in rows:
        screen.print(f"{row['setting']:<8}{forest(row['low'], row['difference'], row['high'], limit, width)}")


def mined_table(result: dict[str, Any], screen: Screen) -> None:
    """Print what became of the candidates."""
    rows = [{"passages in": language, **counts} for language, counts in result["counts"].items()]
    screen.console.print(plain_table(rows, "candidates, and why they were left out"))
    screen.print(f"hard negatives for {result['mined']:,} of {result['groups']:,} groups: {result['file']}")
