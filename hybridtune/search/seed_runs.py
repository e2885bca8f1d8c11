"""The noise check's trainings: the chosen trial and the baselines once more, with other seeds, side by side."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.search.seed_check import Repeat, compare_seeds, repeat_points
from hybridtune.search.study import TRIALS, SearchResult, run_trials
from hybridtune.search.trial_log import Display, TrialLog
from hybridtune.storage.files import ensure_local, exists, join, with_name
from hybridtune.storage.trial_rows import SETTLED, read_rows
from hybridtune.train.job_queue import FitJob

REPEATS = "repeats"  # in the study folder; laid out like a study folder of its own


class Listed(Searcher):  # type: ignore[misc]
    """Proposes what is on a list, in its order, and learns nothing.

    Args:
        configs: of the trials.
    """

    def __init__(self, configs: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self._left = list(configs)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next configuration of the list."""
        return self._left.pop(0) if self._left else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Learn nothing."""


def run_repeats(
    job: FitJob, found: SearchResult, folder: Path, concurrent_trials: int, display: Display
) -> dict[str, Any]:
    """Train what ``search.repeat_best`` asks for, or what is left of it, and compare.

    Args:
        job: the fit of the study's fixed values.
        found: by the search.
        folder: the study folder.
        concurrent_trials: trainings at once.
        display: called as (all rows, changed row) at every change.

    Returns:
        What `compare_seeds` gives.
    """
    wanted = repeat_points(job.study, found.best, found.rows)
    repeats = folder / REPEATS
    repeats.mkdir(exist_ok=True)
    settled = [row for row in read_rows(repeats) if row.status in SETTLED]
    left = [_config(number, one) for number, one in enumerate(wanted) if one.name not in {row.id for row in settled}]
    if left:
        TrialLog.displays[str(repeats)] = display
        run_trials(
            replace(job, storage=join(with_name(job.storage, REPEATS), TRIALS), home=str(repeats / TRIALS)),
            Listed(left),
            repeats,
            trials=len(left),
            concurrent_trials=concurrent_trials,
            callbacks=[TrialLog(repeats)],
        )
    done = {row.id: row for row in read_rows(repeats) if row.status == "done"}
    ran = [replace(one, metrics=done[one.name].metrics) if one.name in done else one for one in wanted]
    locations = {name: join(row.checkpoint, PER_QUERY) for name, row in done.items() if row.checkpoint}
    files = {name: ensure_local(location) for name, location in locations.items() if exists(location)}
    return compare_seeds(job.study, found.best, found.rows, ran, files)


def _config(number: int, one: Repeat) -> dict[str, Any]:
    baseline = None if one.contestant == "best" else one.contestant
    return {**one.values, "number": number, "baseline": baseline, "name": one.name, "seed": one.seed}
