import tempfile
import warnings
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_study import small_study

from hybridtune.config.fields import BenchmarkSource
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import load_benchmark
from hybridtune.search.optuna_search import searcher
from hybridtune.search.samplers import check_search
from hybridtune.search.space import objectives
from hybridtune.search.trial import trial_values
from hybridtune.storage.trial_rows import TrialRow, pareto_front

SPACE = {"mixing_ratio": {"uniform": [0.0, 1.0]}, "temperature": {"loguniform": [0.01, 0.2]}}


def study_of(train=(), mix=(), **search):
    return small_study(
        train=dict(train), mix=dict(mix), search={"space": SPACE, "sampler": "random", "storage": "journal", **search}
    )


def configs(study, trials):
    """The configurations that the search hands to Tune."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file's values may stand outside the range
        found = searcher(study, {"balanced/AP": "max"}, Path(folder), set())
        return [found.suggest(f"t{place}") for place in range(trials)]


def of_arm(found, arm):
    return [config for config in found if config["arm"] == arm]


@pytest.fixture
def benchmark(groups_file):
    def make(queries, passages):
        row = {"group_id": "1", "queries": dict.fromkeys(queries, "q"), "passages": dict.fromkeys(passages, "p")}
        return load_benchmark(BenchmarkSource(path=str(groups_file([row]))))

    return make


def test_objectives_have_directions_in_the_order_given(benchmark):
    names = ["multi/rank_distance", "balanced/AP", "cross/R@7", "mono/nDCG@10"]
    found = objectives(study_of(objective=names), benchmark(["en", "de"], ["en", "de"]))
    assert list(found.items()) == [(names[0], "min"), (names[1], "max"), (names[2], "max"), (names[3], "max")]


@pytest.mark.parametrize(
    "name", ["AP", "multi/MAP", "both/AP", "mono/rank_distance", "cross/R", "balanced/RR", "mono/AP@0"]
)
def test_an_unknown_objective(benchmark, name):
    with pytest.raises(InputError) as caught:
        objectives(study_of(objective=name), benchmark(["en"], ["en"]))
    assert str(caught.value).startswith(f"search.objective: unknown metric {name!r}; known: mono/AP, ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("queries", "passages", "name", "missing", "has"),
    [
        (["en"], ["en"], "cross/AP", "cross", "mono"),
        (["en"], ["en"], "multi/rank_distance", "multi", "mono"),
        (["en"], ["en"], "balanced/AP", "cross and multi", "mono"),
        (["en"], ["de"], "mono/R@1", "mono", "cross, multi"),
        (["en"], ["de"], "balanced/AP", "mono", "cross, multi"),
    ],
)
def test_an_objective_that_the_benchmark_cannot_give(benchmark, queries, passages, name, missing, has):
    given_benchmark = benchmark(queries, passages)
    with pytest.raises(InputError) as caught:
        objectives(study_of(objective=["multi/AP", name] if "multi" in has else [name]), given_benchmark)
    assert str(caught.value) == (
        f"search.objective {name}: the benchmark {given_benchmark.name} has no query for the {missing} setting; "
        f"it has {has}"
    )


FIXED = {"mono-only": 1.0, "half-half": 0.5, "cross-only": 0.0}


@pytest.mark.parametrize(
    "space",
    [
        SPACE,
        {**SPACE, "mixing_ratio": {"uniform": [0.2, 0.4]}},  # every fixed ratio lies outside
        {"mix.mixing_ratio": {"uniform": [0.2, 0.4]}, "train.temperature": SPACE["temperature"]},
        {"temperature": {"loguniform": [0.1, 0.2]}},  # the ratio is not searched, the file's temperature lies outside
    ],
)
def test_arms_take_turns_and_fixed_ones_begin_with_the_files_values(space):
    study = study_of(space=space)
    found = configs(study, 9)
    assert [config["arm"] for config in found] == [*FIXED, "tuned", *FIXED, "tuned", "mono-only"]
    assert [config["number"] for config in found] == list(range(9))
    assert [config["proposed"] for config in found] == ["file"] * 3 + ["random"] * 6
    for config in found[:3]:
        ratio = {"mix.mixing_ratio": FIXED[config["arm"]]}
        assert study.with_values(trial_values(config)) == study.with_values(ratio)
    for config in (*found[4:7], found[8]):
        assert config["mix.mixing_ratio"] == FIXED[config["arm"]]
        assert 0.01 <= config["train.temperature"] <= 0.2
    for config in of_arm(found, "tuned"):
        ratio = study.with_values(trial_values(config)).mix.mixing_ratio
        assert 0.2 <= ratio <= 0.4 if config.get("mix.mixing_ratio") and space is not SPACE else 0 <= ratio <= 1
    later = {arm: {config["train.temperature"] for config in of_arm(found[4:8], arm)} for arm in (*FIXED, "tuned")}
    assert len(set.union(*later.values())) == 4  # each arm draws for itself


def test_searched_values_stay_in_their_ranges():
    space = {
        "mixing_ratio": {"uniform": [0.2, 0.4]},
        "learning_rate": {"loguniform": [1e-5, 1e-4]},
        "batch_size": {"int": [10, 12]},
        "cross_batch": {"choice": ["mixed", "single_pair"]},
    }
    study = study_of(space=space, arms="none", trials=60)
    found = configs(study, 60)
    assert all(config["arm"] == "tuned" for config in found)
    assert all(
        0.2 <= config["mix.mixing_ratio"] <= 0.4 and 1e-5 <= config["train.learning_rate"] <= 1e-4 for config in found
    )
    assert {config["train.batch_size"] for config in found} == {10, 11, 12}
    assert {config["mix.cross_batch"] for config in found} == {"mixed", "single_pair"}
    assert sum(config["train.learning_rate"] < 10**-4.5 for config in found) in range(15, 46)  # log, not linear: half
    assert [trial_values(config).keys() for config in found] == [study.search.space.keys()] * 60


def test_an_arm_with_nothing_to_search_has_one_trial():
    found = configs(study_of(space={"mixing_ratio": SPACE["mixing_ratio"]}, trials=5), 9)
    assert found[8] == "FINISHED"
    assert [config["arm"] for config in found[:8]] == [*FIXED, *["tuned"] * 5]


CONSTANT = {"schedule": {"choice": ["constant", "linear", "step"]}}
MOVING = {"schedule": "linear", "final_ratio": 0.2}


@pytest.mark.parametrize(
    ("mix", "space"),
    [
        (MOVING, SPACE),
        (MOVING, {"final_ratio": {"uniform": [0.3, 0.9]}}),
        (MOVING, {**CONSTANT, "final_ratio": {"uniform": [0.0, 1.0]}, "step_at": {"uniform": [0.6, 0.9]}}),
        ({"final_ratio": 0.2}, {"mix.schedule": CONSTANT["schedule"], "mix.mixing_ratio": SPACE["mixing_ratio"]}),
        ({}, {**SPACE, **CONSTANT, "final_ratio": {"uniform": [0.0, 1.0]}}),
        ({"schedule": "cosine"}, {"mix.final_ratio": {"choice": [0.0, 0.25]}}),
        (
            {"schedule": "linear"},
            {**SPACE, "schedule": {"choice": ["step", "linear"]}, "final_ratio": {"uniform": [0, 1]}},
        ),
    ],
)
def test_fixed_arms_keep_one_ratio_whatever_schedules_there_are(mix, space):
    study = study_of(mix=mix, space=space)
    found = configs(study, 8)
    for config in [config for config in found if config != "FINISHED"]:
        trained = study.with_values(trial_values(config)).mix
        if config["arm"] in FIXED:
            assert (trained.schedule, trained.mixing_ratio) == ("constant", FIXED[config["arm"]])
            assert not {"mix.final_ratio", "mix.step_at"} & config.keys()
        else:
            assert trained.schedule == config.get("mix.schedule", study.mix.schedule)
            assert trained.schedule == "constant" or trained.final_ratio is not None


def test_conditions_decide_what_a_trial_is_asked_for_and_fixed_arms_follow_them():
    space = {
        "final_ratio": {"uniform": [0.0, 1.0], "when": {"mix.schedule": ["linear", "cosine"]}},  # stands before it
        "schedule": {"choice": ["constant", "linear", "cosine", "step"]},
        "step_at": {"uniform": [0.2, 0.8], "step": 0.2, "when": {"schedule": "step"}},
        "lora_rank": {"logint": [1, 64]},
        "lora_alpha": {"uniform": [1, 9], "when": {"schedule": "constant"}},
    }
    study = study_of(train={"lora_rank": 8, "lora_alpha": 2.0}, mix={"final_ratio": 0.5}, space=space, trials=57)
    found = configs(study, 228)
    for config in [config for config in found if config["arm"] in FIXED]:
        assert set(trial_values(config)) == {"mix.mixing_ratio", "mix.schedule", "train.lora_rank", "train.lora_alpha"}
        assert config["mix.schedule"] == "constant"
    for config in found[:3]:
        assert (config["proposed"], config["train.lora_rank"], config["train.lora_alpha"]) == ("file", 8, 2.0)
    free = of_arm(found, "tuned")
    assert {config["mix.schedule"] for config in free} == {"constant", "linear", "cosine", "step"}
    for config in free:
        assert ("mix.final_ratio" in config) == (config["mix.schedule"] in ("linear", "cosine"))
        assert ("mix.step_at" in config) == (config["mix.schedule"] == "step")
        assert ("train.lora_alpha" in config) == (config["mix.schedule"] == "constant")
        assert config.get("mix.step_at", 0.2) == pytest.approx(round(config.get("mix.step_at", 0.2) * 5) / 5)
        assert study.with_values(trial_values(config)).mix.final_ratio == config.get("mix.final_ratio", 0.5)
    assert sum(config["train.lora_rank"] <= 8 for config in free) in range(17, 41)  # log: half of 57, not an eighth


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (
            {"batch_size": {"choice": [16, 64]}},
            "train.batch_size: the first trial of each fixed ratio has the file's value, 32, which is not among",
        ),
        (
            {"dropout": {"uniform": [0.0, 0.3]}},
            "train.dropout: the first trial of each fixed ratio has the file's value, which is null",
        ),
    ],
)
def test_a_value_of_the_file_that_optuna_could_not_hold_is_refused(space, told):
    with pytest.raises(InputError) as caught:
        check_search(study_of(space=space))
    assert str(caught.value).startswith(f"search.space.{told}")
    assert str(caught.value).endswith("or set search.arms to rerun")
    for arms in ("rerun", "none"):
        assert len(configs(study_of(space=space, arms=arms), 3)) == 3


def row(name, values):
    return TrialRow(str(name), name, "tuned", {}, {f"m{i}": value for i, value in enumerate(values)}, "done")


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=10),
    st.lists(st.sampled_from(["max", "min"]), min_size=2, max_size=3),
)
def test_the_front_is_what_nothing_beats_and_optunas_best_trials(points, modes):
    rows = [row(i, values) for i, values in enumerate(points)]
    goals = {f"m{i}": mode for i, mode in enumerate(modes)}

    def beats(one, other):
        better = [
            (a > b) - (a < b) if mode == "max" else (a < b) - (a > b)
            for a, b, mode in zip(one, other, modes, strict=False)
        ]
        return min(better) >= 0 and max(better) > 0

    naive = [str(i) for i, point in enumerate(points) if not any(beats(other, point) for other in points)]
    assert [one.id for one in pareto_front(rows, goals)] == naive
    optuna_study = optuna.create_study(directions=["maximize" if mode == "max" else "minimize" for mode in modes])
    optuna_study.add_trials([optuna.trial.create_trial(values=point[: len(modes)]) for point in points])
    assert [str(trial.number) for trial in optuna_study.best_trials] == naive


@pytest.mark.parametrize(("mode", "best"), [("max", ["1"]), ("min", ["2"])])
def test_the_front_of_one_objective_is_its_best(mode, best):
    rows = [row(i, [value]) for i, value in enumerate([0.5, 0.7, 0.1, 0.7])]
    assert [one.id for one in pareto_front(rows, {"m0": mode})] == best
