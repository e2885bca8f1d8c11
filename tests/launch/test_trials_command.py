"""`hybridtune trials`: every trial of a study in whatever state, with the columns of a report's trials.csv."""

import csv
import io
import json
from dataclasses import asdict, replace

import pytest

from hybridtune.config.study import load_study
from hybridtune.storage.trial_csv import csv_text, trial_records, trials_csv
from hybridtune.storage.trial_rows import TrialRow, write_running
from hybridtune.study.folder import write_study
from hybridtune.study.one_writer import one_writer

FIRST = ["trial", "number", "arm", "status", "proposed", "seed", "seconds"]
ROWS = [
    TrialRow("0000", 0, "half-half", {"mix.mixing_ratio": 0.5}, {"step": 4, "balanced/AP": 0.1 + 0.2}, "done"),
    TrialRow("0001", 1, "tuned", {"train.temperature": 1e-7, "seed": 5}, {"step": 2}, "failed", reason="a\nloss"),
]
RUNNING = TrialRow("0002", 2, "tuned", {"train.loss": "=cmd()"}, {"step": 3, "mono/AP": 1 / 3})


@pytest.fixture
def folder(tmp_path, study_file):
    """The folder of a study that was cut off in its third trial."""
    place = tmp_path / "study"
    place.mkdir()
    write_study(load_study(study_file(seed=3, search={"trials": 7, "arms": "none"})), place)
    (place / "trials.jsonl").write_text("".join(json.dumps(asdict(row)) + "\n" for row in ROWS))
    write_running(place, [RUNNING])
    file = place / "running.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"start_time": "1"}))  # not this process
    return place


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_every_trial_is_a_row_in_full_precision(folder, call):
    code, out, err = call("trials", folder, "--csv")
    assert (code, err) == (0, "")
    found = table(out)
    assert [*found[0]] == [
        *FIRST,
        "mix.mixing_ratio",
        "step",
        "balanced/AP",
        "train.temperature",
        "train.loss",
        "mono/AP",
    ]
    assert [row["status"] for row in found] == ["done", "failed", "cut off"]
    assert [row["seed"] for row in found] == ["3", "5", "3"]
    assert float(found[0]["balanced/AP"]) == 0.1 + 0.2
    assert float(found[1]["train.temperature"]) == 1e-7
    assert float(found[2]["mono/AP"]) == 1 / 3
    assert found[2]["train.loss"] == "'=cmd()"  # no formula
    assert found[1]["balanced/AP"] == ""


def test_the_file_is_what_is_printed_and_its_folder_is_made(folder, call, tmp_path):
    file = tmp_path / "new" / "all.csv"
    assert call("trials", folder, "--csv", file) == (0, "", "")
    assert file.read_text() == call("trials", folder, "--csv")[1]
    (tmp_path / "plain").touch()
    code, out, err = call("trials", folder, "--csv", tmp_path / "plain" / "all.csv")
    assert (code, out) == (2, "")
    assert str(tmp_path / "plain") in err
    assert err.count("\n") == 1


def test_json_has_the_same_columns_and_a_running_study_its_running_trial(folder, call):
    write_running(folder, [RUNNING])  # this process
    with one_writer(str(folder), print):
        code, out, err = call("trials", folder, "--json")
    found = json.loads(out)
    assert (code, err, found["study"], found["state"]) == (0, "", str(folder), "running")
    assert [row["status"] for row in found["trials"]] == ["done", "failed", "running"]
    assert found["trials"] == trial_records([*ROWS, RUNNING], 3)


def test_without_either_it_is_a_table_and_both_are_refused(folder, call):
    code, out, _ = call("trials", folder)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["trial", "half-half", "trial", "trial", "*", "!:"]
    assert "3c" in out
    assert out.splitlines()[-1] == "!: failed; c: cut off"
    code, out, err = call("trials", folder, "--csv", "--json")
    assert (code, out, err) == (2, "", "hybridtune: --csv and --json: give one of the two\n")


def test_a_study_that_has_begun_no_trial_has_the_heads_of_its_columns(folder, call):
    for name in ("trials.jsonl", "running.json"):
        (folder / name).unlink()
    assert call("trials", folder, "--csv") == (0, ",".join(FIRST) + "\n", "")
    assert call("trials", folder) == (0, "no trial has begun yet\n", "")
    assert json.loads(call("trials", folder, "--json")[1])["trials"] == []


def test_a_damaged_record_is_told_beside_the_rows(folder, call):
    (folder / "running.json").write_text("{")
    code, out, err = call("trials", folder, "--csv")
    assert (code, len(table(out))) == (0, 2)
    assert "running.json" in err


def test_a_row_of_csv_is_whole_whatever_a_name_holds():
    rows = [replace(ROWS[0], values={'a,"b"\n': 'x,\n"y"'})]
    (found,) = table(trials_csv(rows, 0))
    assert found['a,"b"\n'] == 'x,\n"y"'
    assert csv_text(["@a"], [[-1.5]]) == "'@a\n-1.5\n"  # a number is none
