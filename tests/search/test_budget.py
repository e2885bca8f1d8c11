"""How long a search goes on, what that counts, and what becomes of trials that were cut off."""

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState
from small_study import small_study

from hybridtune.search.stopping import Budget, budget, settle, used_up
from hybridtune.storage.trial_rows import TrialRow, contenders, spent

NEVER = float("inf")


def study_of(**search):
    return small_study(train={"max_steps": 300, "eval_steps": 100}, search=search)


def row(number, status="done", began=0.0, seconds=0.0, **metrics):
    return TrialRow(f"{number:04d}", number, "tuned", {}, metrics, status, None, seconds, began)


def report(step, final=0.0):
    return {"step": step, "final": final}


def test_the_time_ends_the_search():
    now = [50.0]
    limit = Budget(30.0, NEVER, 100, clock=lambda: now[0])
    assert not limit.stop_all()
    now[0] = 79.9
    assert not limit("a", report(100))
    assert not limit.stop_all()
    now[0] = 80.0
    assert limit.stop_all()


def test_steps_are_counted_once_over_all_trials():
    limit = Budget(NEVER, 1000, 100, clock=lambda: 0.0)
    for trial in ("a", "b", "c"):
        for step in (100, 200, 300):
            assert not limit(trial, report(step))
        assert not limit(trial, report(300, final=1.0))  # repeats the best score
    assert limit.steps_left == 100
    limit("c", report(200))  # its worker died: it trains steps anew that were counted
    assert limit.steps_left == 100
    assert not limit.stop_all()
    limit("d", report(300))  # goes on from step 200, which an earlier run counted
    assert limit.steps_left == 0
    assert limit.stop_all()


def test_a_trial_that_ends_between_two_scores_counts_its_steps():
    limit = Budget(NEVER, 1000, 100, clock=lambda: 0.0)
    for step in (100, 200, 250):
        limit("a", report(step))
    limit("b", report(40))
    assert limit.steps_left == 1000 - 290


def test_a_study_without_a_budget_has_nothing_that_ends_it():
    assert budget(study_of(), 10.0, 10) is None
    assert used_up(study_of(), [row(0, began=0.0, seconds=1e9, step=10**9)]) is None


def test_earlier_runs_are_taken_off_the_budget():
    both = study_of(time_budget="2m", step_budget=500)
    assert not budget(both, 100.0, 400).stop_all()
    assert budget(both, 120.0, 0).stop_all()
    assert budget(both, 0.0, 500).stop_all()
    assert budget(study_of(time_budget="2m"), 0.0, 10**9).steps_left == NEVER
    assert not budget(study_of(step_budget=500), 1e9, 0).stop_all()


def test_trials_side_by_side_take_their_time_once():
    rows = [
        row(0, began=100.0, seconds=30.0, step=300),
        row(1, began=110.0, seconds=40.0, step=100),  # until 150
        row(2, "running", began=120.0, seconds=10.0),
        row(3, "failed", began=1000.0, seconds=5.0, step=7),  # the next day
    ]
    assert spent(rows) == (55.0, 407)
    assert spent([]) == (0.0, 0)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=6))
def test_the_time_taken_is_the_union(spans):
    rows = [row(n, began=float(began), seconds=float(length)) for n, (began, length) in enumerate(spans)]
    assert spent(rows)[0] == len({second for began, length in spans for second in range(began, began + length)})


def test_a_used_up_budget_is_told_in_words():
    rows = [row(0, began=5.0, seconds=90.0, step=1200)]
    assert used_up(study_of(time_budget="90s"), rows) == "search.time_budget 90s is used up: the trials took 90 s"
    assert used_up(study_of(time_budget="91s"), rows) is None
    told = "search.step_budget 1,200 is used up: the trials trained 1,200 steps"
    assert used_up(study_of(step_budget=1200), rows) == told
    assert used_up(study_of(step_budget=1201), rows) is None


def test_only_where_nothing_ended_may_a_trial_out_of_budget_be_the_best():
    cut, unscored, stopped = row(1, "out of budget", loss=1.0), row(2, "out of budget"), row(3, "stopped early", loss=1)
    done = row(0, loss=2.0)
    assert contenders([done, cut, stopped]) == [done]
    assert contenders([cut, unscored, stopped]) == [cut]
    assert contenders([unscored, row(4, "failed")]) == []


@pytest.mark.parametrize("goals", [["balanced/AP"], ["mono/AP", "multi/AP"]])
def test_the_ledger_knows_what_became_of_trials_that_were_cut_off(goals):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna_study = optuna.create_study(directions=["maximize"] * len(goals))
    asked = [optuna_study.ask() for _ in range(5)]
    if len(goals) == 1:
        asked[1].report(0.25, step=100)
    optuna_study.tell(asked[4], [0.75] * len(goals))
    scores = dict.fromkeys(goals, 0.5)
    rows = [row(0, "done", **scores), row(1, "out of budget", **scores), row(3, "failed"), row(4, **scores)]
    settle(small_study(search={"objective": goals}), optuna_study, rows, goals)
    states = [trial.state for trial in optuna_study.trials]
    assert states == [
        TrialState.COMPLETE,
        TrialState.WAITING,  # with a larger budget it goes on
        TrialState.WAITING,  # it never began
        TrialState.RUNNING,  # Tune told of failures itself
        TrialState.COMPLETE,
    ]
    assert optuna_study.trials[0].values == [0.5] * len(goals)
    assert optuna_study.trials[1].intermediate_values == ({100: 0.25} if len(goals) == 1 else {})
    assert optuna_study.trials[4].values == [0.75] * len(goals)
