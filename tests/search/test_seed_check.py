"""The noise check: what is trained again, what it tells, and the line that a study ends with."""

import json

import numpy as np
import pytest
from small_study import small_study

from hybridtune.metrics.metrics import Ranked, per_query
from hybridtune.metrics.per_query import write_per_query
from hybridtune.report.headline import headline
from hybridtune.search.seed_check import Repeat, compare_seeds, repeat_points
from hybridtune.storage.trial_rows import TrialRow

GOAL = "balanced/AP"


def study_of(objective=GOAL, **search):
    return small_study(seed=5, search={"objective": objective, **search})


def row(number, baseline=None, value=0.5, status="done", metric=GOAL):
    return TrialRow(f"{number:04d}", number, baseline, {"temperature": number / 100}, {metric: value}, status)


ROWS = [row(0, "mono-only", 0.2), row(1, "half-half", 0.5), row(2, "cross-only", 0.45), row(3, None, 0.6)]


def test_the_best_and_every_baseline_are_trained_again_seed_by_seed():
    points = repeat_points(study_of(repeat_best=2), ROWS[3], ROWS)
    who = ["best", "mono-only", "half-half", "cross-only"]
    assert [point.name for point in points] == [f"{one}-s{seed}" for seed in (1, 2) for one in who]
    assert [point.seed for point in points] == [6] * 4 + [7] * 4
    assert [point.values for point in points[:2]] == [{"temperature": 0.03}, {"temperature": 0.0}]
    assert repeat_points(study_of(), ROWS[3], ROWS) == []


def test_a_baseline_that_is_best_is_not_trained_twice():
    points = repeat_points(study_of(repeat_best=1), ROWS[1], ROWS)
    assert sorted(point.name for point in points) == ["cross-only-s1", "half-half-s1", "mono-only-s1"]


def test_seeds_stay_in_their_range_and_a_searched_one_gives_way():
    best = TrialRow("0003", 3, None, {"seed": 77, "temperature": 0.1}, {GOAL: 0.6}, "done")
    study = study_of(repeat_best=1).model_copy(update={"seed": 2**31 - 1})
    cut = row(1, "half-half", status="out of budget")
    (point,) = repeat_points(study, best, [cut, best])
    assert (point.contestant, point.seed, point.values) == ("best", 0, {"temperature": 0.1})


def queries(path, worst, seed):
    """40 questions in two languages with two answers each, on ranks up to ``worst``."""
    numbers = np.arange(80)
    counts = np.random.default_rng(seed).integers(0, worst, (160, 2))
    found = Ranked(counts, np.repeat(numbers, 2), np.tile([0, 1], 80), numbers % 2, ["de", "en"], np.array([99, 99]))
    write_per_query(path, per_query(found), [f"q{n}" for n in numbers], ["de", "en"], numbers // 2, {})
    return path


def repeated(folder, scores, worst, metric=GOAL):
    """Rows and files of repeats: scores by contestant, and how far down the answers of each stand."""
    rows, files = [], {}
    for who, values in scores.items():
        for count, value in enumerate(values, start=1):
            name = f"{who}-s{count}"
            rows.append(Repeat(name, who, 5 + count, {}, {} if value is None else {metric: value}))
            if value is not None:
                files[name] = queries(folder / f"{name}.parquet", worst[who], seed=hash_of(name))
    return rows, files


def hash_of(name):
    return sum(map(ord, name))


def checked(folder, best, half, worst=(4, 40), study=None, rows=ROWS):
    study = study or study_of(repeat_best=len(best))
    repeats, files = repeated(folder, {"best": best, "half-half": half}, {"best": worst[0], "half-half": worst[1]})
    found = compare_seeds(study, rows[3], [rows[1], rows[3]], repeats, files)
    result = {"best": rows[3].__dict__, "trials": [one.__dict__ for one in rows], "repeats": found}
    assert json.loads(json.dumps(found)) == found
    return found, headline(study, result)


def test_a_gain_beyond_the_noise_of_seeds_and_topics(tmp_path):
    found, line = checked(tmp_path, [0.60, 0.61, 0.62], [0.50, 0.51, 0.52])
    assert (found["best"], found["seeds"], found["n"], found["metrics"]) == ("best", [6, 7, 8], 3, [GOAL])
    figures = found["contestants"]["best"]["metrics"][GOAL]
    assert figures["by_seed"] == {"6": 0.60, "7": 0.61, "8": 0.62}
    assert (figures["first"], figures["mean"], figures["n"]) == (0.6, pytest.approx(0.61), 3)
    assert figures["spread"] == pytest.approx(0.01)
    versus = found["against"]["half-half"][GOAL]
    assert versus["difference"] == pytest.approx(0.1)
    assert (versus["high"] - versus["low"]) / 2 == pytest.approx(2.776445 * (2 / 3) ** 0.5 * 0.01)
    assert (versus["verdict"], versus["p_seeds"], versus["units"]) == ("better", 0.25, 40)
    assert versus["p_units"] < 0.001
    assert line == f"tuned beats half-half on {GOAL} by 0.100 +- 0.023 (3 seeds, p < 0.001 by topic)"


def test_a_gain_of_the_first_run_alone_is_noise(tmp_path):
    found, line = checked(tmp_path, [0.50, 0.51, 0.55], [0.50, 0.52, 0.53])
    assert found["against"]["half-half"][GOAL]["verdict"] == "within noise"
    assert line.startswith(f"tuned and half-half differ on {GOAL} by 0.0033, which is within the seed noise of 0.0")
    assert line.endswith("(3 seeds)")


def test_seeds_that_agree_on_what_the_topics_do_not_show(tmp_path):
    found, line = checked(tmp_path, [0.60, 0.60, 0.60], [0.59, 0.59, 0.59], worst=(40, 40))
    assert found["against"]["half-half"][GOAL]["verdict"] == "within noise"
    assert line.startswith(
        f"tuned and half-half differ on {GOAL} by 0.010, within the noise of the topics (3 seeds, p 0."
    )


def test_a_best_that_was_lucky_once_is_called_worse(tmp_path):
    _, line = checked(tmp_path, [0.40, 0.41, 0.40], [0.50, 0.51, 0.51], worst=(40, 4))
    assert line.startswith(f"tuned is worse than half-half on {GOAL} by 0.103 +- 0.0")


def test_one_seed_measures_no_noise(tmp_path):
    found, line = checked(tmp_path, [0.60], [0.50])
    versus = found["against"]["half-half"][GOAL]
    assert (versus["verdict"], versus["low"], versus["p_seeds"]) == ("not measured", None, None)
    assert found["contestants"]["best"]["metrics"][GOAL]["spread"] is None
    assert line.startswith(f"tuned is 0.100 above half-half on {GOAL} with 1 seed more; noise is not measured")


def test_a_repeat_that_failed_is_named_and_in_no_mean(tmp_path):
    found, line = checked(tmp_path, [0.60, None, 0.62], [0.50, 0.51, 0.52])
    assert found["contestants"]["best"]["failed"] == ["best-s2"]
    assert found["contestants"]["best"]["metrics"][GOAL]["mean"] == pytest.approx(0.61)
    assert "(2 seeds" in line


def test_where_all_repeats_failed_nothing_is_claimed(tmp_path):
    found, line = checked(tmp_path, [None, None], [0.5, 0.5])
    assert found["against"]["half-half"][GOAL]["verdict"] == "not measured"
    assert line == f"tuned could not be compared on {GOAL}: its repeats, or those of all baselines, failed"


def test_values_per_query_that_are_gone_leave_the_verdict_open(tmp_path):
    repeats, files = repeated(tmp_path, {"best": [0.6, 0.6], "half-half": [0.5, 0.5]}, {"best": 4, "half-half": 40})
    del files["best-s2"]
    versus = compare_seeds(study_of(repeat_best=2), ROWS[3], ROWS, repeats, files)["against"]["half-half"][GOAL]
    assert (versus["p_units"], versus["units"], versus["verdict"]) == (None, 0, "not measured")


def test_less_is_better_of_a_distance(tmp_path):
    goal = "multi/rank_distance"
    rows = [row(1, "half-half", 30.0, metric=goal), row(2, None, 20.0, metric=goal)]
    study = study_of(goal, repeat_best=3)
    scores = {"best": [20.0, 21.0, 20.0], "half-half": [30.0, 31.0, 31.0]}
    repeats, files = repeated(tmp_path, scores, {"best": 4, "half-half": 40}, goal)
    found = compare_seeds(study, rows[1], rows, repeats, files)
    assert found["against"]["half-half"][goal]["verdict"] == "better"
    trials = {"best": rows[1].__dict__, "trials": [one.__dict__ for one in rows]}
    told = headline(study, {**trials, "repeats": found})
    assert told.startswith("tuned beats half-half on multi/rank_distance (less is better) by 10.3 +- ")
    told = headline(study, {**trials, "repeats": None})
    assert told.startswith("tuned is 10.0 below half-half on multi/rank_distance (less is better); one seed each")


def line_of(best, rows, study=None):
    return headline(study or study_of(), {"best": best.__dict__, "trials": [one.__dict__ for one in rows]})


def test_without_repeats_the_line_says_that_noise_is_not_measured():
    told = (
        f"tuned is 0.100 above half-half on {GOAL}; one seed each, noise not measured: search.repeat_best measures it"
    )
    assert line_of(ROWS[3], ROWS) == told


def test_the_strongest_baseline_is_the_one_to_beat():
    rows = [row(1, "half-half", 0.5), row(2, "cross-only", 0.55), row(3, None, 0.6), row(4, "mono-only", 0.9, "failed")]
    assert line_of(rows[2], rows).startswith("tuned is 0.050 above cross-only on")


def test_a_baseline_may_win():
    rows = [row(1, "half-half", 0.5), row(3, None, 0.498), row(4, None, 0.4), row(5, None, 0.9, "stopped early")]
    told = f"half-half, a baseline, is best on {GOAL}: no searched trial beats it"
    assert line_of(rows[0], rows) == f"{told} (trial 3, the closest, is 0.002 below it; one seed each)"
    assert line_of(rows[0], rows[:1]) == f"half-half, a baseline, is best on {GOAL}: no searched trial came to its end"


def test_a_study_without_baselines_says_so():
    told = f"tuned (trial 3) has {GOAL} 0.600; no baseline beside it: search.baselines is false"
    assert line_of(ROWS[3], ROWS[3:], study_of(baselines=False)) == told
    cut = row(1, "half-half", status="out of budget")
    assert line_of(ROWS[3], [cut, ROWS[3]]).endswith("no baseline beside it: none came to its end")


def test_of_several_objectives_the_first_is_told():
    rows = [row(1, "half-half", 0.5, metric="mono/AP"), row(3, None, 0.5, metric="mono/AP")]
    told = line_of(rows[1], rows, study_of(["mono/AP", "multi/AP"]))
    assert told.startswith("tuned is no better than half-half on mono/AP;")
