"""What a study that has ended gives back of its disk: the state of optimisers, and models that nobody asked to keep."""

from collections.abc import Collection

from hybridtune.config.study import Study
from hybridtune.data.plan_states import PlanStates
from hybridtune.search.study import SearchResult
from hybridtune.storage.manifests import leave_out
from hybridtune.storage.trial_rows import FIT, SETTLED
from hybridtune.study.sync import Home
from hybridtune.train.checkpoint import TRAINING, WEIGHTS
from hybridtune.train.checkpoints import CheckpointManager


def make_room(study: Study, home: Home, found: SearchResult, contestants: Collection[str]) -> None:
    """Remove from the trials' checkpoints what nothing needs any more; scores and per-query values stay.

    A trial that was stopped early does not go on, as it would from its optimiser's state; one that ended by itself has
    removed its own. Of the weights those stay that `kept_models` names. A trial that is tried again, or goes on with a
    larger budget, keeps all.

    Args:
        study: the study file.
        home: of the study.
        found: the result of its search.
        contestants: ids of the trials that are compared.
    """
    kept = kept_models(study, found, contestants)
    for row in found.rows:
        if row.status not in SETTLED:
            continue
        location = home.inside("trials", row.id, FIT)
        checkpoints = CheckpointManager(location, study.train.keep_checkpoints, study.search.objective[0])
        if row.status == "stopped early":
            checkpoints.end()
            PlanStates(location, 1, writes=False).clear()
        if row.id not in kept:
            for checkpoint in checkpoints.every():
                for name in (WEIGHTS, TRAINING):
                    leave_out(checkpoint, name)


def kept_models(study: Study, found: SearchResult, contestants: Collection[str]) -> set[str]:
    """Return the ids of the trials whose weights stay; the contestants are what soups are made of, and scored by."""
    if study.search.keep_models == "all":
        return {row.id for row in found.rows}
    front = found.front if study.search.keep_models == "front" else []
    return {found.best.id, *contestants, *front}
