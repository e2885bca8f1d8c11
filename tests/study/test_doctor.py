"""`hybridtune doctor` says what a machine has, and what to do where that is too little."""

import contextlib
import json
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from hybridtune.cli.main import cli
from hybridtune.study import doctor
from hybridtune.study.cache import SESSION
from hybridtune.study.doctor import examine

NAMES = ["packages", "cores", "memory", "shared memory", "disk, here", "disk, cache", "disk, Ray's files", "open files",
         "paths of sockets", "loopback", "proxies", "GPUs", "left behind"]  # fmt: skip


def found(name):
    """The finding of this name, of a machine that is only looked at."""
    return next(finding for finding in examine(train=False) if finding.name == name)


@contextlib.contextmanager
def sleeper(log):
    """A process that has a file open, and does nothing."""
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=file)
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


def test_every_part_is_looked_at_and_nothing_is_started():
    assert [finding.name for finding in examine(train=False)] == NAMES


@pytest.mark.parametrize(
    ("versions", "told"),
    [
        ({"optuna": "4.0.0"}, "optuna is 4.0.0, >=5.0 is needed"),
        ({"rensa": PackageNotFoundError}, "rensa is missing"),
        ({"ray": "2.64.0"}, "ray is 2.64.0, <2.64,>=2.60 is needed"),
    ],
)
def test_a_package_that_does_not_fit_is_named(monkeypatch, versions, told):
    real = doctor.version

    def version(name):
        answer = versions.get(name, real(name))
        if answer is PackageNotFoundError:
            raise PackageNotFoundError(name)
        return answer

    monkeypatch.setattr(doctor, "version", version)
    finding = found("packages")
    assert (finding.state, finding.found) == ("bad", told)
    assert finding.advice == "install hybridtune again, with its constraints.txt"


@pytest.mark.parametrize(("free", "state"), [(1e9, "bad"), (4e9, "note"), (8e9, "ok")])
def test_memory_and_disks_are_bad_scarce_or_enough(monkeypatch, free, state):
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: SimpleNamespace(available=free, total=16e9))
    monkeypatch.setattr(doctor, "memory_left", lambda: None)
    finding = found("memory")
    assert (finding.state, finding.found) == (state, f"{free / 1e9:.1f} GB free of 16.0 GB")
    assert bool(finding.advice) == (state != "ok")


@pytest.mark.parametrize(("free", "state"), [(0.5e9, "bad"), (5e9, "note"), (50e9, "ok")])
def test_a_disk_that_is_full_is_told_for_each_place(monkeypatch, free, state):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: SimpleNamespace(free=free))
    assert {found(name).state for name in NAMES if name.startswith("disk")} == {state}
    assert found("shared memory").state == ("note" if free < 1e9 else "ok")


def test_one_core_is_noted(monkeypatch):
    monkeypatch.setattr(doctor, "cores", lambda: 1)
    monkeypatch.setattr(doctor, "cpu_quota", lambda: 1.5)
    finding = found("cores")
    assert finding.state == "note"
    assert finding.found.endswith("usable, a quota of 1.5 CPUs")


def test_few_open_files_are_told(monkeypatch):
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda which: (256, resource.RLIM_INFINITY))
    assert (found("open files").state, found("open files").found) == ("bad", "256 at once")


def test_a_long_folder_of_temporary_files_has_no_room_for_sockets(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{'a' * 60}")
    finding = found("paths of sockets")
    assert finding.state == "bad"
    assert "are allowed" in finding.found


def test_proxies_are_named(monkeypatch):
    for name in (*doctor._PROXIES, *map(str.upper, doctor._PROXIES)):
        monkeypatch.delenv(name, raising=False)
    assert found("proxies").state == "ok"
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert found("proxies").found.startswith("HTTPS_PROXY set: ")


def test_what_a_killed_run_left_is_noted(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "list_cache", lambda: [])
    assert found("left behind").state == "ok"
    left = SimpleNamespace(kind=SESSION, path=tmp_path, unread="its run has ended", busy=False, size=2_000_000_000)
    busy = SimpleNamespace(kind=SESSION, path=tmp_path, unread="half written", busy=True, size=1)
    monkeypatch.setattr(doctor, "list_cache", lambda: [left, busy, left])
    finding = found("left behind")
    assert finding.found == "2 folders of earlier runs that nothing reads any more, 4.0 GB"
    assert finding.advice == "hybridtune cache prune removes them"
    with sleeper(tmp_path / "a.log"):
        monkeypatch.setattr(doctor, "list_cache", lambda: [left])
        assert found("left behind").found.endswith("nothing reads any more, 2.0 GB; 1 process of a run that was killed")


LEFT = {
    "3.0 GB free of 4.0 GB, the limit of this process's control group": (3e9, 4e9),
    "8.0 GB free of 16.0 GB": (9e9, 12e9),
    "8.0 GB free of 16.0 GB ": None,
}


@pytest.mark.parametrize(("told", "left"), LEFT.items())
def test_memory_is_what_the_machine_and_its_control_groups_leave(monkeypatch, told, left):
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: SimpleNamespace(available=8e9, total=16e9))
    monkeypatch.setattr(doctor, "memory_left", lambda: left)
    assert found("memory").found == told.strip()


def test_the_command_answers_in_json_and_by_its_exit_code(monkeypatch):
    good = CliRunner().invoke(cli, ["doctor", "--dry-run", "--json"])
    answer = json.loads(good.stdout)
    assert [finding["name"] for finding in answer["findings"]] == NAMES
    assert good.exit_code == (1 if answer["bad"] else 0)
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: SimpleNamespace(available=0, total=16e9))
    monkeypatch.setattr(doctor, "memory_left", lambda: None)
    bad = CliRunner().invoke(cli, ["doctor", "--dry-run"])
    assert bad.exit_code == 1
    assert "bad  memory             0.0 GB free of 16.0 GB" in bad.stdout
    assert "-> end other programs" in bad.stdout


def test_a_training_that_fails_is_a_finding(monkeypatch):
    def fails(study, out):
        raise OSError("no room for Ray")

    monkeypatch.setattr("hybridtune.study.run.train_study", fails)
    *_, finding = examine()
    assert (finding.name, finding.state, finding.found) == ("training", "bad", "no room for Ray")
    assert "ray.log" in finding.advice
