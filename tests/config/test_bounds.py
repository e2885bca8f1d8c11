"""Counts have upper bounds, sizes that cannot be are refused, and checks of combinations come to an end."""

import re

import pytest
from study_problems import problems

from hybridtune.config.json_text import MOST_DEPTH, parse_json
from hybridtune.config.space import MOST_CORNERS
from hybridtune.config.study import load_study
from hybridtune.errors import InputError

TOO_LARGE = [
    *["train.max_steps=10_000_001", "train.eval_steps=10_000_001", "train.batch_size=1_000_001"],
    *["search.trials=10_001", "search.repeat_best=1001", "search.soups=1001", "search.step_budget=1_000_000_000_001"],
    *["encoder.query_length=131_073", "encoder.passage_length=131_073", "resources.workers=10_001"],
    *["encoder.tiny.vocab_size=1_000_001", "encoder.tiny.hidden_size=8193", "encoder.tiny.layers=1001"],
    *["resources.cpus_per_worker=100_001", "resources.evaluators=100_001", "resources.concurrent_trials=100_001"],
    *["train.negatives=1001", "train.lora_rank=10_001", "train.keep_checkpoints=100_001", "train.patience=100_001"],
]

BESIDE = {  # what the largest value goes with
    "resources.workers": ["train.batch_size=10000"],
    "encoder.tiny.layers": ["encoder.tiny.hidden_size=2"],
    "encoder.tiny.vocab_size": ["encoder.tiny.hidden_size=2"],
    "encoder.tiny.hidden_size": ["encoder.tiny.vocab_size=100", "encoder.tiny.layers=1"],
    "train.eval_steps": ["train.max_steps=10000000"],
}


@pytest.mark.parametrize("override", [re.sub(r"(?<=\d)_", "", one) for one in TOO_LARGE])
def test_every_count_has_an_upper_bound_and_the_bound_itself_is_taken(study_file, override):
    name, _, value = override.partition("=")
    line = problems(study_file(), override)[0]  # of `auto` or a number, pydantic has a line each
    assert line.startswith(name)
    assert line.endswith(f": input should be less than or equal to {int(value) - 1} (got {value})")
    load_study(study_file(), [*BESIDE.get(name, []), f"{name}={int(value) - 1}"])


def test_sizes_of_the_tiny_encoder_that_cannot_be_are_refused(study_file):
    assert problems(study_file(), "encoder.tiny={hidden_size: 30, heads: 4}") == [
        "encoder.tiny: hidden_size 30 is not a multiple of heads 4: every head takes an equal part of the vector"
    ]
    (line,) = problems(study_file(), "encoder.tiny={hidden_size: 8192, layers: 100}")
    assert "make 80,563,404,800 parameters, and 2,000,000,000 is the most" in line
    (line,) = problems(study_file(), "encoder.tiny.vocab_size=1")
    assert line == "encoder.tiny.vocab_size: input should be greater than or equal to 100 (got 1)"


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e999"])
def test_no_number_is_infinite_or_none(study_file, value):
    for name in ("mix.mixing_ratio", "train.temperature", "mix.learned_weights", "resources.gpus_per_worker"):
        assert problems(study_file(), f"{name}={value}")
    assert problems(study_file(), f"search.space={{temperature: {{uniform: [0.01, {value}]}}}}")
    assert problems(study_file(), f"search.space={{temperature: {{choice: [0.01, {value}]}}}}")


def test_paths_that_no_file_system_takes_are_refused(study_file):
    long = "x" * 256
    for name in ("data.train", "benchmarks.dev.path", "encoder.name", "train.teacher", "data.store"):
        (line,) = problems(study_file(), f"{name}=a/{long}/b")
        assert line.endswith("a name in the path has more than 255 bytes, the most that file systems take")
    assert load_study(study_file(), [f"data.train=a/{long[1:]}/b"]).data.train[0].path == f"a/{long[1:]}/b"


def test_combinations_that_are_too_many_to_check_are_refused_at_once(study_file):
    def space(values):
        return f"search.space={{temperature: {{choice: [{values}]}}, learn_temperature: {{choice: [true, false]}}}}"

    fits = ", ".join(f"0.{n:03d}" for n in range(5, 5 + MOST_CORNERS // 2))
    load_study(study_file(), [space(fits)])
    (line,) = problems(study_file(), space(f"{fits}, 0.9"))
    assert line.endswith(
        "train.temperature, train.learn_temperature make 502 combinations to check, and 500 is the most; give fewer "
        "values, or a range in place of a choice"
    )


def test_many_mistakes_are_told_as_far_as_a_person_reads(study_file):
    found = problems(study_file(), f"train={{{', '.join(f'no_{n}: 1' for n in range(200))}}}")
    assert len(found) == 51
    assert found[-1] == "and 150 more"


def test_an_override_that_goes_down_for_ever_is_refused(study_file):
    with pytest.raises(InputError, match=r"write it as --set section\.field=value"):
        load_study(study_file(), ["a." * 5000 + "b=1"])


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_json_is_no_value(opening):
    closing = {"[": "]", '{"a":': "}"}[opening]
    deep = opening * (MOST_DEPTH - 1) + "[]" + closing * (MOST_DEPTH - 1)
    parse_json(deep)
    for text in (opening + deep + closing, opening * 100_000):
        with pytest.raises(ValueError, match=f"nested more than {MOST_DEPTH} deep"):
            parse_json(text)


def test_a_number_that_takes_too_long_to_convert_is_no_value():
    with pytest.raises(ValueError, match=r"^a number of more than 4300 digits$"):
        parse_json("[" + "9" * 5000 + "]")


def test_wide_json_is_read():
    text = "[" + ", ".join(["[]"] * 5000) + "]"
    assert parse_json(f"\ufeff {text} ".lstrip("\ufeff")) == [[]] * 5000
    assert parse_json(f"\ufeff{text}".encode()) == [[]] * 5000
    with pytest.raises(ValueError, match="Extra data"):
        parse_json("1 2")
