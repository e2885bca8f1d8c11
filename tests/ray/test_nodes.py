"""A cluster of several nodes, all on this machine: what runs where, and what happens when a node is lost."""

import json
import os
import signal
import socket
import time
from dataclasses import replace

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.state import list_actors

from hybridtune.callbacks import StudyCallback
from hybridtune.config.study import Study
from hybridtune.errors import InputError
from hybridtune.runtime.connect import describe_waiting, dump_shape, load_shape, shape_of, waiting_workers
from hybridtune.runtime.local import free_ports
from hybridtune.runtime.loopback import loopback_only
from hybridtune.runtime.ray_private import ON_HEAD
from hybridtune.runtime.resources import WORKER_OVERHEAD
from hybridtune.study.preflight import run_preflight
from hybridtune.study.run import run_study
from hybridtune.study.started import started
from hybridtune.study.sync import Home

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(300)]

CPUS = 2  # of a worker node: room for one worker and what is beside it
WORKER = 1 + WORKER_OVERHEAD


class Nodes:
    """A head without CPUs, and worker nodes that come and go."""

    def __init__(self):
        quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
        head = {"num_cpus": 0, "include_dashboard": True, "dashboard_port": 0, "_system_config": quick}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = self.cluster.address

    def add(self, count=1):
        for _ in range(count):
            self.cluster.add_node(num_cpus=CPUS)

    def lose(self, node_id):
        """The node's processes are killed, and with them all that runs there."""
        (node,) = (node for node in self.cluster.worker_nodes if node.node_id == node_id)
        self.cluster.remove_node(node, allow_graceful=False)

    def workers(self):
        """Ids of the live nodes without the head."""
        return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]


@pytest.fixture(scope="module")
def nodes(no_ray, tmp_path_factory):
    before = dict(os.environ)
    os.environ["HYBRIDTUNE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    with loopback_only(*free_ports(1)):  # a cluster of others has tokens too
        made = Nodes()
        try:
            yield made
        finally:
            ray.shutdown()
            made.cluster.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def study(small_tree):
    tree = small_tree(search={"trials": 3, "arms": "none", "sampler": "random", "early_stopping": None})
    tree["train"] |= {"precision": "float32"}
    tree["resources"] = {"workers": "auto", "cpus_per_worker": "auto", "gpus_per_worker": "auto"}
    return Study.model_validate(tree)


def figures(report):
    """Without times, and where the checkpoint is."""
    return {key: value for key, value in report.items() if not key.endswith(("_seconds", "_wait", "_path"))}


def settled(condition, seconds=60.0):
    """Waits until it holds, a task of Ray's between two looks, and returns what it then was."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "\n".join(map(str, on_workers([])))
        ray.get(ray.remote(num_cpus=0, resources=ON_HEAD)(lambda: None).remote())
    return found


def alive(kind):
    """Process ids of the live actors of a class."""
    found = list_actors(filters=[("class_name", "=", kind), ("state", "=", "ALIVE")], detail=True)
    return {actor.pid: actor.node_id for actor in found}


def on_workers(heads):
    """What lives beside the head: class and node."""
    found = list_actors(filters=[("state", "=", "ALIVE")], detail=True)
    return [(actor.class_name, actor.node_id) for actor in found if actor.node_id not in heads]


def test_the_shape_is_that_of_the_live_nodes(nodes):
    (head,) = shape_of(nodes.address).types
    assert (head.head, head.cpus, head.least, head.most) == (True, 0, 1, 1)
    nodes.add(2)
    found = shape_of(nodes.address)
    (workers,) = found.workers
    assert (workers.cpus, workers.gpus, workers.least, workers.most) == (CPUS, 0, 2, 2)
    assert load_shape(dump_shape(found)) == found


def test_a_training_goes_on_elsewhere_with_the_same_figures_when_nodes_are_lost(nodes, study, tmp_path):
    prepared = run_preflight(study, searching=False, shape=shape_of(nodes.address))
    assert prepared.study.resources.workers == prepared.study.resources.cpus_per_worker == 1
    with started(prepared, Home(tmp_path, str(tmp_path), nodes.address), StudyCallback()) as running:
        group = running.groups

        def job(name):
            return replace(running.job, storage=str(tmp_path / name / "fit"), home=str(tmp_path / name), name=name)

        whole = list(group.reports(job("whole")))
        reports = group.reports(job("lost"))
        told = [next(reports)]
        ((first, node),), evaluators = alive("RayTrainWorker").items(), alive("Evaluator")
        assert set(evaluators.values()) == {node}
        for pid in evaluators:  # alone: their node and the training stay
            os.kill(pid, signal.SIGKILL)
        told.append(next(reports))
        assert alive("RayTrainWorker") == {first: node}
        assert not alive("Evaluator").keys() & evaluators.keys()
        nodes.lose(node)
        (other,) = set(nodes.workers()) - {node}
        settled(lambda: set(alive("RayTrainWorker").values()) == {other})
        nodes.lose(other)
        waiting = settled(waiting_workers)  # one look: the group that waits is taken back and asked for anew
        assert describe_waiting(waiting).startswith(f"waiting for nodes: 1 worker of {WORKER} CPU pending; free")
        nodes.add(2)
        told += reports
        group.close()
        assert [report["step"] for report in told] == [4, 8, 12, 12]
        assert list(map(figures, told)) == list(map(figures, whole))
        heads = {node["NodeID"] for node in ray.nodes() if node["Alive"]} - set(nodes.workers())
        settled(lambda: not on_workers(heads))  # a worker node that is idle can be given back


class Losing(StudyCallback):
    """Loses a node as soon as a trial has a score."""

    def __init__(self, nodes):
        self.nodes, self.lost = nodes, None

    def on_score(self, trial, step, metrics):
        if self.lost is None:
            self.lost = next(iter(alive("RayTrainWorker").values()))
            self.nodes.lose(self.lost)


def test_a_study_goes_on_with_the_nodes_that_are_left(nodes, study, tmp_path):
    shape = shape_of(nodes.address)
    prepared = run_preflight(study, searching=True, shape=shape)
    assert prepared.allocation.at_once == 2
    losing, folder = Losing(nodes), tmp_path / "study"
    result = run_study(study, folder, [losing], address=nodes.address).result
    # One node holds one worker: the trial that lost its own could only end after the idle group was closed.
    assert losing.lost is not None
    assert [(row["status"], row["metrics"]["step"]) for row in result["trials"]] == [("done", 12)] * 3
    for row in result["trials"]:
        lines = (folder / "trials" / row["id"] / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["step"] for line in lines] == [4, 8, 12]
    assert (folder / "best" / "model.safetensors").is_file()


def test_a_place_where_no_cluster_is_is_refused_in_one_line(nodes):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=rf"^--address {nobody}: nothing answers there"):
            shape_of(nobody)
    with pytest.raises(InputError, match="give auto, or HOST:PORT"):
        shape_of("here")
