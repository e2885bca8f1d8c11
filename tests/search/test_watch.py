"""What a trial's row says, report by report; and when ASHA may stop it."""

import json
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from hybridtune.search.stopping import BaselinesFinish
from hybridtune.search.watch import Events, Watcher, read_rows


def trial_of(number=0, baseline=None):
    return SimpleNamespace(config={"number": number, "baseline": baseline, "temperature": 0.05})


def report(step, value, final=0.0, best_step=None, ended=0.0):
    metrics = {"step": step, "balanced/AP": value, "best_step": best_step or step, "ended": ended, "final": final}
    return {**metrics, "pid": 1, "checkpoint_path": f"checkpoint_{best_step or step}"}


def watched(folder, reports):
    watcher, trial = Watcher(folder), trial_of()
    watcher.on_trial_start(0, [], trial)
    for one in reports:
        watcher.on_trial_result(0, [], trial, one)
    watcher.on_trial_complete(0, [], trial)
    return read_rows(folder)[0]


def test_a_trial_that_ended_has_the_metrics_and_the_checkpoint_of_its_best_score(tmp_path):
    reports = [report(4, 0.5), report(8, 0.3, best_step=4, ended=1.0), report(8, 0.5, 1.0, best_step=4, ended=1.0)]
    row = watched(tmp_path, reports)
    assert row.status == "done"  # by its patience, before the last step of the study
    assert (row.metrics["balanced/AP"], row.metrics["best_step"], row.metrics["step"]) == (0.5, 4, 8)
    assert row.checkpoint == "checkpoint_4"
    assert not {"final", "ended", "pid", "checkpoint_path"} & row.metrics.keys()
    lines = (tmp_path / "trials" / "0000" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["balanced/AP"] for line in lines] == [0.5, 0.3]  # the curve, without the repetition


def test_a_trial_without_a_final_report_was_stopped(tmp_path):
    assert watched(tmp_path, [report(4, 0.5), report(8, 0.3, best_step=4)]).status == "stopped early"


def test_tensorboard_sees_every_score_once(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Events.__mro__[1], "log_trial_result", lambda self, i, trial, result: seen.append(result["step"])
    )
    events = Events(tmp_path)
    for one in [report(4, 0.5), report(8, 0.3), report(8, 0.5, 1.0, best_step=4)]:
        events.log_trial_result(0, trial_of(), one)
    assert seen == [4, 8]


@pytest.mark.parametrize(
    ("trial", "last", "expected"),
    [
        (trial_of(), report(4, 0.1), TrialScheduler.STOP),
        (trial_of(baseline="half-half"), report(4, 0.1), TrialScheduler.CONTINUE),
        (trial_of(), report(12, 0.1, ended=1.0), TrialScheduler.CONTINUE),  # its best checkpoint is still to come
        (trial_of(), report(12, 0.5, 1.0, best_step=4), TrialScheduler.CONTINUE),
    ],
)
def test_asha_stops_neither_baselines_nor_what_has_ended(monkeypatch, trial, last, expected):
    monkeypatch.setattr(ASHAScheduler, "on_trial_result", lambda self, controller, trial, result: TrialScheduler.STOP)
    scheduler = BaselinesFinish(time_attr="step", metric="balanced/AP", mode="max", max_t=13)
    assert scheduler.on_trial_result(None, trial, last) == expected
