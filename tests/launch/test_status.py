import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from hybridtune.config.study import dump_study, load_study
from hybridtune.errors import InputError
from hybridtune.launch.status import ray_address, status, status_table
from hybridtune.storage.screening_rows import SCREENING, Screening, write_screening
from hybridtune.storage.trial_rows import TrialRow, read_rows, read_running, write_running
from hybridtune.storage.writer_lock import WRITER
from hybridtune.study.folder import write_study
from hybridtune.study.one_writer import one_writer
from hybridtune.terminal.screen import Screen


@pytest.fixture
def folder(tmp_path, study_file):
    """A study folder in which no trial has begun."""
    place = tmp_path / "study"
    place.mkdir()
    study = load_study(study_file(search={"trials": 7, "arms": "none"}))
    write_study(study, place)
    return place


def row(number, score=None, status="done", arm="tuned", metric="balanced/AP"):
    metrics = {"step": 4, "best_step": 4, metric: score} if score is not None else {}
    return TrialRow(f"{number:04d}", number, arm, {"mix.mixing_ratio": 0.25}, metrics, status)


def write_ended(folder, rows):
    (folder / "trials.jsonl").write_text("".join(json.dumps(asdict(one)) + "\n" for one in rows))


ENDED = [row(0, 0.1, arm="mono-only"), row(1, 0.5, arm="half-half"), row(3, 0.9, "stopped early")]


def test_a_running_study_tells_its_trials_and_the_best_that_finished(folder):
    write_ended(folder, ENDED)
    write_running(folder, [*ENDED, row(2, 0.7, "running"), row(4, status="running")])
    told = status(folder)
    assert (told["state"], told["requested"], told["ended"], told["go_on"]) == ("running", 7, 3, None)
    assert told["counts"] == {"done": 2, "stopped early": 1, "running": 2}
    assert [trial["number"] for trial in told["trials"]] == [0, 1, 2, 3, 4]
    assert told["best"]["id"] == "0001"  # a score in the middle of a trial wins over none that finished


def test_before_a_trial_has_finished_the_best_score_so_far_counts(folder):
    write_running(folder, [row(0, 0.2, "running"), row(1, 0.4, "running"), row(2, 0.9, "failed")])
    assert status(folder)["best"]["id"] == "0001"


def test_the_best_meets_the_constraints_or_is_the_nearest(folder, study_file):
    search = {"trials": 7, "arms": "none", "constraints": ["mono/AP >= 0.5"]}
    (folder / "study.yaml").write_text(dump_study(load_study(study_file(search=search))))
    rows = [row(0, 0.9), row(1, 0.4), row(2, 0.3, "paused")]
    for one, mono in zip(rows, (0.45, 0.6, 0.7), strict=True):
        one.metrics["mono/AP"] = mono
    write_ended(folder, rows)
    told = status(folder)
    assert (told["best"]["id"], told["meets"], told["ended"]) == ("0001", {"0000": "no", "0001": "yes"}, 2)
    assert told["constraints"] == "trial 1 meets search.constraints: mono/AP 0.6000, asked >= 0.5000"
    write_ended(folder, rows[:1])
    assert status(folder)["constraints"].startswith("no trial meets search.constraints; trial 0 comes nearest: mono/AP")


def test_a_screening_that_runs_is_shown_and_counts_for_no_trial(folder, study_file, capsys):
    search = {"trials": 7, "arms": "none", "screening": {"layers": 1, "trials": 6, "keep": 2}}
    (folder / "study.yaml").write_text(dump_study(load_study(study_file(search=search))))
    place = folder / SCREENING
    place.mkdir()
    screened = [replace(row(n, 0.1 * n), id=f"screened-{n:04d}") for n in (0, 1)]
    write_ended(place, screened[:1])
    write_running(place, [screened[0], replace(screened[1], status="running")])
    told = status(folder)
    assert (told["state"], told["ended"], told["best"], told["trials"]) == ("running", 0, None, [])
    assert [one["status"] for one in told["screened"]] == ["done", "running"]
    status_table(told, Screen())
    line = "screening: 2 trainings with 1 layer so far (1 done, 1 running; 8 steps in 0 s)\n"
    assert line in capsys.readouterr().out
    write_ended(place, screened)
    (place / "running.json").unlink()
    assert status(folder)["state"] == "cut off"
    write_screening(folder, Screening(1, 2, {"tuned": {screened[1].id: screened[1].values}}))
    write_ended(folder, [row(0, 0.4)])
    told = status(folder)
    assert told["screening"].startswith("screening: 2 trainings with 1 of 2 layers (2 done;")
    assert (told["ended"], told["best"]["id"]) == (1, "0000")


def test_without_a_screening_there_is_no_line(folder):
    assert (status(folder)["screening"], status(folder)["screened"]) == ("", [])


def test_less_rank_distance_is_better(folder, study_file):
    study = load_study(study_file(search={"objective": ["multi/rank_distance"]}))
    (folder / "study.yaml").write_text(dump_study(study))
    write_ended(folder, [row(number, score, metric="multi/rank_distance") for number, score in enumerate((8, 5, 9))])
    assert status(folder)["best"]["id"] == "0001"


def cut_off(folder):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    told = json.loads((folder / "running.json").read_text()) | {"pid": gone.pid}
    (folder / "running.json").write_text(json.dumps(told))


def number_given_again(folder):
    told = json.loads((folder / "running.json").read_text()) | {"start_time": "1"}  # this process was not born then
    (folder / "running.json").write_text(json.dumps(told))


def no_file(folder):
    (folder / "running.json").unlink()


@pytest.mark.parametrize("end", [cut_off, number_given_again, no_file])
def test_a_study_that_was_cut_off_says_what_goes_on(folder, end):
    write_ended(folder, ENDED)
    write_running(folder, [*ENDED, row(2, 0.7, "running")])
    end(folder)
    told = status(folder)
    assert (told["state"], told["ended"]) == ("cut off", 3)
    assert told["go_on"] == f"hybridtune run {folder}/study.yaml --out {folder}"


def test_another_machines_process_cannot_be_seen(folder):
    told = {"pid": 1, "host": "elsewhere", "rows": [asdict(row(0, 0.2, "running"))]}
    (folder / "running.json").write_text(json.dumps(told))
    assert read_running(folder).alive is None
    assert status(folder)["state"] == "running elsewhere"


def test_between_two_phases_the_study_runs_while_its_lock_is_held(folder):
    write_ended(folder, ENDED)
    with one_writer(str(folder), print):
        assert status(folder)["state"] == "running"
    assert status(folder)["state"] == "cut off"


@pytest.mark.parametrize(("age", "state"), [(0, "running elsewhere"), (3600, "cut off")])
def test_a_run_of_another_machine_is_known_by_its_heartbeat(folder, age, state):
    write_ended(folder, ENDED)
    lock = folder / WRITER
    holder = {"key": "k", "pid": 1, "start_time": None, "host": "elsewhere", "system": "its", "since": 1.0}
    lock.write_text(json.dumps(holder))
    os.utime(lock, (lock.stat().st_mtime - age,) * 2)
    assert status(folder)["state"] == state


@pytest.mark.parametrize("named", ["127.0.0.1", "localhost"])
def test_the_address_in_a_folder_is_not_asked(folder, named):
    """A stranger's folder could name any machine, which would learn who looks into it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        (folder / "dashboard.txt").write_text(f"http://{named}:{server.getsockname()[1]}\n")
        assert (status(folder)["state"], ray_address(folder)) == ("cut off", None)
        with one_writer(str(folder), print):
            assert ray_address(folder) == (folder / "dashboard.txt").read_text().strip()
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("text", ["file:///etc/passwd", "http://a b", "http://x\x1b[2J", "javascript:alert(1)"])
def test_an_address_that_is_none_is_not_shown(folder, text):
    (folder / "dashboard.txt").write_text(text)
    with one_writer(str(folder), print):
        assert ray_address(folder) is None


def test_an_ended_study_is_what_its_result_says(folder, capsys):
    trials = [asdict(one) for one in ENDED]
    result = {"best": trials[1], "front": ["0000", "0001"], "trials": trials, "headline": "tuned [is] half-half"}
    (folder / "result.json").write_text(json.dumps(result))
    told = status(folder)
    assert (told["state"], told["best"], told["headline"]) == ("ended", trials[1], "tuned [is] half-half")
    assert (told["trials"], told["front"], told["go_on"]) == (trials, ["0000", "0001"], None)
    status_table(told, Screen(to_stderr=False))
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out[:4]] == ["trial", "mono-only", "half-half", "trial"]
    assert out[4:] == [
        "small: ended; 3 of 7 trials ended (2 done, 1 stopped early)",
        "best: half-half 1, balanced/AP 0.5000",
        "Pareto front: 0000, 0001",
        "tuned [is] half-half",
    ]


def test_the_soups_scored_so_far_are_counted_and_the_best_named(folder, capsys):
    write_ended(folder, ENDED)
    for number, score in enumerate((0.25, 0.625, 0.5)):
        home = folder / "soups" / f"{number:04d}"
        home.mkdir(parents=True)
        made_of = {"weights": {"mono-only": 3.0, "half-half": 1.0}, "models": {}, "checkpoints": {}, "benchmark": "d"}
        row = {"id": home.name, "proposed": "grid", **made_of}
        (home / "scores.json").write_text(json.dumps({"soup": row, "metrics": {"balanced/AP": score}}))
    told = status(folder)
    assert (len(told["soups"]), told["best_soup"]) == (3, "0001")
    status_table(told, Screen(to_stderr=False))
    line = "3 soups, without training: the best is 0.75 mono-only + 0.25 half-half, balanced/AP 0.6250"
    assert line in capsys.readouterr().out.splitlines()


def test_a_study_that_has_not_begun_a_trial(folder, capsys):
    told = status(folder)
    assert (told["best"], told["trials"], told["ended"]) == (None, [], 0)
    status_table(told, Screen(to_stderr=False))
    first, second = capsys.readouterr().out.splitlines()
    assert first == "small: cut off; 0 of 7 trials ended"
    assert second.startswith("to go on: hybridtune run ")


def test_a_single_training_is_no_search(folder):
    (folder / "result.json").write_text(json.dumps({"study": str(folder), "metrics": {}}))
    with pytest.raises(InputError, match="holds a single training"):
        status(folder)


def test_rows_come_back_as_they_were_written(folder):
    write_ended(folder, [ENDED[2], ENDED[0]])
    assert read_rows(folder) == [ENDED[0], ENDED[2]]  # by number, and not as they ended
    running = row(2, 0.7, "running")
    write_running(folder, [*ENDED, running])
    assert read_rows(folder, running=True) == [ENDED[0], running, ENDED[2]]
    found = read_running(folder)
    assert (found.pid, found.host, found.alive) == (os.getpid(), socket.gethostname(), True)
    assert found.rows == [*ENDED, running]
    assert sorted(path.name for path in folder.iterdir()) == [
        "environment.json",
        "running.json",
        "study.yaml",
        "trials.jsonl",
    ]


def test_a_status_imports_nothing_heavy(folder):
    write_ended(folder, ENDED)
    code = """
import sys
from hybridtune.cli.main import main
try:
    main()
except SystemExit as stop:
    assert not stop.code
print("heavy:", sorted({"torch", "ray", "transformers", "optuna", "numpy", "pyarrow"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "status", str(folder)], capture_output=True, text=True, check=True
    )
    assert "3 of 7 trials ended" in done.stdout
    assert done.stdout.endswith("heavy: []\n")
