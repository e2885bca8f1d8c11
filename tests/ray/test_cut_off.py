"""What the real Tune does when a budget is used up: which trials it ends, and what the watcher makes of that."""

import threading
from types import SimpleNamespace

import pytest
from ray import tune

from hybridtune.errors import StorageError
from hybridtune.runtime.ray_private import ON_HEAD
from hybridtune.search.stopping import Budget
from hybridtune.search.study import FailedTrials, callbacks_errors
from hybridtune.search.trial_log import TrialLog
from hybridtune.storage.trial_rows import read_rows, read_running
from hybridtune.train.evaluators import NotSharedError

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

STEPS, NEVER = 3, float("inf")


def steps(hang):
    """A class inside a function travels to Ray's processes by value: they cannot import a test."""

    class Steps(tune.Trainable):
        """Three scores and the final report; if asked to, trial 1 hangs in its second step."""

        def setup(self, config):
            self.done, self.hangs = 0, hang and config["number"] == 1

        def reset_config(self, config):
            self.setup(config)
            return True

        def step(self):
            if self.hangs and self.done == 1:
                threading.Event().wait()
            self.done += 1
            step = min(self.done, STEPS)
            score = {"step": step, "best_step": step, "balanced/AP": step / 10}
            final = float(self.done > STEPS)
            return {**score, "ended": float(step == STEPS), "final": final, "done": bool(final)}

    return Steps


def searched(folder, budget, hang=False, trials=3):
    tune.Tuner(
        tune.with_resources(steps(hang), {"CPU": 0.01}),
        param_space={
            "number": tune.grid_search(list(range(trials))),
            "arm": "tuned",
            "proposed": "sampler",
            "temperature": 0.1,
        },
        tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(folder),
            verbose=0,
            stop=budget,
            callbacks=[TrialLog(folder)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    return [(row.id, row.status, row.metrics["step"]) for row in read_rows(folder)]


def test_the_step_budget_ends_the_search_at_the_score_that_uses_it_up(ray_here, tmp_path):
    rows = searched(tmp_path, Budget(NEVER, STEPS + 2, 1))
    assert rows == [("0000", "done", STEPS), ("0001", "out of budget", 2)]  # the third never began
    assert read_rows(tmp_path)[1].checkpoint == "trials/0001/fit/checkpoint_0000002"
    assert read_running(tmp_path) is None


def test_a_trial_whose_last_score_used_up_the_budget_is_done(ray_here, tmp_path):
    assert searched(tmp_path, Budget(NEVER, STEPS, 1)) == [("0000", "done", STEPS)]


def test_the_time_budget_ends_a_trial_between_two_scores(ray_here, tmp_path):
    def clock():  # the time is up as soon as the trial that hangs has a score
        return float(any(row.id == "0001" and row.metrics for row in read_rows(tmp_path, running=True)))

    rows = searched(tmp_path, Budget(1.0, NEVER, 1, clock), hang=True)
    assert rows == [("0000", "done", STEPS), ("0001", "out of budget", 1)]


@pytest.mark.parametrize("error", [NotSharedError, StorageError])
def test_what_every_trial_would_fail_of_ends_the_search_at_once(ray_here, tmp_path, error):
    told = "s: the node 10.0.0.7 does not see the study's folder"

    class Blind(tune.Trainable):
        """What a trial is whose workers see another disk, or a full one."""

        def step(self):
            raise error(told)

    with pytest.raises(error) as caught, callbacks_errors():
        tune.Tuner(
            tune.with_resources(Blind, ON_HEAD),
            param_space={
                "number": tune.grid_search([0, 1, 2]),
                "arm": "tuned",
                "proposed": "sampler",
                "temperature": 0.1,
            },
            tune_config=tune.TuneConfig(
                max_concurrent_trials=1, trial_dirname_creator=lambda trial: f"{trial.config['number']}"
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(tmp_path),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),
                callbacks=[TrialLog(tmp_path), FailedTrials(SimpleNamespace(monitor=None), None)],
            ),
        ).fit()
    assert str(caught.value) == told
    assert not (tmp_path / "trials" / "1").exists()  # the second never began
    assert [row.status for row in read_rows(tmp_path, running=True)] == ["running"]  # the first goes on


def test_a_trial_that_is_not_tried_again_is_left_by_its_workers():
    left = []
    callback = FailedTrials(SimpleNamespace(storage="s3://b/study/trials"), SimpleNamespace(leave=left.append))
    callback.on_trial_error(3, [], SimpleNamespace(config={"number": 7}))
    assert left == ["s3://b/study/trials/0007/fit"]
