"""Every command that reads a study folder tells what is damaged in it in one line, and goes on with what is whole."""

import json
import shutil
from pathlib import Path

import pytest
from damaging import WAYS
from made_study import made_study
from study_trials import made_trials

from hybridtune.callbacks import StudyCallback
from hybridtune.config.study import load_study
from hybridtune.report.record import read_record
from hybridtune.storage.manifests import MANIFEST, seal
from hybridtune.storage.study_record import read_result
from hybridtune.storage.trial_rows import read_rows
from hybridtune.study.export import ExportOptions, export
from hybridtune.study.repair import ended_result, retry_damaged


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return made_study(tmp_path_factory.mktemp("made") / "study")


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "study")


@pytest.fixture(scope="module")
def started(tiny, tmp_path_factory):
    """A study whose trials have checkpoints, and best/."""
    folder = made_trials(tiny, tmp_path_factory.mktemp("trials") / "study")
    export(folder, ExportOptions(onnx=False, trial="0001", out=folder / "best"), StudyCallback())
    return folder


@pytest.fixture
def trials(started, tmp_path):
    return shutil.copytree(started, tmp_path / "trials" / "study")


def changed(file, change, line=1):
    """Damage one line of a file of rows."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[line] = change(lines[line])
    file.write_text("".join(lines), encoding="utf-8")


def without(line, name):
    return json.dumps({key: value for key, value in json.loads(line).items() if key != name}) + "\n"


ROWS = {
    "blank": (lambda line: "\n", "line 2 is empty"),
    "nul": (lambda line: "\0" * len(line) + "\n", "line 2 holds NUL bytes"),
    "cut in the middle": (lambda line: line[:50] + "\n", "line 2 is no JSON"),
    "a list": (lambda line: "[]\n", "line 2 is a list"),
    "missing key": (lambda line: without(line, "number"), "line 2: 'number' is missing"),
    "extra key": (lambda line: line.replace("{", '{"zzz": 1, ', 1), "line 2: 'zzz' is not known here"),
    "wrong type": (lambda line: line.replace('"number": 1', '"number": "1"'), "line 2: 'number' is '1'"),
}
COMMANDS = {
    "status": ("status", "{}"),
    "report": ("report", "{}"),
    "export": ("export", "{}", "--trial", "1", "--out", "model"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ROWS)
def test_a_damaged_row_is_told_by_file_and_line(folder, call, command, kind):
    change, told = ROWS[kind]
    changed(folder / "trials.jsonl", change)
    (folder / "result.json").unlink()
    code, out, err = call(*(word.format(folder) for word in COMMANDS[command]))
    assert (code, out) == (2, "")
    assert err.startswith(f"hybridtune: {folder / 'trials.jsonl'}: {told}")
    assert err.count("\n") == 1


def torn(folder):
    file = folder / "trials.jsonl"
    file.write_text(file.read_text(encoding="utf-8")[:-30], encoding="utf-8")
    return f"{file}: line {len(file.read_text().splitlines())} was cut off, and is left out; hybridtune run trains its"


def test_a_last_row_that_was_cut_off_is_told_and_the_others_are_shown(folder, call):
    (folder / "result.json").unlink()
    before = len(read_rows(folder))
    line = torn(folder)
    code, out, _ = call("status", folder)
    assert code == 0
    assert line in " ".join(out.split())
    assert json.loads(call("status", folder, "--json")[1])["ended"] == before - 1
    assert line in " ".join(read_record(folder).notes)


@pytest.mark.slow
def test_a_report_prints_what_is_damaged_and_shows_it(folder, call):
    (folder / "result.json").write_text("{")
    line = torn(folder)
    WAYS["empty"](folder / "optuna.db")
    code, out, _ = call("report", folder)
    assert code == 0
    assert line in " ".join(out.split())
    text = (folder / "report.html").read_text(encoding="utf-8")
    for note in ("was cut off, and is left out", "result.json is no JSON", "Optuna&#39;s storage cannot be read"):
        assert note in text


def test_an_export_over_a_row_that_was_cut_off_says_so(trials, call):
    file = trials / "trials.jsonl"
    with file.open("a") as lines:
        lines.write('{"id": "0002", "num')
    code, out, _ = call("export", trials, "--trial", "1", "--out", "model")
    assert code == 0
    assert f"{file}: line 3 was cut off, and is left out" in " ".join(out.split())


RESULTS = {
    "empty": lambda text: "",
    "cut off": lambda text: text[:200],
    "no best": lambda text: without(text, "best"),
    "another best": lambda text: json.dumps(json.loads(text) | {"best": {"id": "9999"}}),
    "a list": lambda text: "[]",
    "nul": lambda text: "\0" * 40,
    "wrong type": lambda text: json.dumps(json.loads(text) | {"front": {"a": 1}}),
    "a broken row": lambda text: json.dumps(json.loads(text) | {"trials": [{"id": 1}]}),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_a_damaged_result_is_told_and_left_to_be_derived_again(folder, call, kind):
    file = folder / "result.json"
    file.write_text(RESULTS[kind](file.read_text(encoding="utf-8")), encoding="utf-8")
    told = "it is left out, and hybridtune run with the study's --out derives it again"
    code, out, _ = call("status", folder)
    assert code == 0
    shown = " ".join(out.split())
    assert f"{file}" in shown
    assert told in shown
    assert f"to go on: hybridtune run {folder / 'study.yaml'}" in shown
    assert any(told in note for note in read_record(folder).notes)
    found = Told()
    assert ended_result(folder, found) is None
    assert any(str(file) in line for line in found.lines)


@pytest.mark.parametrize("content", ["", '{"pid": ', "{}", "[]", '{"pid": 1, "host": "h", "rows": [{"id": 1}]}'])
def test_a_damaged_running_json_is_told_and_the_ended_trials_are_shown(folder, call, content):
    (folder / "result.json").unlink()
    (folder / "running.json").write_text(content)
    code, out, _ = call("status", folder)
    assert code == 0
    assert f"{folder / 'running.json'}" in " ".join(out.split())
    assert any(f"{folder / 'running.json'}" in note for note in read_record(folder).notes)
    assert json.loads(call("status", folder, "--json")[1])["ended"] == len(read_rows(folder))


def test_a_damaged_database_is_one_line_for_who_needs_it(folder, call):
    (folder / "optuna.db").write_bytes(b"\0" * 5000)
    code, _, err = call("dashboard", folder)
    assert code == 2
    assert "optuna.db" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["scores.json", "per_query.parquet"])
@pytest.mark.parametrize("way", WAYS)
def test_a_report_tells_of_damaged_scores_and_leaves_them_out(folder, call, name, way):
    row = next(row for row in read_rows(folder) if row.status == "done")
    file = folder / "trials" / row.id / "fit" / Path(row.checkpoint).name / name
    WAYS[way](file)
    record = read_record(folder)
    assert f"{row.label}: its best checkpoint {file.parent} is damaged: {name}" in " ".join(record.notes)
    trial = next(one for one in record.trials if one.id == row.id)
    assert (trial.scores, trial.per_query) == (None, None)


def test_a_damaged_plan_or_curve_of_a_trial_is_a_note(folder, call):
    (folder / "trials" / "0000" / "plan.json").write_text('{"table": ')
    changed(folder / "trials" / "0002" / "metrics.jsonl", lambda line: "\0\0\n")
    notes = " ".join(read_record(folder).notes)
    assert "plan.json is no JSON" in notes
    assert "metrics.jsonl: line 2 holds NUL bytes" in notes


@pytest.mark.parametrize("name", ["model.safetensors", "modules.json", "README.md", "1_Pooling/config.json", MANIFEST])
@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_best_is_refused_by_all_who_would_use_it(trials, call, name, way):
    WAYS[way](trials / "best" / name)
    for words in (
        ("evaluate", trials, "--benchmark", "newsroom:dev"),
        ("export", trials, "--onnx"),
        ("merge", trials, f"{trials}:0001", "--out", "merged"),
    ):
        code, out, err = call(*words)
        assert (code, out) == (2, "")
        assert err.startswith(f"hybridtune: {trials / 'best'} is damaged: {name}")
        assert f"hybridtune run {trials / 'study.yaml'} --out {trials} writes it anew" in err
        assert err.count("\n") == 1


def test_a_model_folder_of_somebody_else_needs_no_manifest(trials, tmp_path, call):
    copy = shutil.copytree(trials / "best", tmp_path / "mine")
    WAYS["flip"](copy / "README.md")
    code, _, err = call("evaluate", copy, "--benchmark", "newsroom:dev", "--set", "resources.gpus_per_worker=9")
    assert f"{copy} is damaged: README.md holds other bytes than were written; write it anew" in err
    (copy / MANIFEST).unlink()
    code, _, err = call("evaluate", copy, "--benchmark", "newsroom:dev", "--set", "resources.gpus_per_worker=9")
    assert code == 2
    assert "damaged" not in err


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "scores.json", "per_query.parquet", MANIFEST])
@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_checkpoint_is_not_exported(trials, call, name, way):
    checkpoint = trials / "trials" / "0001" / "fit" / "checkpoint_0000006"
    WAYS[way](checkpoint / name)
    code, _, err = call("export", trials, "--trial", "1", "--out", "model")
    assert code == 2
    lacks = (name, way) == ("model.safetensors", "delete")  # as a fetch without weights leaves it
    assert err.startswith(f"hybridtune: {checkpoint}{':' if lacks else f' is damaged: {name}'}")
    assert err.count("\n") == 1
    assert call("export", trials, "--trial", "1", "--checkpoint", "12", "--out", "model")[0] == 0


class Told(StudyCallback):
    def __init__(self):
        self.lines = []

    def on_damage(self, trial, step, goes_on_from, text):
        self.lines.append(text)


def test_a_study_that_goes_on_trains_a_contestant_again_whose_checkpoint_is_damaged(trials):
    rows = [json.loads(line) for line in (trials / "trials.jsonl").read_text().splitlines()]
    study, told = load_study(trials / "study.yaml"), Told()
    retry_damaged(study, trials, str(trials), told)
    assert told.lines == []
    for row in rows:
        WAYS["flip"](trials / row["checkpoint"] / "model.safetensors")
    retry_damaged(study, trials, str(trials), told)
    assert len(told.lines) >= 1
    assert "its best checkpoint is damaged (model.safetensors holds other bytes than were written)" in told.lines[0]
    assert {row.status for row in read_rows(trials)} >= {"failed"}


def test_an_ended_study_whose_best_is_damaged_is_not_over(folder):
    result = read_result(folder)
    rows = [row for row in result["trials"] if row["status"] != "failed"]
    (folder / "result.json").write_text(json.dumps(result | {"soups": None, "trials": rows}))
    seal(folder / "best")
    told = Told()
    assert ended_result(folder, told) is not None
    assert told.lines == []
    WAYS["flip"](folder / "best" / "per_query.parquet")
    assert ended_result(folder, told) is None
    (line,) = told.lines
    assert line.startswith(f"{folder / 'best'} is damaged (per_query.parquet holds other bytes")
