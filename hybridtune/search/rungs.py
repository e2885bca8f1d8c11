"""PURE. Successive halving over steps: where trials wait, and which of them go on, by rows and scores alone.

All trials of an arm train to the first rung, the best share goes on to the second from its last checkpoint, and so on
to ``train.max_steps``. The learning rate and the mix follow their schedule over all steps, so that a trial which goes
on is the very training that it would have been without a rung.

Source: Jamieson and Talwalkar, AISTATS 2016 (arXiv 1502.07943): successive halving; here each arm by itself.
"""

import math
from collections.abc import Mapping, Sequence

from hybridtune.config.names import FIXED_ARMS, TUNED
from hybridtune.config.search import Fidelity
from hybridtune.config.study import Study
from hybridtune.metrics.names import is_distance
from hybridtune.storage.trial_rows import TrialRow

PAUSED = "paused at"  # user attribute of a trial in Optuna: the step at which it waits
ByStep = Mapping[int, float]  # the first objective of a trial at each of its scores


def rung_steps(study: Study) -> list[int | None]:
    """Return the step at which trials wait in each stage of the search; None in the last, where they end."""
    return [*(one.steps for one in study.search.fidelities), None]


def going_on(study: Study, rows: Sequence[TrialRow], scores: Mapping[str, ByStep], stage: int) -> list[TrialRow]:
    """Return the trials that train in a stage, by number: in the first all, then those that the rung let through.

    Of the trials of an arm with a score at a rung the best go on, by that score: ``keep`` of them, rounded up, of
    equals the first by number. A trial with the file's values goes on beside them: half a training is no comparison.

    Args:
        study: the study file.
        rows: of the search. scores: by trial id.
        stage: 0 for the first.
    """
    chosen = list(rows)
    for rung in study.search.fidelities[:stage]:
        chosen = [row for arm in (*FIXED_ARMS, TUNED) for row in _through(study, rung, _of(arm, chosen), scores)]
    return sorted(chosen, key=lambda row: row.number)


def _of(arm: str, rows: Sequence[TrialRow]) -> list[TrialRow]:
    return [row for row in rows if row.arm == arm]


def _through(study: Study, rung: Fidelity, rows: Sequence[TrialRow], scores: Mapping[str, ByStep]) -> list[TrialRow]:
    sign = 1 if is_distance(study.search.objective[0]) else -1
    there = [row for row in rows if rung.steps in scores.get(row.id, {})]
    ranked = sorted(there, key=lambda row: (sign * scores[row.id][rung.steps], row.number))
    best = ranked[: math.ceil(rung.keep * len(ranked))]
    return [row for row in there if row in best or row.proposed == "file"]


def is_paused(row: TrialRow, rung: int | None, scores: ByStep) -> bool:
    """Return whether a trial has come to the rung of a stage, and neither has ended nor is to be tried again."""
    return rung is not None and row.status != "failed" and any(step >= rung for step in scores)
