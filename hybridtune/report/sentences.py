"""PURE. The report in sentences: what was searched, what won and by how much, how sure that is, in what state it is."""

from collections.abc import Sequence

from hybridtune.config.names import FIXED_ARMS, TUNED, contestant_name, short_name
from hybridtune.report.record import StudyRecord
from hybridtune.report.text import capital, counted, format_duration, format_metric, format_value, listed, plain_name
from hybridtune.storage.feasibility import constraint_line
from hybridtune.storage.trial_rows import TrialRow, wall_seconds

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
    arms = {
        "searched": "in each of four arms: mono-only, half-half, cross-only, and one whose mixing ratio is searched",
        "rerun": "and then mono-only, half-half and cross-only with the best trial's other values",
        "none": "without a fixed mixing ratio to compare with",
    }[search.arms]
    under = f", such that {listed(search.constraints)}" if search.constraints else ""
    return f"Searched {fields} for {goals}{under}, in {counted(search.trials, 'trial')}, {arms}."


def headline(record: StudyRecord) -> str:
    """Say how much the tuned trial gains and by what: the line that the study ended with, or how it stands so far."""
    written = (record.result or {}).get("headline")
    if written:
        return f"{capital(str(written).replace('+-', '±'))}."
    goal, best = record.goal, record.best
    if best is None:
        return "No trial has come to its last step yet."
    arms = {arm: trial for arm, trial in record.contestants.items() if arm in (TUNED, *FIXED_ARMS)}
    scores = [f"{arm} {format_metric(goal, trial.metrics[goal])} ({trial.label})" for arm, trial in arms.items()]
    return f"So far the best is {best.label}. On {goal}, by arm: {listed(scores)}."


def front(record: StudyRecord) -> str:
    """Say which trials no other beats on all goals; empty with one goal, where that is the best alone."""
    if len(record.goals) < 2 or not record.front:
        return ""
    names = listed([trial.label for trial in record.front])
    return (
        f"On the Pareto front of {listed(list(record.goals))}: {names}. No trial is at least as good on all of them as "
        f"one of these and better on one; the best is the one with the best {record.goal}, the first objective."
    )


def endings(record: StudyRecord) -> str:
    """Say why the search of an arm ended before its last trial; empty where none did."""
    return " ".join(f"{capital(line)}." for line in (record.result or {}).get("ended", []))


def constraints(record: StudyRecord) -> str:
    """Say whether the chosen trial meets the constraints; empty without any, and before there is one."""
    best = record.best
    line = constraint_line(record.study, record.trials, best) if best is not None else ""
    return f"{capital(line)}." if line else ""


def certainty(record: StudyRecord) -> str:
    """Say how sure the headline is."""
    if record.best is None:
        return ""
    if record.repeats:
        return "The contestants were trained again with other seeds: see the noise check below."
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


def named(record: StudyRecord, name: str) -> str:
    """Return a contestant's name in words."""
    return contestant_name(name, record.reference)


def status_counts(trials: Sequence[TrialRow]) -> str:
    """Return ``5 done, 2 stopped early``."""
    names = dict.fromkeys(trial.status for trial in trials)
    return ", ".join(f"{sum(trial.status == name for trial in trials)} {name}" for name in names) or "none"
