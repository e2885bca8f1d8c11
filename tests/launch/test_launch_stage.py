"""What goes along with a study: all of it, under names that the staged study file has, and nothing that is a secret."""

import pytest

from hybridtune.config.study import load_study
from hybridtune.errors import InputError
from hybridtune.launch import submit


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Files of every kind, and the current folder beside them."""
    for name in (
        "a.jsonl",
        "more/b.jsonl",
        "more/deep/c.jsonl",
        "more/.hidden",
        "other/a.jsonl",
        "teacher/config.json",
    ):
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def staged(study_file, shared=None, **sections):
    return submit.plan_stage(load_study(study_file(**sections)), shared)


def sent(planned, folder):
    folder.mkdir()
    submit.write_stage(planned, folder)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_files_folders_and_globs_go_along_under_the_names_that_the_study_has(data, study_file, tmp_path):
    train = ["data/a.jsonl", str(data / "more"), "data/more/*.jsonl", "data/other/a.jsonl"]
    planned = staged(study_file, data={"train": train})
    files = sent(planned, tmp_path / "stage")
    study = load_study(tmp_path / "stage" / "study.yaml")
    assert study == planned.study
    assert [one.path for one in study.data.train] == [
        "data/a.jsonl",
        "data/more",
        "data/more/*.jsonl",
        "data/2-a.jsonl",
    ]
    assert {name: text for name, text in files.items() if name != "study.yaml"} == {
        "data/a.jsonl": "a.jsonl",
        "data/more/b.jsonl": "more/b.jsonl",
        "data/more/deep/c.jsonl": "more/deep/c.jsonl",
        "data/2-a.jsonl": "other/a.jsonl",
    }
    assert planned.size == sum(len(text) for name, text in files.items() if name != "study.yaml")


def test_a_glob_takes_only_what_it_matches(data, study_file):
    planned = staged(study_file, data={"train": "data/more/*/c.jsonl"})
    assert [upload.name for upload in planned.uploads] == ["data/more/deep/c.jsonl"]
    assert planned.study.data.train[0].path == "data/more/*/c.jsonl"


def test_the_names_are_the_same_each_time(data, study_file):
    sections = {"data": {"train": ["data/a.jsonl", "data/other/a.jsonl"]}}
    assert staged(study_file, **sections) == staged(study_file, **sections)


def test_what_is_elsewhere_stays_where_it_is(data, study_file):
    sections = {
        "data": {"train": ["newsroom:train", "s3://bucket/x.jsonl"]},
        "encoder": {"name": "org/model"},
        "benchmarks": {"dev": {"path": "gs://bucket/dev"}},
    }
    planned = staged(study_file, **sections)
    assert planned.uploads == ()
    assert planned.study == load_study(study_file(**sections))


def test_models_and_earlier_studies_go_along_too(data, study_file, tmp_path):
    earlier = tmp_path / "earlier"
    (earlier / "trials").mkdir(parents=True)
    for name in ("study.yaml", "environment.json", "optuna.db", "trials/large.bin"):
        (earlier / name).write_text(name)
    planned = staged(
        study_file,
        encoder={"name": "data/teacher"},
        train={"batch_size": 8, "max_steps": 4, "teacher": "data/teacher"},
        search={"warm_start": "earlier", "space": {"teacher": {"choice": ["data/teacher", "org/model"]}}},
    )
    study = planned.study
    assert (study.encoder.name, study.train.teacher, study.search.warm_start) == (
        *("data/teacher", "data/teacher", "data/earlier"),
    )
    assert study.search.space["train.teacher"].choice == ["data/teacher", "org/model"]
    assert {upload.name for upload in planned.uploads} == {
        *("data/teacher/config.json", "data/earlier/study.yaml", "data/earlier/environment.json"),
        "data/earlier/optuna.db",
    }


def test_what_the_cluster_sees_too_is_not_sent(data, study_file):
    planned = staged(study_file, shared=data, data={"train": ["data/a.jsonl", "newsroom:train"]})
    assert planned.uploads == ()
    assert planned.study.data.train[0].path == str(data / "a.jsonl")


def test_too_much_is_refused_with_both_sizes(data, study_file, monkeypatch):
    monkeypatch.setattr(submit, "PACKAGE_LIMIT", 2**20)
    (data / "a.jsonl").write_bytes(b"x" * (3 * 2**20))
    with pytest.raises(InputError) as error:
        staged(study_file, data={"train": "data"})
    assert "are 3 MiB" in str(error.value)
    assert f"{data.name}/a.jsonl alone 3" in str(error.value)
    assert "takes 1 MiB" in str(error.value)


def test_a_password_in_a_path_does_not_go(study_file):
    with pytest.raises(InputError) as error:
        staged(study_file, data={"train": "s3://key:hidden@bucket/x"})
    assert "hidden" not in str(error.value)


def test_variables_that_may_be_passwords_stay_names(study_file, monkeypatch, tmp_path):
    monkeypatch.setenv("DB_PASSWORD", "swordfish")
    planned = staged(study_file, search={"storage": "postgresql://me:${DB_PASSWORD}@host/db"})
    assert planned.variables == ("DB_PASSWORD",)
    assert "swordfish" not in str(sent(planned, tmp_path / "stage"))


def test_at_home_paths_are_absolute(data, study_file):
    study = submit.with_absolute_paths(load_study(study_file(data={"train": ["data/*.jsonl", "newsroom:train"]})))
    assert [one.path for one in study.data.train] == [str(data / "*.jsonl"), "newsroom:train"]


def test_the_study_is_otherwise_the_same(data, study_file):
    before = load_study(study_file(data={"train": "data/a.jsonl"}))
    after = submit.plan_stage(before).study.model_dump()
    assert after.pop("data")["train"] == before.model_dump()["data"]["train"]
    assert after == {key: value for key, value in before.model_dump().items() if key != "data"}
