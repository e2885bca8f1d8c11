import dataclasses
import hashlib
import json
import os
import socket
import subprocess
import sys

import optuna
import pytest

from hybridtune.errors import InputError
from hybridtune.report import search_charts, tables
from hybridtune.report import sentences as words
from hybridtune.report.record import read_record
from hybridtune.storage.trial_rows import pareto_front


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def begin(folder, **writer):
    """Makes a trial run, as `running.json` has it; the study has not ended."""
    (folder / "result.json").unlink()
    row = json.loads((folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()[0])
    row |= {"id": "0007", "number": 7, "arm": "tuned", "status": "running", "checkpoint": None, "metrics": {}}
    content = {"pid": os.getpid(), "host": socket.gethostname(), "rows": [row]} | writer
    (folder / "running.json").write_text(json.dumps(content), encoding="utf-8")


def test_a_finished_study_is_read_whole_and_left_as_it_was(finished_study):
    before = digest(finished_study)
    record = read_record(finished_study)
    assert digest(finished_study) == before
    assert record.state == "finished"
    assert record.finished
    assert record.goals == {"balanced/AP": "max"}
    assert record.notes == []
    labels = ["mono-only 0", "half-half 1", "cross-only 2", "trial 3", "trial 4", "trial 5", "trial 6"]
    assert [trial.label for trial in record.trials] == labels
    result = json.loads((finished_study / "result.json").read_text(encoding="utf-8"))
    assert record.best is not None
    assert record.best.id == result["best"]["id"]
    assert record.front == [record.best]
    for trial in record.trials:
        if trial.status == "done":
            assert [entry["step"] for entry in trial.history] == [10, 20, 30]
            assert trial.scores["metrics"]["multi/AP"] == trial.metrics["multi/AP"]
            assert trial.per_query.is_file()
        assert trial.plan["requested_ratio"] == trial.values["mix.mixing_ratio"]
    states = [trial.state.name for trial in record.optuna_study.trials]
    assert states == ["COMPLETE"] * 4 + ["PRUNED", "COMPLETE", "FAIL"]


def test_the_front_is_optunas_whether_the_study_has_ended_or_not(three_goals, tmp_path):
    record = read_record(three_goals)
    best = sorted(trial.number for trial in record.optuna_study.best_trials)
    assert len(best) > 1
    assert [trial.number for trial in record.front] == best
    done = [trial for trial in record.trials if trial.status == "done"]
    assert [trial.number for trial in pareto_front(done, record.goals)] == best
    (three_goals / "result.json").rename(tmp_path / "result.json")
    try:
        open_record = read_record(three_goals)
    finally:
        (tmp_path / "result.json").rename(three_goals / "result.json")
    assert [trial.number for trial in open_record.front] == best
    assert open_record.best.id == record.best.id


def test_a_copied_study_is_read_where_it_lies(study_copy, finished_study):
    for trial in read_record(study_copy).trials:
        assert trial.per_query is None or study_copy in trial.per_query.parents


def test_what_was_pruned_is_none_and_noted(study_copy):
    for path in (study_copy / "trials" / "0001" / "fit").rglob("*"):
        if path.is_file():
            path.unlink()
    lines = (study_copy / "trials.jsonl").read_text(encoding="utf-8")
    (study_copy / "trials.jsonl").write_text(lines.replace("/fit/", "/gone/"), encoding="utf-8")
    (study_copy / "optuna.db").unlink()
    record = read_record(study_copy)
    half = record.trials[1]
    assert half.scores is None
    assert half.per_query is None
    assert any("half-half" in note for note in record.notes)
    assert record.optuna_study is None
    assert any("optuna.db" in note for note in record.notes)


def test_a_storage_that_is_none_is_told_and_not_fatal(study_copy):
    (study_copy / "optuna.db").write_text("not a database", encoding="utf-8")
    record = read_record(study_copy)
    assert record.optuna_study is None
    assert any("Optuna's storage cannot be read" in note for note in record.notes)


def test_a_storage_elsewhere_is_read_where_its_user_says(study_copy, tmp_path, monkeypatch):
    (study_copy / "optuna.db").rename(tmp_path / "elsewhere.db")
    file = study_copy / "study.yaml"
    text = file.read_text(encoding="utf-8")
    changed = text.replace("storage: sqlite\n", "storage: sqlite:///${MADE_STORAGE}/elsewhere.db\n")
    assert changed != text
    file.write_text(changed, encoding="utf-8")
    monkeypatch.setenv("MADE_STORAGE", str(tmp_path))
    assert read_record(study_copy).optuna_study is None
    assert len(read_record(study_copy, "sqlite:///${MADE_STORAGE}/elsewhere.db").optuna_study.trials) == 7


def test_a_running_study_has_its_running_trials(study_copy):
    begin(study_copy)
    record = read_record(study_copy)
    assert record.state == "running"
    assert (record.trials[-1].id, record.trials[-1].status, record.trials[-1].scores) == ("0007", "running", None)
    assert record.best.status == "done"


def test_a_study_on_another_host_counts_as_running(study_copy):
    begin(study_copy, host="elsewhere", pid=1)
    assert read_record(study_copy).state == "running"


def test_a_study_whose_process_is_gone_was_cut_off(study_copy):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    begin(study_copy, pid=gone.pid)
    record = read_record(study_copy)
    assert record.state == "cut off"
    assert record.trials[-1].status == "cut off"


@pytest.mark.parametrize(("start_time", "state"), [(None, "running"), ("0", "cut off")])
def test_a_study_runs_while_its_noise_check_does(study_copy, start_time, state):
    (study_copy / "result.json").unlink()
    file = study_copy / "study.yaml"
    file.write_text(file.read_text("utf-8").replace("repeat_best: 0\n", "repeat_best: 2\n"), "utf-8")
    (study_copy / "repeats").mkdir()
    content = {"pid": os.getpid(), "host": socket.gethostname(), "start_time": start_time, "rows": []}
    (study_copy / "repeats" / "running.json").write_text(json.dumps(content), encoding="utf-8")
    record = read_record(study_copy)
    assert record.state == state
    assert "once the noise check (search.repeat_best) is done" in words.certainty(record)


def test_another_process_of_the_same_number_is_not_the_study(study_copy):
    begin(study_copy, start_time="0")
    assert read_record(study_copy).state == "cut off"


def test_a_resumed_trial_counts_a_step_once_and_a_half_written_line_not_at_all(study_copy):
    file = study_copy / "trials" / "0000" / "metrics.jsonl"
    first = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(first | {"loss": 7.0}) + '\n{"step": 40, "lo')
    history = read_record(study_copy).trials[0].history
    assert [(entry["step"], entry["loss"]) for entry in history] == [(10, 7.0), (20, 0.25), (30, 5.0 / 30)]


def test_a_folder_without_a_study_is_the_users_mistake(tmp_path):
    with pytest.raises(InputError, match=r"no study\.yaml"):
        read_record(tmp_path)


def test_a_single_training_is_no_search(study_copy):
    (study_copy / "result.json").write_text('{"study": "x", "metrics": {}}', encoding="utf-8")
    with pytest.raises(InputError, match="single training"):
        read_record(study_copy)


@pytest.mark.parametrize("name", ["trials.jsonl", "result.json", "running.json"])
def test_a_broken_file_is_named(study_copy, name):
    (study_copy / name).write_text('{"id": ', encoding="utf-8")
    assert any(str(study_copy / name) in note for note in read_record(study_copy).notes)
    if name == "trials.jsonl":
        (study_copy / name).write_text('{"id": \n', encoding="utf-8")
        with pytest.raises(InputError, match=r"trials\.jsonl: line 1 is no JSON"):
            read_record(study_copy)


def test_a_study_before_its_first_trial(study_copy):
    for name in ("trials.jsonl", "result.json", "optuna.db"):
        (study_copy / name).unlink()
    record = read_record(study_copy)
    assert (record.trials, record.best, record.front, record.state) == ([], None, [], "cut off")


def test_constraints_choose_the_best_and_are_shown(study_copy):
    """Of the trials that are done, the best of the others stands behind the one that meets the constraint."""
    free = read_record(study_copy)
    (study_copy / "result.json").unlink()
    done = [trial for trial in free.trials if trial.done]
    least = min(done, key=lambda trial: trial.metrics["multi/rank_distance"])
    bound = least.metrics["multi/rank_distance"] + 1e-6
    file = study_copy / "study.yaml"
    text = file.read_text(encoding="utf-8").replace(
        "constraints: []", f"constraints: ['multi/rank_distance <= {bound}']"
    )
    file.write_text(text, encoding="utf-8")
    record = read_record(study_copy)
    assert record.best.id == least.id
    assert words.constraints(record).startswith(
        f"{least.label[0].upper()}{least.label[1:]} meets search.constraints: multi/r"
    )
    assert "such that multi/rank_distance <= " in words.searched(record)
    shown = tables.all_trials(record)
    column = shown.columns.index("meets the constraints")
    marks = {record.trials[n].id: row[column] for n, row in enumerate(shown.rows)}
    assert {name for name, mark in marks.items() if mark == "yes"} == {least.id}
    assert {name for name, mark in marks.items() if mark is None} == {one.id for one in record.trials if not one.done}
    assert words.constraints(free) == ""
    assert "meets the constraints" not in tables.all_trials(free).columns


def test_charts_of_a_study_with_constraints_are_drawn(study_copy):
    """Optuna draws trials that miss a constraint apart, and adds lines without points for its legend."""
    record = read_record(study_copy)
    optuna_study = optuna.create_study(direction="maximize")
    for ratio in (0.1, 0.4, 0.8):
        optuna_study.add_trial(
            optuna.trial.create_trial(
                value=ratio,
                params={"mixing_ratio": ratio},
                distributions={"mixing_ratio": optuna.distributions.FloatDistribution(0, 1)},
                user_attrs={"arm": "tuned"},
                constraints={"0": ratio - 0.5},
            )
        )
    search = record.study.search.model_copy(update={"constraints": ["multi/rank_distance <= 5"]})
    study = record.study.model_copy(update={"search": search})
    record = dataclasses.replace(record, study=study, optuna_study=optuna_study)
    lines = search_charts.parallel(record).figure.data
    assert sorted(line.line.dash for line in lines) == ["dot", "solid", "solid"]
    assert search_charts.history(record).figure is not None
