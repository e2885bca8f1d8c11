"""`hybridtune launch` from the command line, on programs that stand in for Ray's launcher and for a head's job API."""

import json
import os
import re
import signal
import stat
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from hybridtune.cli import cli
from hybridtune.cluster import jobs, launcher
from hybridtune.commands.launched import find_launch
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.study_file import load_study

CLUSTERS = Path(__file__).parents[2] / "clusters"
SERVER = Path(__file__).with_name("job_server.py")
RAY = """#!{python}
import json, os, sys
from pathlib import Path
here, arguments = Path({folder!r}), sys.argv[1:]
with (here / "calls.jsonl").open("a") as file:
    file.write(json.dumps(arguments) + "\\n")
told = json.loads((here / "ray.json").read_text())
if arguments[0] == "get-head-ip":
    sys.exit(0 if told.get("up") and not print("203.0.113.7") else 1)
if arguments[0] == "dashboard":
    os.execv(sys.executable, [sys.executable, {server!r}, arguments[arguments.index("--port") + 1], str(here)])
if arguments[0] in told.get("fails", []):
    print("out of quota", file=sys.stderr)
    sys.exit(1)
"""


class World:
    """A cluster that is not there: its launcher, its head's job API, and where its study writes."""

    def __init__(self, folder):
        self.folder, self.place = folder / "world", folder / "shared" / "study"
        self.folder.mkdir()
        self.program = self.folder / "ray"
        self.program.write_text(RAY.format(python=sys.executable, folder=str(self.folder), server=str(SERVER)))
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        self.ray()
        self.job()

    def ray(self, **told):
        (self.folder / "ray.json").write_text(json.dumps(told))

    def job(self, **told):
        (self.folder / "job.json").write_text(json.dumps(told))

    def read(self, name):
        file = self.folder / name
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def calls(self):
        return [call[0] for call in self.read("calls.jsonl")]

    @property
    def submitted(self):
        return [asked[1] for asked in self.read("asked.jsonl") if asked[0] == "submit"]

    def uploaded(self, uri):
        with zipfile.ZipFile(self.folder / uri.removeprefix("gcs://")) as file:
            return {name: file.read(name).decode() for name in file.namelist() if not name.endswith("/")}


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path)
    monkeypatch.setattr(launcher, "RAY", [str(made.program)])
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The file of a cloud, filled in, and what it mounts."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("constraints.txt", ".ray/auth_token"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    file = tmp_path / "aws.yaml"
    file.write_text(re.sub(r"YOUR_\w+", "x", (CLUSTERS / "aws.yaml").read_text()))
    return file


@pytest.fixture
def launch(world, cluster, study_file, tmp_path):
    """Calls launch with a study that has a file of its own."""
    rows = "".join(
        json.dumps({"group_id": f"{n}", "queries": {"en": f"q {n}", "de": f"f {n}"}, "passages": {"en": f"p {n}"}})
        + "\n"
        for n in range(20)
    )
    (tmp_path / "train.jsonl").write_text(rows)
    study = study_file(data={"train": "train.jsonl"}, search={"trials": 2})

    def call(*options, out=str(world.place), to="here"):
        places = [*(["--out", out] if out else []), *(["--fetch-to", to] if to else [])]
        return CliRunner().invoke(cli, ["launch", str(cluster), str(study), *places, *options])

    return call


def fails(result, kind, *words):
    assert isinstance(result.exception, kind), (result.exception, result.output)
    for word in words:
        assert word in str(result.exception)


def test_a_study_is_sent_followed_fetched_and_the_cluster_taken_down(world, launch, study_file, cluster):
    world.job(log="one\ntwo\n")
    write_results(world.place, study_file)
    result = launch("--down", "--json")
    assert result.exit_code == 0, result.exception
    assert [call for call in world.calls if call != "dashboard"] == ["get-head-ip", "up", "down"]
    assert "one\ntwo\n" in result.stderr
    told = json.loads(result.stdout)
    assert (told["status"], told["result"]["headline"]) == ("SUCCEEDED", "all is well")
    assert json.loads(Path("here/result.json").read_text())["headline"] == "all is well"
    (job,) = world.submitted
    assert job["submission_id"] == told["job"]
    assert job["entrypoint"] == f"python -m hybridtune run study.yaml --address auto --out {world.place}"
    assert job["metadata"] == {"study": "small", "out": str(world.place)}
    sent = world.uploaded(job["runtime_env"]["working_dir"])
    assert sent.keys() == {"study.yaml", "data/train.jsonl"}
    assert yaml.safe_load(sent["study.yaml"])["data"]["train"][0]["path"] == "data/train.jsonl"
    (module,) = job["runtime_env"]["py_modules"]
    assert "hybridtune/__main__.py" in world.uploaded(module)
    launched = find_launch(Path("here"))
    assert (launched.kind, launched.job, launched.place) == ("launcher", told["job"], str(world.place))
    assert launched.cluster == str(cluster)


def write_results(place, study_file):
    place.mkdir(parents=True, exist_ok=True)
    study = load_study(study_file("there.yaml", search={"trials": 2}))
    from hybridtune.study_file import dump_study

    (place / "study.yaml").write_text(dump_study(study))
    (place / "result.json").write_text(json.dumps({"headline": "all is well"}))


@pytest.mark.parametrize(("code", "kind"), [(1, HybridtuneError), (2, InputError)])
def test_a_job_that_fails_says_why_is_fetched_and_does_not_keep_the_cluster(world, launch, study_file, code, kind):
    world.job(status="FAILED", code=code, message="...\nhybridtune: the loss became NaN\n")
    write_results(world.place, study_file)
    result = launch("--down")
    fails(result, kind, "the loss became NaN")
    assert isinstance(result.exception, InputError) == (code == 2)
    assert Path("here/study.yaml").exists()
    assert world.calls[-1] == "down"


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


def test_a_dry_run_starts_and_writes_nothing(world, launch, tmp_path):
    before = sorted(path.name for path in tmp_path.iterdir())
    shown = launch("--dry-run")
    assert shown.exit_code == 0, shown.exception
    assert "at most 10 worker nodes" in shown.output
    assert "data/train.jsonl" in shown.output
    plan = json.loads(launch("--dry-run", "--json").stdout)
    assert plan["uploads"] == [{"name": "data/train.jsonl", "bytes": (tmp_path / "train.jsonl").stat().st_size}]
    assert plan["trials"]["all"] == 5
    assert world.calls == []
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "resources.gpus_per_worker=8"], ["8 GPUs", "1"]),
        (["--set", "train.batch_size=1"], ["batch_size"]),
        (["--set", "data.train=nowhere"], ["nowhere"]),
        (["--down", "--detach"], ["--detach"]),
    ],
)
def test_what_is_wrong_is_refused_before_anything_starts(world, launch, options, words):
    fails(launch(*options), InputError, *words)
    assert world.calls == []
    assert not Path("here").exists()


@pytest.mark.parametrize(
    ("out", "word"),
    [(None, "--out is missing"), ("somewhere", "relative"), ("s3://key:hidden@bucket/x", "password")],
)
def test_a_place_that_the_nodes_cannot_share_is_refused(world, launch, out, word):
    result = launch(out=out)
    fails(result, InputError, word)
    assert "hidden" not in str(result.exception)
    assert world.calls == []


def test_a_job_that_is_refused_is_an_error_and_the_record_stays(world, launch):
    world.job(refuses=True)
    fails(launch(), HybridtuneError, "the cluster did not take it")
    assert find_launch(Path("here")).kind == "launcher"


def test_the_folder_of_no_launch_is_refused(world, tmp_path):
    for command in ("attach", "fetch", "stop", "down"):
        result = CliRunner().invoke(cli, [command, str(tmp_path)])
        fails(result, InputError, "no study was launched from there")


def test_a_cluster_file_alone_is_enough_to_take_it_down(world, cluster):
    Path("constraints.txt").unlink()  # whatever else is wrong: machines cost money
    assert CliRunner().invoke(cli, ["down", str(cluster)]).exit_code == 0
    assert world.calls == ["down"]


@pytest.fixture
def dashboard(world):
    """The job API of a cluster of others."""
    import subprocess

    port = launcher._free_port()
    process = subprocess.Popen([sys.executable, str(SERVER), str(port), str(world.folder)])
    url = f"http://127.0.0.1:{port}"
    try:
        launcher._await(process, url, world.folder / "log")
        yield url
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait()


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
    assert told["result"]["headline"] == "all is well"
    assert Path(told["folder"]).parent == Path("studies").absolute()
    assert len(world.submitted) == 1
    refused = CliRunner().invoke(cli, ["down", told["folder"]])
    fails(refused, InputError, "not ours to end")
    assert world.calls == []


@pytest.mark.parametrize("address", ["ftp://x", "gcs://x:1"])
def test_an_address_of_no_known_kind_is_refused(world, study_file, address):
    for command in ("run", "train"):
        result = CliRunner().invoke(cli, [command, str(study_file()), "--address", address])
        fails(result, InputError, "auto or HOST:PORT", "http://HOST:8265")


def test_a_training_is_not_submitted(world, study_file):
    fails(CliRunner().invoke(cli, ["train", str(study_file()), "--address", "http://x:8265"]), InputError, "auto")
