"""A study of more trials than a page lists: what is listed, drawn, read, and said of the others."""

import json
import re

import pytest
from chart_records import curved_trials, ledger_of, plan_of, record_of, traces_of, trial_of
from made_study import LANGUAGES, made_study

from hybridtune.report import record as records
from hybridtune.report import tables
from hybridtune.report.page import all_charts, page
from hybridtune.report.record import read_record

MOST = 8


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(records, "MOST_LISTED", MOST)


def many(count=20, objective=("balanced/AP",)):
    trials = [*curved_trials(count), trial_of(90, 0.5, status="running"), trial_of(91, 0.5, status="failed")]
    for trial in trials:
        trial.plan = plan_of(*[trial.values["mix.mixing_ratio"]] * 2)
    return record_of(trials, objective, ledger=ledger_of(trials[:-2], objective))


def test_the_contestants_and_the_best_are_listed_in_the_order_of_their_numbers():
    record = many()
    values = {trial.number: trial.metrics.get("balanced/AP", 0.0) for trial in record.trials}
    named = {trial.number for trial in record.contestants.values()}
    rest = sorted(values.keys() - named, key=values.get, reverse=True)[: MOST - len(named)]
    assert [trial.number for trial in record.listed] == sorted([*named, *rest])
    assert f"Listed are 8 of {len(values)} trials: the contestants and the best by balanced/AP" in record.left_out


def test_the_front_is_listed_before_others():
    record = many(objective=("mono/AP", "multi/AP"))
    listed = {trial.number for trial in record.listed}
    named = {trial.number for trial in record.contestants.values()}
    assert len(record.front) > MOST
    assert listed <= named | {trial.number for trial in record.front}
    assert "the contestants, the Pareto front and the best by mono/AP" in record.left_out


def test_as_many_as_a_page_lists_are_all_listed_and_nothing_is_said():
    record = record_of(curved_trials(MOST - 3))
    assert record.listed == record.trials
    assert record.left_out == ""


def test_every_table_of_trials_lists_these_and_says_so_and_charts_count_all():
    record = many()
    charts = {chart.key: chart for some in all_charts(record).values() for chart in some}
    labels = {trial.label for trial in record.listed}
    for key in ("history", "parallel", "front", "intermediate", "timeline"):
        assert {row[0] for row in charts[key].rows} == labels, key
        assert charts[key].table.note == record.left_out, key
    for key in ("ratio-curve", "ratio-temperature", "realised-ratio"):
        assert {row[0] for row in charts[key].rows} == labels, key
        assert record.left_out in charts[key].table.note, key
    table = tables.all_trials(record)
    assert len(table.rows) == MOST
    assert record.left_out in table.note
    assert table.title.startswith(f"{len(record.trials)} trials: 23 done")
    assert "23 full-length trials" in charts["ratio-curve"].words


def test_lines_are_of_the_listed_trials_and_marks_of_all():
    record = many()
    charts = {chart.key: chart for some in all_charts(record).values() for chart in some}
    for key in ("intermediate", "parallel", "timeline"):
        assert record.left_out in charts[key].words, key
    assert len(charts["intermediate"].figure.data) == MOST
    tuned = [trial for trial in record.listed if trial.arm == "tuned"]
    assert len(charts["parallel"].figure.data) == len(tuned)
    assert {len(trace.y) for trace in charts["timeline"].figure.data} == {MOST}
    (marks,) = traces_of(charts["realised-ratio"], "markers")
    assert len(marks.x) == len(record.trials)


def test_scores_and_plans_of_the_others_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MOST_LISTED", 4)
    folder = made_study(tmp_path / "study", languages=LANGUAGES[:2])
    record = read_record(folder)
    listed = {trial.id for trial in record.listed}
    assert len(listed) == 4
    for trial in record.trials:
        assert (trial.scores is not None) == (trial.id in listed)
        assert ("table" in trial.plan) == (trial.id in listed)
    text = re.sub(r"\s+", " ", page(record))
    assert "Listed are 4 of 7 trials: the contestants and the best by balanced/AP; all are in trials.jsonl." in text
    assert len(json.loads((folder / "result.json").read_text())["trials"]) == 7
