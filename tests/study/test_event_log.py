"""Every run adds what happened to one log, whatever ended the run before; one that trains nothing adds nothing."""

import json

import pytest
from small_study import small_study

from hybridtune.errors import FitError
from hybridtune.runtime.termination import Terminated, sigterm_raises
from hybridtune.storage.events import EVENTS, append_event, history, read_events
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.study.event_log import EventLog

STUDY = small_study()


@pytest.fixture(autouse=True)
def _as_a_command_does():
    with sigterm_raises():
        yield


def row(status="running", step=None, reason=None):
    metrics = {} if step is None else {"step": step, "balanced/AP": 0.5}
    return TrialRow("0003", 3, "tuned", {}, metrics, status, reason=reason)


def kinds(folder):
    return [event.kind for event in read_events(folder)]


@pytest.fixture
def study_folder(tmp_path):
    (tmp_path / "environment.json").write_text(json.dumps({"format": 4}), encoding="utf-8")
    return tmp_path


def a_run(folder, error=None, before=()):
    """A run that scores a trial at step 10 and comes to step 14, and then ends or is broken off."""
    log = EventLog(folder)
    with log.run():
        log.on_training_start("search", STUDY, 1, before)
        log.on_trial(row(step=10 if before else None), [])
        log.on_score("0003", 10, {"balanced/AP": 0.5})
        log.on_step("0003", 14, 1.5, 100.0)
        if error is not None:
            raise error
        log.on_trial(row("done", 20), [])


def history_of(folder):
    return json.loads((folder / "environment.json").read_text(encoding="utf-8"))["history"]


def test_a_run_that_goes_through(study_folder):
    a_run(study_folder)
    assert kinds(study_folder) == ["began", "trial began", "scored", "trial ended", "ended"]
    began, trial, scored, ended, _ = read_events(study_folder)
    assert [event.text for event in (began, trial, ended)] == ["the study began", "trial 3: began", "trial 3: done"]
    assert (scored.trial, scored.step, scored.text) == ("0003", 10, "trial 3: step 10 scored: balanced/AP 0.5000")
    assert history_of(study_folder) == {"runs": 1, "interruptions": [], "workers_lost": 0, "repeated_steps": 0}
    assert json.loads((study_folder / "environment.json").read_text("utf-8"))["format"] == 4


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (KeyboardInterrupt(), "interrupted", "the run was interrupted"),
        (Terminated(), "interrupted", "the run was ended by SIGTERM"),
        (FitError("the loss is nan"), "failed", "the run failed: the loss is nan"),
        (OSError(28, "No space left on device"), "failed", "OSError: [Errno 28] No space left on device"),
    ],
)
def test_what_broke_a_run_off_and_what_is_trained_again_is_told_and_the_next_goes_on(study_folder, error, kind, told):
    with pytest.raises(type(error)):
        a_run(study_folder, error)
    last = read_events(study_folder)[-1]
    assert (last.kind, last.repeated) == (kind, 4)
    assert told in last.text
    a_run(study_folder, before=[row(step=10)])
    after = read_events(study_folder)[4:]
    assert [event.kind for event in after] == ["resumed", "trial goes on", "scored", "trial ended", "ended"]
    assert after[0].text == "the study goes on"
    assert after[1].text == "trial 3: goes on from step 10"
    known = history_of(study_folder)
    assert known == {"runs": 2, "interruptions": [last.text, after[0].text], "workers_lost": 0, "repeated_steps": 4}


def test_of_a_trial_that_goes_on_the_steps_since_its_score_alone_are_trained_again(study_folder):
    a_run(study_folder)

    def cut_off():
        log = EventLog(study_folder)
        with log.run():
            log.on_training_start("seed check", STUDY, 1, [])  # whose earlier rows come with the trials alone
            log.on_trial(row(step=40), [])
            log.on_step("0003", 47, 1.5, 100.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    *_, goes_on, interrupted = read_events(study_folder)
    assert (goes_on.kind, goes_on.step) == ("trial goes on", 40)
    assert interrupted.repeated == 7


def test_a_run_that_was_killed_leaves_a_torn_line_and_the_next_says_so(study_folder):
    log = EventLog(study_folder)
    log.on_training_start("search", STUDY, 1, [])
    log.on_trial(row(), [])
    with (study_folder / EVENTS).open("a", encoding="utf-8") as file:
        file.write('{"time": 1.0, "kind": "scor')
    a_run(study_folder, before=[row(step=10)])
    assert kinds(study_folder)[:3] == ["began", "trial began", "resumed"]
    assert read_events(study_folder)[2].text == "the study goes on; the run before was cut off without a word"


def test_lost_workers_are_told_with_what_is_trained_again(study_folder):
    log = EventLog(study_folder)
    with log.run():
        log.on_training_start("search", STUDY, 1, [])
        log.on_trial(row(), [])
        log.on_workers_lost("0003", 47, 40, "a worker died (exit code 137)")
    event = next(one for one in read_events(study_folder) if one.kind == "workers lost")
    assert event.text == "trial 3: a worker died (exit code 137) at step 47; going on from step 40"
    assert (event.step, event.repeated) == (47, 7)
    assert history_of(study_folder) == {
        **{"runs": 1, "workers_lost": 1, "repeated_steps": 7},
        "interruptions": [event.text],
    }


def test_nothing_is_written_where_nothing_is_trained(study_folder):
    with EventLog(study_folder).run():
        pass
    with pytest.raises(KeyboardInterrupt), EventLog(study_folder).run():
        raise KeyboardInterrupt
    assert not (study_folder / EVENTS).exists()


def test_a_reader_takes_events_of_a_newer_version(study_folder):
    a_run(study_folder)
    first = read_events(study_folder)[0]
    (study_folder / EVENTS).write_text('{"time": 1.0, "kind": "began", "text": "x", "colour": "red"}\n', "utf-8")
    append_event(study_folder, first)
    assert [event.text for event in read_events(study_folder)] == ["x", "the study began"]
    assert history(read_events(study_folder))["runs"] == 2


def test_what_was_damaged_is_noted_also_what_was_found_before_anything_was_trained(study_folder):
    log = EventLog(study_folder)
    with log.run():
        log.on_damage(None, 0, 0, "token store x is damaged (tokens.npy is missing): it is built again")
        log.on_training_start("search", STUDY, 1, ())
        log.on_trial(row(step=30), [])
        log.on_damage("0003", 30, 20, "model.safetensors is missing")
        log.on_damage(None, 0, 0, "optuna.db is damaged (it is gone): it is built again from trials.jsonl")
        log.on_trial(row("done", 40), [])
    found = [event for event in read_events(study_folder) if event.kind == "damaged"]
    assert [event.text.partition(" is damaged")[0] for event in found] == [
        "token store x",
        "trial 3: its checkpoint of step 30",
        "optuna.db",
    ]
    assert (found[1].trial, found[1].step, found[1].repeated) == ("0003", 30, 10)
    assert kinds(study_folder)[:2] == ["began", "damaged"]
    assert history_of(study_folder)["repeated_steps"] == 10
    assert len(history_of(study_folder)["interruptions"]) == 3


def test_a_study_that_has_ended_gets_no_event_for_what_is_only_told(study_folder):
    log = EventLog(study_folder)
    with log.run():
        log.on_damage(None, 0, 0, "a line")
    assert read_events(study_folder) == []


def test_a_run_goes_on_from_a_checkpoint_between_two_scores_and_repeats_nothing_before_it(study_folder):
    def stopped():
        log = EventLog(study_folder)
        with log.run():
            log.on_training_start("search", STUDY, 1, [])
            log.on_trial(row(), [])
            log.on_score("0003", 40, {"balanced/AP": 0.2})
            log.on_step("0003", 47, 1.0, 1.0)
            log.on_early_checkpoint("0003", 46, "the run ends by SIGTERM")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    *_, early, ended = read_events(study_folder)
    assert early.text == "trial 3: wrote a checkpoint at step 46: the run ends by SIGTERM"
    assert ended.repeated == 1
    log = EventLog(study_folder)
    log.on_training_start("search", STUDY, 1, [row(step=40)])
    log.on_trial(row(step=40), [])
    goes_on = read_events(study_folder)[-1]
    assert (goes_on.kind, goes_on.step) == ("trial goes on", 46)


def test_what_was_replaced_is_noted_and_counts_no_step(study_folder):
    log = EventLog(study_folder)
    with log.run():
        log.on_training_start("search", STUDY, 1, [])
        log.on_trial(row(), [])
        log.on_step("0003", 47, 1.0, 1.0)
        log.on_replaced("0003", "an evaluator died (killed); others score again")
    event = next(one for one in read_events(study_folder) if one.kind == "replaced")
    assert (event.text, event.step) == ("trial 3: an evaluator died (killed); others score again", 47)
    assert history_of(study_folder)["repeated_steps"] == 0
    assert history_of(study_folder)["interruptions"] == [event.text]
