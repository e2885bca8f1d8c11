"""A study on shared storage: what is copied when, and that a lost machine costs nothing that was copied."""

import json
import os
import re
import socket
import sqlite3
import threading
from contextlib import closing

import pytest
from object_store import KEYS, s3_server, use_memory_store

from hybridtune.config.study import Study
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.storage import writer_lock
from hybridtune.storage.files import download, exists, join, list_files, read_file, write_file
from hybridtune.study.home_files import STAMP, is_synced
from hybridtune.study.sync import Home, StudySync, fetch_scores, fetch_study, home_folder, study_home

OUT = "memory://bucket/my study?region=none".replace(" ", "%20")


@pytest.fixture
def memory(monkeypatch, tmp_path):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path / "machine 1"))
    monkeypatch.setattr(writer_lock, "SETTLE_SECONDS", 0.0)
    return use_memory_store(monkeypatch)


@pytest.fixture
def other_machine(monkeypatch, tmp_path):
    return lambda number=2: monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path / f"machine {number}"))


def study_of(name="small", **parts):
    tree = {"name": name, "data": {"train": "newsroom:train"}, "benchmarks": {"dev": {"path": "newsroom:dev"}}}
    return Study.model_validate(tree | parts)


def nothing(line):
    pass


def refused(match, out=OUT, **parts):
    with pytest.raises(InputError, match=match), study_home(study_of(**parts), out, nothing):
        pass


def record_trial(folder, number):
    """What a search writes when a trial has ended: the database knows it first."""
    with closing(sqlite3.connect(folder / "optuna.db")) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS trials (number INTEGER, text TEXT)")
        database.execute("INSERT INTO trials VALUES (?, ?)", (number, "x" * 500))
    with (folder / "trials.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"id": f"{number:04d}"}) + "\n")


def run_and_lose_the_network(memory, on_message=nothing, error=False):
    with study_home(study_of(), OUT, on_message) as home:
        record_trial(home.folder, 0)
        memory.fail_after = 0
        if error:
            raise ZeroDivisionError


def trials_of(folder):
    """(in the database, in trials.jsonl) of a copy, which must be whole."""
    known = 0
    if (folder / "optuna.db").exists():
        with closing(sqlite3.connect(folder / "optuna.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            if database.execute("SELECT * FROM sqlite_master").fetchall():  # the table has been made
                known = database.execute("SELECT count(*) FROM trials").fetchone()[0]
    return known, len((read_file(join(str(folder), "trials.jsonl")) or b"").splitlines())


def test_a_local_out_is_the_folder_itself(tmp_path, memory):
    for out in (str(tmp_path / "one"), f"file://{tmp_path}/two"):
        with study_home(study_of(), out, nothing) as home:
            assert home == Home(tmp_path / out.rpartition("/")[2], str(tmp_path / out.rpartition("/")[2]))
            assert (home.folder / "study.yaml").exists()
    assert not memory.objects


def test_what_a_study_writes_is_at_its_location_when_it_ends_and_on_the_next_machine(tmp_path, memory, other_machine):
    with study_home(study_of(), OUT, nothing) as home:
        assert exists(join(OUT, "study.yaml"))
        assert home.folder == home_folder(OUT)
        record_trial(home.folder, 0)
        write_file(join(str(home.folder), "trials", "0000", "metrics.jsonl"), b"{}\n")
        (home.folder / "dashboard.txt").write_text("http://127.0.0.1:1")
        (home.folder / "result.json.new").write_text("{")
    write_file(join(OUT, "trials", "0000", "fit", "checkpoint_0000004", "state.json"), b"{}")  # by a node
    assert read_file(join(OUT, "trials", "0000", "metrics.jsonl")) == b"{}\n"
    other_machine()
    with study_home(study_of(), OUT, nothing) as home:
        assert "machine 2" in str(home.folder)
        assert trials_of(home.folder) == (1, 1)
        names = sorted(path.name for path in home.folder.rglob("*") if path.is_file())
        hidden = [".mirror.json", ".writer.lock"]
        assert names == [*hidden, "environment.json", "metrics.jsonl", "optuna.db", "study.yaml", "trials.jsonl"]
        record_trial(home.folder, 1)
    fetch_study(OUT, tmp_path / "mine")
    assert trials_of(tmp_path / "mine") == (2, 2)
    assert (tmp_path / "mine" / "trials" / "0000" / "fit" / "checkpoint_0000004" / "state.json").exists()


def test_a_change_of_the_trials_is_copied_while_the_study_runs(memory):
    arrived = threading.Event()
    opening = memory.open_output_stream

    def watched(path, metadata):
        if path.endswith("trials.jsonl"):
            arrived.set()
        return opening(path, metadata)

    memory.open_output_stream = watched
    with study_home(study_of(), OUT, nothing) as home:
        record_trial(home.folder, 0)
        assert arrived.wait(60)


def test_only_what_changed_is_sent_and_what_went_goes(memory):
    with study_home(study_of(), OUT, nothing) as home:
        (home.folder / "running.json").write_text("{}")
        write_file(join(str(home.folder), "best", "model.safetensors"), b"weights")
    write_file(join(OUT, "store", "x", "tokens.npy"), b"tokens")
    write_file(join(OUT, "trials", "0000", "fit", "checkpoint_0000004", "state.json"), b"{}")
    assert exists(join(OUT, "running.json"))
    with study_home(study_of(), OUT, nothing) as home:
        (home.folder / "running.json").unlink()
    names = list_files(OUT)
    assert "running.json" not in names
    assert {"store/x/tokens.npy", "trials/0000/fit/checkpoint_0000004/state.json", STAMP} <= set(names)
    with study_home(study_of(), OUT, nothing):
        times = dict(memory.times)
    assert not {key for key in times if times[key] != memory.times[key]}


def test_a_machine_that_comes_back_keeps_what_was_not_copied(memory):
    with pytest.raises(HybridtuneError, match="could not be copied"):
        run_and_lose_the_network(memory)
    memory.fail_after = None
    with study_home(study_of(), OUT, nothing) as home:
        assert trials_of(home.folder) == (1, 1)
    assert exists(join(OUT, "trials.jsonl"))


def test_a_machine_that_comes_back_late_takes_what_others_did(memory, other_machine):
    with study_home(study_of(), OUT, nothing) as home:
        record_trial(home.folder, 0)
    other_machine()
    with study_home(study_of(), OUT, nothing) as home:
        record_trial(home.folder, 1)
    other_machine(1)
    with study_home(study_of(), OUT, nothing) as home:
        assert trials_of(home.folder) == (2, 2)


def test_a_run_that_another_has_taken_over_from_copies_no_more(memory, other_machine, monkeypatch):
    def two_runs():
        with study_home(study_of(), OUT, nothing) as first:
            record_trial(first.folder, 0)
            other_machine()
            monkeypatch.setattr(writer_lock, "_system", lambda: "another host")
            monkeypatch.setattr(writer_lock, "STALE_SECONDS", -1.0)  # the first was not heard of for long
            with study_home(study_of(), OUT, nothing) as second:
                (second.folder / "result.json").write_text("of the second")
            (first.folder / "result.json").write_text("of the first")

    with pytest.raises(HybridtuneError, match="another run of this study has taken over"):
        two_runs()
    assert read_file(join(OUT, "result.json")) == b"of the second"


def test_a_copy_cut_off_anywhere_is_one_to_go_on_from(tmp_path, memory, other_machine):
    cut, machine = 0, 2
    while True:
        memory.objects.clear()
        memory.fail_after, memory.changes = None, 0
        other_machine(machine)
        with study_home(study_of(), OUT, nothing) as home:
            record_trial(home.folder, 0)
        try:
            with study_home(study_of(), OUT, nothing) as home:
                for number in (1, 2):
                    record_trial(home.folder, number)
                (home.folder / "result.json").write_text("{}")
                memory.fail_after, memory.changes = cut, 0
            break
        except HybridtuneError:
            memory.fail_after = None
        download(OUT, tmp_path / str(machine))
        known, ended = trials_of(tmp_path / str(machine))
        assert 3 >= known >= ended >= 1
        assert known == ended == 3 or not (tmp_path / str(machine) / "result.json").exists()
        machine, cut = machine + 1, cut + 1
    assert cut >= 4


def test_a_database_that_is_written_to_is_copied_whole_and_has_all_ended_trials(tmp_path, memory):
    over = threading.Event()

    def search(folder):
        number = 0
        while not over.is_set():
            record_trial(folder, number)
            number += 1

    home = tmp_path / "home"
    sync = StudySync(home, OUT, nothing)
    thread = threading.Thread(target=search, args=[home])
    thread.start()
    try:
        for copy in range(8):
            sync.copy()
            if exists(OUT):
                download(OUT, tmp_path / str(copy))
                known, ended = trials_of(tmp_path / str(copy))
                assert known >= ended
    finally:
        over.set()
        thread.join()
    sync.copy()
    download(OUT, tmp_path / "last")
    known, ended = trials_of(tmp_path / "last")
    assert known == ended > 0


def test_storage_that_cannot_be_reached_is_reported_once_and_ends_nothing(memory, monkeypatch):
    monkeypatch.setattr("hybridtune.study.sync.LOOK_SECONDS", 0.001)
    monkeypatch.setattr("hybridtune.study.sync.EVERY_SECONDS", 0.0)
    messages, failed = [], threading.Semaphore(0)
    changing = memory._change

    def counted():
        try:
            changing()
        except OSError:
            failed.release()
            raise

    memory._change = counted
    with study_home(study_of(), OUT, messages.append) as home:
        memory.fail_after = 0
        record_trial(home.folder, 0)
        for _ in range(3):
            assert failed.acquire(timeout=60)
        memory.fail_after = None
    assert len([line for line in messages if "cannot be written now (it cannot be reached" in line]) == 1
    assert exists(join(OUT, "trials.jsonl"))


def test_the_error_of_the_study_comes_before_that_of_its_storage(memory):
    messages = []
    with pytest.raises(ZeroDivisionError):
        run_and_lose_the_network(memory, messages.append, error=True)
    assert len([line for line in messages if f"they are in {home_folder(OUT)};" in line]) == 1


def test_a_study_goes_on_with_other_resources_and_another_budget_and_is_no_other_study(memory):
    with study_home(study_of(), OUT, nothing) as home:
        (home.folder / "result.json").write_text("{}")
    more = study_of(resources={"workers": 2})
    with study_home(more, OUT, nothing) as home:
        assert (home.folder / "result.json").exists()
        assert "workers: 2" in (home.folder / "study.yaml").read_text()
    with study_home(study_of(search={"time_budget": "1h"}), OUT, nothing) as home:
        assert not (home.folder / "result.json").exists()
    before = dict(memory.objects)
    refused(r"^--out memory://bucket/my%20study.*: holds another study", seed=1)
    assert memory.objects == before


@pytest.mark.parametrize("space", [{}, {"gather_negatives": {"choice": [True, False]}}])
def test_the_number_of_workers_is_part_of_a_study_whose_workers_have_negatives_of_their_own(memory, space):
    searched = {"search": {"space": space}} if space else {}
    sections = {"train": {"batch_size": 12, "gather_negatives": bool(space)}, **searched}
    with study_home(study_of(**sections, resources={"workers": 2}), OUT, nothing):
        pass
    with study_home(study_of(**sections, resources={"workers": 2, "cpus_per_worker": 3}), OUT, nothing):
        pass
    refused("holds another study", **sections, resources={"workers": 3})


def test_what_is_no_study_is_left_alone(memory):
    write_file("memory://bucket/mine/notes.txt", b"mine")
    refused("not empty and holds no study", "memory://bucket/mine")
    assert list(memory.objects) == ["bucket/mine/notes.txt"]


def test_one_run_at_a_time_on_a_machine(memory):
    with study_home(study_of(), OUT, nothing):
        refused(rf"^--out {re.escape(OUT)}: is in use by process {os.getpid()} on {socket.gethostname()}, since 20")


def test_fetching_again_brings_changes_and_removes_temporary_files(tmp_path, memory):
    with study_home(study_of(), OUT, nothing) as home:
        (home.folder / "running.json").write_text("{}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "launch.json").write_text("{}")
    fetch_study(OUT, tmp_path / "mine")
    assert (tmp_path / "mine" / "running.json").exists()
    with study_home(study_of(), OUT, nothing) as home:
        (home.folder / "running.json").unlink()
        record_trial(home.folder, 0)
    fetch_study(OUT, tmp_path / "mine")
    names = {path.name for path in (tmp_path / "mine").iterdir()}
    assert names == {"launch.json", "study.yaml", "environment.json", "optuna.db", "trials.jsonl"}
    with pytest.raises(InputError, match="holds no study"):
        fetch_study("memory://bucket/none", tmp_path / "none")
    with study_home(study_of(seed=1), "memory://bucket/other", nothing):
        pass
    with pytest.raises(InputError, match="holds another study"):
        fetch_study("memory://bucket/other", tmp_path / "mine")


@pytest.mark.parametrize("whole", [True, False])
def test_weights_are_fetched_when_asked_for_and_scores_always(tmp_path, memory, whole):
    with study_home(study_of(), OUT, nothing) as home:
        checkpoint = join(OUT, "trials", "0000", "fit", "checkpoint_0000004")
        for name in ("model.safetensors", "state.json", "scores.json"):
            write_file(join(checkpoint, name), b"{}")
        write_file(join(OUT, "store", "x", "tokens.npy"), b"tokens")
        fetch_scores(home.location, home.folder)
        here = home.folder / "trials" / "0000" / "fit" / "checkpoint_0000004"
        assert sorted(path.name for path in here.iterdir()) == ["scores.json", "state.json"]
    fetch_study(OUT, tmp_path / "mine", checkpoints=whole)
    here = tmp_path / "mine" / "trials" / "0000" / "fit" / "checkpoint_0000004"
    assert (here / "model.safetensors").exists() == whole
    assert (here / "scores.json").exists()
    assert not (tmp_path / "mine" / "store").exists()


def test_on_an_s3_server(tmp_path, memory, other_machine):
    with s3_server() as url:
        with study_home(study_of(), url("studies/one"), nothing) as home:
            record_trial(home.folder, 0)
        other_machine()
        with study_home(study_of(), url("studies/one"), nothing) as home:
            assert trials_of(home.folder) == (1, 1)
            record_trial(home.folder, 1)
        fetch_study(url("studies/one"), tmp_path / "mine")
        assert trials_of(tmp_path / "mine") == (2, 2)
        refused("there is no such bucket", url("x", bucket="nobody"))


@pytest.mark.parametrize(
    ("name", "synced"),
    {
        "study.yaml": True,
        "optuna.db": True,
        "optuna.db-journal": False,
        "optuna.log.lock": False,
        "ray.log": True,
        "dashboard.txt": False,
        "dashboard.token": False,
        "best/model.safetensors": True,
        "encoder/config.json": True,
        "encoders/0123/config.json": False,
        "teachers/0123/vectors.npy": False,
        "store/0123/tokens.npy": False,
        "trials/0001/plan.json": True,
        "trials/0001/fit/checkpoint_0000004/state.json": False,
        "fit/checkpoint_0000004/model.safetensors": False,
        "repeats/trials/b-1/fit/checkpoint_0000004/state.json": False,
        "repeats/trials.jsonl": True,
        "screening/trials.jsonl": True,
        "screening.json": True,
        "screening/.encoder/model.safetensors": False,
        "screening/trials/screened-0003/fit/checkpoint_0000004/state.json": False,
        "trials/.workers-0a/x": False,
        "trials/0001/events.out.tfevents.1": True,
    }.items(),
)
def test_what_is_synced(name, synced):
    assert is_synced(name) == synced
