import warnings

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_study import small_study

from hybridtune.config.fields import BenchmarkSource
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import load_benchmark
from hybridtune.search.samplers import first_trials
from hybridtune.search.space import baseline_points, from_optuna, objectives, optuna_params, search_space
from hybridtune.search.trial import trial_values
from hybridtune.storage.trial_rows import TrialRow, pareto_front

SPACE = {"mixing_ratio": {"uniform": [0.0, 1.0]}, "temperature": {"loguniform": [0.01, 0.2]}}


def study_of(train=(), mix=(), **search):
    return small_study(train=dict(train), mix=dict(mix), search={"space": SPACE, **search})


def configs(study, trials, seed=0):
    """The configurations that OptunaSearch would hand to Tune: what was suggested, and what the space returns."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna_study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a baseline may stand outside the range
        for point, attributes in first_trials(study):
            optuna_study.enqueue_trial(optuna_params(point), user_attrs=attributes)
        for _ in range(trials):
            trial = optuna_study.ask()
            extra = search_space(study)(trial)
            found.append(from_optuna({**trial.params, **extra}))
    return found


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
    assert str(caught.value).startswith(f"unknown metric {name!r}; known: mono/AP, ")
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


def test_baselines_are_the_fixed_values_with_the_ratio_that_names_them():
    study = study_of(train={"temperature": 0.07})
    assert baseline_points(study) == [
        {"mix.mixing_ratio": ratio, "train.temperature": 0.07} for ratio in (1.0, 0.5, 0.0)
    ]
    full_name = study_of(space={"mix.mixing_ratio": SPACE["mixing_ratio"]})
    assert baseline_points(full_name) == [{"mix.mixing_ratio": ratio} for ratio in (1.0, 0.5, 0.0)]
    assert baseline_points(study_of(baselines=False)) == []


@pytest.mark.parametrize(
    "space",
    [
        SPACE,
        {**SPACE, "mixing_ratio": {"uniform": [0.2, 0.4]}},  # every baseline stands outside
        {"mix.mixing_ratio": {"uniform": [0.2, 0.4]}, "train.temperature": SPACE["temperature"]},
        {"temperature": {"loguniform": [0.1, 0.2]}},  # the ratio is not searched, the fixed value is outside
    ],
)
def test_the_first_trials_are_the_baselines(space):
    study = study_of(space=space)
    found = configs(study, 5)
    assert [config["baseline"] for config in found] == ["mono-only", "half-half", "cross-only", None, None]
    assert [config["number"] for config in found] == [0, 1, 2, 3, 4]
    for config, ratio in zip(found, (1.0, 0.5, 0.0), strict=False):
        assert study.with_values(trial_values(config)) == study.with_values({"mix.mixing_ratio": ratio})


def test_searched_values_stay_in_their_ranges():
    space = {
        "mixing_ratio": {"uniform": [0.2, 0.4]},
        "learning_rate": {"loguniform": [1e-5, 1e-4]},
        "batch_size": {"int": [10, 12]},
        "cross_batch": {"choice": ["mixed", "single_pair"]},
    }
    study = study_of(space=space, baselines=False)
    found = configs(study, 60)
    assert all(config["baseline"] is None for config in found)
    assert all(
        0.2 <= config["mix.mixing_ratio"] <= 0.4 and 1e-5 <= config["train.learning_rate"] <= 1e-4 for config in found
    )
    assert {config["train.batch_size"] for config in found} == {10, 11, 12}
    assert {config["mix.cross_batch"] for config in found} == {"mixed", "single_pair"}
    assert sum(config["train.learning_rate"] < 10**-4.5 for config in found) in range(15, 46)  # log, not linear: half
    assert [trial_values(config).keys() for config in found] == [study.search.space.keys()] * 60


def test_baselines_among_choices_are_tried_as_they_are():
    space = {"mixing_ratio": {"choice": [0, 0.25, 0.5, 1]}, "batch_size": {"choice": [16, 32]}}
    found = configs(study_of(space=space), 3)
    assert [(config["mix.mixing_ratio"], config["train.batch_size"]) for config in found] == [
        (1, 32),
        (0.5, 32),
        (0, 32),
    ]


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
    ],
)
def test_baselines_keep_one_ratio_whatever_schedules_there_are(mix, space):
    study = study_of(mix=mix, space=space)
    found = configs(study, 5)
    for config, ratio in zip(found, (1.0, 0.5, 0.0), strict=False):
        trained = study.with_values(trial_values(config)).mix
        assert (trained.schedule, trained.mixing_ratio) == ("constant", ratio)
    for config in found[3:]:
        trained = study.with_values(trial_values(config)).mix
        assert trained.schedule == config.get("mix.schedule", study.mix.schedule)
        assert trained.schedule == "constant" or trained.final_ratio is not None


def test_conditions_decide_what_a_trial_is_asked_for_and_baselines_follow_them():
    space = {
        "final_ratio": {"uniform": [0.0, 1.0], "when": {"mix.schedule": ["linear", "cosine"]}},  # stands before it
        "schedule": {"choice": ["constant", "linear", "cosine", "step"]},
        "step_at": {"uniform": [0.2, 0.8], "step": 0.2, "when": {"schedule": "step"}},
        "lora_rank": {"logint": [1, 64]},
        "lora_alpha": {"uniform": [1, 9], "when": {"schedule": "constant"}},
    }
    study = study_of(train={"lora_rank": 8, "lora_alpha": 2.0}, mix={"final_ratio": 0.5}, space=space)
    found = configs(study, 60)
    for config in found[:3]:
        assert set(trial_values(config)) == {"mix.mixing_ratio", "mix.schedule", "train.lora_rank", "train.lora_alpha"}
        assert (config["mix.schedule"], config["train.lora_rank"], config["train.lora_alpha"]) == ("constant", 8, 2.0)
    assert {config["mix.schedule"] for config in found[3:]} == {"constant", "linear", "cosine", "step"}
    for config in found[3:]:
        assert ("mix.final_ratio" in config) == (config["mix.schedule"] in ("linear", "cosine"))
        assert ("mix.step_at" in config) == (config["mix.schedule"] == "step")
        assert ("train.lora_alpha" in config) == (config["mix.schedule"] == "constant")
        assert config.get("mix.step_at", 0.2) == pytest.approx(round(config.get("mix.step_at", 0.2) * 5) / 5)
        assert study.with_values(trial_values(config)).mix.final_ratio == config.get("mix.final_ratio", 0.5)
    assert sum(config["train.lora_rank"] <= 8 for config in found[3:]) in range(
        17, 41
    )  # log: half of 57, not an eighth


@pytest.mark.parametrize(
    ("fixed", "parameter", "value"),
    [
        (None, {"uniform": [0.2, 0.4]}, 0.4),  # Optuna cannot hold null
        (0.3, {"uniform": [0.2, 0.4]}, 0.3),
        (0.9, {"uniform": [0.2, 0.4]}, 0.4),
        (0.1, {"uniform": [0.2, 0.4]}, 0.2),
        (None, {"choice": [0.25, 0.75]}, 0.25),
        (0.75, {"choice": [0.25, 0.75]}, 0.75),
    ],
)
def test_what_a_constant_ratio_does_not_look_at_lies_in_its_range(fixed, parameter, value):
    study = study_of(mix={"final_ratio": fixed}, space={**SPACE, "final_ratio": parameter, **CONSTANT})
    assert [point["mix.final_ratio"] for point in baseline_points(study)] == [value] * 3
    assert [point["mix.schedule"] for point in baseline_points(study)] == ["constant"] * 3


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"batch_size": {"choice": [16, 64]}}, "train.batch_size: the baselines train with 32, which is not among"),
        (
            {"mixing_ratio": {"choice": [0.0, 0.5]}},
            "mix.mixing_ratio: the baselines train with 1.0, which is not among",
        ),
        (
            {"schedule": {"choice": ["step", "linear"]}, "final_ratio": {"uniform": [0.0, 1.0]}},
            "mix.schedule: the baselines train with 'constant', which is not among",
        ),
        (
            {"dropout": {"uniform": [0.0, 0.3]}},
            "train.dropout: the baselines train with the fixed value, which is null",
        ),
    ],
)
def test_baselines_that_optuna_could_not_hold_are_refused(space, told):
    with pytest.raises(InputError) as caught:
        baseline_points(study_of(space=space))
    assert str(caught.value).startswith(f"search.space.{told}")
    assert len(configs(study_of(space=space, baselines=False), 3)) == 3


def row(name, values):
    return TrialRow(str(name), name, None, {}, {f"m{i}": value for i, value in enumerate(values)}, "done")


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
