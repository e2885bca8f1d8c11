"""The screening before a search: cheap trainings at points drawn at random, and the end of it, ``screening.json``."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from hybridtune.config.study import Study
from hybridtune.errors import FitError
from hybridtune.search.arms import ARM, PROPOSED, arm_sizes, starts
from hybridtune.search.screened import kept, screened_study
from hybridtune.search.space import from_optuna, optuna_params, search_space
from hybridtune.search.stopping import budget, scheduler, used_up
from hybridtune.search.study import Listed, run_trials
from hybridtune.search.trial_log import Display, TrialLog
from hybridtune.storage.files import join, remove
from hybridtune.storage.screening_rows import SCREENING, Screening, read_screened, write_screening
from hybridtune.storage.trial_rows import FIT, SETTLED, spent
from hybridtune.train.fit import WorkerGroups
from hybridtune.train.job_queue import FitJob

_DRAWS = 20  # tries a point to find one that is new: a small space may not have so many
_OWN_SEED = 0x5C4E  # so that no other draw of the study has the same seed


def run_screening(study: Study, job: FitJob, of: int, folder: Path, groups: WorkerGroups, display: Display) -> None:
    """Train the points of a study's screening that an earlier run has not settled, and write what it came to.

    Which points there are is a function of the study file, however many train at once. Their checkpoints are removed
    in the end: nothing is made of them.

    Args:
        study: the study file.
        job: of the `screened_study` and the encoder with few layers; ``storage`` is the location of all trainings.
        of: layers of the whole encoder.
        folder: the study folder.
        groups: train the points, as many at once.
        display: called as (all rows, changed row) at every change.

    Raises:
        FitError: the budget was used up before the search, or some trainings did not end.
    """
    screening, place = study.search.screening, folder / SCREENING
    assert screening is not None
    points, before = screened_points(study), read_screened(folder)
    settled = {row.id for row in before if row.status in SETTLED}
    left = [one for one in points if one["name"] not in settled]
    limit = budget(study, *spent(before))
    if left and used_up(study, before) is None:
        place.mkdir(exist_ok=True)
        TrialLog.displays[str(place)] = display
        run_trials(
            job,
            Listed(left),
            place,
            trials=len(left),
            groups=groups,
            callbacks=[TrialLog(folder, part=SCREENING)],
            scheduler=scheduler(job.study, place),
            stop=limit,
        )
    rows = read_screened(folder)
    ended = sum(row.status in (*SETTLED, "failed") for row in rows)
    if ended < len(points):
        over = used_up(study, rows) is not None or (limit is not None and limit.stop_all())
        what = "to go on, with a larger budget," if over else f"to finish the others (see {folder / 'ray.log'}),"
        raise FitError(
            f"{ended} of {len(points)} trainings of the screening ended{' within the budget' if over else ''}; {what} "
            f"run the same command with --out {folder}"
        )
    for row in rows:
        remove(join(job.storage, row.id, FIT))
    chosen = {arm: {row.id: row.values for row in some} for arm, some in kept(study, rows).items()}
    write_screening(folder, Screening(screening.layers, of, chosen))


def screened_points(study: Study) -> list[dict[str, Any]]:
    """Return the configurations of all screened trainings: the arms take turns, and no point of an arm comes twice.

    An arm has what its search begins with, and then points drawn at random by the study's seed; fewer than the study
    asks for where its space has no more.
    """
    cheap, found = screened_study(study), []
    by_arm = [_points(cheap, arm, size, n) for n, (arm, size) in enumerate(arm_sizes(cheap).items())]
    for turn in range(max(map(len, by_arm))):
        found += [points[turn] for points in by_arm if turn < len(points)]
    return [{**one, "number": number, "name": f"screened-{number:04d}"} for number, one in enumerate(found)]


def _points(study: Study, arm: str, size: int, place: int) -> list[dict[str, Any]]:
    """Return the points of one arm, of which ``place`` says which it is."""
    seed = int(np.random.SeedSequence([study.seed, _OWN_SEED, place]).generate_state(1)[0])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    space, first, found = search_space(study), starts(study, arm), list[dict[str, Any]]()
    for n in range(len(first) + _DRAWS * size):
        values, proposed = first[n] if n < len(first) else ({}, "random")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna: the file's values may lie outside the range
            drawn.enqueue_trial(optuna_params(values), user_attrs={ARM: arm, PROPOSED: proposed})
            trial = drawn.ask()
            made = space(trial)
        point = from_optuna({**made, **trial.params, "number": 0})
        if {**point, PROPOSED: ""} not in [{**one, PROPOSED: ""} for one in found]:
            found.append(point)
        if len(found) == size:
            break
    return found
