"""Study folders of a stranger: whatever stands in them, looking at one runs, reads, writes and sends nothing else."""

import json
import shutil
from pathlib import Path

import pytest
from cli_calls import files
from made_study import made_study

from hybridtune.config.study import load_study
from hybridtune.errors import InputError

LOOK = {
    "status": ("status", "{folder}"),
    "report": ("report", "{folder}"),
    "dashboard": ("dashboard", "{folder}"),
    "export": ("export", "{folder}", "--trial", "0001", "--out", "{out}"),
    "merge": ("merge", "{folder}:0001", "{folder}:0002", "--out", "{out}"),
    "evaluate": ("evaluate", "{folder}", "--benchmark", "newsroom:dev", "--dry-run"),
    "compare": ("compare", "{folder}", "{folder}"),
    "run": ("run", "{folder}/study.yaml", "--out", "{folder}"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = made_study(tmp_path_factory.mktemp("made") / "study")
    (folder / "best" / "modules.json").write_text("[]")
    return folder


@pytest.fixture
def stranger(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "given")


@pytest.fixture
def look(call, stranger, tmp_path):
    """Calls a command on the stranger's folder; returns (exit code, stdout, stderr)."""
    return lambda name: call(*(word.format(folder=stranger, out=tmp_path / "out") for word in LOOK[name]))


def change(folder, old, new):
    file = folder / "study.yaml"
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def rewrite_trial(folder, **fields):
    """Change the last trial of a study folder."""
    *others, last = (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "trials.jsonl").write_text("\n".join([*others, json.dumps(json.loads(last) | fields)]) + "\n")


def refused(answer, *words):
    code, out, err = answer
    assert (code, out) == (2, "")
    assert err.startswith("hybridtune: ")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err


LINKS = {
    "a folder of trials": ("trials/0001", "precious"),
    "the best model": ("best", "precious"),
    "a file in depth": ("trials/0002/metrics.jsonl", "precious/secret"),
    "the study file": ("study.yaml", "precious/study.yaml"),
    "one to nowhere": ("evaluations", "nowhere"),
}


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("command", LOOK)
def test_a_link_that_leads_outside_is_refused_and_nothing_is_touched(command, name, stranger, look, tmp_path):
    if (command, name) == ("evaluate", "the best model"):
        (tmp_path / "precious").mkdir()
        shutil.copytree(stranger / "best", tmp_path / "precious", dirs_exist_ok=True)
    link, target = LINKS[name]
    (tmp_path / "precious").mkdir(exist_ok=True)
    (tmp_path / "precious" / "secret").write_text("mine")
    if target.endswith("study.yaml"):
        shutil.copy(stranger / "study.yaml", tmp_path / target)
    place = stranger / link
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    place.symlink_to(tmp_path / target)
    before = files(tmp_path)
    code, _, err = look(command)
    assert code == 2
    assert f"{link} is a link to {tmp_path / target}, outside the folder, and nothing was done" in err
    assert err.splitlines()[-1].startswith("hybridtune: ")
    assert files(tmp_path) == before
    assert (tmp_path / "precious" / "secret").read_text() == "mine"


def test_a_link_within_the_folder_and_one_of_wandb_are_nobodys_way_out(stranger, look, tmp_path):
    (stranger / "wandb" / "run-1" / "logs").mkdir(parents=True)
    (stranger / "wandb" / "latest-run").symlink_to("run-1")
    (stranger / "wandb" / "run-1" / "logs" / "debug-core.log").symlink_to(tmp_path / "core.log")
    assert look("report")[0] == 0


NAMES = ["../../precious", "/etc", ".", "..", "", ".hidden", "a\\b", "a\nb", "x" * 300]


@pytest.mark.parametrize("name", NAMES)
def test_an_id_in_a_record_is_no_path(name, stranger, look, tmp_path):
    rewrite_trial(stranger, id=name)
    for command in ("report", "export", "merge"):
        refused(look(command), "the id of a trial", "is not the name of a file")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["{outside}", "../precious", "trials/0001/../../../precious"])
def test_a_checkpoint_is_read_in_the_folder_alone(place, stranger, look, tmp_path):
    """A record may name any place of this machine: nothing of it is copied into the page."""
    (tmp_path / "precious").mkdir()
    (stranger / "report.html").unlink(missing_ok=True)
    rewrite_trial(stranger, checkpoint=place.format(outside=tmp_path / "precious"), status="done")
    for command in ("status", "report", "export", "merge"):
        if command == "status":  # of a study that has not ended, which reads the same rows
            (stranger / "result.json").unlink()
        refused(look(command), "'checkpoint' is", "not in the study folder")
    assert not (stranger / "report.html").exists()


@pytest.mark.parametrize("command", ["status", "report", "dashboard", "export", "merge", "evaluate", "run"])
def test_no_file_lets_a_model_run_code(command, stranger, look, tmp_path):
    change(stranger, "trust_remote_code: false", "trust_remote_code: true")
    before = files(tmp_path)
    refused(look(command), "study.yaml: encoder.trust_remote_code: a file cannot let a model run code of its own")
    assert files(tmp_path) == before
    with pytest.raises(InputError, match="a file cannot let"):
        load_study(stranger / "study.yaml", ["encoder.trust_remote_code=true"])


@pytest.mark.parametrize("command", ["status", "report"])
def test_no_variable_of_the_environment_is_told(command, stranger, look, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    change(stranger, "path: newsroom:train", "path: hf://${SECRET}/train.jsonl")
    code, out, err = look(command)
    assert code == 0, err
    page = (stranger / "report.html").read_text(encoding="utf-8") if command == "report" else ""
    assert "hunter2" not in out + err + page
    assert load_study(stranger / "study.yaml").data.train[0].path == "hf://hunter2/train.jsonl"  # for who runs it


def test_a_database_that_a_folder_names_is_not_opened(stranger, look, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    change(stranger, "storage: sqlite\n", f"storage: sqlite:///{tmp_path}/${{SECRET}}.db\n")
    before = {file for file in files(tmp_path) if not file.endswith("report.html")}
    assert look("status")[0] == 0
    code, _, err = look("report")
    assert code == 0, err
    page = (stranger / "report.html").read_text(encoding="utf-8")
    assert "which is not asked because a folder says so; give --storage URL" in page
    assert "hunter2" not in page
    refused(look("dashboard"), "${SECRET}.db, which is not asked because a folder says so; give --storage URL")
    assert {file for file in files(tmp_path) if not file.endswith("report.html")} == before


def test_a_database_that_the_command_line_names_is_read(stranger, call, tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", str(tmp_path))
    (stranger / "optuna.db").rename(tmp_path / "elsewhere.db")
    change(stranger, "storage: sqlite\n", "storage: postgresql://somebody@192.0.2.1/theirs\n")
    code, _, err = call("report", stranger, "--storage", "sqlite:///${PLACE}/elsewhere.db")
    assert code == 0, err
    assert "its charts are missing" not in (stranger / "report.html").read_text(encoding="utf-8")


def test_a_server_that_a_study_names_is_not_asked_by_an_export(stranger, look, tmp_path):
    change(stranger, "path: newsroom:train", "path: s3://bucket/train.jsonl?endpoint_override=192.0.2.1")
    fit = stranger / "trials" / "0001" / "fit" / "checkpoint_0000030"
    fit.mkdir(parents=True, exist_ok=True)
    (fit / "state.json").write_text(json.dumps({"step": 30, "metrics": {}}))
    (fit / "model.safetensors").write_bytes(b"")
    code, _, err = look("export")
    assert code == 2
    assert "which is not asked unless this command line allows it; if you trust it, give --trust-remote-code" in err


def test_what_a_record_says_does_not_steer_the_terminal(stranger, look):
    rewrite_trial(stranger, status="failed", reason="\x1b]52;c;cHduZWQ=\x07\x1b[2J")
    result = json.loads((stranger / "result.json").read_text())
    (stranger / "result.json").write_text(json.dumps(result | {"headline": "all is \x1b[31mwell\x9b2J"}))
    code, out, err = look("status")
    assert code == 0, err
    assert "all is " in out
    assert not any(character in out for character in "\x1b\x07\x9b")


def test_nothing_was_left_in_the_folder_where_the_commands_ran(stranger, look):
    for command in ("status", "report", "compare"):
        look(command)
    assert list(Path().iterdir()) == []
