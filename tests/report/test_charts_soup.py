"""The curve of the soups, its ends, and what is said of the best one."""

import dataclasses

from chart_records import curved_trials, record_of, strict_json, traces_of

from hybridtune.report.soup_charts import soup_curve
from hybridtune.report.soups import merge_command, soup_words, soups_of
from hybridtune.storage.soup_rows import SoupRow

AP = ["mono/AP", "cross/AP", "multi/AP", "balanced/AP"]


def soup(number, mono, cross, value):
    """A soup of the first and the third trial of `curved_trials`."""
    metrics = dict.fromkeys(AP, value) | {"multi/rank_distance": 100 * value}
    models = {"mono-only": "0000", "cross-only": "0002"}
    weights = {"mono-only": float(mono), "cross-only": float(cross)}
    return SoupRow(f"{number:04d}", weights, models, dict.fromkeys(models, "checkpoint_0000030"), "d", "grid", metrics)


SOUPS = [soup(0, 3, 1, 0.5), soup(1, 1, 1, 0.9), soup(2, 1, 3, 0.6)]


def record_with(soups=SOUPS):
    return dataclasses.replace(record_of(curved_trials(6)), soups=list(soups))


def test_the_curve_goes_from_one_training_to_the_other_through_all_soups_of_both_alone():
    even = dataclasses.replace(SOUPS[1], id="0003", models={**SOUPS[1].models, "tuned": "0004"})
    even = dataclasses.replace(even, weights=dict.fromkeys(even.models, 1.0), proposed="equal")
    record = record_with([*SOUPS, even])
    chart = soup_curve(record)
    assert [row[1] for row in chart.rows] == [0.0, 0.25, 0.5, 0.75, 1.0, 0.3333]  # what is beside the curve is last
    assert chart.rows[0][0] == "mono-only alone (mono-only 0)"
    assert chart.rows[4][0] == "cross-only alone (cross-only 2)"
    assert chart.rows[1][0] == "0.75 mono-only + 0.25 cross-only"
    assert chart.columns == ["weights", "share of cross-only", "balanced/AP", *AP[:3], "multi/rank_distance"]
    lines = traces_of(chart, "lines+markers")
    assert [trace.name for trace in lines] == ["balanced/AP", *AP[:3]]
    mono, cross = (record.contestants[name].metrics for name in ("mono-only", "cross-only"))
    for line in lines:
        assert list(line.x) == [0.0, 0.25, 0.5, 0.75, 1.0]
        assert list(line.y) == [mono[line.name], 0.5, 0.9, 0.6, cross[line.name]]
    assert [trace.yaxis for trace in lines] == ["y", "y2", "y2", "y2"]
    assert "through 3 averages of their weights" in chart.words
    assert "the best of 4 soups" in chart.words
    strict_json(chart.figure)


def test_a_curve_whose_end_is_gone_counts_its_averages_all_the_same():
    record = record_with()
    record = dataclasses.replace(record, trials=[trial for trial in record.trials if trial.id != "0002"])
    chart = soup_curve(record)
    assert [row[1] for row in chart.rows] == [0.0, 0.25, 0.5, 0.75]
    assert "through 3 averages of their weights" in chart.words


def test_the_trials_stand_beside_it_by_their_share_of_cross_batches():
    record = record_with()
    chart = soup_curve(record)
    points = traces_of(chart, "markers")
    assert [trace.name for trace in points] == ["balanced/AP", *AP[:3]]
    for trace in points:
        assert list(trace.x) == [1 - trial.values["mix.mixing_ratio"] for trial in record.trials]
        assert list(trace.y) == [trial.metrics[trace.name] for trial in record.trials]
        assert not trace.showlegend
    assert "9 full-length trials over the share of their batches" in chart.words


def test_a_study_without_soups_says_how_to_make_some():
    for record in (record_with([]), dataclasses.replace(record_with(), best=None)):
        chart = soup_curve(record)
        assert (chart.figure, chart.rows) == (None, [])
        assert chart.words == "No weights were averaged: search.soups says at how many shares they are."


def test_the_words_name_the_best_soup_its_trials_and_how_far_it_is_from_the_best_trial():
    best = dataclasses.replace(record_with().best, metrics={"balanced/AP": 0.8, "multi/rank_distance": 55.0})
    assert soup_words(SOUPS[1], 3, best, "balanced/AP") == (
        "Soup: 0.5 x mono-only (0000) + 0.5 x cross-only (0002), weights averaged without training; the best of 3 "
        f"soups on dev, balanced/AP 0.9000, +0.100 from the best trial ({best.label})."
    )
    nearest = soup_words(SOUPS[0], 3, best, "multi/rank_distance")
    assert "0.75 x mono-only (0000) + 0.25 x cross-only" in nearest
    assert "multi/rank_distance 50.0, −5.0 from the best trial" in nearest


def test_the_command_makes_the_very_soup_and_the_result_gives_its_rows_back():
    command = merge_command("/a b/study", SOUPS[0])
    assert command == "hybridtune merge '/a b/study:0000' '/a b/study:0002' --weights 3,1 --out FOLDER"
    assert soups_of({"soups": {"rows": [dataclasses.asdict(row) for row in SOUPS]}}) == SOUPS
    assert soups_of({"soups": None}) == soups_of(None) == soups_of({}) == []
