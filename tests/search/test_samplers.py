"""Every sampler proposes the same values again for the same seed, goes on after a break, and learns where it can."""

import importlib.util
import math
import pickle
import warnings

import optuna
import pytest
from documented import write_module
from optuna.trial import TrialState, create_trial
from small_study import small_study

from hybridtune.errors import InputError
from hybridtune.search import seeded_samplers
from hybridtune.search.arms import expected_trials
from hybridtune.search.optuna_search import searcher
from hybridtune.search.samplers import Proposals, check_search, sampler
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
    arms = "searched" if name in ("tpe", "gp", "random") else "rerun"
    return study_of(**{"sampler": name, "objective": list(goals), "space": space, "arms": arms, "trials": 20, **search})


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
    trials = 10 if name == "gp" else 20  # it models at length
    first = run(study, goals, tmp_path / "a", trials)
    assert run(study, goals, tmp_path / "b", trials) == first
    other = study.model_copy(update={"seed": 1})
    assert run(other, goals, tmp_path / "c", trials)[3:] != first[3:]
    for config in first:
        linear = config["arm"] == "tuned" and config.get("mix.schedule") == "linear"
        assert ("mix.final_ratio" in config) == linear


@pytest.mark.parametrize(("name", "goals", "space"), EACH, ids=IDS)
def test_a_resumed_search_proposes_what_the_undisturbed_one_does(tmp_path, name, goals, space):
    study = sampled(name, goals, space)
    undisturbed = run(study, goals, tmp_path / "undisturbed", 11)
    before = run(study, goals, tmp_path / "cut off", 7)
    after = run(study, goals, tmp_path / "cut off", 4, ended=range(7))
    assert before + after == undisturbed
    assert [config["number"] for config in after] == [7, 8, 9, 10]


def test_a_grid_is_tried_once_each_and_ends(tmp_path):
    study = sampled("grid", ONE, STEPS, trials=50)
    assert expected_trials(study) == 10  # 5 ratios x 2 kinds of batch
    configs = run(study, ONE, tmp_path, 6)
    configs += run(study, ONE, tmp_path, 4, ended=range(6))
    tried = {(config["mix.mixing_ratio"], config["mix.cross_batch"]) for config in configs}
    assert tried == {(ratio, kind) for ratio in (0, 0.25, 0.5, 0.75, 1) for kind in ("mixed", "single_pair")}
    assert {config["proposed"] for config in configs} == {"grid"}
    assert expected_trials(sampled("grid", ONE, STEPS, trials=4)) == 4
    assert expected_trials(sampled("random", ONE, STEPS, trials=50)) == 200
    assert expected_trials(sampled("random", ONE, STEPS, trials=50, arms="none")) == 50


def test_points_are_tried_first_and_what_they_leave_out_is_drawn(tmp_path):
    points = [{"temperature": 0.1}, {"mix.mixing_ratio": 0.3, "cross_batch": "single_pair", "train.temperature": 0.02}]
    study = sampled("tpe", ONE, SPACE, points=points)
    configs = run(study, ONE, tmp_path, 13)
    assert [config["proposed"] for config in configs[:4]] == ["file", "file", "file", "point"]
    free = [config for config in configs if config["arm"] == "tuned"]
    assert free[0]["train.temperature"] == 0.1
    assert 0 <= free[0]["mix.mixing_ratio"] <= 1
    told = {"mix.mixing_ratio": 0.3, "mix.cross_batch": "single_pair", "train.temperature": 0.02}
    assert (trial_values(free[1]), free[1]["proposed"]) == (told, "point")
    assert free[2]["train.temperature"] not in (0.1, 0.02)
    again = run(study, ONE, tmp_path, 2, ended=range(13))
    assert [config["number"] for config in again] == [13, 14]


@pytest.mark.parametrize(("trials", "points", "drawn"), [(2, 0, 1), (6, 0, 2), (12, 3, 3), (12, 0, 4), (40, 0, 6)])
def test_at_most_a_third_of_what_is_proposed_is_drawn_at_random(tmp_path, trials, points, drawn):
    given = [{"mixing_ratio": 0.1 * place} for place in range(points)]
    study = sampled("tpe", ONE, SPACE, points=given, trials=trials, arms="none")
    configs = run(study, ONE, tmp_path, trials)
    expected = ["point"] * points + ["random"] * drawn + ["sampler"] * (trials - points - drawn)
    assert [config["proposed"] for config in configs] == expected


def test_the_sampler_of_an_arm_sees_that_arm_alone(tmp_path):
    """Scores of the other arms, however they fall, change none of its proposals."""
    study = sampled("tpe", ONE, {key: SPACE[key] for key in ("mixing_ratio", "temperature")})
    found = {}
    for name, others in (("a", 1), ("b", -1)):
        (tmp_path / name).mkdir()
        search = searcher(study, ONE, tmp_path / name, set())
        found[name] = []
        for place in range(32):
            config = search.suggest(f"t{place}")
            value = scores(config)["balanced/AP"] * (1 if config["arm"] == "tuned" else others)
            search.on_trial_complete(f"t{place}", {"balanced/AP": value, "step": 6, "final": 1.0})
            found[name].append(config)
    assert [one for one in found["a"] if one["arm"] == "tuned"] == [one for one in found["b"] if one["arm"] == "tuned"]
    assert [one for one in found["a"] if one["arm"] == "half-half"] != [
        one for one in found["b"] if one["arm"] == "half-half"
    ]


@pytest.mark.parametrize(
    ("name", "goals", "learns"),
    [
        *(("tpe", ONE, True), ("tpe", TWO, True), ("cmaes", ONE, True), ("gp", ONE, True), ("gp", TWO, True)),
        *(("nsga2", TWO, True), ("nsga3", TWO, True), ("random", ONE, False), ("random", TWO, False)),
    ],
)
def test_later_proposals_follow_the_scores_of_samplers_that_learn(tmp_path, name, goals, learns):
    size = 6 if name in ("tpe", "gp") else 16  # of an arm
    study = sampled(name, goals, {key: SPACE[key] for key in ("mixing_ratio", "temperature")}, trials=size)
    trials = {"nsga2": 16, "nsga3": 16, "gp": 20, "tpe": 24}.get(name, 12)
    one, other = (run(study, goals, tmp_path / place, trials, sign=sign) for place, sign in (("a", 1), ("b", -1)))
    assert one[:2] == other[:2]
    assert (one != other) == learns


@pytest.mark.parametrize(
    ("search", "line"),
    [
        (
            {"sampler": "cmaes"},
            "cmaes: keeps a state of its own in the study, so that it cannot search each arm by itself; set "
            "search.arms to rerun (or none), or choose tpe, gp, random",
        ),
        ({"sampler": "nsga2"}, "nsga2: keeps a state of its own"),
        ({"sampler": "math:sqrt"}, "math:sqrt: keeps a state of its own"),
        ({"sampler": "grid"}, "grid: tries every mixing ratio with every other value anyway; set search.arms to rerun"),
        ({"sampler": "cmaes", "objective": ["mono/AP", "multi/AP"]}, "cmaes: searches for one objective, not for 2"),
        ({"sampler": "cmaes", "space": {"cross_batch": SPACE["cross_batch"]}}, "cmaes: moves numbers, and"),
        (
            {"sampler": "grid", "arms": "none"},
            "mix.mixing_ratio: uniform [0.0, 1.0] has no end of values; for search.sampler grid give",
        ),
        (
            {"sampler": "grid", "arms": "none", "space": {"seed": {"int": [0, 10**6]}}},
            "seed: int [0, 1000000] has no end of values",
        ),
        (
            {
                "sampler": "grid",
                "arms": "rerun",
                "space": {**STEPS, "step_at": {"choice": [0.1], "when": {"cross_batch": "mixed"}}},
            },
            "step_at: a grid tries every combination and knows no `when`",
        ),
        (
            {"sampler": "grid", "arms": "rerun", "space": STEPS, "points": [{"cross_batch": "mixed"}]},
            "search.points.0: a grid proposes nothing for mix.mixing_ratio; give a value",
        ),
        ({"sampler": "random", "warm_start": "x"}, "random: does not learn from search.warm_start; leave it out, or"),
        ({"sampler": "nsga2", "arms": "rerun", "warm_start": "x"}, "nsga2: does not learn from search.warm_start"),
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
    assert {(config["arm"], config["proposed"]) for config in first} == {("tuned", "sampler")}


def test_a_function_that_makes_no_sampler_is_refused_by_name():
    with pytest.raises(InputError, match=r"search\.sampler math:sqrt: returned a value of type float; return an opt"):
        check_search(sampled("math:sqrt", ONE, SPACE))


def test_trials_that_still_run_count_as_drawn_so_that_no_more_are_drawn_than_a_third():
    states = [TrialState.COMPLETE, TrialState.RUNNING]
    before = [
        optuna.trial.create_trial(state=state, value=0.5 if state == TrialState.COMPLETE else None, user_attrs=attrs)
        for state, attrs in zip(states, [{"proposed": "random"}] * 2, strict=True)
    ]
    proposals = Proposals([], drawn=2, least=1, known=0, taught_by=(TrialState.COMPLETE, TrialState.PRUNED))
    assert [proposals.next(before[:count])[1] for count in range(3)] == ["random", "random", "sampler"]
    assert proposals.next(before[1:] * 2)[1] == "random"  # none has ended: there is nothing to learn from


def naive_copy(sampler, optuna_study, number):
    """The copy of a study as it is drawn up: every trial that a sampler can learn from is added to a new one."""
    seed = seeded_samplers._seed(sampler._study.seed, 0, number)
    copy = optuna.create_study(directions=optuna_study.directions, sampler=sampler._make(seed))
    for trial in optuna_study.get_trials():
        copied = seeded_samplers._copied(trial, len(optuna_study.directions), None)
        if copied is not None:
            copy.add_trial(copied)
    return copy


@pytest.mark.parametrize(
    ("name", "goals", "space"),
    [("tpe", ONE, BRANCHES), ("tpe", TWO, SPACE), ("gp", ONE, SPACE)],
    ids=["one", "two", "gp"],
)
def test_kept_copies_propose_what_a_study_made_anew_does(name, goals, space):
    study = study_of(sampler=name, objective=list(goals), space=space, arms="none")
    arm, attributes = sampler(study, 0), {"arm": "tuned", "proposed": "sampler"}
    optuna_study = optuna.create_study(
        directions=["maximize" if goal == "max" else "minimize" for goal in goals.values()]
    )
    ranges = {"temperature": optuna.distributions.FloatDistribution(0.01, 0.2, log=True)}
    found = []
    for n in range(14):
        trial = create_trial(state=TrialState.RUNNING, user_attrs=attributes)
        trial.number = n
        params = arm._copy(optuna_study, trial).ask(ranges).params
        assert params == naive_copy(arm, optuna_study, n).ask(ranges).params
        found.append(params["temperature"])
        state = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE, TrialState.RUNNING)[n % 4]
        values = [math.sin(3 * n + column) for column in range(len(goals))] if state == TrialState.COMPLETE else None
        scores = {} if len(goals) > 1 else {4: math.sin(3 * n)}
        ended = {"state": state, "values": values, "params": params, "distributions": ranges}
        optuna_study.add_trial(create_trial(**ended, intermediate_values=scores, user_attrs=attributes))
    assert len(set(found)) > 10


def test_the_space_of_an_arm_is_the_one_that_optuna_finds():
    narrow, wide = (optuna.distributions.FloatDistribution(0.0, high) for high in (0.5, 1.0))
    one = optuna.distributions.IntDistribution(3, 3)
    trials, complete = [], TrialState.COMPLETE
    for state, space, names in [
        (None, {}, []),
        (complete, {"b": wide, "a": wide, "c": one}, ["a", "b"]),
        (TrialState.PRUNED, {"a": wide, "b": wide, "c": one}, ["a", "b"]),
        (TrialState.FAIL, {}, ["a", "b"]),
        (complete, {"a": wide, "b": narrow, "c": one}, ["a"]),
        (complete, {"b": wide}, []),
    ]:
        if state is not None:
            params = {name: of.low for name, of in space.items()}
            value = 0.5 if state == complete else None
            trials.append(create_trial(state=state, value=value, params=params, distributions=space))
        study = optuna.create_study()
        study.add_trials(trials)
        arm, plain = (
            kind(multivariate=True).infer_relative_search_space(study, None)
            for kind in (seeded_samplers.ArmTPE, optuna.samplers.TPESampler)
        )
        assert list(arm.items()) == list(plain.items())
        assert list(arm) == names
