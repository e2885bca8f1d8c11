"""What a trial's row says, report by report, in its own process and in others, through interruptions."""

import itertools
import json
import os
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Trial

from hybridtune.search import trial_log as watch
from hybridtune.search.trial_log import TrialLog, read_reports
from hybridtune.storage.trial_rows import read_rows, read_running


def trial_of(number=0, arm="tuned", status=Trial.RUNNING):
    config = {"number": number, "arm": arm, "proposed": "sampler", "temperature": 0.05}
    return SimpleNamespace(config=config, status=status, error_file=None, run_metadata=SimpleNamespace())


@pytest.fixture
def clock(monkeypatch):
    """What `time.time` says to the log: a list whose last item a test sets."""
    now = [1000.0]
    monkeypatch.setattr(watch, "time", SimpleNamespace(time=lambda: now[-1]))
    return now


def report(step, value, final=0.0, best_step=None, ended=0.0):
    metrics = {"step": step, "balanced/AP": value, "best_step": best_step or step, "ended": ended, "final": final}
    return {**metrics, "pid": 1}


def watched(folder, reports):
    log, trial = TrialLog(folder), trial_of()
    log.on_trial_start(0, [], trial)
    for one in reports:
        log.on_trial_result(0, [], trial, one)
    log.on_trial_complete(0, [], trial)
    return read_rows(folder)[0]


def test_a_trial_that_ended_has_the_metrics_and_the_checkpoint_of_its_best_score(tmp_path):
    reports = [report(4, 0.5), report(8, 0.3, best_step=4, ended=1.0), report(8, 0.5, 1.0, best_step=4, ended=1.0)]
    row = watched(tmp_path, reports)
    assert row.status == "done"  # by its patience, before the last step of the study
    assert (row.metrics["balanced/AP"], row.metrics["best_step"], row.metrics["step"]) == (0.5, 4, 8)
    assert row.checkpoint == "trials/0000/fit/checkpoint_0000004"
    assert not {"final", "ended", "pid"} & row.metrics.keys()
    lines = (tmp_path / "trials" / "0000" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["balanced/AP"] for line in lines] == [0.5, 0.3]  # the curve, without the repetition


def test_an_end_is_in_the_file_before_it_is_shown(tmp_path, monkeypatch):
    """Ctrl-C at the sight of it loses nothing, and all who tell of it tell the same."""
    shown, ticks = [], itertools.count(1000.0)
    monkeypatch.setattr(watch, "time", SimpleNamespace(time=lambda: next(ticks)))

    def display(rows, row):
        shown.append((row.status, [ended.status for ended in read_rows(tmp_path)]))
        if row.status != "running":
            assert read_rows(tmp_path) == rows
            assert read_running(tmp_path).rows == []

    monkeypatch.setitem(TrialLog.displays, str(tmp_path), display)
    watched(tmp_path, [report(4, 0.5)])
    assert shown == [("running", []), ("running", []), ("stopped early", ["stopped early"])]


def test_a_trial_without_a_final_report_was_stopped(tmp_path):
    assert watched(tmp_path, [report(4, 0.5), report(8, 0.3, best_step=4)]).status == "stopped early"


@pytest.mark.parametrize(
    ("reports", "status", "value", "checkpoint"),
    [
        ([], "out of budget", None, None),
        ([report(4, 0.3)], "out of budget", 0.3, "checkpoint_0000004"),
        ([report(4, 0.5), report(8, 0.3, best_step=4)], "out of budget", 0.5, "checkpoint_0000004"),
        ([report(4, 0.5), report(8, 0.3, best_step=4, ended=1.0)], "done", 0.5, "checkpoint_0000004"),
    ],
    ids=["before its first score", "after one", "its best is an earlier one", "only the final report was missing"],
)
def test_a_trial_that_the_budget_cut_off_is_worth_its_best_score(tmp_path, reports, status, value, checkpoint):
    log, trial = TrialLog(tmp_path), trial_of()
    log.on_trial_start(0, [trial], trial)
    for one in reports:
        log.on_trial_result(0, [trial], trial, one)
    log.on_step_end(1, [trial])
    assert read_rows(tmp_path) == []  # it runs
    trial.status = Trial.TERMINATED  # all that Tune does when the whole search is stopped
    log.on_step_end(2, [trial, trial_of(1, status=Trial.TERMINATED)])  # the other never began
    (row,) = read_rows(tmp_path)
    assert (row.status, row.metrics.get("balanced/AP")) == (status, value)
    assert row.checkpoint == (checkpoint and f"trials/0000/fit/{checkpoint}")
    if reports:
        assert (row.metrics["step"], row.metrics["best_step"]) == (reports[-1]["step"], 4)
    log.on_step_end(3, [trial])
    assert len(read_rows(tmp_path)) == 1


def test_a_trial_that_ended_by_itself_is_not_out_of_budget(tmp_path):
    log, trial = TrialLog(tmp_path), trial_of()
    log.on_trial_start(0, [trial], trial)
    log.on_trial_result(0, [trial], trial, report(4, 0.5))
    log.on_trial_complete(0, [trial], trial)
    trial.status = Trial.TERMINATED
    log.on_step_end(1, [trial])
    assert read_rows(tmp_path)[0].status == "stopped early"


def test_other_processes_see_what_runs(tmp_path):
    log, first, second = TrialLog(tmp_path), trial_of(0, "mono-only"), trial_of(1)
    log.on_trial_start(0, [first], first)
    log.on_trial_start(0, [first, second], second)
    log.on_trial_result(0, [first, second], second, report(4, 0.25))
    now = read_running(tmp_path)
    assert (now.pid, now.alive) == (os.getpid(), True)
    seen = [(row.id, row.status, row.metrics.get("balanced/AP")) for row in read_rows(tmp_path, running=True)]
    assert seen == [("0000", "running", None), ("0001", "running", 0.25)]
    log.on_trial_error(0, [first, second], first)
    statuses = [row.status for row in read_rows(tmp_path, running=True)]
    assert statuses == ["failed", "running"]
    log.on_experiment_end([first, second])  # Ctrl-C: one still ran
    assert read_running(tmp_path) is not None
    log.on_trial_complete(0, [first, second], second)
    log.on_experiment_end([first, second])
    assert read_running(tmp_path) is None


def test_a_trial_that_goes_on_keeps_when_it_began_and_counts_the_time_it_ran(tmp_path, clock):
    first, trial = TrialLog(tmp_path), trial_of()
    first.on_trial_start(0, [], trial)
    clock.append(1030.0)
    first.on_trial_result(0, [], trial, report(4, 0.5))
    clock.append(5000.0)  # the machine was off, the process is gone
    second = TrialLog(tmp_path)
    assert [row.status for row in second.rows.values()] == ["running"]
    second.on_trial_start(0, [], trial)
    (row,) = read_rows(tmp_path, running=True)
    assert (row.began, row.seconds, row.metrics["step"]) == (1000.0, 30.0, 4)
    clock.append(5012.0)
    second.on_trial_result(0, [], trial, report(8, 0.6, ended=1.0))
    second.on_trial_result(0, [], trial, report(8, 0.6, 1.0, ended=1.0))
    second.on_trial_complete(0, [], trial)
    (row,) = read_rows(tmp_path)
    assert (row.began, row.seconds, row.status) == (1000.0, 42.0, "done")


def test_a_failed_trial_says_why_until_it_is_tried_again(tmp_path):
    log, trial = TrialLog(tmp_path), trial_of()
    log.on_trial_start(0, [], trial)
    (tmp_path / "error.txt").write_text(
        "Failure # 2\n  raise x\nhybridtune.errors.FitError: the loss is nan: lower it\n\n"
    )
    trial.error_file = str(tmp_path / "error.txt")
    log.on_trial_error(0, [], trial)
    assert read_rows(tmp_path)[0].reason == "the loss is nan: lower it"
    again = TrialLog(tmp_path)
    again.on_trial_start(0, [], trial)
    assert again.rows["0000"].reason is None


def test_a_trial_that_fails_before_it_has_started_has_a_row(tmp_path):
    log, trial = TrialLog(tmp_path), trial_of()
    log.on_trial_error(0, [], trial)
    assert [(row.id, row.status, row.values) for row in read_rows(tmp_path)] == [
        ("0000", "failed", {"temperature": 0.05})
    ]


def test_a_trial_that_died_of_memory_says_so_and_not_what_ray_advises(tmp_path):
    log, trial = TrialLog(tmp_path), trial_of()
    (tmp_path / "error.txt").write_text("Task was killed due to the node running low on memory.\nRefer to the docs.\n")
    trial.error_file = str(tmp_path / "error.txt")
    log.on_trial_error(0, [], trial)
    assert [(row.status, row.reason) for row in read_rows(tmp_path)] == [
        ("failed", "Ray ended it, since the memory of its machine was nearly used up")
    ]


def test_a_failed_trial_stays_in_the_file_until_it_is_tried_again(tmp_path):
    first, one, two = TrialLog(tmp_path), trial_of(0), trial_of(1)
    first.on_trial_start(0, [], one)
    first.on_trial_error(0, [], one)
    second = TrialLog(tmp_path)
    second.on_trial_start(0, [], two)
    second.on_trial_result(0, [], two, report(4, 0.5))
    second.on_trial_complete(0, [], two)
    assert [row.status for row in read_rows(tmp_path)] == ["failed", "stopped early"]
    second.on_trial_start(0, [], one)
    second.on_trial_error(0, [], two)
    assert [row.id for row in read_rows(tmp_path)] == ["0001"]


def test_where_the_time_went_is_in_the_row(tmp_path):
    times = {"setup_seconds": 1.5, "train_seconds": 20.0, "score_seconds": 3.0, "data_wait": 0.1}
    row = watched(tmp_path, [{**report(4, 0.5), **times, "time_total_s": 9.0}])
    assert {name: row.metrics[name] for name in times} == times
    assert "time_total_s" not in row.metrics


def test_a_line_that_was_cut_off_is_no_score(tmp_path):
    assert read_reports(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text('{"step": 4, "loss": 1.0}\n{"step": 8, "lo')
    assert read_reports(tmp_path) == [{"step": 4, "loss": 1.0}]


def test_a_change_of_a_trial_leaves_the_lines_of_all_others_alone(tmp_path):
    log, trials = TrialLog(tmp_path), [trial_of(number) for number in range(4)]
    for trial in trials:
        log.on_trial_start(0, trials, trial)
    log.on_trial_complete(0, trials, trials[2])
    before = (tmp_path / "trials.jsonl").read_bytes()
    (tmp_path / "trials.jsonl").write_bytes(before + b'{"id": "00')  # as a power cut leaves it
    log.on_trial_complete(0, trials, trials[1])
    after = (tmp_path / "trials.jsonl").read_bytes()
    assert after.startswith(before)
    assert [json.loads(line)["id"] for line in after.splitlines()] == ["0002", "0001"]
    assert [row.id for row in read_running(tmp_path).rows] == ["0000", "0003"]  # no more than what runs
    assert [row.id for row in read_rows(tmp_path)] == ["0001", "0002"]


def test_a_trial_that_runs_again_is_not_among_the_ended_ones_and_the_end_leaves_a_line_each(tmp_path):
    log, one, two = TrialLog(tmp_path), trial_of(0), trial_of(1)
    for trial in (two, one):
        log.on_trial_start(0, [], trial)
        log.on_trial_error(0, [], trial)
    again = TrialLog(tmp_path)
    again.on_trial_start(0, [], one)
    assert [row.id for row in read_rows(tmp_path)] == ["0001"]
    (tmp_path / "running.json").unlink()  # lost, or damaged: the row is in the other file, too
    assert [(row.id, row.status) for row in read_rows(tmp_path, running=True)] == [
        ("0000", "running"),
        ("0001", "failed"),
    ]
    again.on_trial_result(0, [], one, report(4, 0.5))
    again.on_trial_complete(0, [], one)
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 4
    again.on_experiment_end([one])
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [(line["id"], line["status"]) for line in lines] == [("0000", "stopped early"), ("0001", "failed")]
