"""What the terminal's listener prints of a study's events where there is no terminal: a line each."""

import re

import pytest

from hybridtune.callbacks import Callbacks, StudyCallback, phase
from hybridtune.config.study import Study
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import latest_rows

STUDY = Study(
    name="small",
    data={"train": "newsroom:train"},
    benchmarks={"dev": {"path": "newsroom:dev"}},
    train={"max_steps": 300},
)


def lines(capsys):
    return [re.sub(r"^ *\d+\.\ds  ", "", line) for line in capsys.readouterr().out.splitlines()]


def test_a_trial_is_a_line_when_it_begins_at_every_score_and_at_its_end(capsys):
    screen = Screen()
    row = TrialRow("0002", 2, "tuned", {"train.temperature": 0.05})
    screen.on_training_start("search", STUDY, 2, [])
    screen.on_trial(row, [row])
    row.metrics = {"step": 100, "best_step": 100, "balanced/AP": 0.25, "multi/rank_distance": 3.0}
    screen.on_trial(row, [row])
    row.status, row.seconds = "done", 12.0
    screen.on_trial(row, [row])
    failed = TrialRow("0003", 3, "half-half", {}, status="failed", seconds=1.0, reason="the loss is nan")
    screen.on_trial(failed, [row, failed])
    screen.on_training_end("search")
    assert lines(capsys) == [
        "trial 2: started (temperature 0.05)",
        "trial 2: step 100/300, balanced/AP 0.2500, multi/rank_distance 3.0",
        "trial 2: done after 12 s, best at step 100",
        "half-half 3: failed after 1 s: the loss is nan",
    ]


def test_a_phase_is_a_line_at_its_end_and_none_where_it_was_cut_off(capsys):
    screen = Screen()
    with phase(screen, "tokenising", "texts") as progress:
        progress(10, 100)
        progress(100, 100)
    (line,) = lines(capsys)
    assert re.fullmatch(r"tokenising: 100 texts \(10 of them before\) in \d+\.\d s, [\d,.]+ texts/s", line)
    with pytest.raises(ZeroDivisionError), phase(screen, "encoding", "texts") as progress:
        progress(0, 100 // 0)
    assert lines(capsys) == []


def test_every_callback_gets_every_event_in_their_order():
    seen = []

    class One(StudyCallback):
        def __init__(self, name):
            self.name = name

        def on_step(self, *arguments):
            seen.append((self.name, *arguments))

    callbacks = Callbacks([One("a"), StudyCallback(), One("b")])
    callbacks.on_step("fit", 3, 0.5, 100.0)
    callbacks.on_message("nobody listens")
    assert seen == [("a", "fit", 3, 0.5, 100.0), ("b", "fit", 3, 0.5, 100.0)]


def test_a_live_table_of_many_trials_has_those_that_run_and_the_last_of_the_others():
    rows = [TrialRow(f"{n:04d}", n, "tuned", {}, status="running" if n in (1, 6) else "done") for n in range(8)]
    assert [row.number for row in latest_rows(rows, 4)] == [1, 5, 6, 7]
    assert [row.number for row in latest_rows(rows, 1)] == [1, 6]  # what runs is always there
    assert latest_rows(rows, 8) == latest_rows(rows, 80) == rows
