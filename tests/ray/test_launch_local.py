"""A study on the autoscaling cluster of this machine: from no node to two, one lost in the middle, to none again."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import yaml
from listening import listeners

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(600)]

HYBRIDTUNE = str(Path(sys.executable).with_name("hybridtune"))
CLUSTER = Path(__file__).parents[2] / "clusters" / "local_autoscaling.yaml"
STEPS, EVAL_STEPS = 24, 4  # of `search_tree`
EXIT_SECONDS = 60  # most that a process of a stopped cluster may take to go


class Cluster:
    """A cluster by what its own head tells, over HTTP."""

    def __init__(self, folder):
        launch = json.loads((folder / "launch.json").read_text())
        self.job, self.head = launch["job"], launch["head"]
        self.token = (Path(self.head["folder"]) / "token").read_text()

    def table(self, kind):
        request = Request(f"{self.head['dashboard']}/api/v0/{kind}?limit=1000&detail=true")
        request.add_header("Authorization", f"Bearer {self.token}")
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]["result"]["result"]

    def workers(self):
        """Node -> whether it is alive, but for the head."""
        nodes = self.table("nodes")
        return {node["node_id"]: node["state"] == "ALIVE" for node in nodes if not node["is_head_node"]}

    def trains(self):
        """Processes that train now: their node by their number."""
        actors = self.table("actors")
        return {
            actor["pid"]: actor["node_id"]
            for actor in actors
            if "RayTrainWorker" in actor["class_name"] and actor["state"] == "ALIVE"
        }


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def members(session):
    """Processes of a session, and of a folder that only its processes have on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z" and int(fields[3]) == session:
                found.append(int(entry.name))
    return found


def gone(pid):
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], EXIT_SECONDS)[0])
    finally:
        os.close(handle)


def until(condition, process=None):
    """What a condition gives once it gives something; the test's time limit ends it."""
    pause = threading.Event()
    while True:
        found = condition()
        if found:
            return found
        assert process is None or process.poll() is None, "the launch ended"
        pause.wait(0.3)


def checkpoints(folder):
    """Checkpoint -> when it was written, of each trial."""
    return {
        str(state.relative_to(folder)): state.stat().st_mtime_ns
        for state in folder.glob("trials/*/fit/checkpoint_*/state.json")
    }


def running(folder):
    """Trials that run and have a score."""
    try:
        rows = json.loads((folder / "running.json").read_text())["rows"]
    except (OSError, ValueError):
        return []
    return [row["id"] for row in rows if row["status"] == "running" and row["metrics"].get("step", 0) >= 2 * EVAL_STEPS]


class Story:
    """What happened to a launched study whose cluster lost a node in the middle."""

    def __init__(self, study, folder, environment, log):
        with log.open("w") as errors:
            command = [HYBRIDTUNE, "launch", str(CLUSTER), str(study), "--fetch-to", str(folder), "--json"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        until(lambda: (folder / "launch.json").exists(), process)
        self.cluster = cluster = Cluster(folder)
        self.at_first = cluster.workers()
        self.spread = until(lambda: both(cluster.trains()), process)
        self.listeners = listeners(cluster.head["pid"]) | listeners(process.pid)
        self.interrupted = until(lambda: running(folder), process)
        self.before = checkpoints(folder)
        victim, self.lost = next(iter(self.spread.items()))
        os.kill(parent(victim), signal.SIGKILL)  # its raylet: the node is gone, as a spot machine is
        until(lambda: not cluster.workers().get(self.lost))
        self.stdout = process.communicate()[0]
        self.code, self.log = process.returncode, log.read_text()
        self.after = checkpoints(folder)
        self.events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        self.none_left = until(lambda: not any(cluster.workers().values()))
        self.session = members(cluster.head["pid"])
        self.status = called([HYBRIDTUNE, "status", str(folder), "--json"], environment)
        self.down = called([HYBRIDTUNE, "down", str(folder)], environment)


def both(trains):
    return trains if len(set(trains.values())) == 2 else None


def called(command, environment):
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def environment(searched_here, no_ray, tmp_path_factory):  # in this order: the former needs Ray in this process
    places = {name: str(tmp_path_factory.mktemp("own")) for name in ("HYBRIDTUNE_CACHE", "XDG_STATE_HOME")}
    return os.environ | places


@pytest.fixture(scope="module")
def study(search_tree, tmp_path_factory):
    file = tmp_path_factory.mktemp("study") / "study.yaml"
    file.write_text(yaml.safe_dump(search_tree), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def story(study, environment):
    folder = study.parent / "launched"
    try:
        yield Story(study, folder, environment, study.parent / "launch.log")
    finally:
        called([HYBRIDTUNE, "down", str(folder), "--yes"], environment)


@pytest.fixture(scope="module")
def result(story):
    assert story.code == 0, story.log
    return json.loads(story.stdout)["result"]


def test_nodes_come_when_trials_wait_and_trials_run_on_both(story):
    assert story.at_first == {}
    assert len(set(story.spread.values())) == 2


def test_the_command_the_head_and_its_nodes_listen_on_loopback_alone(story):
    assert len(story.listeners) > 15  # a head and two nodes with their agents and workers
    assert [place for place in story.listeners if not place[0].is_loopback] == []


def test_the_trial_of_a_lost_node_goes_on_from_its_checkpoint(story, result):
    assert [event["kind"] for event in story.events].count("workers lost") == 1
    assert story.interrupted
    assert story.before
    # Checkpoints of before the loss were not written again: nothing was trained twice up to them.
    assert {name: story.after.get(name) for name in story.before} == story.before
    for row in result["trials"]:
        steps = [int(name[-18:-11]) for name in story.after if name.startswith(f"trials/{row['id']}/")]
        assert sorted(steps) == list(range(EVAL_STEPS, STEPS + 1, EVAL_STEPS)), row["id"]


def test_the_study_is_complete(story, result):
    assert [trial["status"] for trial in result["trials"]] == ["done"] * 3
    assert {trial["metrics"]["step"] for trial in result["trials"]} <= set(range(EVAL_STEPS, STEPS + 1))
    assert "Traceback" not in story.log
    told = json.loads(story.status.stdout)
    assert (told["state"], told["ended"], told["job"]["status"]) == ("ended", 3, "SUCCEEDED")


def test_idle_nodes_go_and_the_cluster_leaves_nothing(story):
    assert story.none_left
    assert story.session  # the head was still there
    assert story.down.returncode == 0, story.down.stderr
    assert [pid for pid in story.session if not gone(pid)] == []
    assert members(story.cluster.head["pid"]) == []
    assert not Path(story.cluster.head["folder"]).exists()


def test_a_run_on_this_machine_finds_the_same(searched_here, result):
    here = searched_here[0].result
    assert here["best"]["values"] == result["best"]["values"]
    figures = re.compile("/")

    def scores(found):
        return [
            (row["number"], row["values"], {key: value for key, value in row["metrics"].items() if figures.search(key)})
            for row in sorted(found["trials"], key=lambda row: row["number"])
        ]

    assert scores(here) == scores(result)
