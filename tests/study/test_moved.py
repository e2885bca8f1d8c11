"""A study folder that was moved, with nothing left where it was: every command finds there what it found before."""

import json
import shutil

import pytest
from made_study import made_study
from study_trials import made_trials

from hybridtune.callbacks import StudyCallback
from hybridtune.report.page import write_report
from hybridtune.study import run
from hybridtune.study.export import ExportOptions, export


@pytest.fixture
def moved(tmp_path):
    """A study that has ended, where it lies now."""
    before = made_study(tmp_path / "before")
    write_report(before)
    (tmp_path / "deeper").mkdir()
    return before.rename(tmp_path / "deeper" / "after")


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    folder = made_trials(tiny, tmp_path_factory.mktemp("trained") / "before")
    export(folder, ExportOptions(onnx=False, trial="0001", out=folder / "best"), StudyCallback())
    return folder


@pytest.fixture
def trained(made, tmp_path):
    """A study with checkpoints and a best model, where it lies now."""
    return shutil.copytree(made, tmp_path / "deeper" / "trained")


def test_run_says_that_it_is_finished_and_where_its_results_lie_now(moved, call, tmp_path, monkeypatch):
    result = json.loads((moved / "result.json").read_text(encoding="utf-8"))
    result["trials"] = [row for row in result["trials"] if row["status"] != "failed"]
    (moved / "result.json").write_text(json.dumps(result), encoding="utf-8")
    monkeypatch.setattr(run, "started", None)  # nothing is to be trained
    code, out, err = call("run", moved / "study.yaml", "--out", moved, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["study"], result["model"]) == (str(moved), str(moved / "best"))
    assert f"this study has ended: its result is in {moved / 'result.json'}" in err
    assert result["best"]["checkpoint"] == f"trials/{result['best']['id']}/fit/checkpoint_0000030"
    assert not (tmp_path / "before").exists()


def test_its_status_its_report_and_its_comparisons_are_what_they_were(moved, call, tmp_path):
    before = shutil.copytree(moved, tmp_path / "before")

    def told(*arguments):
        code, out, err = call(*arguments, "--json")
        assert code == 0, err
        return out

    assert told("status", moved) == told("status", before).replace(str(before), str(moved))
    pairs = [[f"{folder}/trials/0000", f"{folder}/trials/0003"] for folder in (moved, before)]
    assert told("compare", *pairs[0]) == told("compare", *pairs[1]).replace(str(before), str(moved))
    assert json.loads(told("report", moved))["report"] == str(moved / "report.html")
    told("report", before)
    shutil.rmtree(before)
    page = (moved / "report.html").read_text(encoding="utf-8")
    assert str(before) not in page
    assert "are gone (pruned" not in page


def test_its_models_are_evaluated_exported_and_merged(trained, made, call, tmp_path):
    for words in (
        ["evaluate", trained, "--benchmark", "newsroom:dev", "--dry-run"],
        ["export", trained, "--trial", "0000", "--out", tmp_path / "model"],
        ["merge", trained, f"{trained}:0000", "--out", tmp_path / "merged"],
    ):
        code, out, err = call(*words, "--json")
        assert code == 0, err
        assert str(made) not in out + err
    assert (tmp_path / "merged" / "model.safetensors").is_file()


def test_a_row_whose_checkpoint_is_elsewhere_is_refused(moved, call):
    file = moved / "trials.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for elsewhere in ("/etc/checkpoint_0000030", "trials/../../x"):
        rows[0]["checkpoint"] = elsewhere
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        code, _, err = call("report", moved)
        assert code == 2
        line = f"hybridtune: {file}: line 1: 'checkpoint' is {elsewhere!r}: not in the study folder; without the line"
        assert err.startswith(line)
        assert err.count("\n") == 1
