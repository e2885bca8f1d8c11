"""The noise check: what is trained again, what it tells, and the line that a study ends with."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from small_study import small_study

from hybridtune.metrics.metrics import Ranked, per_query
from hybridtune.metrics.per_query import write_per_query
from hybridtune.report.headline import gain, headline
from hybridtune.search.arms import Reference
from hybridtune.search.seed_check import Repeat, compare_seeds, repeat_points
from hybridtune.storage.trial_rows import TrialRow

GOAL = "balanced/AP"


def study_of(objective=GOAL, **search):
    return small_study(seed=5, search={"objective": objective, **search})


def row(number, arm="tuned", value=0.5, status="done", metric=GOAL, temperature=0.08, proposed="sampler"):
    ratio = {"mono-only": 1.0, "half-half": 0.5, "cross-only": 0.0, "tuned": 0.3}[arm]
    values = {"mix.mixing_ratio": ratio, "train.temperature": temperature}
    return TrialRow(f"{number:04d}", number, arm, values, {metric: value}, status, proposed=proposed)


TUNED, MONO = row(3, value=0.6), row(0, "mono-only", 0.2)
HALF, CROSS = row(1, "half-half", 0.5, temperature=0.02), row(2, "cross-only", 0.45)
SAME, FILE = row(4, "half-half", 0.48, proposed="rerun"), row(5, "half-half", 0.4, temperature=0.05, proposed="file")
ALL = {
    "tuned": TUNED,
    "mono-only": MONO,
    "half-half": HALF,
    "cross-only": CROSS,
    "same-values": SAME,
    "file-values": FILE,
}
BESIDE = Reference("half-half", "same-values", "file-values")


def test_every_contestant_is_trained_again_seed_by_seed():
    points = repeat_points(study_of(repeat_best=2), ALL)
    assert [point.name for point in points] == [f"{one}-s{seed}" for seed in (1, 2) for one in ALL]
    assert [point.seed for point in points] == [6] * 6 + [7] * 6
    assert [point.values for point in points[:2]] == [TUNED.values, MONO.values]
    assert repeat_points(study_of(), ALL) == []


def test_seeds_stay_in_their_range_and_a_searched_one_gives_way():
    best = TrialRow("0003", 3, "tuned", {"seed": 77, "temperature": 0.1}, {GOAL: 0.6}, "done")
    study = study_of(repeat_best=1).model_copy(update={"seed": 2**31 - 1})
    (point,) = repeat_points(study, {"tuned": best})
    assert (point.contestant, point.seed, point.values) == ("tuned", 0, {"temperature": 0.1})


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


def checked(folder, tuned, same, file, half=None, worst=(4, 40, 40, 40), study=None):
    """The seed check on scores by seed, and the line: half-half as it was searched scores like the same values."""
    study = study or study_of(repeat_best=len(tuned))
    who = {name: ALL[name] for name in ("tuned", "half-half", "same-values", "file-values")}
    scores = {"tuned": tuned, "same-values": same, "file-values": file, "half-half": half or same}
    repeats, files = repeated(folder, scores, dict(zip(scores, worst, strict=True)))
    found = compare_seeds(study, who, BESIDE, repeats, files)
    assert json.loads(json.dumps(found)) == found
    return found, headline(study, result_of(who, BESIDE, found)), gain(study, result_of(who, BESIDE, found))


def result_of(who, beside, repeats=None, best=None, rows=()):
    rows = list({one.id: one for one in (*who.values(), *rows)}.values())
    return {
        "best": asdict(best or who["tuned"]),
        "trials": [asdict(one) for one in rows],
        "contestants": {name: one.id for name, one in who.items()},
        "reference": None if beside is None else asdict(beside),
        "repeats": repeats,
    }


THIRDS = [0.60, 0.61, 0.62], [0.50, 0.51, 0.52], [0.45, 0.46, 0.47]


def test_a_gain_beyond_the_noise_of_seeds_and_topics_is_credited_to_the_mix(tmp_path):
    found, line, parts = checked(tmp_path, *THIRDS)
    assert (found["seeds"], found["n"], found["metrics"], found["unit"]) == ([6, 7, 8], 3, [GOAL], "topic")
    figures = found["contestants"]["tuned"]["metrics"][GOAL]
    assert figures["by_seed"] == {"6": 0.60, "7": 0.61, "8": 0.62}
    assert (figures["first"], figures["mean"], figures["n"]) == (0.6, pytest.approx(0.61), 3)
    assert figures["spread"] == pytest.approx(0.01)
    versus = found["against"]["same-values"][GOAL]
    assert versus["difference"] == pytest.approx(0.1)
    assert (versus["high"] - versus["low"]) / 2 == pytest.approx(2.776445 * (2 / 3) ** 0.5 * 0.01)
    assert (versus["verdict"], versus["p_seeds"], versus["units"]) == ("better", 0.25, 40)
    assert versus["p_units"] < 0.001
    assert found["other_values"][GOAL]["difference"] == pytest.approx(0.05)
    assert (parts.mix.verdict, parts.other_values.verdict) == ("better", "within noise")  # the topics show none
    assert parts.total == pytest.approx(parts.mix.amount + parts.other_values.amount)
    start = f"tuned is 0.150 above half-half with the file's values on {GOAL} (3 seeds each): "
    assert line.startswith(f"{start}+0.100 +- 0.023 from the mix (p < 0.001 by topic); +0.050 +- 0.023 from the other ")
    assert line.endswith("by topic), within noise")


def test_a_gain_of_the_other_values_is_not_the_mixs(tmp_path):
    _, line, parts = checked(tmp_path, [0.60, 0.62, 0.61], [0.60, 0.61, 0.62], [0.5, 0.5, 0.5], worst=(4, 4, 40, 4))
    assert (parts.mix.verdict, parts.other_values.verdict) == ("within noise", "better")
    assert "from the mix (p 1.000 by topic), within noise; +0.110 +- " in line or "from the mix" in line
    assert line.endswith("from the other values (p < 0.001 by topic)")


def test_the_mix_must_also_beat_the_strongest_ratio_as_it_was_searched(tmp_path):
    _, line, parts = checked(tmp_path, *THIRDS, half=[0.61, 0.61, 0.60], worst=(4, 40, 40, 4))
    assert (parts.mix.verdict, parts.mix.not_above) == ("within noise", "half-half")
    assert "from the mix (p < 0.001 by topic), not shown over half-half as it was searched; " in line


def test_a_gain_of_the_first_run_alone_is_noise(tmp_path):
    found, line, _ = checked(tmp_path, [0.50, 0.51, 0.55], [0.50, 0.52, 0.53], [0.45, 0.46, 0.47])
    assert found["against"]["same-values"][GOAL]["verdict"] == "within noise"
    assert "+0.0033 +- 0.0" in line
    assert "from the mix (p < 0.001 by topic), within noise; " in line


def test_seeds_that_agree_on_what_the_topics_do_not_show(tmp_path):
    found, _, parts = checked(tmp_path, [0.60] * 3, [0.59] * 3, [0.5] * 3, worst=(40, 40, 40, 40))
    assert found["against"]["same-values"][GOAL]["verdict"] == parts.mix.verdict == "within noise"


def test_a_tuned_trial_that_was_lucky_once_has_a_loss(tmp_path):
    _, line, parts = checked(tmp_path, [0.40, 0.41, 0.40], [0.50, 0.51, 0.51], [0.5, 0.5, 0.5], worst=(40, 4, 4, 4))
    assert parts.mix.verdict == "worse"
    assert line.startswith(
        f"tuned is 0.097 below half-half with the file's values on {GOAL} (3 seeds each): -0.103 +- "
    )
    assert ", a loss; " in line


def test_one_seed_measures_no_noise(tmp_path):
    found, line, _ = checked(tmp_path, [0.60], [0.50], [0.45])
    versus = found["against"]["same-values"][GOAL]
    assert (versus["verdict"], versus["low"], versus["p_seeds"]) == ("not measured", None, None)
    assert found["contestants"]["tuned"]["metrics"][GOAL]["spread"] is None
    assert "(1 seed each): +0.100 from the mix, noise not measured (that takes search.repeat_best 2 or more" in line


def test_a_repeat_that_failed_is_named_and_in_no_mean(tmp_path):
    found, line, _ = checked(tmp_path, [0.60, None, 0.62], *THIRDS[1:])
    assert found["contestants"]["tuned"]["failed"] == ["tuned-s2"]
    assert found["contestants"]["tuned"]["metrics"][GOAL]["mean"] == pytest.approx(0.61)
    assert "(2 seeds each)" in line


def test_where_all_repeats_failed_nothing_is_claimed(tmp_path):
    found, line, _ = checked(tmp_path, [None, None], [0.5, 0.5], [0.4, 0.4])
    assert found["against"]["same-values"][GOAL]["verdict"] == "not measured"
    told = f"trial 3 has {GOAL} 0.600; it could not be compared: its repeats, or those of a fixed ratio, failed"
    assert line == told


def test_values_per_query_that_are_gone_leave_the_verdict_open(tmp_path):
    who = {"tuned": TUNED, "half-half": HALF}
    scores = {"tuned": [0.6, 0.6], "half-half": [0.5, 0.5]}
    repeats, files = repeated(tmp_path, scores, {"tuned": 4, "half-half": 40})
    del files["tuned-s2"]
    versus = compare_seeds(study_of(repeat_best=2), who, None, repeats, files)["against"]["half-half"][GOAL]
    assert (versus["p_units"], versus["units"], versus["verdict"]) == (None, 0, "not measured")


def test_less_is_better_of_a_distance(tmp_path):
    goal = "multi/rank_distance"
    values = {"tuned": 20.0, "half-half": 30.0, "file-values": 35.0}
    who = {name: row(n, ALL[name].arm, value, metric=goal) for n, (name, value) in enumerate(values.items())}
    beside, study = Reference("half-half", "half-half", "file-values"), study_of(goal, repeat_best=3)
    scores = {"tuned": [20.0, 21.0, 20.0], "half-half": [30.0, 31.0, 31.0], "file-values": [35.0, 36.0, 35.0]}
    repeats, files = repeated(tmp_path, scores, {"tuned": 4, "half-half": 40, "file-values": 60}, goal)
    found = compare_seeds(study, who, beside, repeats, files)
    parts = gain(study, result_of(who, beside, found))
    assert (parts.mix.verdict, parts.mix.amount) == ("better", pytest.approx(-10.33, abs=0.01))
    told = headline(study, result_of(who, beside))
    assert told.startswith(
        "tuned is 15.0 below half-half with the file's values on multi/rank_distance (less is better)"
    )
    assert ": -10.0 from the mix, -5.0 from the other values; one seed each, noise not measured: " in told


def test_without_repeats_the_line_says_that_noise_is_not_measured():
    told = (
        f"tuned is 0.200 above half-half with the file's values on {GOAL}: +0.120 from the mix, +0.080 from the other "
        "values; one seed each, noise not measured: search.repeat_best measures it"
    )
    assert headline(study_of(), result_of(ALL, BESIDE)) == told


def test_without_repeats_the_amounts_are_those_of_the_test_benchmark():
    values = {"tuned": 0.5, "half-half": 0.49, "same-values": 0.505, "file-values": 0.4}
    rows = [{"contestant": name, "metrics": {GOAL: {"value": values.get(name, 0.1)}}} for name in [*ALL, "start"]]
    result = {**result_of(ALL, BESIDE), "contestant_scores": {"benchmark": "test", "rows": rows}}
    told = headline(study_of(), result)
    assert told.startswith(f"tuned is 0.100 above half-half with the file's values on {GOAL} of the test benchmark: ")
    assert ": -0.005 from the mix, +0.105 from the other values; one seed each" in told
    result["contestant_scores"]["rows"] = rows[1:]  # of another objective, or made before there were such scores
    assert "benchmark" not in headline(study_of(), result)
    assert "+0.120 from the mix" in headline(study_of(), result)


def test_a_fixed_ratio_may_be_the_best():
    best = row(9, "half-half", 0.7)
    told = headline(study_of(), result_of(ALL, BESIDE, best=best))
    assert told.startswith(f"half-half 9, of a fixed ratio, is best on {GOAL}; tuned is 0.200 above half-half with ")


@pytest.mark.parametrize(
    ("who", "beside", "arms", "told"),
    [
        (["tuned"], None, "none", "no fixed ratio beside it: search.arms is none"),
        (["tuned"], None, "searched", "it could not be compared: no fixed ratio came to its end"),
        (["half-half"], BESIDE, "searched", "no trial with a searched ratio came to its end"),
    ],
)
def test_a_study_that_lacks_a_contestant_says_so(who, beside, arms, told):
    result = result_of({name: ALL[name] for name in who}, beside, best=TUNED)
    assert headline(study_of(arms=arms), result) == f"trial 3 has {GOAL} 0.600; {told}"
