"""Optuna's storage is built again from the rows of a study, and the search goes on as if nothing had happened."""

import json
import shutil
import sqlite3
from dataclasses import asdict

import optuna
import pytest
from damaging import WAYS
from optuna.trial import TrialState
from small_study import small_study

from hybridtune.config.search import STORAGE_FILES
from hybridtune.search.optuna_search import searcher
from hybridtune.search.rebuilt_storage import rebuild_storage
from hybridtune.search.trial import trial_values
from hybridtune.storage.optuna_storage import load_optuna_study
from hybridtune.storage.trial_rows import SETTLED, TrialRow, write_running

GOALS = {"balanced/AP": "max"}
SPACE = {
    "mixing_ratio": {"uniform": [0, 1]},
    "temperature": {"loguniform": [0.01, 0.2]},
    "batch_size": {"choice": [8, 16, 32]},
}
ENDS = ["done", "stopped early", "done", "done", "failed", "done", "stopped early", "done", "running"]


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def study_of(storage, **search):
    return small_study(search={"trials": 4, "space": SPACE, "storage": storage, **search})


def report(value, step, final=0.0):
    return {"balanced/AP": value, "step": step, "realised_ratio": 0.5, "final": final, "training_iteration": 1}


def ran(study, folder):
    """The rows of a search that was cut off, with the files that it left: one trial of each end, the last runs."""
    found, rows = searcher(study, GOALS, folder, set()), []
    for number, end in enumerate(ENDS):
        name, value = f"{number:04d}", 0.1 + (number * 7 % 9) / 20
        config = found.suggest(name)
        reports = [report(value - 0.05, 6), report(value, 12)]
        for one in reports[: 1 if end in ("stopped early", "running") else 2]:
            found.on_trial_result(name, one)
        last = {"done": report(value, 12, 1.0), "failed": None}.get(end, reports[0])
        if end != "running":
            found.on_trial_complete(name, last, error=end == "failed")
        place = folder / "trials" / name
        place.mkdir(parents=True)
        kept = reports[: 1 if end in ("stopped early", "running") else 2]
        (place / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in kept))
        row = TrialRow(name, number, config["arm"], trial_values(config), last or reports[1], end, None, 20.0, 1.7e9)
        rows.append(TrialRow(**{**asdict(row), "proposed": config["proposed"]}))
    lines = [json.dumps(asdict(row)) + "\n" for row in rows if row.status != "running"]
    (folder / "trials.jsonl").write_text("".join(lines))
    write_running(folder, rows)
    return rows


def shown(study, folder):
    """What samplers and dashboards see of each trial."""
    return [
        (one.number, one.state, one.values, one.params, one.distributions, one.intermediate_values, one.user_attrs)
        for one in load_optuna_study(study, folder).trials
    ]


def goes_on(study, folder, rows):
    """The values of the next trials."""
    found = searcher(study, GOALS, folder, {row.number for row in rows if row.status in SETTLED})
    return [found.suggest(f"next-{number}") for number in range(4)]


def not_a_database(file):
    file.write_bytes(b"\0" * 4096)


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
@pytest.mark.parametrize("way", [WAYS["delete"], WAYS["empty"], not_a_database], ids=lambda way: way.__name__)
def test_the_storage_is_built_again_and_the_next_trials_are_those_of_the_undisturbed_study(tmp_path, storage, way):
    study, folder, told = study_of(storage), tmp_path / "study", []
    folder.mkdir()
    rows = ran(study, folder)
    before = shown(study, folder)
    expected = goes_on(study, shutil.copytree(folder, tmp_path / "copy"), rows)
    file = folder / STORAGE_FILES[storage]
    way(file)
    rebuild_storage(study, GOALS, folder, told.append)
    (line,) = told
    assert line.startswith(f"{file} is damaged (")
    assert line.endswith("): it is built again from trials.jsonl")
    # A failed trial keeps what it had reported; Optuna had nothing else of it.
    attributes = [one[-1] for one in shown(study, folder)]
    for (*after, _), (*then, had), has in zip(shown(study, folder), before, attributes, strict=True):
        assert after == then
        assert had.items() <= has.items()
    assert goes_on(study, folder, rows) == expected
    rebuild_storage(study, GOALS, folder, told.append)
    assert len(told) == 1  # it is whole now


def test_a_page_of_the_database_that_was_overwritten_is_seen(tmp_path):
    study, told = study_of("sqlite"), []
    ran(study, tmp_path)
    content = bytearray((tmp_path / "optuna.db").read_bytes())
    content[4096 * 3 : 4096 * 12] = b"\xff" * (4096 * 9)
    (tmp_path / "optuna.db").write_bytes(content)
    rebuild_storage(study, GOALS, tmp_path, told.append)
    assert len(told) == 1
    assert len(shown(study, tmp_path)) == len(ENDS)
    assert (tmp_path / "optuna.db.damaged").read_bytes() == bytes(content)


def test_a_database_of_before_lacks_trials_and_is_built_again(tmp_path):
    study, told = study_of("sqlite"), []
    searcher(study, GOALS, tmp_path, set()).suggest("0000")
    (tmp_path / "optuna.db").rename(tmp_path / "before")
    ran(study, tmp_path)
    (tmp_path / "before").replace(tmp_path / "optuna.db")
    rebuild_storage(study, GOALS, tmp_path, told.append)
    assert "it has 1 trials, and trials.jsonl has 9" in told[0]
    assert len(shown(study, tmp_path)) == len(ENDS)


def test_a_trial_that_no_row_names_gets_values_and_its_number(tmp_path):
    study, told = study_of("sqlite"), []
    rows = ran(study, tmp_path)
    left = [row for row in rows if row.number != 3 and row.status != "running"]
    (tmp_path / "trials.jsonl").write_text("".join(json.dumps(asdict(row)) + "\n" for row in left))
    (tmp_path / "running.json").unlink()
    (tmp_path / "optuna.db").unlink()
    rebuild_storage(study, GOALS, tmp_path, told.append)
    states = [one[1] for one in shown(study, tmp_path)]
    assert states[3] == TrialState.WAITING
    config = goes_on(study, tmp_path, left)
    assert (config[0]["number"], config[1]["number"]) == (4, 3)  # the failed one first
    assert (config[1]["arm"], trial_values(config[1]).keys()) == (rows[3].arm, rows[3].values.keys())


def test_values_outside_of_the_range_and_constraints_come_back(tmp_path):
    study, told = study_of("sqlite", constraints=["mono/AP >= 0.5"]), []
    metrics = {"step": 12, "balanced/AP": 0.4, "mono/AP": 0.25}
    values = {"mix.mixing_ratio": 1.0, "train.temperature": 0.9, "train.batch_size": 8}
    row = TrialRow("0000", 0, "mono-only", values, metrics, "done", proposed="file")
    (tmp_path / "trials.jsonl").write_text(json.dumps(asdict(row)) + "\n")
    rebuild_storage(study, GOALS, tmp_path, told.append)
    (trial,) = load_optuna_study(study, tmp_path).trials
    assert (trial.state, trial.values, trial.params["temperature"]) == (TrialState.COMPLETE, [0.4], 0.9)
    assert trial.system_attrs["constraints"] == [0.5]
    assert trial.user_attrs["mono/AP"] == 0.25


def test_a_study_that_has_not_begun_and_one_in_a_database_elsewhere_are_left_alone(tmp_path):
    rebuild_storage(study_of("sqlite"), GOALS, tmp_path, pytest.fail)
    assert not list(tmp_path.iterdir())
    url = f"sqlite:///{tmp_path / 'mine.db'}"
    row = TrialRow("0000", 0, "tuned", {}, {"step": 12, "balanced/AP": 0.4}, "done")
    (tmp_path / "trials.jsonl").write_text(json.dumps(asdict(row)) + "\n")
    rebuild_storage(study_of(url), GOALS, tmp_path, pytest.fail)
    assert [path.name for path in tmp_path.iterdir()] == ["trials.jsonl"]


def test_a_journal_that_would_be_rolled_into_the_new_database_goes(tmp_path):
    study = study_of("sqlite")
    ran(study, tmp_path)
    (tmp_path / "optuna.db").unlink()
    (tmp_path / "optuna.db-journal").write_bytes(b"\xd9\xd5\x05\xf9 of the old one")
    rebuild_storage(study, GOALS, tmp_path, lambda line: None)
    assert not (tmp_path / "optuna.db-journal").exists()
    assert sqlite3.connect(tmp_path / "optuna.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)
