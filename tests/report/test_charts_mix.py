import dataclasses

import numpy as np
import pytest
from chart_records import curved_trials, plan_of, record_of, strict_json, traces_of, trial_of
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.report import learned_charts, mix_charts
from hybridtune.report.chart import MARKS
from hybridtune.report.page import all_charts

SETTINGS = ["mono/AP", "cross/AP", "multi/AP", "multi/rank_distance"]
PLACES = np.linspace(0, 1, 11)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(-5, 5))
def test_a_line_through_equal_values_is_flat_wherever_the_trials_are(x, value):
    fitted = mix_charts.smooth_line(np.array(x), np.full(len(x), value), PLACES)
    np.testing.assert_allclose(fitted, value, atol=1e-9)


@pytest.mark.parametrize("slope", [-3.0, 0.5])
def test_a_line_through_a_straight_line_is_that_line(slope):
    x = np.linspace(0, 1, 9)
    np.testing.assert_allclose(
        mix_charts.smooth_line(x, 2 + slope * x, PLACES), 2 + slope * PLACES, atol=0.05 * abs(slope)
    )
    assert mix_charts.typical_miss(x, 2 + slope * x) < 0.01 * abs(slope)


def test_a_trial_apart_from_the_others_is_missed_by_a_line_that_has_not_seen_it():
    x, y = np.linspace(0, 1, 7), np.zeros(7)
    y[[1, 3, 5]] = 1.0
    assert mix_charts.typical_miss(x, y) > 0.5


@pytest.mark.parametrize(
    ("fitted", "within", "expected"),
    [
        ([0, 1, 3, 1, 0], 0.5, (0.5, 0.5)),
        ([0, 2, 3, 2, 0], 1.0, (0.25, 0.75)),
        ([3, 2, 0, 2.5, 0], 1.0, (0.0, 0.25)),  # what is good beyond a bad place is another stretch
        ([1, 1, 1, 1, 1], 0.0, (0.0, 1.0)),
    ],
)
def test_the_stretch_near_the_top(fitted, within, expected):
    assert mix_charts.near_top(np.linspace(0, 1, 5), np.array(fitted, float), within) == expected


def test_a_surface_has_the_trials_values_near_them_and_nothing_far_away():
    x, y, values = np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([2.0, 6.0])
    z = mix_charts.smooth_surface(x, y, values, np.linspace(0, 1, 5), np.linspace(0, 1, 5))
    assert z.shape == (5, 5)
    assert z[0, 0] == pytest.approx(2.0)
    assert z[4, 4] == pytest.approx(6.0)
    assert np.isnan([z[0, 4], z[4, 0], z[2, 2]]).all()


def test_the_curve_shows_every_setting_and_the_region_around_the_peak():
    record = record_of(curved_trials(12))
    chart = mix_charts.ratio_curve(record)
    assert [trace.name for trace in traces_of(chart, "lines")] == SETTINGS
    assert [trace.name for trace in traces_of(chart, "markers")] == SETTINGS
    (region,) = {(shape.x0, shape.x1) for shape in chart.figure.layout.shapes}
    assert 0.2 < region[0] < 0.5 < region[1] < 0.8
    assert f"({region[0]:.2f} to {region[1]:.2f})" in chart.words
    assert chart.columns == ["trial", "status", "mixing ratio", *SETTINGS, "balanced/AP"]
    assert chart.rows[0] == ["mono-only 0", "done", 1.0, 0.9, 0.3, 0.3, 300.0, 0.35]
    assert len(chart.rows) == 15
    assert "15 full-length trials and 0 shorter" in chart.words
    assert MARKS in chart.words
    strict_json(chart.figure)


def test_the_region_of_a_smaller_is_better_objective_is_at_its_low_end():
    chart = mix_charts.ratio_curve(record_of(curved_trials(12), ["multi/rank_distance"]))
    (region,) = {(shape.x0, shape.x1) for shape in chart.figure.layout.shapes}
    assert region[0] == 0.0
    assert region[1] < 0.3


def test_no_region_where_the_trials_scatter_as_much_as_they_rise():
    chart = mix_charts.ratio_curve(record_of(curved_trials(12, wobble=0.5)))
    assert "No ratio stands out" in chart.words
    assert not chart.figure.layout.shapes


def test_lines_are_drawn_from_five_full_length_trials_on():
    trials = curved_trials(2)
    stopped = dataclasses.replace(trials[-1], status="stopped early")
    assert traces_of(mix_charts.ratio_curve(record_of(trials)), "lines")
    chart = mix_charts.ratio_curve(record_of([*trials[:-1], stopped]))
    assert not traces_of(chart, "lines")
    assert "fewer than 5" in chart.words
    assert "4 full-length trials and 1 shorter" in chart.words
    assert traces_of(chart, "markers")[0].marker.symbol[-1] == "circle-open"


def test_marks_tell_arms_apart_without_colour():
    symbols = traces_of(mix_charts.ratio_curve(record_of(curved_trials(3))), "markers")[0].marker.symbol
    assert list(symbols) == ["triangle-up", "square", "triangle-down", "circle", "circle", "circle"]


def test_the_names_at_the_ends_of_lines_do_not_cover_each_other():
    trials = [trial_of(i, i / 5, mono_AP=0.5, cross_AP=0.5, multi_AP=0.5 + 0.1 * i, balanced_AP=0.5) for i in range(6)]
    notes = mix_charts.ratio_curve(record_of(trials)).figure.layout.annotations
    heights = sorted(note.y for note in notes)
    assert sorted(note.text.split()[-1] for note in notes) == ["cross", "mono", "multi"]
    assert {note.font.color for note in notes} == {None}  # text in the page's ink; the mark before it has the colour
    assert min(np.diff(heights)) > 0.02


def test_one_ratio_is_no_curve():
    chart = mix_charts.ratio_curve(record_of([trial_of(i, 0.5, mono_AP=0.5, balanced_AP=0.1 * i) for i in range(6)]))
    assert chart.figure is None
    assert "Fewer than two mixing ratios" in chart.words
    assert len(chart.rows) == 6


def test_the_ratio_of_a_trial_is_its_plans_else_its_own_else_the_studys():
    trial = trial_of(0, 0.3, mono_AP=0.5)
    record = record_of([trial])
    assert mix_charts.requested_ratio(record, dataclasses.replace(trial, plan=plan_of(0.7, 0.71))) == 0.7
    assert mix_charts.requested_ratio(record, trial) == 0.3
    assert mix_charts.requested_ratio(record, dataclasses.replace(trial, values={"mix.mixing_ratio": 0.4})) == 0.4
    assert mix_charts.requested_ratio(record, dataclasses.replace(trial, values={})) == 0.5


def test_the_map_has_a_surface_only_where_trials_are_dense():
    for count, kinds in ((4, ["scatter", "scatter"]), (5, ["contour", "scatter", "scatter"])):
        chart = mix_charts.ratio_temperature(record_of(curved_trials(count)))
        assert [trace.type for trace in chart.figure.data] == kinds
        assert ("weighted mean" in chart.words) is (count == 5)
    surface = chart.figure.data[0]
    values = [trial.metrics["balanced/AP"] for trial in record_of(curved_trials(5)).trials]
    cells = [value for row in surface.z for value in row if value is not None]
    assert min(values) <= min(cells) <= max(cells) <= max(values)
    assert len(cells) < len(surface.z) * len(surface.z[0])
    strict_json(chart.figure)


def test_the_map_rings_the_chosen_trial_and_writes_its_ticks_out():
    record = record_of(curved_trials(9))
    chart = mix_charts.ratio_temperature(record)
    ring = chart.figure.data[-1]
    assert (ring.x[0], ring.y[0]) == (record.best.values["mix.mixing_ratio"], record.best.values["train.temperature"])
    assert record.best.label in chart.words
    ticks = chart.figure.layout.yaxis
    assert [float(text) for text in ticks.ticktext] == list(ticks.tickvals)
    assert min(ticks.tickvals) <= 0.02
    assert max(ticks.tickvals) >= 0.02 * 1.3**6


def test_the_name_of_a_trial_at_the_edge_of_the_map_stands_inward():
    trials = [
        trial_of(i, i / 8, values={"mix.mixing_ratio": i / 8, "train.temperature": 0.02 + i / 100}) for i in range(9)
    ]
    for best, side in ((0, "top right"), (4, "top center"), (8, "top left")):
        scored = [
            dataclasses.replace(t, metrics={"balanced/AP": 0.9 if i == best else 0.1}) for i, t in enumerate(trials)
        ]
        assert mix_charts.ratio_temperature(record_of(scored)).figure.data[-1].textposition == side


def test_no_map_of_what_is_not_searched_or_has_one_value():
    trials = curved_trials(9)
    chart = mix_charts.ratio_temperature(record_of(trials, space=["mix.mixing_ratio"]))
    assert chart.figure is None
    assert "does not search the temperature" in chart.words
    same = [dataclasses.replace(trial, values={**trial.values, "train.temperature": 0.05}) for trial in trials]
    chart = mix_charts.ratio_temperature(record_of(same))
    assert chart.figure is None
    assert len(chart.rows) == len(trials)


def test_asked_and_realised_ratio_and_the_largest_difference():
    trials = [
        dataclasses.replace(trial_of(i, requested, mono_AP=0.5), plan=plan_of(requested, realised))
        for i, (requested, realised) in enumerate([(0.25, 0.25), (0.333, 0.34), (1.0, 1.0)])
    ]
    chart = mix_charts.realised_ratio(record_of([*trials, trial_of(3, 0.9, mono_AP=0.1)]))
    assert chart.rows == [
        ["trial 0", 0.25, 0.25, 0.0, 100],
        ["trial 1", 0.333, 0.34, 0.007, 100],
        ["trial 2", 1.0, 1.0, 0.0, 100],
    ]
    assert "largest difference is 0.0070; one batch of 100 is 0.0100" in chart.words
    (points,) = traces_of(chart, "markers")
    assert list(points.y) == [0.25, 0.34, 1.0]
    assert mix_charts.realised_ratio(record_of([trial_of(0, 0.5)])).figure is None


def test_the_path_of_a_learned_ratio_is_a_line_of_steps_to_the_last_one():
    record = record_of(curved_trials(3))
    assert learned_charts.ratio_path(record) is None
    assert "ratio-path" not in {chart.key for chart in all_charts(record)["The mix"]}
    segments = [{"start": start, "mixing_ratio": ratio} for start, ratio in ((0, 0.5), (20, 0.3), (40, 0.25))]
    learned = dataclasses.replace(record.trials[-1], plan={**plan_of(0.35, 0.35), "segments": segments, "steps": 60})
    record = record_of([*record.trials[:-1], learned])
    (chart,) = [chart for chart in all_charts(record)["The mix"] if chart.key == "ratio-path"]
    (line,) = chart.figure.data
    assert (list(line.x), list(line.y), line.line.shape) == ([0, 20, 40, 60], [0.5, 0.3, 0.25, 0.25], "hv")
    assert chart.rows == [[learned.label, 0, 0.5], [learned.label, 20, 0.3], [learned.label, 40, 0.25]]
    strict_json(chart.figure)
