"""The contestants of other seeds on the benchmark of the contestants, each plain and centred, and what follows.

The search chose by dev, and so did each training its checkpoint: what stands on dev alone favours whoever was chosen
there. So every training of the noise check is scored like its contestant, into ``repeats/contestants/``.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybridtune.callbacks import StudyCallback
from hybridtune.config.names import SOUP, START, split_way
from hybridtune.config.study import Study
from hybridtune.metrics.metrics import Scores
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.report.contestants import FOLDER
from hybridtune.search.arms import reference
from hybridtune.search.seed_check import REPEATS, compare_seeds, done_repeats, repeat_points
from hybridtune.storage.soup_rows import SoupRow, read_soups
from hybridtune.storage.trial_rows import TrialRow, read_rows
from hybridtune.study.contestants import Contestant, Scoring
from hybridtune.study.soups import Kitchen, Soup


def score_seeds(
    scoring: Scoring,
    study: Study,
    folder: Path,
    contestants: Sequence[Contestant],
    scored: Mapping[str, Scores],
    callback: StudyCallback,
) -> dict[str, Any] | None:
    """Score the contestants' trainings of other seeds, and compare the contestants over them.

    Args:
        scoring: of the contestants' first runs.
        study: the study file.
        folder: of the study.
        contestants: plain and centred, of `list_contestants`.
        scored: what their first runs scored, by slug.
        callback: receives the progress.

    Returns:
        `compare_seeds` of the contestants, the start among them, which is the same in every seed; None where the study
        trains no repeats.
    """
    if not study.search.repeat_best:
        return None
    root = folder / REPEATS / FOLDER
    of_seeds = _of_seeds(Kitchen(study, {}, folder / REPEATS, scoring.location), folder, contestants)
    found = dataclasses.replace(scoring, root=root).all_scores(of_seeds, "scoring the other seeds", callback)
    who = {one.slug: _row(one, scored[one.slug]) for one in contestants}
    metrics = {slug: scores.metrics for slug, scores in found.items()}
    files = {slug: root / slug / PER_QUERY for slug in found}
    ran = []
    for point in repeat_points(study, who):
        if split_way(point.contestant)[0] == START:
            metrics[point.name] = who[point.contestant].metrics
            files[point.name] = folder / FOLDER / point.contestant / PER_QUERY
        ran.append(dataclasses.replace(point, metrics=metrics.get(point.name, {})))
    return compare_seeds(study, who, reference(study, read_rows(folder)), ran, files)


def _of_seeds(kitchen: Kitchen, folder: Path, contestants: Sequence[Contestant]) -> list[Contestant]:
    """Return the contestants of each seed whose training came to its end, plain and centred side by side."""
    done, soups = done_repeats(folder), {row.id: row for row in read_soups(folder / REPEATS)}
    found, made = [], dict[str, Soup]()
    for count in range(1, kitchen.study.search.repeat_best + 1):
        for one in contestants:
            source, slug = f"{split_way(one.slug)[0]}-s{count}", f"{one.slug}-s{count}"
            if one.soup is not None and source in soups:
                if source not in made:  # the plain one and those that are moved have the same weights
                    made[source] = _soup(kitchen, done, soups[source])
                found.append(dataclasses.replace(one, slug=slug, soup=made[source]))
            elif one.row is not None and source in done:
                found.append(dataclasses.replace(one, slug=slug, row=done[source]))
    return found


def _soup(kitchen: Kitchen, done: Mapping[str, TrialRow], row: SoupRow) -> Soup:
    parts = {name: done[trial] for name, trial in row.models.items()}
    return Kitchen(kitchen.study, parts, kitchen.folder, kitchen.location).soup(row)


def _row(one: Contestant, scores: Scores) -> TrialRow:
    """Return a contestant as a row with its scores on this benchmark."""
    if one.row is not None:
        return dataclasses.replace(one.row, metrics=dict(scores.metrics))
    name = one.soup.row.label if one.soup is not None else START
    return TrialRow(name, -1, SOUP if one.soup is not None else START, {}, dict(scores.metrics), "done")
