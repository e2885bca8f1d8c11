"""PURE. The screening of a study: the cheap search that it is, and which of its points begin the real one.

The points of an arm are trained in an encoder that has its lowest layers alone. That says which points are worth a
whole training, and nothing else: no screened score is compared with one of the whole encoder, and none teaches the
sampler.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hybridtune.config.study import Study
from hybridtune.metrics.names import is_distance
from hybridtune.search.arms import arm_space, arms, expected_trials, starts
from hybridtune.search.first_values import Start
from hybridtune.storage.screening_rows import read_screening
from hybridtune.storage.trial_rows import SETTLED, TrialRow


def screened_study(study: Study) -> Study:
    """Return the study whose search is the screening: its points an arm, and no rungs; early stopping as it is."""
    screening = study.search.screening
    assert screening is not None
    update = {"trials": screening.trials, "fidelities": [], "screening": None}
    return study.model_copy(update={"search": study.search.model_copy(update=update)})


def screened_trials(study: Study) -> int:
    """Return how many trainings the screening of a study has, of all arms together; a small space may have fewer."""
    return expected_trials(screened_study(study)) if study.search.screening is not None else 0


def kept(study: Study, rows: Sequence[TrialRow]) -> dict[str, list[TrialRow]]:
    """Return the points of each arm that begin its search, the best first.

    They are chosen by the first objective among those that were drawn: what the file or its points set begins the
    search anyway, and so is no choice. A training that was stopped early comes after all that came to their end, the
    one that got further before the other; of equals the first by number.

    Args:
        study: the study file.
        rows: of the screening, ended.
    """
    screening, goal = study.search.screening, study.search.objective[0]
    assert screening is not None
    sign = 1 if is_distance(goal) else -1

    def rank(row: TrialRow) -> tuple[float, float, int]:
        done = row.status == "done"
        return -float("inf") if done else -row.metrics["step"], sign * row.metrics[goal], row.number

    found: dict[str, list[TrialRow]] = {}
    for arm in arms(study):
        known = [values for values, _ in starts(study, arm)]
        scored = [row for row in rows if row.arm == arm and row.status in SETTLED and goal in row.metrics]
        drawn = [row for row in scored if row.proposed == "random" and _searched(study, row) not in known]
        found[arm] = sorted(drawn, key=rank)[: screening.keep]
    return found


def kept_starts(study: Study, folder: Path) -> dict[str, list[Start]]:
    """Return the values by arm that a screening, if there was one, lets the search begin with."""
    ended = read_screening(folder)
    if ended is None:
        return {}
    return {
        arm: [
            ({name: value for name, value in values.items() if name in arm_space(study, arm)}, "screened")
            for values in points.values()
        ]
        for arm, points in ended.kept.items()
    }


def _searched(study: Study, row: TrialRow) -> Mapping[str, object]:
    """Return the values of a row that its arm searches, without those that make the arm."""
    return {name: value for name, value in row.values.items() if name in arm_space(study, row.arm)}
