import dataclasses
import itertools

import pytest
from chart_records import LANGUAGES, contrast, plan_of, record_of, scores_of, strict_json, trial_of

from hybridtune.report import language_charts
from hybridtune.report.chart import LEGIBLE, SIGNED, brief, heat_map
from hybridtune.report.colours import DIVERGING, SEQUENTIAL, Scale, colour_at, ink

GAINS = Scale(DIVERGING, -1.0, 1.0, "AP", "+.2f")
PAIRS = [f"{x}-{y}" for x in LANGUAGES for y in LANGUAGES]


def scored(trial, values, **more):
    return dataclasses.replace(trial, scores=scores_of(values, **more))


def two_trials(before, after, **more):
    """mono-only and a better trial, with their scores by pair."""
    base = scored(trial_of(0, 1.0, arm="mono-only", balanced_AP=0.1), before)
    return [base, scored(trial_of(1, 0.5, balanced_AP=0.2), after, **more)]


def numbers(chart):
    """Text written in the squares, by (column, row)."""
    trace = chart.figure.data[1]
    return {(x, y): text for x, y, text in zip(trace.x, trace.y, trace.text, strict=True)}


@pytest.mark.parametrize("colours", [DIVERGING, SEQUENTIAL])
def test_numbers_stand_out_from_every_colour_of_the_scale(colours):
    scale = Scale(colours, -1.0, 1.0, "", ".2f")
    for step in range(-120, 121):
        colour = colour_at(scale, step / 100)
        assert contrast(colour, [255 if ink(colour) == "#ffffff" else 0] * 3) >= 4.5, step
    assert colour_at(scale, -9) == colours[0]
    assert colour_at(scale, 0) == colours[1]
    assert colour_at(scale, 9) == colours[2]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.62, ".2f", ".62"),
        (1.0, ".2f", "1.00"),
        (-0.05, "+.2f", "-.05"),
        (0.001, "+.2f", "0"),
        (-1.26, "+.1f", "-1.3"),
    ],
)
def test_numbers_of_small_squares(value, digits, text):
    assert brief(value, digits) == text


def test_ap_by_pair_has_queries_down_and_counts_of_training():
    values = {pair: 0.1 + 0.1 * i for i, pair in enumerate(PAIRS)}
    table = [
        ("mono", "en-en", 300, 50),
        ("cross", "en-de", 64, 20),
        ("cross", "de-en", 32, 20),
        ("align", "sw-en", 99, 9),
    ]
    trial = dataclasses.replace(scored(trial_of(7, 0.5, balanced_AP=0.2), values), plan=plan_of(0.5, 0.5, table))
    chart = language_charts.pair_map(record_of([trial]))
    squares = chart.figure.data[0]
    assert squares.z[0][1] == values["en-de"]
    assert squares.z[1][0] == values["de-en"]
    assert numbers(chart)[1, 0] == ".20"
    rows = {f"{row[0]}-{row[1]}": row[2:] for row in chart.rows}
    assert rows["en-de"] == [0.2, 40, 20, 64]
    assert rows["sw-en"] == [0.7, 40, 0, 0]  # batches that align translations train no pair of question and passage
    assert "6 of 9 pairs had no training pair (zero-shot)" in chart.words
    assert "trial 7 on the dev benchmark, 120 queries" in chart.words
    assert "20 distinct training pairs, 64 drawn" in squares.hovertext[0][1]
    strict_json(chart.figure)


def test_training_counts_that_are_gone_are_empty_and_not_zero():
    chart = language_charts.pair_map(record_of([scored(trial_of(0, 0.5, balanced_AP=0.2), {"en-en": 0.5})]))
    assert chart.rows == [["en", "en", 0.5, 40, None, None]]
    assert "not known" in chart.words
    assert "training pairs" not in chart.figure.data[0].hovertext[0][0]


def test_languages_without_a_pair_are_left_out_and_squares_without_a_value_empty():
    trial = trial_of(0, 1.0, balanced_AP=0.2)
    chart = language_charts.pair_map(record_of([scored(trial, {"en-en": 0.5, "de-en": 0.4})]))
    squares = chart.figure.data[0]
    assert [list(row) for row in squares.z] == [[0.5], [0.4]]
    assert list(chart.figure.layout.yaxis.ticktext) == ["en", "de"]
    assert list(chart.figure.layout.xaxis.ticktext) == ["en"]
    chart = language_charts.pair_map(record_of([scored(trial, {"en-en": 0.5, "de-de": 0.4})]))
    assert [list(row) for row in chart.figure.data[0].z] == [[0.5, None], [None, 0.4]]
    assert len(numbers(chart)) == 2


def test_the_gain_is_the_chosen_trials_ap_less_that_of_mono_only():
    before = {"en-en": 0.8, "de-de": 0.6, "en-de": 0.1, "de-en": 0.2}
    after = {"en-en": 0.7, "de-de": 0.65, "en-de": 0.5, "de-en": 0.4, "sw-sw": 0.9}
    chart = language_charts.gain_map(record_of(two_trials(before, after)))
    assert {f"{r[0]}-{r[1]}": r[4] for r in chart.rows} == {"en-en": -0.1, "de-de": 0.05, "en-de": 0.4, "de-en": 0.2}
    assert chart.rows[0] == ["en", "en", 0.8, 0.7, -0.1, 40]
    squares = chart.figure.data[0]
    assert (squares.zmin, squares.zmax) == (pytest.approx(-0.4), pytest.approx(0.4))  # white is no gain
    assert numbers(chart)[1, 0] == "+.40"
    assert "Of 2 mono pairs 1 with more AP, on average -0.0250." in chart.words
    assert "Of 2 cross pairs 2 with more AP, on average +0.3000." in chart.words


def test_why_there_is_no_gain():
    base, best = two_trials({"en-en": 0.5}, {"en-en": 0.6})
    gone = dataclasses.replace(best, scores=None)
    reasons = [
        ([], "come to its last step"),
        ([best], "No trial of mono-only has come to"),
        ([base], "mono-only itself"),
        ([base, gone], "gone"),
        ([dataclasses.replace(base, scores=None), best], "scores of mono-only are gone"),
        (two_trials({"en-en": 0.5}, {"de-de": 0.6}), "share no language pair"),
    ]
    for trials, reason in reasons:
        chart = language_charts.gain_map(record_of(trials))
        assert chart.figure is None
        assert reason in chart.words


def test_the_bias_is_told_in_shares_and_its_colours_end_at_eight_times():
    cells = dict(zip(PAIRS, [0.0, 1.0, -1.0, 4.0, -5.0, 0.5, 0.1, 0.2], strict=False))
    trials = two_trials({"en-en": 0.1}, {"en-en": 0.2}, over_represented=cells)
    chart = language_charts.bias_map(record_of(trials))
    squares = chart.figure.data[0]
    assert (squares.zmin, squares.zmax) == (-3.0, 3.0)
    assert squares.z[0][1] == 1.0
    assert squares.z[2][2] is None
    assert "+1.00: 2.00 times its share" in squares.hovertext[0][1]
    assert "not defined" in squares.hovertext[2][2]
    assert [row[2] for row in chart.rows] == list(cells.values())
    assert "pool of 300 passages" in chart.words
    assert language_charts.bias_map(record_of(two_trials({"en-en": 0.1}, {"en-en": 0.2}))).figure is None


def test_low_resource_languages_against_the_others():
    values = dict(zip(PAIRS, [0.9, 0.6, 0.3, 0.6, 0.7, 0.2, 0.1, 0.2, 0.4], strict=True))
    chart = language_charts.low_resource(record_of(two_trials(values, values), low_resource=["sw"]))
    rows = {tuple(row[:3]): row[3:] for row in chart.rows}
    assert rows["mono-only 0", "mono", "rich"] == [0.8, 2, 80]
    assert rows["mono-only 0", "mono", "low-resource"] == [0.4, 1, 40]
    assert rows["trial 1", "cross", "rich"] == [0.6, 2, 80]
    assert rows["trial 1", "cross", "low-resource"] == [0.2, 4, 160]
    assert "Low-resource: sw" in chart.words
    assert [trace.name for trace in chart.figure.data if trace.showlegend] == ["others", "low-resource"]


def test_a_study_that_names_no_low_resource_languages_is_told_how():
    trials = two_trials({"en-en": 0.1}, {"en-en": 0.2})
    chart = language_charts.low_resource(record_of(trials))
    assert chart.figure is None
    assert "(low_resource)" in chart.words
    assert language_charts.low_resource(record_of(trials, low_resource=["sw"])).figure is None  # sw has no query


@pytest.mark.parametrize(("count", "text"), [(2, "+.50"), (SIGNED, "+.50"), (SIGNED + 1, ".50"), (LEGIBLE, ".50")])
def test_numbers_are_written_where_there_is_room(count, text):
    names = [f"l{i}" for i in range(count)]
    figure = heat_map(names, dict.fromkeys(itertools.product(names, names), 0.5), {}, GAINS)
    assert set(figure.data[1].text) == {text}
    assert len(figure.data[1].text) == count**2


def test_no_numbers_where_they_would_cover_each_other():
    names = [f"l{i}" for i in range(LEGIBLE + 1)]
    figure = heat_map(names, dict.fromkeys(itertools.product(names, names), 0.5), {}, GAINS)
    assert len(figure.data) == 1


def test_names_of_languages_are_shown_as_they_are_written():
    figure = heat_map(["<b>en</b>"], {("<b>en</b>",) * 2: 0.5}, {}, Scale(SEQUENTIAL, 0.0, 1.0, "AP", ".2f"))
    assert "<b>en" not in figure.to_json()
    assert figure.layout.xaxis.ticktext == ("&lt;b&gt;en&lt;/b&gt;",)


def test_a_long_language_code_is_cut_on_the_axis_and_whole_in_the_tip():
    long = "gsw-u-sd-chzh-x-zurich"
    figure = heat_map([long], {(long, long): 0.5}, {}, Scale(SEQUENTIAL, 0, 1, "AP", ".2f"))
    assert len(figure.layout.xaxis.ticktext[0]) <= 12
    assert long in figure.data[0].hovertext[0][0]
