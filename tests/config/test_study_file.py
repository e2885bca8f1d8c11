"""Study files are read as people write them, and written so that they read back the same."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from study_problems import problems

from hybridtune.config.study import Study, demo_study, dump_study, load_study
from hybridtune.config.yaml_text import dump_yaml, parse_yaml
from hybridtune.errors import InputError

TREE = {"name": "x", "data": {"train": ["a.jsonl"]}, "benchmarks": {"dev": {"path": "b"}}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"- a", "a study file is a mapping of sections"),
        (b"", "a study file is a mapping of sections"),
        (b"a: [", "not valid YAML: "),
        (b"name: a\nname: b", "not valid YAML: found duplicate key"),
        (b"name: \xff", "cannot read the study file: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_unreadable_files_are_one_line(tmp_path, content, reason):
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    (line,) = problems(path)
    assert line.startswith(reason)


def test_missing_file_and_folder(tmp_path):
    assert problems(tmp_path / "none.yaml") == ["cannot read the study file: No such file or directory"]
    assert problems(tmp_path) == ["cannot read the study file: Is a directory"]


@pytest.mark.parametrize(
    ("text", "number"),
    [("3e-5", 3e-5), ("1E3", 1000.0), ("-2e+1", -20.0), (".5e1", 5.0), ("1.5", 1.5), ("0.", 0.0), (".5", 0.5)],
)
def test_numbers_are_read_as_people_write_them(text, number):
    value = parse_yaml(f"a: {text}")["a"]
    assert type(value) is float
    assert value == number


@pytest.mark.parametrize("text", ["e5", "3e", "1-2", "1.2.3", "v1e5", "'3e-5'"])
def test_text_stays_text(text):
    assert parse_yaml(text) == text.strip("'")


def test_learning_rate_without_a_dot(study_file):
    assert load_study(study_file(), ["train.learning_rate=3e-5"]).train.learning_rate == 3e-5


def test_variables_are_filled_from_the_environment(study_file, monkeypatch):
    path = study_file(data={"train": ["${FOLDER}/a.jsonl", "b-${FOLDER}-${OTHER}.jsonl"]})
    monkeypatch.setenv("FOLDER", "/data")
    monkeypatch.setenv("OTHER", "${FOLDER}")  # a value is not filled again
    assert [entry.path for entry in load_study(path).data.train] == ["/data/a.jsonl", "b-/data-${FOLDER}.jsonl"]
    monkeypatch.delenv("OTHER")
    assert problems(path) == [
        "b-${FOLDER}-${OTHER}.jsonl: the variable OTHER is not set; set it (export OTHER=...) or give the path by --set"
    ]
    assert [entry.path for entry in load_study(path, ["data.train=c.jsonl"]).data.train] == ["c.jsonl"]


def test_overrides_reach_any_depth_and_the_last_wins(study_file):
    overrides = [
        "train.temperature=0.01",
        "train.temperature=0.02",
        "encoder.tiny.layers=3",
        "benchmarks.dev.documents=[0, 8]",
        "search.early_stopping=null",
        "encoder.query_prefix=",
        "encoder.passage_prefix='a=b'",
    ]
    with pytest.raises(InputError, match=r"encoder\.query_prefix"):  # nothing is null, not an empty text
        load_study(study_file(), overrides)
    overrides[5] = "encoder.query_prefix=''"
    study = load_study(study_file(), overrides)
    assert study.train.temperature == 0.02
    assert study.train.batch_size == 8
    assert study.encoder.tiny.layers == 3
    assert study.benchmarks.dev.documents == (0, 8)
    assert study.search.early_stopping is None
    assert (study.encoder.query_prefix, study.encoder.passage_prefix) == ("", "a=b")


@pytest.mark.parametrize("text", ["query: ", "query:", "Represent this: "])
def test_a_prefix_that_ends_in_a_colon_is_a_text(study_file, text):
    assert load_study(study_file(), [f"encoder.query_prefix={text}"]).encoder.query_prefix == text
    assert load_study(study_file(), ["encoder.tiny={layers: 3}"]).encoder.tiny.layers == 3
    assert problems(study_file(), "encoder.tiny=layers:")  # a text is no section


@example(2e-5)
@given(st.floats(allow_nan=False))
def test_a_number_is_written_so_that_readers_of_yaml_1_1_read_it_too(number):
    text = dump_yaml({"a": number})
    assert parse_yaml(text) == yaml.safe_load(text) == {"a": number}
    assert type(yaml.safe_load(text)["a"]) is float


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("seed", "--set seed: write it as --set section.field=value"),
        ("=3", "--set =3: write it as --set section.field=value"),
        ("name.x=3", "--set name.x=3: name is a value, not a section"),
        ("seed=[", "--set seed=[: '[' is not a YAML value: expected the node content, but found '<stream end>'"),
    ],
)
def test_malformed_overrides(study_file, override, line):
    with pytest.raises(InputError) as caught:
        load_study(study_file(), [override])
    assert str(caught.value) == line


def test_demo_survives_a_round_trip(tmp_path):
    study = load_study(demo_study())
    path = tmp_path / "dumped.yaml"
    path.write_text(dump_study(study), encoding="utf-8")
    assert load_study(path) == study


@example(name="7e3", prefix="no", rate=1e-5, space={"int": [1, 3]})  # texts that YAML could take for something else
@given(
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,4}", fullmatch=True),
    prefix=st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="$") | st.just(" "), max_size=6),
    rate=st.floats(1e-12, 1e6),
    space=st.sampled_from(
        [{"uniform": [0.01, 1.0]}, {"loguniform": [1e-5, 0.1]}, {"choice": [0.1, 2]}, {"int": [1, 3]}]
    ),
)
def test_any_study_survives_a_round_trip(name, prefix, rate, space):
    tree = {
        **TREE,
        "name": name,
        "encoder": {"query_prefix": prefix},
        "train": {"learning_rate": rate},
        "search": {"space": {"temperature": space}},
    }
    study = Study.model_validate(tree)
    assert Study.model_validate(parse_yaml(dump_study(study))) == study


def test_languages_are_never_taken_for_truth_values(study_file):
    study = load_study(study_file(), ["mix.weights={no: 2}", "train.teacher_languages=[no]", "train.symmetric=true"])
    assert (study.mix.weights, study.train.teacher_languages, study.train.symmetric) == ({"no": 2.0}, ["no"], True)
    with pytest.raises(InputError, match=r"train\.symmetric: input should be a valid boolean \(got 'yes'\)"):
        load_study(study_file(), ["train.symmetric=yes"])


def test_every_kind_of_field_survives_a_round_trip(study_file):
    overrides = [
        "data.train=[{path: a.jsonl, name: news}, b.jsonl]",
        "data.unseen_pairs=[no-en]",
        "mix.data_set_weights={news: 2.5}",
        "mix.translated_weight=0.5",
        "low_resource={fewer_than: 100}",
        "mix.bitext_weight=0",
        "mix.weights={no: 2, en-de: 0.5}",
        "train.teacher_languages=[no, en]",
        "train.matryoshka=[64, 32]",
        "train.temperature_range=[0.01, 0.5]",
        "search.space.matryoshka={choice: [[], [64]]}",
        "search.space.weights={choice: [{}, {no: 2}]}",
        "search.space.teacher={choice: [null, x]}",
    ]
    study = load_study(study_file(), overrides)
    assert Study.model_validate(parse_yaml(dump_study(study))) == study
    assert [data_set.name for data_set in study.data.train] == ["news", "b"]
