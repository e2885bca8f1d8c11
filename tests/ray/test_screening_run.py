"""A study with a screening on Ray: cheap trainings first, the best points of them trained in the whole encoder."""

import json

import pytest

from hybridtune import run_study
from hybridtune.config.study import Study
from hybridtune.errors import FitError
from hybridtune.launch.status import status
from hybridtune.storage.screening_rows import read_screened, read_screening

pytestmark = [pytest.mark.ray, pytest.mark.timeout(500)]

ALONE = {"concurrent_trials": 1, "evaluators": 1, "cpus_per_worker": 1}


def study_of(search_tree, **search):
    screening = {"layers": 1, "trials": 4, "keep": 2}
    tree = {**search_tree["search"], "trials": 2, "screening": screening, **search}
    train = {**search_tree["train"], "max_steps": 8, "keep_checkpoints": 1}
    return Study(**{**search_tree, "search": tree, "train": train}, resources=ALONE)


@pytest.fixture(scope="module")
def cut_off(search_tree, shared_ray, tmp_path_factory):
    """The folder of a study whose budget ended in its screening, and the rows of that."""
    folder = tmp_path_factory.mktemp("screened") / "s"
    with pytest.raises(FitError, match="trainings of the screening ended within the budget"):
        run_study(study_of(search_tree, step_budget=12), folder)
    return folder, read_screened(folder)


@pytest.fixture(scope="module")
def screened(cut_off, search_tree):
    """The same study without a budget, which goes on to its end."""
    return run_study(study_of(search_tree), cut_off[0])


def test_the_best_points_begin_the_search(screened):
    rows, ended = read_screened(screened.folder), read_screening(screened.folder)
    assert [(row.id, row.status) for row in rows] == [(f"screened-{n:04d}", "done") for n in range(4)]
    assert (ended.layers, ended.of) == (1, 2)
    best = sorted(rows, key=lambda row: -row.metrics["balanced/AP"])[:2]
    assert list(ended.kept["tuned"]) == [row.id for row in best]
    trials = screened.trials
    assert list(trials["proposed"]) == ["screened", "screened"]
    for row, name in zip(best, trials.index, strict=True):
        assert {key: trials[key][name] for key in row.values} == row.values


def test_screened_models_are_no_contestants_and_leave_no_weights(screened):
    folder = screened.folder / "screening"
    assert {trial["id"] for trial in screened.result["trials"]} == {"0000", "0001"}
    assert set(screened.result["contestants"].values()) <= {"0000", "0001"}
    assert not list(folder.rglob("*.safetensors"))
    assert len((folder / "trials" / "screened-0000" / "metrics.jsonl").read_text().splitlines()) == 2
    config = json.loads((screened.folder / "best" / "config.json").read_text(encoding="utf-8"))
    assert config["num_hidden_layers"] == 2


def test_it_is_told_everywhere(screened):
    line = status(screened.folder)["screening"]
    assert line.startswith("screening: 4 trainings with 1 of 2 layers (4 done; 32 steps in ")
    assert "2 points came to the end with 1 and with 2 layers, and" in line
    assert "The screening, on the dev benchmark" in (screened.folder / "report.html").read_text(encoding="utf-8")


def test_a_screening_that_the_budget_cut_off_goes_on_and_ends_as_the_other(cut_off, screened, search_tree, tmp_path):
    assert 0 < len(cut_off[1]) < 4
    with pytest.raises(FitError, match="all of them in the screening"):  # so that there is no search to wait for
        run_study(study_of(search_tree, step_budget=32), tmp_path / "s")
    figures = [
        [{name: value for name, value in row.metrics.items() if "/" in name} for row in read_screened(folder)]
        for folder in (screened.folder, tmp_path / "s")
    ]
    assert figures[0] == figures[1]
    assert read_screening(screened.folder) == read_screening(tmp_path / "s")
