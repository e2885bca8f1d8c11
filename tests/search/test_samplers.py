"""Every sampler proposes the same values again for the same seed, goes on after a break, and learns where it can."""

import importlib.util
import math
import pickle
import warnings

import optuna
import pytest
from documented import write_module
from small_study import small_study

from hybridtune.errors import InputError
from hybridtune.search.optuna_search import searcher
from hybridtune.search.samplers import check_search, expected_trials, first_trials
from hybridtune.search.trial import trial_values

ONE = {"balanced/AP": "max"}
TWO = {"balanced/AP": "max", "multi/rank_distance": "min"}
SPACE = {
    "mixing_ratio": {"uniform": [0.0, 1.0]},
    "temperature": {"loguniform": [0.01, 0.2]},
    "cross_batch": {"choice": ["mixed", "single_pair"]},
}
STEPS = {"mixing_ratio": {"uniform": [0.0, 1.0], "step": 0.25}, "cross_batch": SPACE["cross_batch"]}
LARGE = {**STEPS, "negatives": {"int": [0, 2]}}
BRANCHES = {
    **SPACE,
    "schedule": {"choice": ["constant", "linear"]},
    "final_ratio": {"uniform": [0.0, 1.0], "when": {"schedule": "linear"}},
}
EACH = [
    ("tpe", ONE, SPACE),
    ("tpe", ONE, BRANCHES),
    ("tpe", TWO, BRANCHES),
    ("cmaes", ONE, SPACE),
    ("gp", ONE, SPACE),
    ("gp", TWO, SPACE),
    ("nsga2", TWO, SPACE),
    ("nsga3", TWO, BRANCHES),
    ("random", ONE, BRANCHES),
    ("grid", ONE, LARGE),
]
IDS = [f"{name}-{len(goals)}-{len(space)}" for name, goals, space in EACH]


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental samplers
        yield


def study_of(mix=(), **search):
    return small_study(mix=dict(mix), search={"storage": "journal", **search})


def sampled(name, goals, space, **search):
    return study_of(sampler=name, objective=list(goals), space=space, **search)


def scores(config):
    """What a trial with these values gets: best at a ratio of 0.7 and a temperature of 0.05."""
    off = abs(config["mix.mixing_ratio"] - 0.7) + abs(math.log(config.get("train.temperature", 0.05) / 0.05))
    return {"balanced/AP": 1 - off / 4, "multi/rank_distance": 10 * config["mix.mixing_ratio"]}


def run(study, goals, folder, trials, ended=(), sign=1):
    """Trials one at a time, every fourth stopped early; their configurations."""
    folder.mkdir(exist_ok=True)
    found, configs = searcher(study, goals, folder, set(ended)), []
    for place in range(trials):
        if place == 1:
            found = pickle.loads(pickle.dumps(found))  # as Tune does
        config = found.suggest(f"t{place}")
        told = {name: sign * value for name, value in scores(config).items()}
        report = {**told, "step": 6, "realised_ratio": 0.5, "final": 0.0}
        found.on_trial_result(f"t{place}", report)
        if config["number"] % 4 != 3:
            report = {**report, "final": 1.0}
            found.on_trial_result(f"t{place}", report)
        found.on_trial_complete(f"t{place}", report)
        configs.append(config)
    return configs


@pytest.mark.parametrize(("name", "goals", "space"), EACH, ids=IDS)
def test_the_same_seed_proposes_the_same_and_another_does_not(tmp_path, name, goals, space):
    study = sampled(name, goals, space)
    check_search(study)
    trials = 8 if name == "gp" else 12  # it models from the seventh on, at length
    first = run(study, goals, tmp_path / "a", trials)
    assert run(study, goals, tmp_path / "b", trials) == first
    assert [config["baseline"] for config in first[:4]] == ["mono-only", "half-half", "cross-only", None]
    other = study.model_copy(update={"seed": 1})
    assert run(other, goals, tmp_path / "c", trials)[3:] != first[3:]
    for config in first[3:]:
        assert ("mix.final_ratio" in config) == (config.get("mix.schedule") == "linear")


@pytest.mark.parametrize(("name", "goals", "space"), EACH, ids=IDS)
def test_a_resumed_search_goes_on_with_new_values(tmp_path, name, goals, space):
    study = sampled(name, goals, space)
    before = run(study, goals, tmp_path, 7)
    after = run(study, goals, tmp_path, 4, ended=range(7))
    assert [config["number"] for config in after] == [7, 8, 9, 10]
    tried = [trial_values(config) for config in before]
    assert [value for value in map(trial_values, after) if value not in tried[3:]] == list(map(trial_values, after))


def test_a_grid_is_tried_once_each_and_ends(tmp_path):
    study = sampled("grid", ONE, STEPS, trials=50)
    assert expected_trials(study) == 10  # 5 ratios x 2 kinds of batch, of which the baselines are three
    configs = run(study, ONE, tmp_path, 6)
    configs += run(study, ONE, tmp_path, 4, ended=range(6))
    tried = {(config["mix.mixing_ratio"], config["mix.cross_batch"]) for config in configs}
    assert tried == {(ratio, kind) for ratio in (0, 0.25, 0.5, 0.75, 1) for kind in ("mixed", "single_pair")}
    assert expected_trials(sampled("grid", ONE, STEPS, trials=4)) == 7
    assert expected_trials(sampled("grid", ONE, STEPS, trials=50, baselines=False)) == 10
    assert expected_trials(sampled("random", ONE, STEPS, trials=50)) == 53


def test_points_come_after_the_baselines_and_what_they_leave_out_is_proposed(tmp_path):
    points = [{"temperature": 0.1}, {"mix.mixing_ratio": 0.3, "cross_batch": "single_pair", "train.temperature": 0.02}]
    study = sampled("tpe", ONE, SPACE, points=points)
    configs = run(study, ONE, tmp_path, 6)
    assert configs[3]["train.temperature"] == 0.1
    assert 0 <= configs[3]["mix.mixing_ratio"] <= 1
    told = {"mix.mixing_ratio": 0.3, "mix.cross_batch": "single_pair", "train.temperature": 0.02}
    assert trial_values(configs[4]) == told
    assert configs[5]["train.temperature"] not in (0.1, 0.02)
    assert [attributes for _, attributes in first_trials(study)[3:]] == [{"point": 0}, {"point": 1}]
    again = run(study, ONE, tmp_path, 2, ended=range(6))
    assert [config["number"] for config in again] == [6, 7]  # enqueued once


@pytest.mark.parametrize(
    ("name", "goals", "learns"),
    [
        *(("tpe", ONE, True), ("tpe", TWO, True), ("cmaes", ONE, True), ("gp", ONE, True), ("gp", TWO, True)),
        *(("nsga2", TWO, True), ("nsga3", TWO, True), ("random", ONE, False), ("random", TWO, False)),
    ],
)
def test_later_proposals_follow_the_scores_of_samplers_that_learn(tmp_path, name, goals, learns):
    study = sampled(name, goals, {key: SPACE[key] for key in ("mixing_ratio", "temperature")})
    trials = 16 if name.startswith("nsga") else 10
    one, other = (run(study, goals, tmp_path / place, trials, sign=sign) for place, sign in (("a", 1), ("b", -1)))
    assert one[:3] == other[:3]
    assert (one != other) == learns


@pytest.mark.parametrize(
    ("search", "line"),
    [
        ({"sampler": "cmaes", "objective": ["mono/AP", "multi/AP"]}, "cmaes: searches for one objective, not for 2"),
        ({"sampler": "cmaes", "space": {"cross_batch": SPACE["cross_batch"]}}, "cmaes: moves numbers, and"),
        (
            {"sampler": "grid"},
            "mix.mixing_ratio: uniform [0.0, 1.0] has no end of values; for search.sampler grid give",
        ),
        ({"sampler": "grid", "space": {"seed": {"int": [0, 10**6]}}}, "seed: int [0, 1000000] has no end of values"),
        (
            {"sampler": "grid", "space": {**STEPS, "step_at": {"choice": [0.1], "when": {"cross_batch": "mixed"}}}},
            "step_at: a grid tries every combination and knows no `when`",
        ),
        (
            {"sampler": "grid", "space": STEPS, "points": [{"cross_batch": "mixed"}]},
            "search.points.0: a grid proposes nothing for mix.mixing_ratio; give a value",
        ),
        ({"sampler": "random", "warm_start": "x"}, "random: does not learn from search.warm_start; leave it out, or"),
        ({"sampler": "nsga2", "warm_start": "x"}, "nsga2: does not learn from search.warm_start"),
    ],
)
def test_what_a_sampler_cannot_do_is_told_before_anything_starts(search, line):
    with pytest.raises(InputError) as caught:
        check_search(study_of(**search))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None)
    with pytest.raises(InputError, match=r"sampler cmaes: needs the package cmaes: pip install 'hybridtune\["):
        check_search(sampled("cmaes", ONE, SPACE))


def test_the_documented_sampler_of_ones_own_proposes(tmp_path, monkeypatch):
    assert len(write_module("study.md", "my_project/samplers.py", tmp_path)) <= 30
    monkeypatch.syspath_prepend(tmp_path)
    study = sampled("my_project.samplers:narrow", ONE, SPACE)
    check_search(study)
    first = run(study, ONE, tmp_path / "a", 12)
    assert run(study, ONE, tmp_path / "b", 12) == first
    assert [config["baseline"] for config in first[:4]] == ["mono-only", "half-half", "cross-only", None]


def test_a_function_that_makes_no_sampler_is_refused_by_name():
    with pytest.raises(InputError, match=r"search\.sampler math:sqrt: returned a value of type float; return an opt"):
        check_search(sampled("math:sqrt", ONE, SPACE))
