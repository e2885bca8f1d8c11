"""PURE. The report in sentences: what was searched, what won and by how much, how sure that is, in what state it is."""

import time
from collections.abc import Sequence
from typing import Any

from hybridtune.config.names import short_name
from hybridtune.report.chart import counted, plain_name, said
from hybridtune.report.markup import figure
from hybridtune.report.record import StudyRecord, TrialRecord

_MOST_VALUES = 4  # of the best trial, at the top of the page
_UNTIL = {
    "finished": "",
    "running": "This study is running: what stands here is what it has so far.",
    "cut off": "This study has not ended, and no trial of it runs now: what stands here is what it has come to.",
}


def asked(record: StudyRecord) -> str:
    """What was searched, for which goal, and in how many trials."""
    search = record.study.search
    goals = listed([f"{name} ({'more' if mode == 'max' else 'less'} is better)" for name, mode in record.goals.items()])
    searched = listed([short_name(name) for name in search.space]) or "nothing"
    baselines = " after the three baselines, which train with the study's fixed values" if search.baselines else ""
    return f"Searched {searched} for {goals}, in {counted(search.trials, 'trial')}{baselines}."


def headline(record: StudyRecord) -> str:
    """What won, by how much, and whether that is beyond noise: as the study's summary says it, where it has ended."""
    told = (record.result or {}).get("headline")
    if told:
        return capital(str(told).replace("+-", "±"))
    best = record.best
    if best is None:
        return "No trial has come to its last step yet."
    goal, mode = next(iter(record.goals.items()))
    value, others = best.metrics[goal], [trial for trial in baselines(record) if trial is not best]
    have = f"{capital(best.label)} has {goal} {said(goal, value)}"
    if best.baseline:
        searched = [trial for trial in record.trials if trial.baseline is None and trial.status == "done"]
        if not searched:
            return f"{have}; no searched trial is done."
        count = f"{len(searched)} that {'is' if len(searched) == 1 else 'are'} done"
        return f"{have}: no searched trial of the {count} is better on it than this baseline."
    if not others:
        return f"{have}, the best of {counted(sum(t.status == 'done' for t in record.trials), 'trial')}."
    rival = max(others, key=lambda trial: trial.metrics[goal] * (1 if mode == "max" else -1))
    if value == rival.metrics[goal]:
        return f"{have}, the same as {rival.label}, the best baseline."
    side = "above" if value > rival.metrics[goal] else "below"
    return (
        f"{have}, {said(goal, abs(value - rival.metrics[goal]))} {side} {rival.label}, the best baseline "
        f"({said(goal, rival.metrics[goal])})."
    )


def front(record: StudyRecord) -> str:
    """Which trials no other beats on all goals; empty with one goal, where that is the best alone."""
    if len(record.goals) < 2 or not record.front:
        return ""
    names = listed([trial.label for trial in record.front])
    first = next(iter(record.goals))
    return (
        f"On the Pareto front of {listed(list(record.goals))}: {names}. No trial is at least as good on all of them as "
        f"one of these and better on one; the best is the one with the best {first}, the first objective."
    )


def certainty(record: StudyRecord) -> str:
    """How sure the headline is."""
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
        "say what other topics would change."
    )


def facts(record: StudyRecord) -> list[tuple[str, str]]:
    """The few figures that a reader looks for first: (what, value)."""
    found: list[tuple[str, str]] = []
    best = record.best
    if best is not None:
        found += [(name.replace("_", " "), said(name, best.metrics[name])) for name in record.goals]
        found += [(plain_name(name), _value(value)) for name, value in list(best.values.items())[:_MOST_VALUES]]
    found.append(("trials", f"{len(record.trials)}"))
    found.append(("time of trials", duration(wall_seconds(record.trials))))
    return found


def no_test(record: StudyRecord) -> str:
    """Why there is no score on the test benchmark."""
    if record.study.benchmarks.test is None:
        return "The study names no test benchmark (benchmarks.test): these figures are those that steered the search."
    return "The best model is scored on the test benchmark when the study ends." if not record.finished else ""


def state(record: StudyRecord) -> str:
    """A sentence on a study that has not ended; empty for one that has."""
    return _UNTIL[record.state]


def baselines(record: StudyRecord) -> list[TrialRecord]:
    """The baselines that have a score on the first goal, in the order of the paper's table."""
    order = ("mono-only", "cross-only", "half-half")
    goal = next(iter(record.goals))
    found = {trial.baseline: trial for trial in record.trials if goal in trial.metrics}
    return [found[name] for name in order if name in found]


def tuned_label(record: StudyRecord) -> str:
    """What the best is called beside the baselines."""
    best = record.best
    return "" if best is None else best.label if best.baseline else f"tuned ({best.label})"


def status_counts(trials: Sequence[TrialRecord]) -> str:
    """``5 done, 2 stopped early``."""
    names = list(dict.fromkeys(trial.status for trial in trials))
    return ", ".join(f"{sum(trial.status == name for trial in trials)} {name}" for name in names) or "none"


def capital(text: str) -> str:
    """The text with a capital first: it begins a sentence or stands above a table."""
    return text[:1].upper() + text[1:]


def duration(seconds: float) -> str:
    """A length of time as people say it: ``74 s``, ``12 min``, ``3 h 5 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def moment(seconds: float) -> str:
    """A time of the epoch, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def wall_seconds(trials: Sequence[TrialRecord]) -> float:
    """Time in which a trial ran: gaps between runs of the study do not count, trials side by side count once."""
    total, until = 0.0, 0.0
    for began, ended in sorted((t.began, t.began + t.seconds) for t in trials if t.began):
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total


def _value(value: Any) -> str:
    return figure(value) if isinstance(value, (str, int, float)) else str(value)


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
