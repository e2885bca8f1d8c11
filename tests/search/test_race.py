"""The paired race as Tune drives it: who is stopped, who never is, and that a race cut off is decided alike."""

from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.schedulers import TrialScheduler
from small_study import small_study

from hybridtune.search.arms import stops_early
from hybridtune.search.racing import keep_shares, kept_shares
from hybridtune.search.stopping import scheduler
from hybridtune.storage.trial_rows import TrialRow, write_running

STEPS, EVERY = 12, 3
LEVEL = np.random.default_rng(0).uniform(0.2, 0.8, 40)


def study_of(**stopping):
    search = {"early_stopping": {"method": "paired", **stopping}, "trials": 4, "arms": "none", "objective": "multi/AP"}
    return small_study(train={"max_steps": STEPS, "eval_steps": EVERY}, search=search)


def shares(value, seed=0):
    """Of 40 units, whose mean is about a value."""
    noise = np.random.default_rng(seed).normal(0, 0.02, 40)
    return ((LEVEL - LEVEL.mean() + value + noise) / 40)[:, None].astype(np.float32)


def report(rule, number, step, value, proposed="sampler", final=0.0, seed=None):
    trial = SimpleNamespace(config={"number": number, "arm": "tuned", "proposed": proposed})
    own = shares(value, seed=number if seed is None else seed)
    result = {"step": step, "multi/AP": value, "ended": float(step >= STEPS), "final": final, "unit_shares": own}
    if final:
        del result["unit_shares"]
    return rule.on_trial_result(None, trial, result)


STOP, ON = TrialScheduler.STOP, TrialScheduler.CONTINUE


def test_a_trial_is_stopped_where_it_is_worse_than_the_best_at_the_same_step():
    rule = scheduler(study_of())
    assert report(rule, 0, 3, 0.4) == ON
    assert report(rule, 0, 6, 0.6) == ON
    assert report(rule, 1, 3, 0.41) == ON  # behind trial 0 at step 6, not at step 3
    assert report(rule, 1, 6, 0.5) == STOP
    assert report(rule, 2, 3, 0.2) == STOP
    assert report(rule, 3, 3, 0.405) == ON  # no worse than chance


def test_what_is_to_finish_is_not_stopped():
    rule = scheduler(study_of(grace_steps=6))
    report(rule, 0, 3, 0.6), report(rule, 0, 6, 0.6), report(rule, 0, STEPS, 0.6)
    assert report(rule, 1, 3, 0.1) == ON  # within the grace
    assert report(rule, 1, 6, 0.1, proposed="file") == ON
    assert report(rule, 2, STEPS, 0.1) == ON  # its best checkpoint is still to come
    assert report(rule, 2, STEPS, 0.1, final=1.0) == ON
    assert report(rule, 3, 6, 0.1) == STOP


def test_two_trials_are_enough_for_the_paired_test_alone():
    assert stops_early(study_of())
    assert not stops_early(study_of(method="asha"))
    assert scheduler(study_of()) is not None


@pytest.mark.parametrize("seed", range(4))
def test_a_race_that_was_cut_off_goes_on_to_the_same_decisions(tmp_path, seed):
    random = np.random.default_rng(seed)
    told = [(n, step, float(random.uniform(0.3, 0.5))) for n in range(6) for step in range(EVERY, STEPS, EVERY)]
    whole = scheduler(study_of())
    decided = [report(whole, *one) for one in told]
    assert {STOP, ON} == set(decided)
    cut = len(told) // 2
    write_running(tmp_path, [TrialRow(f"{n:04d}", n, "tuned", {}) for n in range(6)])
    for number, step, value in told[:cut]:
        trial = tmp_path / "trials" / f"{number:04d}"
        keep_shares(trial, step, shares(value, seed=number))
        with (trial / "metrics.jsonl").open("a") as file:
            file.write(f'{{"step": {step}, "multi/AP": {value}}}\n')
    second = scheduler(study_of(), tmp_path)
    assert [report(second, *one) for one in told[cut:]] == decided[cut:]


def test_shares_are_kept_as_they_came(tmp_path):
    keep_shares(tmp_path, 6, shares(0.5)), keep_shares(tmp_path, 12, shares(0.6))
    kept = kept_shares(tmp_path)
    assert list(kept) == [6, 12]
    assert np.array_equal(kept[12], shares(0.6))
    assert kept_shares(tmp_path / "none") == {}
    assert not [file for file in (tmp_path / "unit_shares").iterdir() if file.suffix != ".npy"]
