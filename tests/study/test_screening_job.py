"""What a study does for its screening: the encoder of few layers, the places of its trainings, and once is enough."""

import json
from types import SimpleNamespace

import pytest
from small_study import small_study

from hybridtune.callbacks import StudyCallback
from hybridtune.storage.screening_rows import Screening, write_screening
from hybridtune.study import run
from hybridtune.study.screening import end_screening, screening_job
from hybridtune.study.sync import Home
from hybridtune.train.job_queue import FitJob


@pytest.fixture
def running(tiny, tmp_path):
    """A study that runs in a folder, as far as a screening sees it."""
    source, encoder, tokenizer = tiny
    sections = {"encoder": encoder.model_dump(), "search": {"screening": {"layers": 1, "trials": 6, "keep": 2}}}
    study = small_study(**sections)
    job = FitJob(study, "store", str(source), None, str(tmp_path / "fit"), home=str(tmp_path))

    def at(location=None, address=None):
        return SimpleNamespace(
            preflight=SimpleNamespace(study=study, allocation=SimpleNamespace(at_once=2)),
            home=Home(tmp_path, str(location or tmp_path), address),
            callback=StudyCallback(),
            store=SimpleNamespace(tokenizer=lambda: tokenizer),
            source=str(source),
            job=job,
        )

    return at


def layers_of(folder):
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"]


def test_its_job_has_few_layers_and_places_of_its_own(running, tmp_path):
    place = tmp_path / "screening"
    (place / ".encoder").mkdir(parents=True)
    (place / ".encoder" / "half").write_text("of a run that was cut off")
    job, of = screening_job(running())
    assert of == 2
    assert (job.source, job.storage, job.home) == (str(place / ".encoder"), *[str(place / "trials")] * 2)
    assert layers_of(place / ".encoder") == 1
    assert not (place / ".encoder" / "half").exists()
    assert (job.study.search.trials, job.study.search.screening) == (6, None)
    end_screening(tmp_path)
    assert list(place.iterdir()) == []


def test_nodes_of_a_cluster_fetch_its_encoder_from_where_the_others_are(running, tmp_path):
    location = tmp_path / "shared"
    job, _ = screening_job(running(location, "auto"))
    assert job.source.startswith(str(location / "encoders"))
    assert job.storage == str(location / "screening" / "trials")
    assert job.home == str(tmp_path / "screening" / "trials")
    (published,) = (location / "encoders").iterdir()
    assert layers_of(published) == 1


def test_a_screening_that_has_ended_is_not_trained_again(running, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "screening_job", lambda running: pytest.fail("it has ended"))
    write_screening(tmp_path, Screening(1, 2, {"tuned": {"screened-0003": {"train.temperature": 0.1}}}))
    found = run._screen(running())
    assert found == {
        "layers": 1,
        "of": 2,
        "kept": {"tuned": {"screened-0003": {"train.temperature": 0.1}}},
        "trials": [],
    }


def test_a_study_without_a_screening_has_none(running, monkeypatch):
    study = small_study()
    monkeypatch.setattr(run, "screening_job", lambda running: pytest.fail("nobody asks"))
    assert run._screen(SimpleNamespace(**{**vars(running()), "preflight": SimpleNamespace(study=study)})) is None
