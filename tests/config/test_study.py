"""What a study file may say, and how a mistake in it is told."""

import pytest
import yaml
from pydantic import ValidationError
from study_problems import problems

from hybridtune.config.names import data_set_names, short_name
from hybridtune.config.space import field_names
from hybridtune.config.study import Study, dump_study, load_study
from hybridtune.config.yaml_text import parse_yaml

TREE = {"name": "x", "data": {"train": ["a.jsonl"]}, "benchmarks": {"dev": {"path": "b"}}}


WRONG = {
    "train.lerning_rate=1e-3": "train.lerning_rate: unknown key; did you mean 'learning_rate'?",
    "trian={}": "trian: unknown key; did you mean 'train'?",
    "encoder.tiny.layer=2": "encoder.tiny.layer: unknown key; did you mean 'layers'?",
    "search.early_stopping.grace=2": "search.early_stopping.grace: unknown key; did you mean 'grace_steps'?",
    "search.early_stopping.x=1": (
        "search.early_stopping.x: unknown key; known here: alpha, grace_steps, method, metric, min_trials, "
        "reduction_factor"
    ),
    "benchmarks.dev.document=[0, 1]": "benchmarks.dev.document: unknown key; did you mean 'documents'?",
    "benchmarks.test.paht=b": [
        "benchmarks.test.path: is missing",
        "benchmarks.test.paht: unknown key; did you mean 'path'?",
    ],
    "search.space.temperature={unifrm: [0.1, 1]}": (
        "search.space.temperature.unifrm: unknown key; did you mean 'uniform'?"
    ),
    "search.space.temprature={uniform: [0.1, 1]}": (
        "search.space.temprature: no such field; did you mean 'temperature'?"
    ),
    "train.batch_size=7.5": "train.batch_size: input should be a valid integer (got 7.5)",
    "train.batch_size='8'": "train.batch_size: input should be a valid integer (got '8')",
    "train.batch_size=1": "train.batch_size: input should be greater than or equal to 2 (got 1)",
    "train.symmetric=1": "train.symmetric: input should be a valid boolean (got 1)",
    "train.max_steps=true": "train.max_steps: input should be a valid integer (got True)",
    "train=": "train: input should be a valid dictionary or instance of Train (got None)",
    "mix.mixing_ratio=1.2": "mix.mixing_ratio: input should be less than or equal to 1 (got 1.2)",
    "mix.mixing_ratio=-0.1": "mix.mixing_ratio: input should be greater than or equal to 0 (got -0.1)",
    "mix.mixing_ratio=.nan": "mix.mixing_ratio: input should be a finite number (got nan)",
    "train.temperature=0": "train.temperature: input should be greater than 0 (got 0)",
    "train.temperature=-0.05": "train.temperature: input should be greater than 0 (got -0.05)",
    "train.temperature=.inf": "train.temperature: input should be a finite number (got inf)",
    "train.weight_decay=.inf": "train.weight_decay: input should be a finite number (got inf)",
    "mix.cross_batch=pair": "mix.cross_batch: input should be 'mixed' or 'single_pair' (got 'pair')",
    "seed=-1": "seed: input should be greater than or equal to 0 (got -1)",
    "name=a/b": "name: string should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]*$' (got 'a/b')",
    "data.train=[]": "data.train: list should have at least 1 item after validation, not 0 (got [])",
    "benchmarks.dev.documents=[8, 8]": (
        "benchmarks.dev: documents [8, 8]: give [first, after the last], 0 <= first < last"
    ),
    "benchmarks.dev.languages=[english]": (
        "benchmarks.dev.languages.0: string should match pattern "
        "'^[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*$' (got 'english')"
    ),
    "resources.workers=3": (
        "train.batch_size 8 is not a multiple of resources.workers 3: every worker takes an equal slice of the batch"
    ),
    "train.gather_negatives=false": (
        "train.gather_negatives false: changes nothing with one worker; set resources.workers (now 1) to 2 or more"
    ),
    "search.space.gather_negatives={choice: [true, false]}": (
        "train.gather_negatives false: changes nothing with one worker; set resources.workers (now 1) to 2 or more"
    ),
    "search.space.temperature={uniform: [0.2, 0.1]}": (
        "search.space.temperature: [0.2, 0.1]: the low end must be below the high end"
    ),
    "search.space.temperature={loguniform: [0, 1]}": (
        "search.space.temperature: loguniform [0.0, 1.0]: both ends must be above 0"
    ),
    "search.space.temperature={}": (
        "search.space.temperature: give exactly one of uniform, loguniform, int, logint, choice"
    ),
    "search.space.temperature={uniform: [0.1, 1], choice: [1]}": (
        "search.space.temperature: give exactly one of uniform, loguniform, int, logint, choice"
    ),
    "search.space={temperature: {uniform: [0, 1]}}": (
        "search.space.train.temperature: 0.0: input should be greater than 0 (got 0.0)"
    ),
    "search.space={mix.mixing_ratio: {uniform: [0.5, 1.5]}}": (
        "search.space.mix.mixing_ratio: 1.5: input should be less than or equal to 1 (got 1.5)"
    ),
    "search.space={cross_batch: {choice: [mixed, other]}}": (
        "search.space.mix.cross_batch: 'other': input should be 'mixed' or 'single_pair' (got 'other')"
    ),
    "search.space={batch_size: {uniform: [2, 2.5]}}": [
        "search.space.train.batch_size: 2.0: input should be a valid integer (got 2.0)",
        "search.space.train.batch_size: 2.5: input should be a valid integer (got 2.5)",
    ],
    "mix.schedule=linear": (
        "mix.schedule linear needs a mixing ratio to end with: set mix.final_ratio (0 to 1), or mix.schedule to "
        "constant"
    ),
    "search.space={mix.schedule: {choice: [constant, step]}}": (
        "mix.schedule step needs a mixing ratio to end with: set mix.final_ratio (0 to 1), or mix.schedule to constant"
    ),
    "mix.schedule=ramp": (
        "mix.schedule: input should be 'constant', 'linear', 'cosine', 'step' or 'learned' (got 'ramp')"
    ),
    "mix.weights={german: 2}": (
        "mix.weights.german: string should match pattern '^[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*$' (got 'german')"
    ),
    "train.matryoshka=[64, 32, 64]": "train: matryoshka [64, 32, 64]: a width stands twice; give each once",
    "mix.weights={de: 1e308}": "mix.weights.de: input should be less than or equal to 1000000000 (got 1e+308)",
    "mix.weights={de: -1}": "mix.weights.de: input should be greater than or equal to 0 (got -1)",
    "data.train=[{path: b/faq.v2.csv, weight: 3}]": (
        "data.train.0: weight: is a field of the mix; write mix: {data_set_weights: {faq: 3}}"
    ),
    "data.train=[{path: a, raeder: x}]": "data.train.0.raeder: unknown key; did you mean 'reader'?",
    "data.train=[{path: a, name: x}, {path: b, name: x}]": (
        "data.train: two data sets are named x; give each a name of its own"
    ),
    "low_resource=sw": "low_resource.languages: input should be a valid list (got 'sw')",
    "low_resource=[sw, cz]": ("low_resource.languages.1: 'cz' has the code of a country; the language is written cs"),
    "low_resource={fewer_than: 0}": (
        "low_resource.fewer.fewer_than: input should be greater than or equal to 1 (got 0)"
    ),
    "low_resource={fewer: 9}": [
        "low_resource.fewer.fewer_than: is missing",
        "low_resource.fewer.fewer: unknown key; did you mean 'fewer_than'?",
    ],
    "benchmarks.dev={path: a, low_resource: [sw, ha]}": (
        "benchmarks.dev: low_resource: is one for the whole study; write low_resource: [sw, ha] at the top of its file "
        "(hybridtune evaluate: --set low_resource=[...])"
    ),
    "mix.data_set_weights={newz: 2}": (
        "mix.data_set_weights.newz: data.train has no data set of that name; known here: newsroom-train"
    ),
    "search.space={data_set_weights.newsroom: {uniform: [0, 2]}}": (
        "search.space.mix.data_set_weights.newsroom: data.train has no data set of that name; did you mean "
        "'newsroom-train'?"
    ),
    "search.space={data_set_weights.newsroom-train: {uniform: [-1, 2]}}": (
        "search.space.mix.data_set_weights.newsroom-train: -1.0: input should be greater than or equal to 0 (got -1.0)"
    ),
    "search.space={data_set_weights: {choice: [{}]}}": (
        "search.space.data_set_weights: cannot be searched: a range is of one data set's weight; write "
        "data_set_weights.NAME, with a name of data.train"
    ),
    "data.unseen_pairs=[en/de]": (
        "data.unseen_pairs.0: string should match pattern '^[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*$' (got 'en/de')"
    ),
    "search.space={temperature: {uniform: [0.1, 1]}, train.temperature: {uniform: [0.1, 1]}}": (
        "search.space: temperature and train.temperature are the same field; give it once"
    ),
}


@pytest.mark.parametrize("override", WRONG)
def test_one_mistake_is_one_clear_line(study_file, override):
    expected = WRONG[override]
    assert problems(study_file(), override) == ([expected] if isinstance(expected, str) else expected)


def test_all_mistakes_are_told_at_once(study_file):
    path = study_file(mix={"mixing_ratio": 2, "mixingratio": 1}, train={"temperature": "warm"}, nmae="x")
    assert sorted(problems(path)) == [
        "mix.mixing_ratio: input should be less than or equal to 1 (got 2)",
        "mix.mixingratio: unknown key; did you mean 'mixing_ratio'?",
        "nmae: unknown key; did you mean 'name'?",
        "train.temperature: input should be a valid number (got 'warm')",
    ]


def test_all_mistakes_between_parts_are_told_at_once(study_file):
    space = {"temprature": {"uniform": [0.1, 1.0]}, "temperature": {"uniform": [0.0, 1.0]}}
    path = study_file(resources={"workers": 3}, search={"space": space})
    assert len(problems(path)) == 3


def test_missing_sections_are_named(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("{}")
    assert problems(path) == ["name: is missing", "data: is missing"]


def test_searchable_names_are_short_and_dotted():
    names = field_names()
    assert names["temperature"] == names["train.temperature"] == "train.temperature"
    assert names["mixing_ratio"] == names["mix.mixing_ratio"] == "mix.mixing_ratio"
    assert names["seed"] == "seed"
    assert "encoder.query_length" not in names
    assert {short_name(full) for full in set(names.values())} == {name for name in names if "." not in name}
    assert len({name for name in names if "." not in name}) == len(set(names.values()))  # no short name is ambiguous


def test_every_kind_of_range(study_file):
    space = {
        "mixing_ratio": {"uniform": [0, 1]},
        "train.temperature": {"loguniform": [0.01, 0.2]},
        "batch_size": {"int": [10, 20]},
        "cross_batch": {"choice": ["mixed", "single_pair"]},
    }
    study = load_study(study_file(search={"space": space}))
    assert {name: parameter.ends() for name, parameter in study.search.space.items()} == {
        "mix.mixing_ratio": [0.0, 1.0],
        "train.temperature": [0.01, 0.2],
        "train.batch_size": [10, 20],
        "mix.cross_batch": ["mixed", "single_pair"],
    }
    assert yaml.safe_load(dump_study(study))["search"]["space"]["train.batch_size"] == {"int": [10, 20]}


@pytest.mark.parametrize(
    ("sizes", "workers", "uneven"),
    [
        ({"choice": [8, 16]}, 4, None),
        ({"choice": [8, 10]}, 4, 10),
        ({"int": [8, 64]}, 1, None),
        ({"int": [8, 64]}, 2, 9),
        ({"int": [9, 10]}, 2, 9),
    ],
)
def test_searched_batch_sizes_divide_among_workers(study_file, sizes, workers, uneven):
    path = study_file(resources={"workers": workers}, search={"space": {"batch_size": sizes}})
    if uneven is None:
        assert load_study(path).search.space["train.batch_size"].ends() == next(iter(sizes.values()))
    else:
        assert problems(path) == [
            f"search.space.train.batch_size: {uneven} is not a multiple of resources.workers {workers}; "
            "give a choice of multiples, or a step"
        ]


@pytest.mark.parametrize(
    ("mix", "space"),
    [
        ({"schedule": "linear", "final_ratio": 0.1}, {}),
        ({"schedule": "linear"}, {"final_ratio": {"uniform": [0.0, 1.0]}}),
        ({"final_ratio": 0.1}, {"schedule": {"choice": ["constant", "linear"]}}),
        ({}, {"mix.schedule": {"choice": ["linear"]}, "mix.final_ratio": {"choice": [0.1, 0.2]}}),
    ],
)
def test_a_schedule_may_get_its_end_from_the_search(study_file, mix, space):
    study = load_study(study_file(mix=mix, search={"space": space}))
    assert Study.model_validate(parse_yaml(dump_study(study))) == study


def test_data_sets_are_paths_or_have_a_name(study_file):
    study = load_study(study_file(data={"train": ["a.jsonl", {"path": "b.jsonl", "name": "faq"}]}))
    assert [(entry.path, entry.name) for entry in study.data.train] == [("a.jsonl", "a"), ("b.jsonl", "faq")]
    assert study.with_values({"mix.mixing_ratio": 0.3}).data == study.data
    assert load_study(study_file(data={"train": "a.jsonl"})).data.train == study.data.train[:1]


@pytest.mark.parametrize(
    ("paths", "given", "names"),
    [
        (["x/news.jsonl.gz", "y/news.parquet", "news"], ["", "", ""], ["news", "news-2", "news-3"]),
        (["s3://b/faq/*.parquet", "newsroom:train", "*"], ["", "", ""], ["faq", "newsroom-train", "data"]),
        (["news.csv", "a.csv"], ["", "news"], ["news-2", "news"]),
        (["новости.csv", "_x_.csv"], ["", ""], ["новости", "x"]),
    ],
)
def test_a_data_set_is_named_by_its_path(paths, given, names):
    assert data_set_names(paths, given) == names
    train = [{"path": path, "name": name} if name else path for path, name in zip(paths, given, strict=True)]
    study = Study.model_validate({**TREE, "data": {"train": train}})
    assert [data_set.name for data_set in study.data.train] == names
    assert Study.model_validate(parse_yaml(dump_study(study))) == study


def test_the_weight_of_a_data_set_is_a_field_of_the_search():
    data = {"train": ["news.jsonl", "faq.jsonl"]}
    space = {"data_set_weights.faq": {"loguniform": [0.25, 4]}, "mix.data_set_weights.news": {"choice": [0, 1]}}
    tree = {**TREE, "data": data, "mix": {"data_set_weights": {"faq": 2}}, "search": {"space": space}}
    study = Study.model_validate(tree)
    assert [*study.search.space] == ["mix.data_set_weights.faq", "mix.data_set_weights.news"]
    assert [study.value(name) for name in study.search.space] == [2.0, 1.0]
    trial = study.with_values({"mix.data_set_weights.news": 0})
    assert trial.mix.data_set_weights == {"faq": 2.0, "news": 0.0}
    assert study.mix.data_set_weights == {"faq": 2.0}
    with pytest.raises(ValidationError):
        study.with_values({"mix.data_set_weights.news": -1})


def test_with_values_sets_those_fields_alone():
    study = Study.model_validate(TREE)
    changed = study.with_values({"train.temperature": 0.02, "mix.mixing_ratio": 0.3})
    assert (changed.train.temperature, changed.mix.mixing_ratio) == (0.02, 0.3)
    assert (changed.value("train.temperature"), changed.value("mix.mixing_ratio")) == (0.02, 0.3)
    assert changed.with_values({"train.temperature": 0.05, "mix.mixing_ratio": 0.5}) == study
    with pytest.raises(ValidationError):
        study.with_values({"train.temperature": 0.0})


@pytest.mark.parametrize(
    ("max_steps", "given_steps", "expected"), [(300, None, 100), (10, None, 4), (1, None, 1), (9, 7, 7)]
)
def test_eval_steps_default_to_a_third(max_steps, given_steps, expected):
    study = Study.model_validate({**TREE, "train": {"max_steps": max_steps, "eval_steps": given_steps}})
    assert study.eval_steps == expected


@pytest.mark.parametrize(
    ("space", "clash"),
    [
        (
            {"lora_rank": [0, 8], "train.layer_decay": [1.0, 0.9]},
            "train.lora_rank 8, train.layer_decay 0.9: lora_",
        ),
        ({"lora_rank": [0, 8], "freeze_layers": [0, 1]}, "train.lora_rank 8, train.freeze_layers 1: lora_rank trains"),
        (
            {"learn_temperature": [False, True], "temperature": [0.001, 0.1]},
            "train.learn_temperature True, train.temperature 0.001: temperature 0.001 is outside temperature_range",
        ),
        ({"lora_rank": [0, 8], "temperature": [0.001, 0.1], "embeddings": ["dense", "frozen"]}, None),
    ],
)
def test_values_that_a_trial_may_not_have_together_are_told_before_it(study_file, space, clash):
    path = study_file(search={"space": {name: {"choice": values} for name, values in space.items()}})
    if clash is None:
        load_study(path)
    else:
        (line,) = problems(path)
        assert line.startswith(f"search.space: a trial may get {clash}")


def test_a_fixed_range_is_one_of_the_choices():
    study = Study.model_validate(TREE)
    assert study.value("train.temperature_range") == [0.005, 1.0]
    assert study.with_values({"train.temperature_range": [0.005, 1.0]}) == study


def test_negatives_of_the_own_worker_need_a_number_of_several(study_file):
    local = {"train": {"batch_size": 8, "gather_negatives": False}}
    assert not load_study(study_file(**local, resources={"workers": 2})).train.gather_negatives
    assert problems(study_file(**local, resources={"workers": "auto"})) == [
        "train.gather_negatives false: trains otherwise on every number of workers; set resources.workers (now auto) "
        "to 2 or more"
    ]
    space = {"gather_negatives": {"choice": [True, False]}}
    study = load_study(study_file(search={"space": space}, resources={"workers": 4}))
    assert not study.with_values({"train.gather_negatives": False}).train.gather_negatives
    load_study(study_file(search={"space": {"gather_negatives": {"choice": [True]}}}))
