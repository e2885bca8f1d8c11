"""Which trials meet the constraints: bounds that move with the rows, and the nearest trial where none does."""

import itertools
import math

import pytest
from small_study import small_study

from hybridtune.storage.feasibility import (
    constraint_line,
    constraint_marks,
    constraint_metrics,
    eligible,
    limits,
    missed,
)
from hybridtune.storage.trial_rows import TrialRow

GOAL = "balanced/AP"
BOTH = ["mono/AP >= half-half - 0.01", "multi/rank_distance <= 300"]


def study_of(*constraints):
    return small_study(search={"constraints": list(constraints)})


def row(number, arm="tuned", goal=0.5, mono=0.5, distance=200.0, status="done", proposed="sampler"):
    metrics = {GOAL: goal, "mono/AP": mono, "multi/rank_distance": distance}
    return TrialRow(f"{number:04d}", number, arm, {}, metrics, status, proposed=proposed)


def bounds(study, rows):
    return [limit.bound for limit in limits(study, rows)]


def test_a_contestant_is_the_best_trial_of_its_arm_by_the_objective():
    rows = [
        row(0, "half-half", goal=0.3, mono=0.9),
        row(1, "half-half", goal=0.4, mono=0.6),
        row(2, mono=0.99, goal=1.0),
    ]
    assert bounds(study_of(*BOTH), rows) == [pytest.approx(0.59), 300.0]
    later = [*rows, row(3, "half-half", goal=0.5, mono=0.7)]
    assert bounds(study_of(*BOTH), later)[0] == pytest.approx(0.69)  # it moves with its arm
    unlike = [row(4, "half-half", goal=0.9, status="stopped early"), row(5, "half-half", goal=0.9, proposed="rerun")]
    assert bounds(study_of(*BOTH), [*later, *unlike]) == bounds(study_of(*BOTH), later)


def test_the_bounds_are_the_same_in_any_order_of_the_rows():
    rows = [row(n, arm, goal=n / 10, mono=n / 20) for n, arm in enumerate(("half-half", "tuned", "half-half"))]
    for some in itertools.permutations(rows):
        assert bounds(study_of(*BOTH), list(some)) == [pytest.approx(0.09), 300.0]


def test_before_the_contestant_has_a_trial_nothing_is_missed():
    found = limits(study_of(*BOTH), [row(0, mono=0.0)])
    assert found[0].bound is None
    assert missed(found, row(0, mono=0.0)) == 0


def test_what_is_missed_is_a_share_of_the_bound_and_adds_up():
    found = limits(study_of("mono/AP >= 0.5", "multi/rank_distance <= 300", "cross/AP >= 0"), [])
    trial = row(0, mono=0.45, distance=330.0)
    trial.metrics["cross/AP"] = 0.1
    assert missed(found, trial) == pytest.approx(0.1 + 0.1)
    assert missed(found, row(1)) == math.inf  # it was not scored on one
    exact = row(2, mono=0.5, distance=300.0)
    exact.metrics["cross/AP"] = 0.0
    assert missed(found, exact) == 0


def test_the_best_is_chosen_among_those_that_meet_all_or_else_is_the_nearest():
    found = limits(study_of("mono/AP >= 0.5"), [])
    good, near, far = row(0, goal=0.1, mono=0.5), row(1, goal=0.9, mono=0.49), row(2, goal=0.95, mono=0.2)
    assert eligible(found, [far, near, good]) == [good]
    assert eligible(found, [far, near]) == [near]
    assert eligible(found, []) == []
    assert eligible([], [far, near]) == [far, near]


def test_a_trial_on_its_way_is_not_judged():
    study = study_of("mono/AP >= 0.5")
    rows = [row(0), row(1, mono=0.4), row(2, status="running"), row(3, status="stopped early")]
    assert constraint_marks(study, rows) == {"0000": "yes", "0001": "no"}
    assert constraint_marks(study_of(), rows) == {}
    assert constraint_metrics(study_of(*BOTH, "mono/AP <= 0.9")) == ["mono/AP", "multi/rank_distance"]


def test_one_line_says_whether_the_best_meets_them():
    rows = [row(0, "half-half", mono=0.6), row(1, mono=0.5, distance=310.04)]
    study = study_of(*BOTH)
    assert constraint_line(study, rows, rows[1]) == (
        "no trial meets search.constraints; trial 1 comes nearest: mono/AP 0.5000, asked >= 0.5900 (half-half - 0.01): "
        "missed; multi/rank_distance 310.0, asked <= 300.0: missed"
    )
    assert constraint_line(study, rows, rows[0]).startswith(
        "half-half 0 meets search.constraints: mono/AP 0.6000, asked"
    )
    assert constraint_line(study_of(), rows, rows[0]) == ""
