import dataclasses

import numpy as np
import optuna
import pytest
from chart_records import curved_trials, ledger_of, plan_of, record_of, strict_json, traces_of, trial_of

from hybridtune.report import search_charts, time_charts
from hybridtune.report.colours import BLUE, ORANGE
from hybridtune.report.page import all_charts

THREE = ["mono/AP", "multi/AP", "multi/rank_distance"]
NASTY = "<b>x</b></script>&lt;"


def random_trials(seed, count=14):
    """Trials of three metrics that trade off; two stopped, and two alike."""
    draws = np.random.default_rng(seed).integers(0, 5, (count, 3)) / 8
    draws[-1] = draws[0]
    return [
        trial_of(
            number,
            number / count,
            status="stopped early" if number in (3, 4) else "done",
            mono_AP=float(a),
            multi_AP=float(b),
            multi_rank_distance=float(100 * c),
            balanced_AP=float(a + b) / 2,
        )
        for number, (a, b, c) in enumerate(draws)
    ]


def on_front(chart):
    return {row[0] for row in chart.rows if row[2] == "yes"}


@pytest.mark.parametrize("seed", range(6))
def test_the_front_of_several_objectives_is_that_of_optuna(seed):
    trials = random_trials(seed)
    ledger = ledger_of(trials, THREE)
    chart = search_charts.front(record_of(trials, THREE, ledger=ledger))
    assert on_front(chart) == {f"trial {trial.number}" for trial in ledger.best_trials}
    names = {name.strip() for name in chart.figure.data[1].text}
    assert names == on_front(chart)
    assert f"{len(names)} of 14 scored trials are on the front" in chart.words


def test_of_one_objective_the_front_shows_what_was_traded_off():
    trials = random_trials(1)
    record = record_of(trials, ledger=ledger_of(trials))
    chart = search_charts.front(record)
    assert on_front(chart) == {f"trial {t.number}" for t in ledger_of(trials, THREE).best_trials}
    assert "one objective, balanced/AP" in chart.words
    assert f"chosen trial, {record.best.label}" in chart.words
    rings = [trace for trace in traces_of(chart, "markers") if trace.marker.symbol == "circle-open"]
    assert [ring.x[0] for ring in rings] == [record.best.metrics["mono/AP"]] * 2
    assert chart.columns[3:] == THREE


def test_two_objectives_have_one_panel_and_four_name_the_one_not_drawn():
    trials = random_trials(2)
    assert len(search_charts.front(record_of(trials, THREE[:2])).figure.data) == 3
    chart = search_charts.front(record_of(trials, [*THREE, "balanced/AP"]))
    assert "balanced/AP in the table" in chart.words
    assert chart.columns[3:] == [*THREE, "balanced/AP"]


def test_names_of_a_large_front_would_cover_each_other():
    trials = curved_trials(search_charts.NAMED)  # more mono, less multi: all are on the front
    chart = search_charts.front(record_of(trials))
    assert len(on_front(chart)) == len(trials)
    assert "(blue):" in chart.words
    assert chart.figure.data[1].text is None
    assert "(blue, named):" in search_charts.front(record_of(trials[3:])).words


def test_no_front_without_the_metrics():
    chart = search_charts.front(record_of([trial_of(0, 1.0, mono_AP=0.5)], ["mono/AP"]))
    assert chart.figure is None
    assert "multi/rank_distance" in chart.words


def test_the_history_has_optunas_values_and_the_best_so_far():
    trials = curved_trials(5)
    stopped = dataclasses.replace(trials[4], status="stopped early")
    trials = [*trials[:4], stopped, *trials[5:]]
    chart = search_charts.history(record_of(trials, ledger=ledger_of(trials)))
    lines, points = traces_of(chart, "lines")[0], traces_of(chart, "markers")[0]
    assert list(points.x) == [0, 1, 2, 3, 5, 6, 7]
    assert list(points.y) == [trials[i].metrics["balanced/AP"] for i in points.x]
    assert list(points.marker.symbol)[:3] == ["triangle-up", "square", "triangle-down"]
    best = dict(zip(lines.x, lines.y, strict=True))
    assert [best[x] for x in points.x] == np.maximum.accumulate(points.y).tolist()
    assert "7 trials that Optuna holds as complete" in chart.words
    assert "The best of 7 full-length trials" in chart.words
    values = [-1 if row[2] == "stopped early" else row[3] for row in chart.rows]
    assert [row[4] for row in chart.rows] == np.maximum.accumulate(values).tolist()


def test_a_stopped_trial_is_not_the_best_of_the_history():
    trials = curved_trials(5)
    trials[4] = dataclasses.replace(trials[4], status="stopped early", metrics={"balanced/AP": 0.99})
    chart = search_charts.history(record_of(trials, ledger=ledger_of(trials)))
    assert 0.99 not in [row[4] for row in chart.rows]
    assert "0.99" not in chart.words


def test_the_best_so_far_of_a_smaller_is_better_objective_falls():
    trials = curved_trials(4)
    chart = search_charts.history(
        record_of(trials, ["multi/rank_distance"], ledger=ledger_of(trials, ["multi/rank_distance"]))
    )
    distances = [trial.metrics["multi/rank_distance"] for trial in trials]
    assert [row[4] for row in chart.rows] == np.minimum.accumulate(distances).tolist()
    assert list(traces_of(chart, "lines")[0].y) == np.minimum.accumulate(distances).tolist()


def test_several_objectives_have_no_single_best_line():
    trials = random_trials(3)
    chart = search_charts.history(record_of(trials, THREE, ledger=ledger_of(trials, THREE)))
    assert "The line is" not in chart.words
    assert list(traces_of(chart, "markers")[0].y) == [t.metrics["mono/AP"] for t in trials if t.status == "done"]


def test_importances_name_what_decides_and_add_up_to_one():
    trials = curved_trials(20)
    record = record_of(trials, ledger=ledger_of(trials))
    chart = search_charts.importances(record)
    assert [row[0] for row in chart.rows] == ["mixing_ratio", "temperature"]  # the most important first
    assert chart.rows[0][1] > chart.rows[1][1]
    assert sum(row[1] for row in chart.rows) == pytest.approx(1, abs=0.002)
    assert list(chart.figure.data[0].y) == ["temperature", "mixing ratio"]


def test_what_decides_is_drawn_of_a_smaller_is_better_objective_too():
    trials = curved_trials(20)
    away = [dataclasses.replace(t, metrics={"multi/rank_distance": 1 - t.metrics["balanced/AP"]}) for t in trials]
    tables = [
        search_charts.importances(record_of(some, goal, ledger=ledger_of(some, goal))).rows
        for some, goal in ((trials, ["balanced/AP"]), (away, ["multi/rank_distance"]))
    ]
    assert tables[0] == tables[1]


def test_importances_of_few_trials_or_of_equal_scores_are_not_drawn():
    few = curved_trials(4)
    assert search_charts.importances(record_of(few, ledger=ledger_of(few))).figure is None
    same = [trial_of(i, i / 12, balanced_AP=0.5) for i in range(12)]
    assert search_charts.importances(record_of(same, ledger=ledger_of(same))).figure is None


@pytest.mark.parametrize(("objective", "pick"), [("balanced/AP", max), ("multi/rank_distance", min)])
def test_the_best_of_all_values_is_drawn_thick_and_last(objective, pick):
    trials = curved_trials(9)
    chart = search_charts.parallel(record_of(trials, [objective], ledger=ledger_of(trials, [objective])))
    lines = chart.figure.data
    assert len(lines) == 9  # those whose mixing ratio was searched
    assert [line.line.color for line in lines].count(ORANGE) == 1
    assert [line.line.color for line in lines].count(BLUE) == 2  # the best quarter of 9 is 3, rounded up
    assert lines[-1].line.color == ORANGE
    best = pick([trial for trial in trials if trial.arm == "tuned"], key=lambda trial: trial.metrics[objective])
    assert lines[-1].hovertext[1].endswith(f"mixing ratio: {best.values['mix.mixing_ratio']:.3g}")
    ratios = {trial.label: f"mixing ratio: {trial.values['mix.mixing_ratio']:.3g}" for trial in trials}
    labels = chart.figure.layout.meta["lines"]  # the page highlights by these, though Optuna numbered its lines anew
    assert [line.hovertext[1] for line in lines] == [f"<b>{label}</b><br>{ratios[label]}" for label in labels]
    assert list(chart.figure.layout.xaxis.ticktext) == [objective, "mixing ratio", "temperature"]


def test_a_choice_is_shown_as_it_is_written():
    values = [{"teacher": name} for name in (NASTY, "plain", "other", NASTY)]
    trials = [trial_of(i, 0.5, values=v, balanced_AP=0.1 * i, mono_AP=0.1 * i) for i, v in enumerate(values)]
    kinds = {"teacher": optuna.distributions.CategoricalDistribution((NASTY, "plain", "other"))}
    record = record_of(trials, ledger=ledger_of(trials, distributions=kinds))
    chart = search_charts.parallel(record)
    texts = [note.text for note in chart.figure.layout.annotations]
    assert "plain" in texts
    assert not [text for text in texts if "<" in text]
    for section, charts in all_charts(record).items():
        for one in charts:
            drawn = "" if one.figure is None else one.figure.to_json()
            assert "<b>x" not in drawn, (section, one.key)
    assert chart.rows[0][3] == NASTY  # the table is plain text, escaped by the page


def test_a_value_that_only_some_trials_have_is_drawn_and_left_empty_in_the_table():
    trials = curved_trials(9)
    trials[4] = dataclasses.replace(trials[4], values={"mix.mixing_ratio": 0.3})
    ratio = optuna.distributions.FloatDistribution(0, 1)
    both = {"mixing_ratio": ratio, "temperature": optuna.distributions.FloatDistribution(0.01, 0.2, log=True)}
    alone = {"mixing_ratio": ratio}
    ledgers = [ledger_of([trial], distributions=both if len(trial.values) > 1 else alone).trials[0] for trial in trials]
    ledger = ledger_of([])
    ledger.add_trials(ledgers)
    record = record_of(trials, ledger=ledger)
    chart = search_charts.parallel(record)
    assert len(chart.figure.data) == 9
    assert chart.rows[4][3:] == [0.3, None]
    assert {row[0] for row in search_charts.importances(record).rows} == set(both)
    assert len(search_charts.history(record).rows) == 12


def test_without_a_ledger_the_tables_remain():
    record = record_of(curved_trials(9))
    for draw in (search_charts.history, search_charts.parallel, time_charts.intermediate):
        chart = draw(record)
        assert chart.figure is None
        assert "only the table" in chart.words
        assert len(chart.rows) >= 12
    assert search_charts.importances(record).figure is None


def all_figures(record):
    return [(c.key, c.figure) for charts in all_charts(record).values() for c in charts if c.figure is not None]


def sizes(tree):
    """Every font size in a figure."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name.endswith("font") and isinstance(value, dict) and "size" in value:
                yield value["size"]
            yield from sizes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from sizes(value)


@pytest.fixture(scope="module")
def full_record():
    trials = [
        dataclasses.replace(trial, plan=plan_of(trial.values["mix.mixing_ratio"], 0.5)) for trial in curved_trials(14)
    ]
    return record_of(trials, ledger=ledger_of(trials))


def test_all_figures_share_the_look_fit_any_width_and_carry_no_ground_or_ink(full_record):
    figures = all_figures(full_record)
    assert len(figures) == 10
    for key, figure in figures:
        tree = strict_json(figure)
        layout = tree["layout"]
        assert "width" not in layout, key
        assert layout["height"] >= 150, key
        assert not {"paper_bgcolor", "plot_bgcolor"} & set(layout), key
        assert not layout.get("title"), key
        assert layout["template"]["layout"]["plot_bgcolor"] == "rgba(0,0,0,0)", key
        assert "color" not in layout["template"]["layout"]["font"], key
        assert min(sizes(tree)) >= 12, key
        assert "uid" not in str(tree), key


def test_the_same_record_gives_the_same_charts(full_record):
    def drawn():
        charts = [chart for part in all_charts(full_record).values() for chart in part]
        return [(chart.words, chart.rows, chart.figure and chart.figure.to_json()) for chart in charts]

    assert drawn() == drawn()


@pytest.mark.parametrize("trials", [[], [dataclasses.replace(trial_of(0, 1.0, status="running"), history=[])]])
def test_a_study_without_a_score_has_words_for_every_chart_and_no_figure(trials):
    charts = [chart for part in all_charts(record_of(trials, ledger=ledger_of([]))).values() for chart in part]
    assert len({chart.key for chart in charts}) == len(charts) == 16
    for chart in charts:
        assert chart.words.endswith("."), chart.key
        assert chart.key.replace("-", "").isalnum()
        if chart.key != "timeline":
            assert chart.figure is None, chart.key
        assert all(len(row) == len(chart.columns) for row in chart.rows)
