"""A RayJob that KubeRay starts again, from the command line; and its driver, which ends it for wrong input."""

import json
import re
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from launch_world import CLUSTERS, fails
from stand_ins import FAILED_ONCE, answers

from hybridtune.cli import driver
from hybridtune.cli.main import cli
from hybridtune.errors import InputError, InUseError
from hybridtune.launch import jobs
from hybridtune.launch.kuberay import DRIVER, REFUSED
from hybridtune.launch.record import Launch, write_launch
from hybridtune.storage.writer_lock import STALE_SECONDS

RETRYING = {"jobStatus": "FAILED", "jobDeploymentStatus": "Retrying", "jobId": "one"}


@pytest.fixture
def launched(kubectl, tmp_path, monkeypatch):
    """The folder of a RayJob that was launched, and its file."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    file, folder = tmp_path / "rayjob.yaml", tmp_path / "study"
    file.write_text(re.sub(r"YOUR_\w+", "x", (CLUSTERS / "kuberay-rayjob.yaml").read_text()))
    folder.mkdir()
    write_launch(Launch("rayjob", "small", str(folder), "a", str(file)), folder)
    return folder, file


def asked(kubectl):
    return [call[0] for call, _ in kubectl.calls]


def test_down_waits_for_the_end_of_a_job_that_is_started_again(kubectl, launched):
    folder, _ = launched
    kubectl.answer(FAILED_ONCE)
    done = CliRunner().invoke(cli, ["attach", str(folder), "--down", "--json"])
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["status"] == "SUCCEEDED"
    assert asked(kubectl).count("delete") == 1
    assert asked(kubectl)[-1] == "delete"
    assert "KubeRay starts it again" in done.stderr


def test_a_job_that_is_started_again_is_not_launched_a_second_time(kubectl, launched, study_file):
    folder, file = launched
    kubectl.answer(answers(RETRYING))
    command = ["launch", str(file), str(study_file(search={"trials": 1})), "--out", "s3://bucket/x"]
    fails(CliRunner().invoke(cli, [*command, "--fetch-to", str(folder), "--yes"]), InputError, "its job a still runs")
    assert "create" not in asked(kubectl)


def test_status_says_that_a_job_is_started_again(kubectl, launched):
    kubectl.answer(answers(RETRYING))
    told = CliRunner().invoke(cli, ["status", str(launched[0]), "--json"])
    assert json.loads(told.stdout)["job"]["status"] == "RETRYING"


def test_wrong_input_on_the_pods_is_wrong_input_here(kubectl, launched):
    log = f"hybridtune: no such corpus\n{REFUSED}\n"
    kubectl.answer(answers({"jobStatus": "STOPPED", "jobDeploymentStatus": "Complete", "jobId": "one"}, log))
    fails(CliRunner().invoke(cli, ["attach", str(launched[0])]), InputError, "on the cluster: no such corpus")


class Job:
    """The job API as a driver asks it: its own job, which ends once it is asked to stop."""

    def __init__(self):
        self.stopped = []

    def get_job_info(self, name):
        status = "STOPPED" if self.stopped else "RUNNING"
        return SimpleNamespace(status=SimpleNamespace(value=status), message="", driver_exit_code=None)

    def stop_job(self, name):
        self.stopped.append(name)


def drive(monkeypatch, *arguments):
    """The exit code of a driver, and the jobs that it stopped."""
    job = Job()
    monkeypatch.setattr(jobs, "connect", lambda address: job)
    monkeypatch.setattr(sys, "argv", ["hybridtune", *arguments])
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"metadata": {"job_submission_id": "a-id"}}))
    with pytest.raises(SystemExit) as end:
        driver.drive()
    return end.value.code, job.stopped


def test_wrong_input_stops_the_job_that_kuberay_would_start_again(monkeypatch, capsys, tmp_path):
    assert drive(monkeypatch, "run", str(tmp_path / "none.yaml")) == (2, ["a-id"])
    assert capsys.readouterr().err.splitlines()[-1] == REFUSED


def held_by_another(monkeypatch, waited):
    """What a driver does whose place is in use: the exit code, the jobs it stopped, the command it became."""
    became = []

    def refused():
        try:
            raise InUseError("--out x: is in use by process 1 on another")
        except InUseError:
            sys.exit(2)

    def become(program, command):
        became.append(command)
        raise KeyboardInterrupt  # a process that is another one does not go on here

    monkeypatch.setattr(driver, "main", refused)
    monkeypatch.setattr(driver.time, "sleep", waited.append)
    monkeypatch.setattr(driver.os, "execv", become)
    code, stopped = drive(monkeypatch, "run", "study.yaml")
    return code, stopped, became


def test_a_place_that_a_lost_driver_holds_is_waited_for_once(monkeypatch):
    monkeypatch.setenv("HYBRIDTUNE_DRIVER_WAITED", "")  # and goes after the test
    monkeypatch.delenv("HYBRIDTUNE_DRIVER_WAITED")
    waited = []
    again = [sys.executable, "-P", "-m", DRIVER, "run", "study.yaml"]
    assert held_by_another(monkeypatch, waited) == (2, [], [again])
    assert waited == [STALE_SECONDS]
    assert held_by_another(monkeypatch, waited) == (2, ["a-id"], [])  # somebody does write there
    assert waited == [STALE_SECONDS]


def test_a_driver_that_fails_otherwise_leaves_its_job_to_kuberay(monkeypatch):
    def fail():
        sys.exit(1)

    monkeypatch.setattr(driver, "main", fail)
    assert drive(monkeypatch) == (1, [])


def test_a_job_that_cannot_be_stopped_fails_with_the_code_of_wrong_input(monkeypatch, tmp_path):
    monkeypatch.setattr(Job, "stop_job", lambda self, name: (_ for _ in ()).throw(RuntimeError("no answer")))
    assert drive(monkeypatch, "run", str(tmp_path / "none.yaml")) == (2, [])


def test_a_driver_that_is_no_job_ends_as_the_command_does(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["hybridtune", "run", str(tmp_path / "none.yaml")])
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    with pytest.raises(SystemExit) as end:
        driver.drive()
    assert end.value.code == 2


def test_the_job_runs_the_driver(launched, study_file):
    command = ["launch", str(launched[1]), str(study_file(search={"trials": 1})), "--out", "s3://bucket/x", "--dry-run"]
    printed = CliRunner().invoke(cli, command).stdout
    assert "python -P -m hybridtune.cli.driver run /hybridtune/study/study.yaml" in printed
    assert driver.__name__ == DRIVER
