"""What a study's table, its title and its last lines say."""

import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from hybridtune.config.study import Study
from hybridtune.search.samplers import expected_trials
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.terminal import screen
from hybridtune.terminal.screen import Screen, search_title
from hybridtune.terminal.summary import study_summary, trial_counts
from hybridtune.terminal.tables import plain_table, trials_table

GOAL = "balanced/AP"


def study_of(**search):
    return Study.model_validate(
        {
            "name": "small",
            "data": {"train": "newsroom:train"},
            "benchmarks": {"dev": {"path": "newsroom:dev"}},
            "train": {"max_steps": 300},
            "search": {"trials": 5, "arms": "none", **search},
        }
    )


def row(number, status="done", arm="tuned", step=300, began=0.0, seconds=60.0, value=0.5, fields=1):
    values = {f"field_{index}": 0.125 for index in range(fields)}
    metrics = {"step": step, "best_step": step, GOAL: value, "mono/AP": 0.75} if step else {}
    return TrialRow(f"{number:04d}", number, arm, values, metrics, status, None, seconds, began)


ROWS = [
    row(0, arm="half-half"),
    row(1, value=0.625),
    row(2, "stopped early", step=100, began=60.0),
    row(3, "out of budget", step=200, began=60.0),
]


def printed(table, width=200):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.mark.parametrize(
    ("status", "mark"),
    [("done", ""), ("stopped early", "x"), ("out of budget", "t"), ("failed", "!"), ("running", "..")],
)
def test_a_step_carries_the_mark_of_its_trial(status, mark):
    line = printed(trials_table([GOAL], [row(0, status, step=120)])).splitlines()[1]
    assert line.split()[2:] == ["sampler", "0.125", f"120{mark}", "0.5000", "0.7500"]


@pytest.mark.parametrize(("width", "fields"), [(110, 6), (80, 2), (72, 1), (60, 0)])
def test_a_wide_table_has_the_fields_that_a_terminal_has_room_for_and_all_figures(width, fields):
    rows = [row(0, fields=9)]
    narrow = printed(trials_table([GOAL], rows), width)
    table, _, note = narrow.partition(f"at {width} columns without: ")
    assert [f"field_{index}" in table for index in range(9)] == [True] * fields + [False] * (9 - fields)
    assert [f"field_{index}" in note for index in range(9)] == [False] * fields + [True] * (9 - fields)
    assert "0.7500" in table
    assert "…" not in narrow
    wide = printed(trials_table([GOAL], rows), 200)
    assert "field_8" in wide
    assert "without" not in wide


def test_without_room_for_the_figures_the_trials_and_the_goal_stay():
    rows = [row(0, fields=9), row(12)]
    lines = printed(trials_table([GOAL], rows, best="0012", title="2 of 5 trials ended"), 30).splitlines()
    assert [line.rstrip() for line in lines[:5]] == [
        "2 of 5 trials ended",
        "trial      step balanced",
        "trial 0     300   0.5000",
        "trial 12 *  300   0.5000",
        "at 30 columns without:",
    ]


def test_tables_in_a_file_are_whole_and_texts_in_them_are_no_markup(capsys):
    shown = Screen(to_stderr=False)
    shown.console.print(trials_table([GOAL], [row(0, fields=20)]))
    shown.console.print(plain_table([{"[i]name": "/tmp/[b]x/[/b]"}, {"[i]name": "see [/wiki]"}], "of [red]x"))
    text = capsys.readouterr().out
    assert "…" not in text
    assert "field_19" in text
    assert all(written in text for written in ("[i]name", "/tmp/[b]x/[/b]", "see [/wiki]", "of [red]x"))


def test_a_table_that_fits_exactly_is_left_whole():
    rows = [row(0, fields=7)]
    lines = printed(trials_table([GOAL], rows), 300).splitlines()
    needed = max(len(line.rstrip()) for line in lines) + 1
    assert "field_6" in printed(trials_table([GOAL], rows), needed).partition("without")[0]
    assert "field_6" not in printed(trials_table([GOAL], rows), needed - 1).partition("without")[0]


def test_what_was_asked_and_what_came_of_it():
    text = trial_counts(study_of(time_budget="30m", step_budget=1000), ROWS[1:])
    assert text == (
        "5 trials requested: 1 done, 1 stopped early, 1 out of budget, 2 not begun; 600 of 1,500 steps in 2 min "
        "(budget: 30m, 1,000 steps)"
    )
    after = replace(row(4, step=300, began=200.0), proposed="rerun")
    assert trial_counts(study_of(trials=1, arms="searched"), [*ROWS, after]) == (
        "4 trials requested: 2 done, 1 stopped early, 1 out of budget; 900 of 1,200 steps in 2 min; after it 1 more in "
        "60 s"
    )


def test_the_title_counts_trials_and_what_is_left_of_the_budget(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: now[0])
    title = search_title(study_of(time_budget="10m", step_budget=1000), 2, ROWS[:1])  # a minute is gone
    rows = [*ROWS, row(4, "running", step=0)]
    assert title(rows) == "4 of 5 trials ended, 2 at once, 9 min of 10m left, 100 of 1,000 steps left"
    now[0] += 700.0
    assert "0 s of 10m left" in title(rows)
    assert search_title(study_of(), 1, [])([]) == "0 of 5 trials ended, 1 at once"


def test_the_title_counts_what_the_screening_used_of_the_budget(monkeypatch):
    monkeypatch.setattr(screen.time, "monotonic", lambda: 100.0)
    screened = replace(row(0, step=250, seconds=120.0), id="screened-0000")
    title = search_title(study_of(time_budget="10m", step_budget=1000), 1, [screened, ROWS[0]])
    assert title(ROWS[:2]) == "2 of 5 trials ended, 1 at once, 8 min of 10m left, 150 of 1,000 steps left"


LINE = "tuned is 0.125 above half-half with the file's values"


def result_of(repeats=None, **more):
    trials = [vars(one) for one in ROWS]
    paths = {"model": "/m", "study": "/s", "test": None, "headline": LINE}
    beside = {"arm": "half-half", "same_values": "same-values", "file_values": "file-values"}
    return {
        **{"best": trials[1], "trials": trials, "front": ["0001"], "repeats": repeats, "reference": beside},
        **paths,
        **more,
    }


def test_the_summary_of_a_study(capsys):
    study_summary(study_of(), result_of(), Screen(to_stderr=False))
    text = capsys.readouterr().out
    assert "trial 1 *" in text
    assert "x: stopped early; t: out of budget" in text
    assert "5 trials requested: 2 done" in text
    assert f"{LINE}\n" in text
    assert "other seeds" not in text


def test_the_summary_says_why_trials_failed_and_where_the_report_is(capsys):
    failed = [vars(replace(row(number, "failed", step=0), reason="the loss is nan")) for number in (4, 5)]
    result = result_of(report="/s/report.html")
    study_summary(study_of(), {**result, "trials": [*result["trials"], *failed]}, Screen(to_stderr=False))
    text = capsys.readouterr().out
    assert "trial 4, trial 5 failed: the loss is nan\n" in text
    assert "report: /s/report.html\n" in text


def test_a_grid_asks_for_no_more_trials_than_it_has():
    space = {"mixing_ratio": {"choice": [0.25, 0.75]}}
    assert expected_trials(study_of(sampler="grid", trials=50, space=space)) == 2


def test_the_screening_is_a_line(capsys):
    screened = [vars(replace(row(n, value=0.1 * n, fields=n), id=f"screened-{n:04d}")) for n in (1, 2)]
    found = {"layers": 1, "of": 2, "kept": {"tuned": {"screened-0001": {}}}, "trials": screened}
    study = study_of(screening={"layers": 1, "trials": 2, "keep": 1})
    study_summary(study, result_of(screening=found), Screen(to_stderr=False))
    assert (
        "screening: 2 trainings with 1 of 2 layers (2 done; 600 steps in 60 s); 1 point of them begin the search\n"
        in capsys.readouterr().out
    )


def test_the_noise_check_is_a_table(capsys):
    figures = {"first": 0.6, "by_seed": {"1": 0.6, "2": 0.62}, "mean": 0.61, "spread": 0.0141, "n": 2}
    versus = {"difference": 0.11, "low": 0.09, "high": 0.13, "p_holm": 0.0012, "verdict": "better"}
    repeats = {
        "unit": "document",
        "unit_note": "",
        "contestants": {
            "tuned": {"trial": "0001", "metrics": {GOAL: figures}},
            "same-values": {"trial": "0000", "metrics": {GOAL: {**figures, "mean": 0.5, "spread": None, "n": 1}}},
        },
        "against": {"same-values": {GOAL: versus}},
    }
    study_summary(study_of(repeat_best=2), result_of(repeats), Screen(to_stderr=False))
    text = capsys.readouterr().out
    found = [line.split() for line in text.splitlines()]
    tuned = next(words for words in found if words[:2] == ["tuned", "0001"])
    half = next(words for words in found if words[:3] == ["half-half,", "same", "values"])
    assert tuned == ["tuned", "0001", "0.6000", "0.6100", "0.0141", "2"]
    assert half == [
        "half-half,",
        "same",
        "values",
        "0000",
        "0.6000",
        "0.5000",
        "1",
        "0.1100",
        "0.0200",
        "0.001",
        "better",
    ]


def test_the_table_needs_nothing_heavy():
    """`hybridtune status` prints it, and is to answer at once."""
    code = "import sys, hybridtune.terminal.screen; print([m for m in ('ray', 'torch', 'optuna') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_table_says_which_trials_meet_the_constraints():
    console = Console(width=200, record=True)
    console.print(trials_table([GOAL, "mono/AP"], ROWS[:2], meet={ROWS[0].id: "no", ROWS[1].id: "yes"}))
    head, first, second, *_ = console.export_text().splitlines()
    assert head.split()[-1] == "meets"
    assert (first.split()[-1], second.split()[-1]) == ("no", "yes")
    console.print(trials_table([GOAL], ROWS[:2]))
    assert "meets" not in console.export_text()
