import dataclasses

import pytest
from chart_records import curved_trials, ledger_of, record_of, trial_of

from hybridtune.report import time_charts
from hybridtune.report.colours import GREY


@pytest.mark.parametrize("objectives", [["balanced/AP"], ["balanced/AP", "mono/AP"]])
def test_every_trial_with_scores_has_a_line_whether_optuna_holds_them_or_not(objectives):
    trials = curved_trials(4)
    trials[5] = dataclasses.replace(trials[5], history=[])
    record = record_of(trials, objectives, ledger=ledger_of(trials, objectives))
    chart = time_charts.intermediate(record)
    lines = {trace.name: trace for trace in chart.figure.data}
    assert set(lines) == {t.label for t in trials} - {"trial 5"}
    assert list(lines["half-half 1"].x) == [10, 20]
    assert lines[record.best.label].line.width == max(line.line.width for line in lines.values())
    assert {line.line.dash for name, line in lines.items() if "only" in name} == {"dot", "dashdot"}
    assert chart.columns == ["trial", "step", "balanced/AP"]


def test_learning_curves_are_those_of_the_chosen_trial_and_the_contestants():
    record = record_of(curved_trials(6))
    chart = time_charts.learning_curves(record)
    expected = {trial.label for trial in record.contestants.values()}
    assert {trace.name for trace in chart.figure.data} == expected
    assert {row[0] for row in chart.rows} == expected
    losses = next(trace for trace in chart.figure.data if trace.name == "mono-only 0")
    assert list(zip(losses.x, losses.y, strict=True)) == [(10, 1 / 10), (20, 1 / 20)]
    assert time_charts.learning_curves(record_of([trial_of(0, 0.5, balanced_AP=0.1)])).figure is not None
    assert time_charts.learning_curves(record_of([])).figure is None


def timed(trial, **metrics):
    return dataclasses.replace(trial, metrics=metrics, history=[])


def test_the_phases_of_a_trial_follow_each_other_and_add_up_to_its_time():
    trials = curved_trials(1)
    split = {"setup_seconds": 5.0, "train_seconds": 60.0, "score_seconds": 30.0}
    chart = time_charts.timeline(record_of([timed(trial, **split, **{"balanced/AP": 0.1}) for trial in trials]))
    bars = {trace.name: trace for trace in chart.figure.data}
    assert list(bars) == ["set-up", "training", "scoring", "waiting and ending"]
    for i, trial in enumerate(trials):
        begins = 0.0 + 100 * trial.number
        for phase, seconds in (("set-up", 5), ("training", 60), ("scoring", 30), ("waiting and ending", 5)):
            assert bars[phase].base[i] * 60 == pytest.approx(begins)  # 400 s are told in minutes
            assert bars[phase].x[i] * 60 == pytest.approx(seconds)
            begins += seconds
    assert "4 trials in 0:06:40" in chart.words
    assert "5% set-up, 60% training, 30% scoring, 5% waiting and ending" in chart.words
    assert chart.rows[1] == ["half-half 1", "done", 100.0, 100.0, 5.0, 60.0, 30.0, 5.0, None]
    assert chart.columns[-5:] == [f"{phase} (s)" for phase in time_charts.PHASES]


def test_time_that_a_trial_does_not_split_is_not_guessed():
    record = record_of([timed(trial_of(0, 1.0), train_seconds=40.0), timed(trial_of(2, 0.0), train_seconds=500.0)])
    chart = time_charts.timeline(record)
    assert chart.rows[0][4:] == [None, 40.0, None, None, 60.0]
    assert chart.rows[1][4:] == [None, 100.0, None, None, 0.0]  # resumed: cut to the stretch that is drawn
    assert "For 100 s in between no trial ran." in chart.words
    assert time_charts.timeline(record_of([dataclasses.replace(trial_of(0, 1.0), began=0.0)])).figure is None


def test_the_time_of_a_trial_counts_to_its_last_score_not_to_its_best():
    trial = timed(trial_of(0, 1.0, balanced_AP=0.5), train_seconds=20.0, **{"balanced/AP": 0.5})
    history = [{"step": 10, "train_seconds": 20.0}, {"step": 20, "train_seconds": 70.0}]
    later = dataclasses.replace(trial, history=history)
    assert time_charts.timeline(record_of([later])).rows[0][5] == 70.0


def test_grey_is_for_those_that_do_not_stand_out():
    trials = curved_trials(6)
    record = record_of(trials, ledger=ledger_of(trials))
    chart = time_charts.intermediate(record)
    named = [trace.name for trace in chart.figure.data if trace.line.color != GREY]
    assert set(named) == {trial.label for trial in record.contestants.values()}
    assert [trace.name for trace in chart.figure.data if trace.showlegend] == named
