"""The noise check: every contestant trained again with other seeds, and compared.

On the dev benchmark it becomes ``repeats.json``; on the one that the contestants are scored on, a part of
``result.json`` (`study.seed_scores`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hybridtune.config.names import CENTRED, SOUP, TUNED
from hybridtune.config.study import Study
from hybridtune.metrics.metrics import SETTINGS, direction
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.metrics.per_query import PerQuery, read_per_query
from hybridtune.metrics.significance import ALPHA, averaged, holm, paired_by_seed, paired_by_unit, welch
from hybridtune.metrics.units import Unit, choose_unit
from hybridtune.report.headline import BETTER, NOISE, UNKNOWN, WORSE
from hybridtune.search.arms import ARM, PROPOSED, Reference, contestants, reference
from hybridtune.search.study import TRIALS, Listed, run_trials
from hybridtune.search.trial_log import Display, TrialLog
from hybridtune.storage.copies import ensure_local
from hybridtune.storage.files import exists, join
from hybridtune.storage.soup_rows import SOUPS, SoupRow
from hybridtune.storage.trial_rows import SETTLED, TrialRow, read_rows
from hybridtune.train.fit import WorkerGroups
from hybridtune.train.job_queue import FitJob

REPEATS = "repeats"  # in the study folder; laid out like a study folder of its own
_SHOWN = ("balanced/AP", "mono/AP", "cross/AP", "multi/AP", "multi/rank_distance")
_SEEDS = 2**31  # a study's seed lies below


@dataclass(frozen=True)
class Repeat:
    """A training of a contestant with another seed than the study's, and what its best checkpoint scored, if any."""

    name: str  # of its folder, like tuned-s1
    contestant: str
    seed: int
    values: dict[str, Any]  # of the fields that its trial set
    metrics: dict[str, float] = field(default_factory=dict)


def run_repeats(job: FitJob, folder: Path, location: str, groups: WorkerGroups, display: Display) -> dict[str, Any]:
    """Train the repeats of ``search.repeat_best`` that an earlier run has not settled, and return `compare_seeds`.

    Args:
        job: the fit of the study's fixed values.
        folder: the study folder, its search and its reruns at an end.
        location: of the study, with its checkpoints.
        groups: train the repeats, as many at once.
        display: called as (all rows, changed row) at every change.
    """
    study, rows = job.study, read_rows(folder)
    who = contestants(study, rows)
    wanted = repeat_points(study, who)
    repeats = folder / REPEATS
    repeats.mkdir(exist_ok=True)
    settled = {row.id for row in read_rows(repeats) if row.status in SETTLED}
    left = [
        _config(number, one, who[one.contestant].arm) for number, one in enumerate(wanted) if one.name not in settled
    ]
    if left:
        TrialLog.displays[str(repeats)] = display
        run_trials(
            replace(job, storage=join(location, REPEATS, TRIALS), home=str(repeats / TRIALS)),
            Listed(left),
            repeats,
            trials=len(left),
            groups=groups,
            callbacks=[TrialLog(folder, part=REPEATS)],
        )
    return compare_repeats(study, folder, location)


def done_repeats(folder: Path) -> dict[str, TrialRow]:
    """Return the repeats of a study folder that came to their end, by name, like ``tuned-s1``."""
    return {row.id: row for row in read_rows(folder / REPEATS) if row.status == "done"}


def compare_repeats(
    study: Study, folder: Path, location: str, soup: SoupRow | None = None, soups: Sequence[SoupRow] = ()
) -> dict[str, Any]:
    """Return `compare_seeds` of the repeats that a study folder holds.

    Args:
        study: the study file.
        folder: of the study.
        location: of the study, with its checkpoints.
        soup: a soup of the study, which is compared like a contestant; None: none.
        soups: the same of the repeats of each seed, by the names ``soup-s1``, ``soup-s2``, ...
    """
    rows, done = read_rows(folder), done_repeats(folder)
    who = contestants(study, rows)
    ran = [
        replace(one, metrics=done[one.name].metrics) if one.name in done else one for one in repeat_points(study, who)
    ]
    locations = {name: join(location, row.checkpoint, PER_QUERY) for name, row in done.items() if row.checkpoint}
    files = {name: ensure_local(location) for name, location in locations.items() if exists(location)}
    if soup is not None:
        who[SOUP] = TrialRow(soup.label, -1, SOUP, {}, soup.metrics, "done")
        own = {row.id: row.metrics for row in soups}
        wanted = repeat_points(study, {SOUP: who[SOUP]})
        ran += [replace(one, metrics=own.get(one.name, {})) for one in wanted]
        files |= {name: folder / REPEATS / SOUPS / name / PER_QUERY for name in own}
    return compare_seeds(study, who, reference(study, rows), ran, files)


def _config(number: int, one: Repeat, arm: str) -> dict[str, Any]:
    return {**one.values, "number": number, ARM: arm, PROPOSED: "repeat", "name": one.name, "seed": one.seed}


def repeat_points(study: Study, who: Mapping[str, TrialRow]) -> list[Repeat]:
    """Return the trainings of ``search.repeat_best``, seed by seed, so that a part of them has all contestants."""
    repeats = []
    for count in range(1, study.search.repeat_best + 1):
        seed = (study.seed + count) % _SEEDS
        for contestant, row in who.items():
            values = {name: value for name, value in row.values.items() if name != "seed"}
            repeats.append(Repeat(f"{contestant}-s{count}", contestant, seed, values))
    return repeats


def compare_seeds(
    study: Study,
    who: Mapping[str, TrialRow],
    beside: Reference | None,
    repeats: Sequence[Repeat],
    files: Mapping[str, Path],
) -> dict[str, Any]:
    """Compare the contestants over fresh seeds, on one benchmark.

    The runs by which contestants were chosen are optimistic: among many trials the luckiest wins. So means, spreads and
    tests are over the fresh seeds alone, of all contestants alike, and the first run is shown beside them. One is
    called better (or worse) than another where the 95 % Welch interval over seeds leaves out 0 and the test paired
    by topics or documents (`choose_unit`) has p < 0.05, on the means over seeds of each query; else their difference is
    within noise. With fewer than 2 fresh seeds on a side, or fewer than 2 units, it is not measured. Nothing is
    corrected for the number of metrics or contestants.

    Args:
        study: the study file.
        who: the contestants, with the metrics of their first runs.
        beside: the strongest fixed ratio, if any.
        repeats: those of ``repeat_points``, trained.
        files: by name of a repeat, the per-query values of its best checkpoint; one that is missing leaves out a test.

    Returns:
        ``{"n", "seeds", "unit", "unit_note", "metrics", "contestants": {name: {"trial", "values", "failed", "metrics":
        {metric: {"first", "by_seed", "mean", "spread", "n"}}}}, "against": {name: {metric: {"difference", "low",
        "high", "standard_error", "p_units", "units", "p_holm", "p_seeds", "verdict"}}}, "against_centred": likewise,
        "other_values": {metric: likewise} or None}``. ``against`` has the tuned trial less each other contestant,
        ``against_centred`` the centred one less each; ``other_values`` the strongest fixed ratio with the tuned
        trial's other values less the same with the file's. What cannot be computed is None.

    Raises:
        InputError: a file of per-query values that cannot be read.
    """
    shown = [name for name in _SHOWN if all(name in row.metrics for row in who.values())]
    metrics = list(dict.fromkeys([*study.search.objective, *shown]))
    ran = {name: [one for one in repeats if one.contestant == name and one.metrics] for name in who}
    unit, note = choose_unit([read_per_query(file) for file in files.values()])
    queries = {name: _mean_queries([one.name for one in ran[name]], files) for name in who}
    figures = {name: {metric: _by_seed(row, ran[name], metric) for metric in metrics} for name, row in who.items()}

    def versus(one: str, other: str) -> dict[str, Any]:
        a, b = (figures[other], queries[other]), (figures[one], queries[one])
        return _judged({name: _versus(name, a[0][name], b[0][name], a[1], b[1], unit) for name in metrics})

    def against(base: str) -> dict[str, Any]:
        return {name: versus(base, name) for name in who if name != base} if base in who else {}

    same, file = (beside.same_values, beside.file_values) if beside is not None else (None, None)
    return {
        "n": study.search.repeat_best,
        "seeds": sorted({one.seed for one in repeats}),
        "unit": unit,
        "unit_note": note,
        "metrics": metrics,
        "contestants": {name: _described(name, row, repeats, figures[name]) for name, row in who.items()},
        "against": against(TUNED),
        "against_centred": against(f"{TUNED}{CENTRED}"),
        "other_values": versus(same, file) if same is not None and file is not None else None,
    }


def _described(name: str, row: TrialRow, repeats: Sequence[Repeat], figures: Mapping[str, Any]) -> dict[str, Any]:
    failed = [one.name for one in repeats if one.contestant == name and not one.metrics]
    return {"trial": row.id, "values": row.values, "failed": failed, "metrics": figures}


def _mean_queries(names: Sequence[str], files: Mapping[str, Path]) -> PerQuery | None:
    found = [read_per_query(files[name]) for name in names if name in files]
    return averaged(found) if found and len(found) == len(names) else None


def _by_seed(row: TrialRow, ran: Sequence[Repeat], metric: str) -> dict[str, Any]:
    by_seed = {str(one.seed): one.metrics[metric] for one in ran if metric in one.metrics}
    values = list(by_seed.values())
    return {
        "first": row.metrics.get(metric),
        "by_seed": by_seed,
        "mean": float(np.mean(values)) if values else None,
        "spread": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "n": len(values),
    }


def _versus(
    metric: str,
    other: Mapping[str, Any],
    one: Mapping[str, Any],
    of_other: PerQuery | None,
    of_one: PerQuery | None,
    unit: Unit,
) -> dict[str, Any]:
    """Compare one contestant with another on one metric; `_judged` adds what follows from all of them."""
    a, b = other["by_seed"], one["by_seed"]
    low, high, error = welch(list(a.values()), list(b.values())) or (None, None, None)
    both = [seed for seed in a if seed in b]
    tested = paired_by_unit(of_other, of_one, metric, unit) if of_other is not None and of_one is not None else None
    p, units = tested or (None, 0)
    difference = None if other["mean"] is None or one["mean"] is None else one["mean"] - other["mean"]
    return {
        "difference": difference,
        "low": low,
        "high": high,
        "standard_error": error,
        "p_units": p,
        "units": units,
        "p_seeds": paired_by_seed([a[seed] for seed in both], [b[seed] for seed in both]),
    }


def _judged(versus: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the metrics of two contestants with the corrected p of each, and its verdict."""
    for metric, found in versus.items():
        found["p_holm"] = found["p_units"]
        setting, _, measure = metric.partition("/")
        if setting in SETTINGS and found["p_units"] is not None:
            family = [name for name in (f"{one}/{measure}" for one in SETTINGS) if name in versus]
            tested = [name for name in family if versus[name]["p_units"] is not None]
            corrected = holm([versus[name]["p_units"] for name in tested])
            found["p_holm"] = corrected[tested.index(metric)]
        difference, low, high, p = (found[key] for key in ("difference", "low", "high", "p_holm"))
        found["verdict"] = UNKNOWN
        if None not in (difference, low, high, p):
            wanted = difference > 0 if direction(metric) == "max" else difference < 0
            shown = (low > 0 or high < 0) and p < ALPHA
            found["verdict"] = NOISE if not shown else BETTER if wanted else WORSE
    return versus
