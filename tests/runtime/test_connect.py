"""What is made of a cluster that exists: its shape, and one line where it cannot be joined. Ray is not started."""

import os
import socket
from pathlib import Path

import pytest
import ray
from ray._private.state import state
from ray.core.generated import autoscaler_pb2

from hybridtune.errors import InputError
from hybridtune.runtime import connect
from hybridtune.runtime.connect import SHAPE, cluster, describe_waiting, dump_shape, load_shape, shape_of_running
from hybridtune.runtime.resources import NodeType, Shape

HEAD = {"node:__internal_head__": 1.0, "node:10.0.0.1": 1.0}


def node(name, resources, alive=True, group=None):
    labels = {"ray.io/node-group": group} if group else {}
    return {"NodeID": name, "Alive": alive, "Resources": resources, "Labels": labels, "NodeManagerAddress": "10.0.0.1"}


@pytest.fixture
def running(monkeypatch, tmp_path):
    """Puts a cluster in place: its nodes, and what its autoscaler may add."""

    def put(*nodes, may_come=None):
        config = None
        if may_come is not None:
            groups = [
                autoscaler_pb2.NodeGroupConfig(name=name, resources=resources, max_count=most)
                for name, resources, most in may_come
            ]
            config = autoscaler_pb2.ClusterConfig(node_group_configs=groups)
        monkeypatch.delenv(SHAPE, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setattr(ray, "nodes", lambda: list(nodes))
        monkeypatch.setattr(state, "get_cluster_config", lambda: config)

    return put


def test_nodes_of_one_kind_are_counted_and_dead_ones_are_not(running):
    gpu = {"CPU": 8.0, "GPU": 2.0, "accelerator_type:A10G": 1.0}
    running(
        node("h", HEAD | {"CPU": 4.0}),
        node("a", gpu),
        node("b", gpu, alive=False),
        node("c", gpu),
        node("d", {"CPU": 2.0}, group="small"),
    )
    assert shape_of_running() == Shape(
        (
            NodeType("head", 4.0, 0.0, None, 1, 1, head=True),
            NodeType("8-cpu-2-gpu", 8.0, 2.0, "A10G", 2, 2),
            NodeType("small", 2.0, 0.0, None, 1, 1),
        ),
        None,
    )


def test_what_the_autoscaler_may_add_counts_too(running):
    running(
        node("h", HEAD, group="head"),
        node("a", {"CPU": 2.0}, group="small"),
        may_come=[("small", {"CPU": 2}, 5), ("large", {"CPU": 8, "GPU": 1}, -1), ("never", {"CPU": 8}, 0)],
    )
    head, small, large = shape_of_running().types
    assert (head.most, small.least, small.most) == (1, 1, 5)
    assert (large.name, large.gpus, large.least) == ("large", 1.0, 0)
    assert large.most >= 1000


def test_a_ray_that_does_not_tell_what_may_come_is_no_obstacle(running, monkeypatch):
    running(node("h", HEAD | {"CPU": 4.0}))
    monkeypatch.delattr(type(state), "get_cluster_config")
    monkeypatch.delattr(state, "get_cluster_config")
    assert len(shape_of_running().types) == 1


def test_what_a_launcher_told_goes_first(running, monkeypatch):
    running(node("h", HEAD))
    told = Shape((NodeType("gpu", 8.0, 1.0, "H100", 0, 4, spot=True),), 3)
    monkeypatch.setenv(SHAPE, dump_shape(told))
    assert shape_of_running() == told == load_shape(dump_shape(told))


def test_a_head_of_rays_launcher_has_the_file_that_tells_what_may_come(running, tmp_path):
    running(node("h", HEAD))
    local = Path(__file__).parents[2] / "clusters" / "local_autoscaling.yaml"
    (tmp_path / "ray_bootstrap_config.yaml").write_bytes(local.read_bytes())
    head, worker = shape_of_running().types
    assert head.head
    assert (worker.name, worker.cpus, worker.least, worker.most) == ("worker", 2.0, 0, 2)


def test_waiting_workers_are_told_by_what_they_ask_for(monkeypatch):
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 0.5, "memory": 1e9, "node:10.0.0.1": 1.0})
    gpu = {"CPU": 1.5, "GPU": 1.0, "accelerator_type:A10G": 0.001}
    assert describe_waiting([gpu, gpu, {"CPU": 2.0}]) == (
        "waiting for nodes: 2 workers of 1.5 CPU, 1 GPU, A10G, 1 worker of 2 CPU pending; free now: 0.5 CPU"
    )
    monkeypatch.setattr(ray, "available_resources", lambda: {"memory": 1e9})
    assert describe_waiting([{"CPU": 2.0}]).endswith("free now: no CPU and no GPU")


def test_groups_that_wait_are_those_that_have_no_nodes(monkeypatch):
    groups = {
        "there": {"state": "CREATED", "bundles": {0: {"CPU": 1.0}}},
        "gone": {"state": "REMOVED", "bundles": {0: {"CPU": 1.0}}},
        "waits": {"state": "PENDING", "bundles": {0: {"CPU": 2.0}, 1: {"CPU": 2.0}}},
        "again": {"state": "RESCHEDULING", "bundles": {0: {"CPU": 3.0}}},
        "trial": {"state": "PENDING", "bundles": {0: {"node:__internal_head__": 0.001}}},
    }
    monkeypatch.setattr(ray.util, "placement_group_table", lambda: groups)
    assert [bundle["CPU"] for bundle in connect.waiting_workers()] == [2.0, 2.0, 3.0]


@pytest.fixture
def answering(monkeypatch):
    """An address at which something answers, and a Ray that says what it is told to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        for name in {**connect.SETTINGS, "RAY_OVERRIDE_JOB_RUNTIME_ENV": ""}:
            monkeypatch.setenv(name, os.environ.get(name, ""))

        def say(problem):
            def init(**options):
                raise problem

            monkeypatch.setattr(ray, "init", init)
            return f"127.0.0.1:{server.getsockname()[1]}"

        yield say


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (
            ConnectionError("Could not find any running Ray instance.\nPlease ..."),
            "no Ray cluster takes this connection",
        ),
        (
            RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.1\n    Python: 3.9\n"),
            "cannot be joined: Version mismatch: The cluster was started with: Ray: 2.1 Python: 3.9; run the Python",
        ),
        (
            ray.exceptions.AuthenticationError("Token authentication is enabled but no token was found. Ensure ..."),
            "Token authentication is enabled but no token was found; set RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH",
        ),
    ],
)
def test_what_ray_says_becomes_one_line(answering, problem, line):
    address = answering(problem)
    with pytest.raises(InputError) as caught, cluster(address):
        raise AssertionError("joined")
    told = str(caught.value)
    assert told.startswith(f"--address {address}: ")
    assert line in told
    assert "\n" not in told


@pytest.mark.parametrize("address", ["here", "http://head:8265", "head", "head:port", "ray://head:10001"])
def test_an_address_of_another_kind_is_refused_at_once(address):
    with pytest.raises(InputError, match="give auto, or HOST:PORT"), cluster(address):
        raise AssertionError("joined")


def test_only_the_head_drives_a_study(running, monkeypatch):
    class Here:
        def get_node_id(self):
            return "a"

    monkeypatch.setattr(ray, "get_runtime_context", Here)
    running(node("h", HEAD), node("a", {"CPU": 2.0}))
    with pytest.raises(InputError, match=r"^--address auto: this is not the head node, which is 10\.0\.0\.1; run"):
        connect._check_on_head("auto")
    running(node("a", HEAD))
    connect._check_on_head("auto")
