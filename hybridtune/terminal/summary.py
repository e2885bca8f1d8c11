"""The lines of a command that runs a study, before it starts and after it ends: tables, counts, what to type next."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from hybridtune.config.names import TUNED, contestant_name, short_name
from hybridtune.config.study import Study, dump_study
from hybridtune.report.contestants import centring_words
from hybridtune.report.headline import chance, noise_check
from hybridtune.report.screening import screening_words
from hybridtune.report.soups import soup_words, soups_of
from hybridtune.report.text import format_duration, format_end, format_metric, format_signed
from hybridtune.search.arms import expected_trials, searched
from hybridtune.storage.feasibility import constraint_marks, constraint_metrics
from hybridtune.storage.screening_rows import Screening
from hybridtune.storage.trial_rows import TrialRow, spent
from hybridtune.study.preflight import Preflight
from hybridtune.study.summary import opening_lines, trials_line
from hybridtune.terminal.fitted import Fitted
from hybridtune.terminal.scores import groups_table
from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import FIGURES, column_head, explain_marks, plain_table, trials_table


def show_plan(preflight: Preflight, described: Mapping[str, Any], screen: Screen) -> None:
    """Print what ``--dry-run`` found."""
    screen.print(dump_study(preflight.study))
    screen.console.print(plain_table(described["languages"], "training pairs"))
    for line in opening_lines(preflight):
        screen.line(line)
    show_batches(preflight, described["plan"], screen)
    screen.line(
        f"{trials_line(preflight.study)}, {described['concurrent_trials']} at once, "
        f"{described['evaluators']} evaluator actors; nothing was started or written"
    )


def _steps_of_table(study: Study, plan: Mapping[str, Any]) -> str:
    steps, counted = study.train.max_steps, plan.get("table_steps")
    return f"{steps} steps" if counted is None else f"the first {counted} of {steps} steps"


def show_batches(preflight: Preflight, plan: Mapping[str, Any], screen: Screen) -> None:
    """Print the batches of the fixed values, as `describe` describes their plan."""
    mix = preflight.study.mix
    screen.console.print(
        plain_table(plan["table"], f"batches of the fixed values, {_steps_of_table(preflight.study, plan)}")
    )
    screen.line(f"mixing ratio requested {plan['requested_ratio']:.4g}, realised {plan['realised_ratio']:.4f}")
    if mix.align_share:
        screen.line(f"align share requested {mix.align_share:g}, realised {plan['realised_align_share']:.4f}")


def study_summary(study: Study, result: Mapping[str, Any], screen: Screen) -> None:
    """Print the table of trials, what it cost, the best values, whether they are better, and where everything is."""
    rows = [TrialRow(**trial) for trial in result["trials"]]
    best = result["best"]
    goals = [*study.search.objective, *constraint_metrics(study)]
    screen.console.print(trials_table(goals, rows, best["id"], meet=constraint_marks(study, rows)))
    marks = explain_marks(rows)
    screen.console.print(
        "* best; ratio: share of mono batches; mono, cross, multi: AP on the dev benchmark" + (marks and f"; {marks}"),
        style="dim",
    )
    for reason in dict.fromkeys(row.reason for row in rows if row.reason):
        names = ", ".join(row.label for row in rows if row.reason == reason)
        screen.print(f"{names} failed: {reason}")
    screen.print(trial_counts(study, rows))
    if result.get("screening"):
        found = {key: value for key, value in result["screening"].items() if key != "trials"}
        screened = [TrialRow(**row) for row in result["screening"]["trials"]]
        screen.print(screening_words(study, Screening(**found), screened, rows))
    shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in best["values"].items()}
    values = ", ".join(f"{short_name(key)} {value}" for key, value in shown.items())
    screen.print(f"best: {TrialRow(**best).label} ({values})")
    for line in result.get("ended", []):
        screen.print(line)
    if result.get("constraints"):
        screen.print(result["constraints"])
    if len(result["front"]) > 1:
        screen.print(f"Pareto front: {', '.join(result['front'])}")
    if result.get("contestant_scores"):
        print_contestants(result["contestant_scores"], study.search.objective[0], screen)
    _print_noise(result, study.search.objective[0], screen)
    if result.get("soups"):
        _print_soups(result, study.search.objective[0], screen)
    screen.print(result["headline"], style="bold")
    _print_locations(result, screen)


def _print_soups(result: Mapping[str, Any], goal: str, screen: Screen) -> None:
    """Print the averages of weights that were scored on dev, and what the best one is."""
    rows, names = soups_of(result), list(dict.fromkeys([goal, *FIGURES]))
    table = [
        {"weights": row.label + (" *" if row.id == result["soups"]["best"] else "")}
        | {column_head(name): format_metric(name, row.metrics.get(name)) for name in names}
        for row in rows
    ]
    screen.console.print(plain_table(table, "soups on the dev benchmark: weights averaged, no training (* best)"))
    best = next(row for row in rows if row.id == result["soups"]["best"])
    screen.print(soup_words(best, len(rows), TrialRow(**result["best"]), goal))
    if result["soups"]["model"]:
        screen.print(f"it is above the best trial there, and is written to {result['soups']['model']}")


def trial_counts(study: Study, rows: Sequence[TrialRow]) -> str:
    """Return ``9 trials requested: 5 done, 4 stopped early; 1,900 of 2,700 steps in 3 min``, with the budget if any."""
    after, rows = [row for row in rows if row.proposed == "rerun"], searched(rows)
    took, steps = spent(rows)
    counts = Counter(row.status for row in rows)
    expected, search = expected_trials(study), study.search
    begun = [f"{count} {status}" for status, count in counts.items()]
    if len(rows) < expected:
        begun.append(f"{expected - len(rows)} not begun")
    line = f"{expected} trials requested: {', '.join(begun)}; {steps:,} of {expected * study.train.max_steps:,} steps"
    limits = [f"{search.time_budget}"] if search.time_budget is not None else []
    limits += [f"{search.step_budget:,} steps"] if search.step_budget is not None else []
    line += f" in {format_duration(took)}" + (f" (budget: {', '.join(limits)})" if limits else "")
    return line + (f"; after it {len(after)} more in {format_duration(spent(after)[0])}" if after else "")


def _print_noise(result: Mapping[str, Any], metric: str, screen: Screen) -> None:
    """Print the contestants over other seeds on one metric, where there are any."""
    benchmark, found = noise_check(result)
    if not found:
        return
    beside = result["reference"]["arm"] if result["reference"] is not None else None
    title = f"{metric} with other seeds, {benchmark} benchmark (+-: 95 % interval; p: paired by {found['unit']})"
    goes_first = ("first run", "trial", "spread", "seeds", "p", "mean")
    screen.console.print(plain_table(_noise_rows(found, beside, metric), title, goes_first))
    if found["unit_note"]:
        screen.print(found["unit_note"], style="dim")


def _noise_rows(repeats: Mapping[str, Any], beside: str | None, metric: str) -> list[dict[str, Any]]:
    """Return the noise check on one metric, a contestant a row; ``beside`` is the strongest fixed ratio, if any."""
    table = []
    for who, contestant in repeats["contestants"].items():
        found, versus = contestant["metrics"][metric], repeats["against"].get(who, {}).get(metric, {})
        half = None if versus.get("low") is None else (versus["high"] - versus["low"]) / 2
        table.append(
            {
                "contestant": contestant_name(who, beside),
                "trial": contestant["trial"],
                "first run": format_metric(metric, found["first"]),
                "mean": format_metric(metric, found["mean"]),
                "spread": format_metric(metric, found["spread"]),
                "seeds": found["n"],
                "tuned is ahead by": format_metric(metric, versus.get("difference")),
                "+-": format_metric(metric, half),
                "p": "" if versus.get("p_holm") is None else chance(versus["p_holm"]).removeprefix("p "),
                "tuned is": versus.get("verdict", ""),
            }
        )
    return table


def print_contestants(found: Mapping[str, Any], goal: str, screen: Screen) -> None:
    """Print the scores of all contestants with their intervals, and how far the tuned model is from each."""
    counts, names = found["counts"], found["metrics"]
    screen.print(
        f"all contestants on the {found['benchmark']} benchmark ({max(counts['queries'].values()):,} queries, pool of "
        f"{counts['passages']:,} passages), with 95 % intervals over {found['units']:,} {found['unit']}s"
    )
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("contestant")
    for name in names:
        table.add_column(column_head(name), justify="right", no_wrap=True)
    table.add_column(f"tuned minus it, {column_head(goal)}", justify="right")
    for row in found["rows"]:
        cells = [_with_interval(name, row["metrics"].get(name), "value") for name in names]
        apart = _with_interval(goal, row["tuned_minus_it"].get(goal), "difference")
        table.add_row(Text(row["name"]), *cells, apart, style="bold" if row["contestant"] == TUNED else None)
    screen.console.print(Fitted(table, [column_head(name) for name in reversed(names) if name != goal]))
    for note in found["unit_notes"]:
        screen.print(note, style="dim")
    screen.print("One seed each: the intervals are of these models, not of their mixes.", style="dim")
    screen.print(centring_words(found["centring"]), style="dim")


def _with_interval(name: str, one: Mapping[str, Any] | None, key: str) -> Text:
    """Return a figure, signed where it is a difference, and its interval on a line of its own."""
    if one is None:
        return Text()
    shown, end, between = (
        (format_signed, format_signed, " to ") if key == "difference" else (format_metric, format_end, "–")
    )
    if one["low"] is None:
        return Text(shown(name, one[key]))
    ends = re.sub(r"(?<!\d)0\.", ".", between.join(end(name, one[side]) for side in ("low", "high")))
    return Text.assemble(shown(name, one[key]), "\n", (ends, "dim"))


def train_summary(result: Mapping[str, Any], screen: Screen) -> None:
    """Print the scores of one fit, and where its model is."""
    rows = [{"metric": key, "dev": format_metric(key, value)} for key, value in result["metrics"].items() if "/" in key]
    screen.console.print(plain_table(rows, "dev benchmark"))
    _print_locations(result, screen)


def _print_locations(result: Mapping[str, Any], screen: Screen) -> None:
    test = result["test"]
    if test is not None:
        metrics = test["metrics"]
        shown = [f"{key} {metrics[key]:.4f}" for key in ("mono/AP", "cross/AP", "multi/AP") if key in metrics]
        if "multi/rank_distance" in metrics:
            shown.append(f"rank distance {metrics['multi/rank_distance']:.1f}")
        queries = max(test["counts"]["queries"].values())
        screen.print(f"test benchmark ({queries:,} queries): {', '.join(shown)}")
        if len(test["groups"]) > 1:
            screen.console.print(groups_table(test["groups"], ["AP", "nDCG@10", "R@10"]))
    screen.print(f"model: {result['model']}")
    screen.print(f"study: {result['study']}")
    if result.get("report"):
        screen.print(f"report: {result['report']}")
    screen.print(f"next:  hybridtune evaluate {result['model']} --benchmark PATH")
