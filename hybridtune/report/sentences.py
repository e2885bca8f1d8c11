"""PURE. The report in sentences: what was searched, what won and by how much, how sure that is, in what state it is."""

from collections.abc import Sequence

from hybridtune.config.names import short_name
from hybridtune.report.headline import headline as study_headline
from hybridtune.report.record import StudyRecord, TrialRecord
from hybridtune.report.text import capital, counted, format_duration, format_metric, format_value, listed, plain_name
from hybridtune.storage.trial_rows import wall_seconds

_MOST_VALUES = 4  # of the best trial, at the top of the page
STATES = {  # what the page says of a study that has not ended
    "finished": "",
    "running": "This study is running: what stands here is what it has so far.",
    "cut off": "This study has not ended, and no trial of it runs now: what stands here is what it has come to.",
}


def searched(record: StudyRecord) -> str:
    """Say what was searched, for which goal, and in how many trials."""
    search = record.study.search
    goals = listed([f"{name} ({'more' if mode == 'max' else 'less'} is better)" for name, mode in record.goals.items()])
    fields = listed([short_name(name) for name in search.space]) or "nothing"
    baselines = " after the three baselines, which train with the study's fixed values" if search.baselines else ""
    return f"Searched {fields} for {goals}, in {counted(search.trials, 'trial')}{baselines}."


def headline(record: StudyRecord) -> str:
    """Say what won and by how much, with the line that the study ends with."""
    written = (record.result or {}).get("headline")
    if written:
        return capital(str(written).replace("+-", "±"))
    best = record.best
    if best is None:
        return "No trial has come to its last step yet."
    trials = [vars(trial) for trial in record.trials]
    so_far = study_headline(record.study, {"best": vars(best), "trials": trials, "repeats": record.repeats})
    return f"{capital(so_far.replace('+-', '±'))}."


def front(record: StudyRecord) -> str:
    """Say which trials no other beats on all goals; empty with one goal, where that is the best alone."""
    if len(record.goals) < 2 or not record.front:
        return ""
    names = listed([trial.label for trial in record.front])
    return (
        f"On the Pareto front of {listed(list(record.goals))}: {names}. No trial is at least as good on all of them as "
        f"one of these and better on one; the best is the one with the best {record.goal}, the first objective."
    )


def certainty(record: StudyRecord) -> str:
    """Say how sure the headline is."""
    if record.best is None:
        return ""
    if record.repeats:
        return "The best and the baselines were trained again with other seeds: see the noise check below."
    if record.study.search.repeat_best and not record.finished:
        return (
            "One seed each so far: what another seed changes is told once the noise check (search.repeat_best) is done."
        )
    return (
        "One seed each: what another seed would change is not measured (search.repeat_best measures it). The intervals "
        "say what other questions would change."
    )


def facts(record: StudyRecord) -> list[tuple[str, str]]:
    """Return the few figures that a reader looks for first, each with its name."""
    found: list[tuple[str, str]] = []
    best = record.best
    if best is not None:
        found += [(name.replace("_", " "), format_metric(name, best.metrics[name])) for name in record.goals]
        for name, value in list(best.values.items())[:_MOST_VALUES]:
            shown = format_value(value) if isinstance(value, (str, int, float)) else str(value)
            found.append((plain_name(name), shown))
    times = format_duration(wall_seconds(record.trials))
    return [*found, ("trials", f"{len(record.trials)}"), ("time of trials", times)]


def no_test(record: StudyRecord) -> str:
    """Say why there is no score on the test benchmark."""
    if record.study.benchmarks.test is None:
        return "The study names no test benchmark (benchmarks.test): these figures are those that steered the search."
    return "The best model is scored on the test benchmark when the study ends." if not record.finished else ""


def baselines(record: StudyRecord) -> list[TrialRecord]:
    """Return the baselines that have a score on the first goal, in the order of the paper's table."""
    found = {trial.baseline: trial for trial in record.scored([record.goal])}
    return [found[name] for name in ("mono-only", "cross-only", "half-half") if name in found]


def tuned_label(record: StudyRecord) -> str:
    """Return the name of the best beside the baselines."""
    best = record.best
    return "" if best is None else best.label if best.baseline else f"tuned ({best.label})"


def status_counts(trials: Sequence[TrialRecord]) -> str:
    """Return ``5 done, 2 stopped early``."""
    names = dict.fromkeys(trial.status for trial in trials)
    return ", ".join(f"{sum(trial.status == name for trial in trials)} {name}" for name in names) or "none"
