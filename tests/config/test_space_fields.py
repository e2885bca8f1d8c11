"""What a search space may say: steps, conditions, fixed values, points, and which fields it may name."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_problems import problems

from hybridtune.config.search import seconds
from hybridtune.config.space import Parameter, corners
from hybridtune.config.study import Study, load_study

SCHEDULE = {"choice": ["constant", "linear", "cosine"]}
ENDS = {"uniform": [0.0, 1.0], "when": {"mix.schedule": ["linear", "cosine"]}}


def line_of(study_file, space, **search):
    """The one line on a search that cannot be, without its beginning."""
    (line,) = problems(study_file(search={"space": space, **search}))
    return line.removeprefix("search.")


WRONG = [
    ({"temperature": {"loguniform": [0.1, 1], "step": 0.1}}, "step goes with uniform or int only; list the values"),
    ({"temperature": {"uniform": [0.1, 1], "step": 0}}, "step 0: must be above 0, and at most the 0.9 of the range"),
    ({"temperature": {"uniform": [0.1, 1], "step": 1.5}}, "step 1.5: must be above 0, and at most the 0.9 of"),
    ({"negatives": {"int": [0, 4], "step": 1.5}}, "step 1.5: of whole numbers, give a whole number"),
    ({"negatives": {"logint": [0, 4]}}, "logint [0, 4]: both ends must be above 0"),
    ({"lora_rank": {"logint": [4, 4]}}, "[4, 4]: the low end must be below the high end"),
    ({"temperature": {"logint": [1, 4]}, "negatives": {"logint": [1.0, 4]}}, "input should be a valid integer"),
    (
        {"temperature": {"uniform": [0.1, 1], "when": {"schedule": "linear"}}},
        "when mix.schedule: is not searched; add it",
    ),
    ({"temperature": {"uniform": [0.1, 1], "when": {"shedule": "a"}}}, "no such field; did you mean 'schedule'?"),
    ({"temperature": {"uniform": [0.1, 1], "when": {"temperature": 1}}}, "when train.temperature: is the field itself"),
    (
        {"schedule": SCHEDULE, "final_ratio": {**ENDS, "when": {"schedule": "ramp"}}},
        "when mix.schedule: 'ramp' is never",
    ),
    (
        {"negatives": {"int": [0, 4], "step": 2}, "symmetric": {"choice": [True], "when": {"negatives": 3}}},
        "3 is never",
    ),
    ({"mixing_ratio": {"uniform": [0, 1]}, "ema": {"choice": [0.9], "when": {"mixing_ratio": 1}}}, "never repeat"),
    ({"temperature": {"uniform": [0.1, 1], "when": {"schedule": []}}}, "when: mix.schedule has no value; give one"),
    (
        {
            "symmetric": {"choice": [True], "when": {"negatives": 1}},
            "negatives": {"choice": [1], "when": {"symmetric": True}},
        },
        "name each other in a circle; leave one out",
    ),
    ({"max_steps": {"int": [1, 2]}}, "space.max_steps: cannot be searched: all trials are trained and compared by"),
    ({"train.patience": {"int": [1, 2]}}, "cannot be searched: all trials are trained and compared by one rule"),
    ({"encoder.query_length": {"int": [8, 9]}}, "cannot be searched: texts are tokenised once, for all trials"),
    ({"encoder.name": {"choice": ["a"]}}, "cannot be searched: all trials start from one encoder; run a study for"),
    ({"resources.workers": {"int": [1, 2]}}, "cannot be searched: what a trial runs on is no hyperparameter"),
    ({"data.train": {"choice": ["a"]}}, "cannot be searched: all trials train on one token store"),
    ({"tempratur": 0.05}, "space: tempratur: no such field; did you mean 'temperature'?"),
    ({"temperature": 0.05}, "space: temperature: 0.05 is not a range; set train.temperature in the file instead"),
    ({"max_steps": 5}, "space: max_steps: cannot be searched: all trials are trained and compared by one rule"),
    ({"seed": {"int": [-1, 3]}}, "space.seed: -1: input should be greater than or equal to 0 (got -1)"),
]


@pytest.mark.parametrize(("space", "told"), WRONG, ids=range(len(WRONG)))
def test_a_space_that_cannot_be_is_one_line(study_file, space, told):
    assert told in line_of(study_file, space)


POINTS = [
    ({"temperature": 2.0}, "points.0.train.temperature: 2.0 is not in its range, uniform [0.1, 1.0], step 0.1"),
    ({"temperature": 0.15}, "points.0.train.temperature: 0.15 is not in its range, uniform [0.1, 1.0], step 0.1"),
    ({"temperature": True}, "points.0.train.temperature: True is not in its range, uniform [0.1, 1.0], step 0.1"),
    (
        {"schedule": "step"},
        "points.0.mix.schedule: 'step' is not in its range, choice ['constant', 'linear', 'cosine']",
    ),
    ({"tmperature": 0.2}, "points.0.tmperature: no such field; did you mean 'temperature'?"),
    (
        {"learning_rate": 0.2},
        "points.0.train.learning_rate: is not searched; searched are train.temperature, mix.sched",
    ),
    ({"schedule": "constant", "final_ratio": 0.1}, "points.0.mix.final_ratio: is not searched when mix.schedule is 'c"),
    ({}, "points.0: has no value; give {field: value}"),
]
POINTED = {"temperature": {"uniform": [0.1, 1.0], "step": 0.1}, "schedule": SCHEDULE, "final_ratio": ENDS}


@pytest.mark.parametrize(("point", "told"), POINTS, ids=range(len(POINTS)))
def test_a_point_that_cannot_be_is_one_line(study_file, point, told):
    assert line_of(study_file, POINTED, points=[point]).startswith(told)


def test_points_may_name_fields_either_way_and_are_among_the_trials(study_file):
    points = [{"train.temperature": 0.3, "mix.final_ratio": 0.5}, {"temperature": 0.1}]
    read = load_study(study_file(search={"space": POINTED, "points": points})).search.points
    assert read == [{"train.temperature": 0.3, "mix.final_ratio": 0.5}, {"train.temperature": 0.1}]
    assert line_of(study_file, POINTED, points=points, trials=1) == (
        "points: 2 points, but search.trials is 1; raise it"
    )
    twice = [{"temperature": 0.3, "train.temperature": 0.3}]
    assert "are the same field" in problems(study_file(search={"space": POINTED, "points": twice}))[0]


SEARCH = {
    "time_budget=1w": "time_budget: '1w' is no span of time; write it like 90s, 30m, 2h or 1d",
    "time_budget=0s": "time_budget: '0s' is no span of time; write it like 90s, 30m, 2h or 1d",
    "storage=redis://x": "storage: 'redis://x' is no storage; give sqlite, journal, or a URL like "
    "postgresql://user:${PASSWORD}@host/database",
    "storage=mysql://me:pw@h/d": "storage: mysql://me:***@h/d holds a password, which would be written to "
    "study.yaml; write ${VARIABLE} in its place and export VARIABLE",
    "warm_start=mysql://me:pw@h/d": "warm_start: mysql://me:***@h/d holds a password, which would be written to "
    "study.yaml; write ${VARIABLE} in its place and export VARIABLE",
    "objective=[mono/AP, mono/AP]": "objective: mono/AP stands twice; give each once",
    "step_budget=0": "step_budget: input should be greater than or equal to 1 (got 0)",
}


@pytest.mark.parametrize("override", SEARCH)
def test_a_search_that_cannot_be_is_one_line(study_file, override):
    assert problems(study_file(), f"search.{override}") == [f"search.{SEARCH[override]}"]


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("1d", 86400)])
def test_spans_of_time(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    ("given_range", "values", "told"),
    [
        ({"uniform": [0.0, 1.0], "step": 0.3}, [0.0, 0.3, 0.6, 0.9], "uniform [0.0, 1.0], step 0.3"),
        ({"uniform": [0.1, 0.4], "step": 0.1}, [0.1, 0.2, 0.3, 0.4], "uniform [0.1, 0.4], step 0.1"),
        ({"int": [16, 60], "step": 16}, [16, 32, 48], "int [16, 60], step 16"),
        ({"logint": [2, 5]}, [2, 3, 4, 5], "logint [2, 5]"),
        ({"choice": ["a", None]}, ["a", None], "choice ['a', None]"),
        ({"uniform": [0.0, 1.0]}, None, "uniform [0.0, 1.0]"),
        ({"int": [0, 10**7]}, None, "int [0, 10000000]"),
    ],
)
def test_the_values_of_a_range(given_range, values, told):
    parameter = Parameter.model_validate(given_range)
    assert (parameter.values(), parameter.describe()) == (values, told)
    assert all(parameter.allows(end) for end in parameter.ends())
    for value in values or []:
        assert parameter.allows(value)
    assert not parameter.allows("no value of any")


@given(st.floats(0.01, 5.0), st.floats(0.01, 1.0), st.integers(1, 60))
def test_stepped_values_are_those_allowed(low, step, steps):
    parameter = Parameter.model_validate({"uniform": [low, low + steps * step * 1.001], "step": step})
    values = parameter.values()
    assert len(values) == steps + 1
    assert all(parameter.allows(value) for value in values)
    assert not any(parameter.allows(value + step / 2) for value in values)


def test_steps_of_batch_sizes_divide_among_workers(study_file):
    space = {"batch_size": {"int": [8, 64], "step": 8}}
    load_study(study_file(resources={"workers": 4}, search={"space": space}))
    space["batch_size"]["step"] = 6
    (line,) = problems(study_file(resources={"workers": 4}, search={"space": space}))
    assert "14 is not a multiple of resources.workers 4" in line


def test_values_that_conditions_keep_apart_may_contradict_each_other(study_file):
    space = {
        "lora_rank": {"choice": [0, 8]},
        "layer_decay": {"choice": [0.9, 1.0], "when": {"train.lora_rank": 0}},
    }
    study = load_study(study_file(search={"space": space}))
    changed = study.with_values({"train.lora_rank": 0, "train.layer_decay": 0.9})
    assert (changed.train.layer_decay, changed.search) == (0.9, study.search)
    space["layer_decay"]["when"] = {"lora_rank": [0, 8]}
    assert line_of(study_file, space).startswith("space: a trial may get train.lora_rank 8, train.layer_decay 0.9")


def test_a_schedule_needs_its_end_only_where_it_moves(study_file):
    assert load_study(study_file(search={"space": {"schedule": SCHEDULE, "final_ratio": ENDS}}))
    late = {**ENDS, "when": {"schedule": "linear"}}
    assert line_of(study_file, {"schedule": SCHEDULE, "final_ratio": late}).startswith("mix.schedule cosine needs")


def test_corners_are_what_trials_may_get():
    space = {
        "mix.final_ratio": Parameter.model_validate(ENDS),
        "mix.schedule": Parameter.model_validate(SCHEDULE),
        "train.batch_size": Parameter.model_validate({"int": [8, 32], "step": 8}),
        "mix.align_share": Parameter.model_validate({"uniform": [0.0, 0.5], "when": {"batch_size": 16}}),
        "train.temperature": Parameter.model_validate({"uniform": [0.1, 0.5]}),
    }
    assert list(corners(space, ["train.learning_rate"])) == [{}]
    moves = itertools.product(["linear", "cosine"], [0.0, 1.0])
    moving = [{"mix.schedule": schedule, "mix.final_ratio": ratio} for schedule, ratio in moves]
    assert list(corners(space, ["mix.final_ratio"])) == [{"mix.schedule": "constant"}, *moving]
    sizes = [{"train.batch_size": size} for size in (8, 32)]
    sizes += [{"train.batch_size": 16, "mix.align_share": share} for share in (0.0, 0.5)]
    assert list(corners(space, ["mix.align_share"])) == sizes


def test_a_seed_can_be_searched_and_put_in():
    tree = {"name": "x", "data": {"train": ["a.jsonl"]}, "benchmarks": {"dev": {"path": "b"}}}
    study = Study.model_validate({**tree, "search": {"space": {"seed": {"choice": [0, 1]}}}})
    assert study.with_values({"seed": 1}).seed == 1
    assert study.value("seed") == 0
