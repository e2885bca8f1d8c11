"""The JSON Schema of the study file says what the study file may say, and the shipped files follow it."""

import json

import jsonschema
import pytest
from pydantic import ValidationError

from hybridtune.config.schema import NAME, schema
from hybridtune.config.space import field_names
from hybridtune.config.study import Study, demo_study, dump_study, load_study
from hybridtune.config.yaml_text import parse_yaml

FOLDER = demo_study().parent
SHIPPED = sorted(FOLDER.glob("*.yaml"))
TREE = {"name": "x", "data": {"train": "a.jsonl"}, "benchmarks": {"dev": {"path": "b"}}}


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


def tree_with(dotted, value):
    tree = json.loads(json.dumps(TREE))
    node = tree
    *sections, field = dotted.split(".")
    for section in sections:
        node = node.setdefault(section, {})
    node[field] = value
    return tree


def test_the_schema_beside_the_study_files_is_the_one_of_this_version():
    written = (FOLDER / NAME).read_text(encoding="utf-8")
    assert json.loads(written) == schema(), f"write it anew: hybridtune schema --out search_spaces/{NAME}"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_study_files_follow_it_and_name_it(path, validator):
    first, second, *_ = path.read_text(encoding="utf-8").splitlines()
    assert first == f"# yaml-language-server: $schema={NAME}"
    assert second.startswith(f"# hybridtune run search_spaces/{path.name} ")
    assert list(validator.iter_errors(parse_yaml(path.read_text(encoding="utf-8")))) == []


def test_a_resolved_study_follows_it(validator):
    assert list(validator.iter_errors(parse_yaml(dump_study(load_study(demo_study()))))) == []


GOOD = {
    "data.train": ["a.jsonl", {"path": "b.jsonl", "name": "faq"}],
    "data.unseen_pairs": ["en-de"],
    "low_resource": {"fewer_than": 100},
    "mix.data_set_weights": {"a": 0},
    "search.objective": "multi/AP",
    "search.early_stopping": None,
    "search.space": {
        "temperature": {"choice": [0.05]},
        "mix.mixing_ratio": {"uniform": [0, 1], "step": 0.25},
        "schedule": {"choice": ["constant", "linear"]},
        "final_ratio": {"uniform": [0.0, 0.5], "when": {"schedule": "linear"}},
        "batch_size": {"int": [16, 64], "step": 16},
        "matryoshka": {"choice": [[], [64]]},
        "ema": {"choice": [None, 0.99]},
        "seed": {"choice": [0, 1]},
        "translated_weight": {"choice": [0, 1]},
        "data_set_weights.a": {"loguniform": [0.25, 4]},
    },
    "search.points": [{"temperature": 0.1}],
    "benchmarks.dev.documents": [0, 8],
    "train.learning_rate": 1,
}
WRONG = {
    "train.lerning_rate": 1e-3,
    "trian": {},
    "train.temperature": 0,
    "train.batch_size": 1,
    "mix.mixing_ratio": 1.2,
    "mix.cross_batch": "pair",
    "data.train": [{"path": "a", "weight": 1}],
    "data.unseen_pairs": ["EN/DE"],
    "low_resource": {"fewer": 100},
    "benchmarks.dev.low_resource": ["sw"],
    "mix.data_set_weights": {"a": -2},
    "mix.bitext_weight": -1,
    "name": "a/b",
    "search.sampler": "bayes",
    "search.trials": -1,
    "search.early_stopping": {"method": "hyperband"},
    "search.space": {"temprature": {"uniform": [0.1, 1]}},
    "search.space.temperature": {"unifrm": [0.1, 1]},
    "search.space.learning_rate": {"loguniform": [0.1]},
    "search.space.ema": {"uniform": [0.5, 1.5]},
    "search.space.mixing_ratio": {"uniform": [0.5, 1.5]},
    "search.space.sampling_exponent": {"uniform": [0.1, 1], "choice": [1]},
    "search.space.step_at": {},
    "search.space.cross_batch": {"choice": ["mixed", "other"]},
    "search.space.lora_rank": -3,
    "search.space.data_set_weights": {"choice": [{}]},
    "search.space.freeze_layers": {"int": [0.5, 2]},
}


@pytest.mark.parametrize("dotted", GOOD)
def test_what_a_study_may_say_follows_it(dotted, validator):
    tree = tree_with(dotted, GOOD[dotted])
    Study.model_validate(tree)
    assert [error.message for error in validator.iter_errors(tree)] == []


@pytest.mark.parametrize("dotted", WRONG)
def test_a_wrong_key_or_value_is_caught_by_it(dotted, validator):
    tree = tree_with(dotted, WRONG[dotted])
    with pytest.raises(ValidationError):
        Study.model_validate(tree)
    assert list(validator.iter_errors(tree))


def test_every_field_has_a_description():
    def silent(node, where):
        if not isinstance(node, dict):
            return
        for name, field in node.get("properties", {}).items():
            if "description" not in field and "$ref" not in field:
                yield f"{where}.{name}"
        for key, child in node.items():
            yield from silent(child, f"{where}.{key}")

    assert list(silent(schema(), "")) == []
    assert schema()["$defs"]["Search"]["properties"]["space"]["properties"].keys() == field_names().keys()
