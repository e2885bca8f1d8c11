"""A study goes on with the content it began with, and says where packages are other versions than then."""

import json

import pytest
from small_study import small_study

from hybridtune.errors import InputError
from hybridtune.storage.study_folder import ENVIRONMENT
from hybridtune.study.event_log import EventLog
from hybridtune.study.folder import changed_packages, check_inputs, open_study_folder


@pytest.fixture
def folder(tmp_path):
    open_study_folder(small_study(), tmp_path / "study")
    return tmp_path / "study"


def change(folder, name, value):
    known = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    known["packages"][name] = value
    (folder / ENVIRONMENT).write_text(json.dumps(known), encoding="utf-8")
    return known


def test_what_a_study_reads_is_noted_at_its_beginning_and_must_stay(folder):
    read = {"data.train": "a" * 64, "benchmarks.dev": "b" * 64}
    check_inputs(folder, read)
    check_inputs(folder, read)
    before = (folder / ENVIRONMENT).read_bytes()
    with pytest.raises(InputError, match=r"^data\.train: not the content with which the study in \S+ began, so that"):
        check_inputs(folder, {**read, "data.train": "c" * 64})
    with pytest.raises(InputError, match=r"^data\.train, benchmarks\.dev: not the content"):
        check_inputs(folder, {"data.train": "c" * 64, "benchmarks.dev": "c" * 64})
    assert (folder / ENVIRONMENT).read_bytes() == before
    more = {**read, "benchmarks.test": "d" * 64}
    check_inputs(folder, more)  # a benchmark that the study has got since
    check_inputs(folder, read)
    with pytest.raises(InputError, match=r"^benchmarks\.test: not the content"):
        check_inputs(folder, {**more, "benchmarks.test": "e" * 64})


def test_other_versions_of_packages_are_named_and_the_same_are_not(folder):
    assert changed_packages(folder) == ""
    known = change(folder, "optuna", "4.0.0")
    change(folder, "torch", None)
    words = changed_packages(folder)
    assert words.startswith("torch ")
    assert "in place of (none), optuna 5." in words
    assert words.endswith(" in place of 4.0.0")
    change(folder, "a-package-of-another-version", "1.0")
    assert changed_packages(folder) == words
    assert known["packages"]["ray"]


def test_the_event_of_a_study_that_goes_on_names_them(folder):
    EventLog(folder).on_training_start("search", small_study(), 1, [])
    EventLog(folder, "torch 2 in place of 1").on_training_start("search", small_study(), 1, [])
    last = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    assert json.loads(last)["text"] == (
        "the study goes on, with torch 2 in place of 1; the run before was cut off without a word"
    )
