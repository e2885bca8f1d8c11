"""The contestants' figures are those of their per-query values, and every screen shows them as they are."""

import json

import numpy as np
import pytest
from made_study import LANGUAGES, made_scores

from hybridtune.metrics.per_query import read_per_query
from hybridtune.report import contestant_charts
from hybridtune.report.contestants import Scored, centring_words, compare_contestants
from hybridtune.report.intervals import difference_intervals, intervals
from hybridtune.report.page import page
from hybridtune.report.record import read_record
from hybridtune.study.result import StudyResult
from hybridtune.terminal.screen import Screen
from hybridtune.terminal.summary import print_contestants

NAMES = ["tuned", "mono-only", "half-half", "cross-only", "start", "start, centred"]
METRICS = ["mono/AP", "cross/AP", "multi/AP", "multi/rank_distance", "balanced/AP"]


@pytest.fixture(scope="module")
def record(finished_study):
    return read_record(finished_study)


@pytest.fixture(scope="module")
def found(record):
    return record.result["contestant_scores"]


def made(folder, slug, number, languages=LANGUAGES):
    scores = made_scores(number, 30, 0.5, languages, folder / slug, about="test")
    return Scored(slug, slug, None, scores["metrics"], read_per_query(folder / slug / "per_query.parquet"))


def test_every_contestant_has_its_scores_its_intervals_and_its_distance_from_the_tuned(tmp_path):
    tuned, other = made(tmp_path, "tuned", 1), made(tmp_path, "start", 2)
    compared = compare_contestants([tuned, other], ["multi/nDCG@10", "balanced/AP"])
    names = [*METRICS, "multi/nDCG@10"]
    assert compared["metrics"] == names
    assert (compared["unit"], compared["units"]) == ("topic", 12)
    first, second = compared["rows"]
    assert first["tuned_minus_it"] == {}
    alone = intervals(other.values, names, "topic")
    apart = difference_intervals(other.values, tuned.values, names, "topic")
    for name in names:
        one = second["metrics"][name]
        assert (one["value"], one["low"], one["high"]) == (other.metrics[name], *alone[name])
        assert one["low"] < one["value"] < one["high"]
        gap = second["tuned_minus_it"][name]
        assert gap["difference"] == tuned.metrics[name] - other.metrics[name]
        assert (gap["low"], gap["high"]) == apart[name]
        assert gap["low"] < gap["difference"] < gap["high"]
    json.dumps(compared, allow_nan=False)


def test_without_a_tuned_model_nothing_is_compared_with_it(tmp_path):
    compared = compare_contestants([made(tmp_path, "half-half", 1), made(tmp_path, "start", 2)], [])
    assert [row["tuned_minus_it"] for row in compared["rows"]] == [{}, {}]


def test_one_language_has_the_metrics_that_there_are(tmp_path):
    compared = compare_contestants(
        [made(tmp_path, "tuned", 1, ("en",)), made(tmp_path, "start", 2, ("en",))], ["mono/AP"]
    )
    assert compared["metrics"] == ["mono/AP"]
    assert compared["rows"][1]["tuned_minus_it"].keys() == {"mono/AP"}


def test_the_tables_have_a_row_for_each_contestant_and_say_what_they_rest_on(record, found):
    scores, apart = contestant_charts.scores(record), contestant_charts.differences(record)
    assert list(scores.columns) == ["contestant", *METRICS]
    assert [row[0] for row in scores.rows] == NAMES
    assert [row[0] for row in apart.rows] == [f"tuned minus {name}" for name in NAMES[1:]]
    for row, one in zip(scores.rows, found["rows"], strict=True):
        for name, shown in zip(METRICS, row[1:], strict=True):
            assert shown.value == one["metrics"][name]["value"]
            low, high = shown.small[0].split(" to ")
            assert float(low.replace(",", "")) == pytest.approx(one["metrics"][name]["low"], abs=0.05)
            assert float(high.replace(",", "")) == pytest.approx(one["metrics"][name]["high"], abs=0.05)
    assert scores.marked == {0}
    assert "newsroom:test" in scores.note
    assert "12 topics" in scores.note
    assert "fewer than 40: intervals run narrow" in scores.note
    assert centring_words(found["centring"]) in scores.note
    assert "these two models" in apart.note


def test_the_chart_has_a_mark_and_an_interval_for_each_contestant_and_setting(record, found):
    chart = contestant_charts.contestants(record)
    traces = {trace.name: trace for trace in chart.figure.data}
    assert sorted(traces) == sorted(METRICS)
    for name, trace in traces.items():
        values = [row["metrics"][name] for row in found["rows"]]
        assert list(trace.x) == [one["value"] for one in values]
        assert np.allclose(np.subtract(trace.x, trace.error_x.arrayminus), [one["low"] for one in values])
        assert np.allclose(np.add(trace.x, trace.error_x.array), [one["high"] for one in values])
        assert [round(y) for y in trace.y] == list(range(len(NAMES)))
    assert list(chart.figure.layout.yaxis.ticktext) == list(chart.figure.layout.yaxis2.ticktext) == NAMES
    assert len(chart.rows) == len(NAMES) * len(METRICS)
    assert "width" not in chart.figure.layout.to_plotly_json()


def test_a_study_that_has_not_ended_has_no_contestants_yet(study_copy):
    (study_copy / "result.json").unlink()
    record = read_record(study_copy)
    assert contestant_charts.scores(record) is None
    assert contestant_charts.differences(record) is None
    assert contestant_charts.contestants(record).figure is None
    assert "scored when the study ends" in page(record)


def test_the_terminal_prints_the_same_table(found, capsys):
    print_contestants(found, "balanced/AP", Screen(to_stderr=False))
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert "36 queries, pool of 60 passages" in lines[0]
    assert "12 topics" in lines[0]
    for row in found["rows"]:
        line = next(line for line in lines if line.startswith(f"{row['name']} "))
        assert f"{row['metrics']['multi/AP']['value']:.4f}" in line
        assert f"{row['metrics']['multi/rank_distance']['value']:.1f}" in line
        if row["tuned_minus_it"]:
            gap = row["tuned_minus_it"]["balanced/AP"]["difference"]
            assert line.split()[-1] == f"{'+' if gap >= 0 else '−'}{abs(gap):.3f}"
    assert centring_words(found["centring"]) in out


def test_python_gets_the_same_table(record, found):
    table = StudyResult(record.study, record.result).contestants
    assert list(table.index) == NAMES
    assert table["trial"].isna().tolist() == [False] * 4 + [True] * 2
    one = found["rows"][2]
    row = table.loc[one["name"]]
    for name in METRICS:
        shown, apart = one["metrics"][name], one["tuned_minus_it"][name]
        assert [row[name], row[f"{name} low"], row[f"{name} high"]] == list(shown.values())
        gap = f"{name} tuned minus it"
        assert [row[gap], row[f"{gap} low"], row[f"{gap} high"]] == list(apart.values())
    assert np.isnan(table.loc["tuned", "multi/AP tuned minus it"])


def test_what_centring_lacks_is_said():
    assert "No training text" not in centring_words({"texts": 256, "without_texts": []})
    words = centring_words({"texts": 256, "without_texts": ["el", "th"]})
    assert "No training text in el, th: the mean over the other languages there." in words
