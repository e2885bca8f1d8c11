"""The noise check: the best trial and the baselines again with other seeds, and whether the gain is more than noise.

Contestants are ``best`` and the names of the baselines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hybridtune.config.study import Study
from hybridtune.metrics.metrics import direction
from hybridtune.metrics.per_query import PerQuery, read_per_query
from hybridtune.metrics.significance import ALPHA, averaged, paired_by_seed, paired_by_topic, welch
from hybridtune.report.headline import BEST, BETTER, NOISE, UNKNOWN, WORSE
from hybridtune.storage.trial_rows import TrialRow

_SHOWN = ("balanced/AP", "mono/AP", "cross/AP", "multi/AP", "multi/rank_distance")
_SEEDS = 2**31  # a study's seed lies below


@dataclass(frozen=True)
class Repeat:
    """A training of a contestant with another seed.

    Attributes:
        name: of its folder, ``best-s1``.
        contestant: ``best``, or the baseline's name.
        seed: takes the place of the study's.
        values: the fields of the study that the trial set.
        metrics: of its best checkpoint; empty where it failed, or was not trained yet.
    """

    name: str
    contestant: str
    seed: int
    values: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)


def repeat_points(study: Study, best: TrialRow, rows: Sequence[TrialRow]) -> list[Repeat]:
    """Return the trainings of ``search.repeat_best``, seed by seed, so that a part of them has all contestants.

    Args:
        study: whose seed was used first.
        best: the chosen trial; a baseline is not trained twice.
        rows: all trials; of the baselines, those that came to their end.
    """
    repeats = []
    for count in range(1, study.search.repeat_best + 1):
        seed = (study.seed + count) % _SEEDS
        for who, row in _contestants(best, rows).items():
            values = {name: value for name, value in row.values.items() if name != "seed"}
            repeats.append(Repeat(f"{who}-s{count}", who, seed, values))
    return repeats


def _contestants(best: TrialRow, rows: Sequence[TrialRow]) -> dict[str, TrialRow]:
    """Return the compared trials by name, the best first."""
    baselines = {row.baseline: row for row in rows if row.baseline is not None and row.status == "done"}
    return {best.baseline or BEST: best, **baselines}


def compare_seeds(
    study: Study, best: TrialRow, rows: Sequence[TrialRow], repeats: Sequence[Repeat], files: Mapping[str, Path]
) -> dict[str, Any]:
    """Compare the best trial with the baselines over fresh seeds, for ``repeats.json``.

    The run by which the best was chosen is optimistic: among many trials the luckiest wins. So means, spreads and
    tests are over the fresh seeds alone, of all contestants alike, and the first run stands beside them. The best is
    called better (or worse) than a baseline where the 95 % Welch interval over seeds leaves out 0 and the test paired
    by topics has p < 0.05, on the means over seeds of each query; else their difference is within noise. With fewer
    than 2 fresh seeds on a side, or fewer than 2 topics, it is not measured. Nothing is corrected for the number of
    metrics or baselines.

    Args:
        study: the study file.
        best: the chosen trial.
        rows: all trials.
        repeats: what came of ``repeat_points``.
        files: by name of a repeat, the per-query values of its best checkpoint; one that is missing leaves out a test.

    Returns:
        ``{"n", "seeds", "metrics", "best", "contestants": {who: {"trial", "values", "failed", "metrics": {metric:
        {"first", "by_seed", "mean", "spread", "n"}}}}, "against": {baseline: {metric: {"difference", "low", "high",
        "standard_error", "p_topics", "topics", "p_seeds", "verdict"}}}}``; a difference is the best's less the other's,
        what cannot be computed is None.

    Raises:
        InputError: a file of per-query values that is none.
    """
    contestants, first = _contestants(best, rows), next(iter(_contestants(best, rows)))
    metrics = [name for name in dict.fromkeys([*study.search.objective, *_SHOWN]) if name in best.metrics]
    ran = {who: {row.seed: row for row in repeats if row.contestant == who and row.metrics} for who in contestants}
    queries = {who: _mean_queries([row.name for row in ran[who].values()], files) for who in contestants}
    figures = {who: {name: _by_seed(row, ran[who], name) for name in metrics} for who, row in contestants.items()}
    against = {
        who: {
            name: _versus(name, figures[who][name], figures[first][name], queries[who], queries[first])
            for name in metrics
        }
        for who in contestants
        if who != first
    }
    compared = {
        who: {
            "trial": row.id,
            "values": row.values,
            "failed": [one.name for one in repeats if one.contestant == who and not one.metrics],
            "metrics": figures[who],
        }
        for who, row in contestants.items()
    }
    return {
        "n": study.search.repeat_best,
        "seeds": sorted({row.seed for row in repeats}),
        "metrics": metrics,
        "best": first,
        "contestants": compared,
        "against": against,
    }


def _mean_queries(names: Sequence[str], files: Mapping[str, Path]) -> PerQuery | None:
    found = [read_per_query(files[name]) for name in names if name in files]
    return averaged(found) if found and len(found) == len(names) else None


def _by_seed(row: TrialRow, ran: Mapping[int, Repeat], metric: str) -> dict[str, Any]:
    values = {str(seed): one.metrics[metric] for seed, one in ran.items() if metric in one.metrics}
    got = list(values.values())
    return {
        "first": row.metrics.get(metric),
        "by_seed": values,
        "mean": float(np.mean(got)) if got else None,
        "spread": float(np.std(got, ddof=1)) if len(got) > 1 else None,
        "n": len(got),
    }


def _versus(
    metric: str, other: Mapping[str, Any], best: Mapping[str, Any], of_other: PerQuery | None, of_best: PerQuery | None
) -> dict[str, Any]:
    """Compare the best with one baseline on one metric."""
    a, b = other["by_seed"], best["by_seed"]
    interval = welch(list(a.values()), list(b.values()))
    low, high, error = interval or (None, None, None)
    both = [seed for seed in a if seed in b]
    tested = None if of_other is None or of_best is None else paired_by_topic(of_other, of_best, metric)
    p, topics = tested or (None, 0)
    difference = None if other["mean"] is None or best["mean"] is None else best["mean"] - other["mean"]
    verdict = UNKNOWN
    if difference is not None and low is not None and high is not None and p is not None:
        wanted = difference > 0 if direction(metric) == "max" else difference < 0
        shown = (low > 0 or high < 0) and p < ALPHA
        verdict = NOISE if not shown else BETTER if wanted else WORSE
    return {
        "difference": difference,
        "low": low,
        "high": high,
        "standard_error": error,
        "p_topics": p,
        "topics": topics,
        "p_seeds": paired_by_seed([a[seed] for seed in both], [b[seed] for seed in both]),
        "verdict": verdict,
    }
