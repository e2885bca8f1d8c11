"""A study that ran elsewhere and was fetched."""

import shutil

import pytest
from object_store import use_memory_store

from hybridtune.launch.dashboard import _optuna
from hybridtune.launch.status import read_study, status
from hybridtune.report.page import write_report
from hybridtune.report.record import read_record
from hybridtune.storage.files import remove, upload
from hybridtune.storage.manifests import seal
from hybridtune.study.compare import find_per_query
from hybridtune.study.sync import fetch_study


@pytest.fixture(params=["memory://bucket/study", "memory://bucket/study?region=none", "shared"])
def location(request, finished_study, tmp_path, monkeypatch):
    """The study as it lies at a location: with the weights of its checkpoints, and a token store."""
    use_memory_store(monkeypatch)
    location = request.param if "://" in request.param else str(tmp_path / request.param)
    made = shutil.copytree(finished_study, tmp_path / "made")
    for scores in made.glob("trials/*/fit/*/scores.json"):
        (scores.parent / "model.safetensors").write_text("weights")
        (scores.parent / "state.json").write_text("{}")
        seal(scores.parent)
    upload(made, location)
    shutil.rmtree(made)
    return location


@pytest.mark.slow
def test_the_status_and_the_report_of_a_fetched_study_are_those_of_where_it_ran(location, finished_study, tmp_path):
    mine = tmp_path / "mine"
    fetch_study(location, mine)
    remove(location)
    assert not list(mine.rglob("*.safetensors"))
    found, before = status(mine), status(finished_study)
    assert found["counts"] == before["counts"]
    assert found["best"]["id"] == before["best"]["id"]
    fetched, original = read_record(mine), read_record(finished_study)
    assert [trial.scores for trial in fetched.trials] == [trial.scores for trial in original.trials]
    assert [trial.per_query is None for trial in fetched.trials] == [
        trial.per_query is None for trial in original.trials
    ]
    assert fetched.notes == original.notes
    write_report(mine)
    assert (mine / "report.html").stat().st_size > 100_000
    done = next(trial for trial in found["trials"] if trial["status"] == "done")
    assert find_per_query(mine / "trials" / done["id"]).is_relative_to(mine)
    with _optuna(read_study(mine), mine, None) as address:
        assert address.startswith("http://127.0.0.1:")
