"""The tables of the report on scores: the paper's comparison with its intervals, the seed check, the test benchmark.

Intervals and verdicts are of `metrics.significance`, over the per-query values that a checkpoint keeps.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybridtune.config.names import TUNED, short_name
from hybridtune.errors import InputError
from hybridtune.metrics.measures import BIAS
from hybridtune.metrics.metrics import SETTINGS
from hybridtune.metrics.names import split_group
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.metrics.per_query import PerQuery, read_per_query
from hybridtune.metrics.significance import A_AHEAD, B_AHEAD, Difference, compare
from hybridtune.metrics.units import Unit, choose_unit, few_units
from hybridtune.report.chart import cell
from hybridtune.report.headline import noise_check
from hybridtune.report.intervals import DRAWS, Interval, count_units, difference_intervals, intervals
from hybridtune.report.record import StudyRecord, TrialRecord
from hybridtune.report.render import page_key
from hybridtune.report.sentences import named, status_counts
from hybridtune.report.text import (
    Cell,
    Table,
    Value,
    capital,
    counted,
    format_duration,
    format_end,
    format_metric,
    format_signed,
    listed,
)
from hybridtune.storage.feasibility import constraint_marks, constraint_metrics

PAPER = ("mono/AP", "cross/AP", "multi/AP", "multi/rank_distance")
_MOST_FRONT = 6  # trials of a Pareto front that are shown with the contestants
_VERDICTS = {B_AHEAD: "ahead", A_AHEAD: "behind"}


def shown_metrics(record: StudyRecord) -> list[str]:
    """Return the paper's metrics and the goals, as far as a trial has them."""
    names = dict.fromkeys([*PAPER, *record.goals, *constraint_metrics(record.study)])
    return [name for name in names if any(name in trial.metrics for trial in record.trials)]


def comparison(record: StudyRecord) -> Table:
    """Return the paper's table on dev: contestants, the front and the best, with 95 % intervals over units."""
    names, best = shown_metrics(record), record.best
    labels = {trial.id: f"{named(record, name)} ({trial.label})" for name, trial in record.contestants.items()}
    others = [trial for trial in [*record.front[:_MOST_FRONT], best] if trial is not None]
    chosen = list({trial.id: trial for trial in [*record.contestants.values(), *others]}.values())
    rows: list[Sequence[Value]] = []
    gone: list[str] = []
    read = [_read(trial.per_query) for trial in chosen]
    unit, caption = _unit([values for values in read if values is not None], names[0])
    for trial, values in zip(chosen, read, strict=True):
        if values is None:
            gone.append(trial.label)
        found = intervals(values, names, unit) if values is not None else {}
        label = labels.get(trial.id, trial.label) + (", best" if trial is best else "")
        figures = [_scored(name, trial.metrics, found) for name in names]
        rows.append([label, cell(record.value(trial, "mix.mixing_ratio")), *figures])
    notes = []
    first = best or next(iter(record.contestants.values()), None)
    if first is not None and first.scores is not None:
        notes.append(f"{_counts(first.scores['counts'])}, full ranking depth.")
    notes += caption
    if gone:
        notes.append(f"No interval for {', '.join(gone)}: its per-query values are gone with its checkpoint.")
    if best is not None:
        notes.append("Each was chosen among others by these figures, which favours it; the test benchmark does not.")
    return Table(
        "The paper's comparison, on the dev benchmark",
        ["model", "mixing ratio", *names],
        rows,
        " ".join(notes),
        marked=frozenset(i for i, trial in enumerate(chosen) if trial is best),
    )


def differences(record: StudyRecord) -> Table | None:
    """Return the differences of tuned from each rival, paired by unit; None where there is nothing to pair."""
    tuned = record.contestants.get(TUNED)
    ours = _read(tuned.per_query) if tuned is not None else None
    if tuned is None or ours is None or not record.rivals:
        return None
    names = shown_metrics(record)
    others = {name: _read(rival.per_query) for name, rival in record.rivals.items()}
    unit, _ = choose_unit([ours, *(values for values in others.values() if values is not None)])
    rows = [
        [f"against {named(record, name)}", *_differences(names, tuned, ours, rival, others[name], unit)]
        for name, rival in record.rivals.items()
    ]
    untested = [name for name in names if split_group(name)[0] not in PAPER]
    alone = f" {listed(untested)}: the interval alone, without a test." if untested else ""
    return Table(
        f"Tuned ({tuned.label}), minus each other contestant",
        ["difference", *names],
        rows,
        f"Paired by {unit}, one seed each. Small: 95 % bootstrap interval; ahead or behind, of these two models, where "
        f"a permutation test over {unit}s gives p below .05 (Holm over the settings of a measure), else unclear. Less "
        "rank distance is ahead."
        + alone
        + (" What other seeds change is in the noise check below." if record.repeats else ""),
    )


def _differences(
    names: Sequence[str],
    tuned: TrialRecord,
    ours: PerQuery,
    rival: TrialRecord,
    theirs: PerQuery | None,
    unit: Unit,
) -> list[Value]:
    """Return the tuned trial less another contestant: a cell a metric."""
    tested: Mapping[str, Difference] = {}
    found: Mapping[str, Interval] = {}
    if theirs is not None:
        tested = _paired(theirs, ours, names, unit)
        found = difference_intervals(theirs, ours, [name for name in names if name not in tested], unit)
    cells: list[Value] = []
    for name in names:
        apart, interval, test = None, found.get(name), tested.get(name)
        if test is not None and test.difference is not None:
            apart = test.difference
            interval = (test.low, test.high) if test.low is not None and test.high is not None else None
        elif name in tuned.metrics and name in rival.metrics:
            apart = tuned.metrics[name] - rival.metrics[name]
        words = [] if interval is None else [" to ".join(format_signed(name, end) for end in interval)]
        words += [_VERDICTS.get(test.verdict, "unclear")] if test is not None else []
        cells.append(None if apart is None else Cell(format_signed(name, apart), apart, words))
    return cells


def test_scores(record: StudyRecord) -> Table | None:
    """Return the scores of the best on the test benchmark, a measure a row; None where it was not scored there."""
    scores = (record.result or {}).get("test")
    if scores is None:
        return None
    metrics = scores["metrics"]
    measures = dict.fromkeys(name.partition("/")[2] for name in metrics)
    columns = [one for one in (*SETTINGS, "balanced") if any(name.startswith(f"{one}/") for name in metrics)]
    values = _read(record.folder / "best" / PER_QUERY)
    read = [values] if values is not None else []
    unit, caption = _unit(read, next(iter(metrics)))
    found = {name: one for values in read for name, one in intervals(values, list(metrics), unit).items()}
    rows = [[measure, *(_scored(f"{one}/{measure}", metrics, found) for one in columns)] for measure in measures]
    source = record.study.benchmarks.test
    best = capital(record.best.label) if record.best is not None else "The best"
    return Table(
        f"{best} on the test benchmark{f', {source.path}' if source is not None else ''}",
        ["measure", *columns],
        rows,
        " ".join(
            [
                f"{_counts(scores['counts'])}. This benchmark steered nothing.",
                *caption,
                "Balanced is the harmonic mean of the three settings.",
                *(f"{note.rstrip('.')}." for note in scores["notes"]),
            ]
        ),
    )


def test_groups(record: StudyRecord) -> Table | None:
    """Return means over groups of languages on the test benchmark: seen and unseen, rich and low-resource."""
    groups: Mapping[str, Any] = ((record.result or {}).get("test") or {}).get("groups") or {}
    if len(groups) < 2:
        return None
    names = dict.fromkeys(name for settings in groups.values() for values in settings.values() for name in values)
    measures = [name for name in names if name not in ("rows", "queries", *BIAS)][:3]
    rows = [
        [group, setting, *(_scored(name, values, {}) for name in measures), values["rows"], values["queries"]]
        for group, settings in groups.items()
        for setting, values in settings.items()
    ]
    columns = ["group", "setting", *measures, "languages or pairs", "rankings"]
    return Table("Groups of languages and pairs, test benchmark", columns, rows)


def all_trials(record: StudyRecord) -> Table:
    """Return every trial: its values, its status, and its scores."""
    names = list(dict.fromkeys([*record.goals, *shown_metrics(record)]))
    fields = list(dict.fromkeys(name for trial in record.trials for name in trial.values))
    front = {trial.id for trial in record.front} if len(record.goals) > 1 else set()
    meet = constraint_marks(record.study, record.trials)
    arms = {trial.arm for trial in record.trials}
    rows: list[Sequence[Value]] = []
    for trial in record.listed:
        mark = ", best" if trial is record.best else ", front" if trial.id in front else ""
        step = trial.metrics.get("step")
        rows.append(
            [
                Cell(f"{trial.label}{mark}", trial.number, link=page_key(trial)),
                *([trial.arm] if len(arms) > 1 else []),
                trial.proposed,
                trial.status,
                *([meet.get(trial.id)] if meet else []),
                *(_scored(name, trial.metrics, {}) for name in names),
                *(cell(record.shown_value(trial, name)) for name in fields),
                None if step is None else int(step),
                Cell(format_duration(trial.seconds), trial.seconds),
            ]
        )
    marked = frozenset(i for i, trial in enumerate(record.listed) if trial is record.best)
    columns = [
        "trial",
        *(["arm"] if len(arms) > 1 else []),
        "proposed",
        "status",
        *(["meets the constraints"] if meet else []),
        *names,
        *map(short_name, fields),
        "step",
        "time",
    ]
    note = (
        "Scores on the dev benchmark: of a trial that is done, those of its best checkpoint; of any other, its last. "
        "Proposed by the study file, a point of it, the screening, a draw at random, the sampler, or after the search "
        "(rerun). "
        "Click a heading to sort, a trial's name for all there is of it."
    )
    title = f"{counted(len(record.trials), 'trial')}: {status_counts(record.trials)}"
    left_out = " ".join([record.left_out, note]).strip()
    filters = {"search": "trial", "choose": "arm,status", "limit": record.goal, "mode": record.mode}
    return Table(title, columns, rows, left_out, sortable=True, marked=marked, filters=filters)


def seed_check(record: StudyRecord) -> list[Table]:
    """Return the noise check as tables: means over fresh seeds, what tuned gains by what, the same of centred ones."""
    scored = (record.result or {}).get("contestant_scores")
    benchmark, found = noise_check({"contestant_scores": scored, "repeats": record.repeats})
    if not found:
        return []
    names: list[str] = found["metrics"]
    contestants, title = found["contestants"], f"Noise check on the {benchmark} benchmark"
    rows: list[Sequence[Value]] = [
        [named(record, who), *(_mean_of_seeds(name, one["metrics"].get(name)) for name in names)]
        for who, one in contestants.items()
    ]
    failed = [name for one in contestants.values() for name in one["failed"]]
    first = "the first run, which the search chose by and which" if benchmark == "dev" else "the first run, which"
    note = (
        f"Each was trained again with {found['n']} fresh seeds. Small: sample standard deviation, seeds, and {first} "
        "is in no mean."
    )
    if failed:
        note += f" Failed: {', '.join(failed)}."
    tables = [Table(f"{title}: means over fresh seeds", ["model", *names], rows, note)]
    if found["against"]:
        rows = _differences_of_seeds(record, "tuned", found["against"], names)
        if found["other_values"] is not None:
            apart = [_difference_of_seeds(name, found["other_values"].get(name)) for name in names]
            rows.append([f"{record.reference}: tuned's other values against the file's", *apart])
        tables.append(Table(f"{title}: the mix and the other values", ["difference", *names], rows, _test_words(found)))
    if found["against_centred"]:
        rows = _differences_of_seeds(record, "tuned, centred,", found["against_centred"], names)
        tables.append(Table(f"{title}: tuned and centred", ["difference", *names], rows, _test_words(found)))
    return tables


def _differences_of_seeds(
    record: StudyRecord, one: str, against: Mapping[str, Any], names: Sequence[str]
) -> list[Sequence[Value]]:
    return [
        [f"{one} against {named(record, who)}", *(_difference_of_seeds(name, versus.get(name)) for name in names)]
        for who, versus in against.items()
    ]


def _test_words(found: Mapping[str, Any]) -> str:
    """Say what the differences over seeds are, and their verdicts."""
    words = (
        "Difference of the means over fresh seeds, its 95 % interval from the seeds, and the verdict, which also asks "
        f"a paired test over {found['unit']}s (Holm over the settings of a measure)."
    )
    return words + (f" {capital(found['unit_note'])}." if found["unit_note"] else "")


def _mean_of_seeds(name: str, found: Mapping[str, Any] | None) -> Value:
    if found is None or found.get("mean") is None:
        return None
    spread = [] if found["spread"] is None else [f"± {format_metric(name, found['spread'])}"]
    first = [] if found.get("first") is None else [f"first {format_metric(name, found['first'])}"]
    small = [", ".join([*spread, f"n {found['n']}"]), *first]
    return Cell(format_metric(name, found["mean"]), found["mean"], small)


def _difference_of_seeds(name: str, found: Mapping[str, Any] | None) -> Value:
    if found is None or found.get("difference") is None:
        return None
    text, *ends = [
        "" if value is None else f"{'+' if value >= 0 else '−'}{format_metric(name, abs(value))}"
        for value in (found["difference"], found["low"], found["high"])
    ]
    small = [f"{ends[0]} to {ends[1]}"] if all(ends) else []
    return Cell(text, found["difference"], [*small, found["verdict"]])


def _scored(name: str, metrics: Mapping[str, float], found: Mapping[str, Interval]) -> Value:
    """Return a metric with its interval, where it has one."""
    if name not in metrics:
        return None
    small = [f"{format_end(name, found[name][0])} to {format_end(name, found[name][1])}"] if name in found else []
    return Cell(format_metric(name, metrics[name]), metrics[name], small)


def _unit(read: Sequence[PerQuery], metric: str) -> tuple[Unit, list[str]]:
    """Return the unit of the intervals of a table, and what its caption says of them."""
    unit, note = choose_unit(read)
    count = max((count_units(values, metric, unit) for values in read), default=0)
    if not count:
        return unit, []
    what = f"Small: 95 % bootstrap intervals over {count:,} {unit}s ({DRAWS:,} resamples)"
    return unit, [f"{capital(line)}." for line in (what, note, few_units(unit, count)) if line]


def _paired(theirs: PerQuery, ours: PerQuery, names: Sequence[str], unit: Unit) -> dict[str, Difference]:
    tested = (name.partition("/")[2] for name in names if split_group(name)[0] in PAPER)
    measures = [
        name
        for name in dict.fromkeys(["AP", "rank_distance", *tested])
        if split_group(name)[0] in theirs.measures and split_group(name)[0] in ours.measures
    ]
    try:
        found = compare(theirs, ours, measures, unit=unit, draws=DRAWS).differences
    except InputError:  # scored on other benchmarks, as after a warm start from another study's files
        return {}
    return {f"{one.setting}/{one.measure}": one for one in found}


def _counts(counts: Mapping[str, Any]) -> str:
    queries = ", ".join(f"{number:,} {setting}" for setting, number in counts["queries"].items())
    return f"Queries: {queries}; pool of {counts['passages']:,} passages"


def _read(file: Path | None) -> PerQuery | None:
    """Read the per-query values; None where the file is gone or broken."""
    try:
        return None if file is None else read_per_query(file)
    except InputError:
        return None
