"""`hybridtune launch` from the command line, on programs that stand in for Ray's launcher and for a head's job API."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import requests
import yaml
from click.testing import CliRunner
from launch_world import HEADLINE, SERVER, fails, write_results

from hybridtune.cli.main import cli
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.launch import jobs, launcher
from hybridtune.launch.record import find_launch
from hybridtune.runtime.loopback import wait_for_dashboard
from hybridtune.storage.writer_lock import LAUNCH, WRITER
from hybridtune.study.one_writer import one_writer

pytestmark = pytest.mark.slow


def test_a_study_is_sent_followed_fetched_and_the_cluster_taken_down(world, launch, study_file, cluster):
    world.job(log="one\ntwo\n")
    write_results(world.place, study_file)
    result = launch("--down", "--json")
    assert result.exit_code == 0, result.exception
    assert [call for call in world.calls if call != "dashboard"] == ["get-head-ip", "up", "down"]
    assert "one\ntwo\n" in result.stderr
    told = json.loads(result.stdout)
    assert (told["status"], told["result"]["headline"]) == ("SUCCEEDED", HEADLINE)
    assert json.loads(Path("here/result.json").read_text())["headline"] == HEADLINE
    (job,) = world.submitted
    assert job["submission_id"] == told["job"]
    assert job["entrypoint"] == f"python -P -m hybridtune run study.yaml --address auto --out {world.place}"
    assert job["metadata"] == {"study": "small", "out": str(world.place)}
    sent = world.uploaded(job["runtime_env"]["working_dir"])
    assert sent.keys() == {"study.yaml", "data/train.jsonl"}
    assert yaml.safe_load(sent["study.yaml"])["data"]["train"][0]["path"] == "data/train.jsonl"
    (module,) = job["runtime_env"]["py_modules"]
    assert "hybridtune/__main__.py" in world.uploaded(module)
    launched = find_launch(Path("here"))
    assert (launched.kind, launched.job, launched.out) == ("launcher", told["job"], str(world.place))
    assert launched.cluster == str(cluster)


RAYS = [
    "2026-11-29 12:00:00,000 INFO client_builder.py:262 -- Passing the following kwargs to ray.init()\n",
    "SIGTERM handler is not set because current thread is not the main thread.\n",
]


@pytest.mark.parametrize(("before", "after", "json_too"), [([], [], False), (RAYS, RAYS, False), (RAYS, [], True)])
def test_lines_of_rays_do_not_keep_a_user_from_the_tables(world, launch, study_file, before, after, json_too):
    broken = HEADLINE.replace("mix that", "mix\nthat")  # as a console of 80 columns may have it
    world.job(log="".join([*before, "the table of trials\n", f"{broken}\n", *after]))
    write_results(world.place, study_file)
    result = launch(*["--json"] * json_too)
    assert result.exit_code == 0, result.exception
    shown = result.stderr if json_too else result.stdout
    assert shown.count("the table of trials\n") == 1
    assert "trials requested" not in shown  # it is not there twice
    assert f"study small is complete; its results are in {Path('here').absolute()}" in shown
    if json_too:
        assert json.loads(result.stdout)["result"]["headline"] == HEADLINE


@pytest.mark.parametrize("log", ["", "the table of tri", "".join(RAYS)])
def test_tables_that_a_job_did_not_get_through_are_shown_from_its_results(world, launch, study_file, log):
    world.job(log=log)
    write_results(world.place, study_file)
    result = launch()
    assert result.exit_code == 0, result.exception
    for line in ("trials requested: 1 done", "best: trial 0 (mixing_ratio 0.25)", HEADLINE):
        assert line in result.output


@pytest.mark.parametrize(("code", "kind"), [(1, HybridtuneError), (2, InputError)])
def test_a_job_that_fails_says_why_is_fetched_and_does_not_keep_the_cluster(world, launch, study_file, code, kind):
    world.job(status="FAILED", code=code, message="...\nhybridtune: the loss became NaN\n")
    write_results(world.place, study_file)
    result = launch("--down")
    fails(result, kind, "the loss became NaN")
    assert isinstance(result.exception, InputError) == (code == 2)
    assert Path("here/study.yaml").exists()
    assert world.calls[-1] == "down"


@pytest.mark.parametrize("name", [WRITER, LAUNCH])
def test_a_place_that_another_writes_to_is_refused_before_a_cluster_is_started(world, launch, name):
    world.place.mkdir(parents=True)
    with one_writer(str(world.place), print, name=name):
        fails(launch(), InputError, f"--out {world.place}: is in use by process {os.getpid()} on")
    assert world.calls == []


def test_a_folder_that_another_launch_uses_is_refused(world, launch):
    Path("here").mkdir()
    with one_writer(str(Path("here").absolute()), print, name=LAUNCH):
        fails(launch(), InputError, "here: is in use by process")
    assert world.calls == []


def test_without_down_a_failure_tells_what_may_still_run(world, launch):
    world.job(status="FAILED", code=1, message="boom")
    result = launch()
    fails(result, HybridtuneError, "boom")
    assert "the cluster may still run: hybridtune down" in result.output
    assert "down" not in world.calls


@pytest.mark.parametrize("down", [True, False])
def test_a_cluster_that_does_not_come_up_is_taken_down_if_that_is_wished(world, launch, down):
    world.ray(fails=["up"])
    fails(launch(*["--down"] * down), HybridtuneError, "out of quota")
    assert world.calls == ["get-head-ip", "up", *["down"] * down]
    assert find_launch(Path("here")) is not None  # so that `hybridtune down here` knows what to end
    assert world.submitted == []


def test_what_cannot_be_taken_down_is_said_beside_what_went_wrong_first(world, launch):
    world.ray(fails=["up", "down"])
    result = launch("--down")
    fails(result, HybridtuneError, "ray up failed")
    assert "machines may be left that cost money" in result.output


def test_a_cluster_that_is_up_is_not_started_anew(world, launch, study_file):
    world.ray(up=True)
    write_results(world.place, study_file)
    result = launch()
    assert result.exit_code == 0, result.exception
    assert "up" not in world.calls
    assert "used as it is" in result.output


def test_detached_the_study_is_watched_stopped_and_fetched_later(world, launch, study_file):
    world.job(status="RUNNING")
    result = launch("--detach")
    assert result.exit_code == 0, result.exception
    assert "hybridtune attach" in result.output
    again = launch()
    fails(again, InputError, "still runs", "hybridtune attach")
    assert len(world.submitted) == 1
    early = CliRunner().invoke(cli, ["status", "here", "--json"])
    assert json.loads(early.stdout)["job"]["status"] == "RUNNING"
    assert "has not begun to write" in CliRunner().invoke(cli, ["status", "here"]).output
    write_results(world.place, study_file)
    (world.place / "result.json").unlink()
    now = json.loads(CliRunner().invoke(cli, ["status", "here", "--json"]).stdout)
    assert (now["state"], now["ended"], now["job"]["status"]) == ("running", 0, "RUNNING")
    stopped = CliRunner().invoke(cli, ["stop", "here", "--json"])
    assert json.loads(stopped.stdout)["status"] == "STOPPED"
    assert [asked[0] for asked in world.read("asked.jsonl")].count("stop") == 1
    now = json.loads(CliRunner().invoke(cli, ["status", "here", "--json"]).stdout)
    assert (now["state"], now["go_on"]) == ("cut off", "hybridtune launch CLUSTER STUDY --fetch-to here")
    world.job(status="SUCCEEDED")
    attached = CliRunner().invoke(cli, ["attach", "here", "--down"])
    assert attached.exit_code == 0, attached.exception
    assert world.calls[-1] == "down"


def test_launched_again_the_study_goes_on_at_the_same_place(world, launch, study_file):
    write_results(world.place, study_file)
    assert launch().exit_code == 0
    assert launch(out=None).exit_code == 0
    first, second = world.submitted
    assert first["entrypoint"] == second["entrypoint"]
    assert first["runtime_env"]["working_dir"] == second["runtime_env"]["working_dir"]


def test_ctrl_c_leaves_the_study_running(world, launch, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "follow", interrupted)
    result = launch("--down")
    assert result.exit_code == 130
    for word in ("hybridtune attach", "hybridtune stop", "hybridtune down", "--down is not done"):
        assert word in result.output
    assert "down" not in world.calls


def test_a_cluster_file_alone_is_enough_to_take_it_down(world, cluster):
    Path("constraints.txt").unlink()  # whatever else is wrong: machines cost money
    assert CliRunner().invoke(cli, ["down", str(cluster)]).exit_code == 0
    assert world.calls == ["down"]


@pytest.fixture
def dashboard(world):
    """The job API of a cluster of others."""
    import subprocess

    [port] = launcher.free_ports(1)
    process = subprocess.Popen([sys.executable, str(SERVER), str(port), str(world.folder)])
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for_dashboard(process, url, world.folder / "log", 60.0, "no answer")
        yield url
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait()


@pytest.fixture
def dead_proxy(monkeypatch):
    """Every variable of a proxy names a port of this machine at which nobody listens."""
    [port] = launcher.free_ports(1)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        for given in (name, name.upper()):
            monkeypatch.setenv(given, f"http://127.0.0.1:{port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)  # and what the code sets goes after the test
    return port


def test_the_job_api_of_this_machine_is_reached_around_a_proxy(world, dashboard, dead_proxy, study_file):
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get(f"{dashboard}/api/version", timeout=10)
    write_results(world.place, study_file)
    world.job(log="one\n")
    study = study_file(search={"trials": 2})
    command = ["run", str(study), "--address", dashboard, "--out", str(world.place)]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.exception
    assert "one\n" in result.output
    assert len(world.submitted) == 1


def test_a_forwarded_port_is_reached_around_a_proxy(world, launch, dead_proxy, study_file):
    write_results(world.place, study_file)
    world.job(log="one\n")
    result = launch()
    assert result.exit_code == 0, result.exception
    assert "one\n" in result.output
    told = CliRunner().invoke(cli, ["status", "here", "--json"])
    assert json.loads(told.stdout)["job"]["status"] == "SUCCEEDED"


def test_a_study_whose_workers_have_their_own_negatives_is_checked_with_their_number(world, study_file):
    train = {"batch_size": 8, "gather_negatives": False}
    study = study_file(train=train, resources={"workers": 2, "gpus_per_worker": 1}, search={"trials": 1})
    command = ["run", str(study), "--address", "http://127.0.0.1:9", "--out", str(world.place), "--dry-run"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.exception


def test_run_sends_a_study_to_a_cluster_that_is_there(world, dashboard, study_file):
    study = study_file(search={"trials": 2})
    write_results(world.place, study_file)
    command = ["run", str(study), "--address", dashboard, "--out", str(world.place), "--json"]
    dry = CliRunner().invoke(cli, [*command, "--dry-run"])
    assert dry.exit_code == 0, dry.exception
    assert world.submitted == []
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.exception
    told = json.loads(result.stdout)
    assert told["result"]["headline"] == HEADLINE
    assert Path(told["folder"]).parent == Path("studies").absolute()
    assert len(world.submitted) == 1
    refused = CliRunner().invoke(cli, ["down", told["folder"]])
    fails(refused, InputError, "not ours to end")
    assert world.calls == []
