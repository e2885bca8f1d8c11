"""The machine list of the local cluster, with processes that stand in for its nodes."""

import os
import select
import sys

import pytest
from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

from hybridtune.launch import local_nodes as fake_nodes

WORKER = {TAG_RAY_NODE_KIND: "worker", TAG_RAY_USER_NODE_TYPE: "worker"}


@pytest.fixture
def provider(tmp_path, monkeypatch):
    waits = [sys.executable, "-c", "import sys; sys.stdin.read(); import threading; threading.Event().wait()"]
    monkeypatch.setattr(fake_nodes, "_command", lambda *asked: waits)
    config = {"gcs_address": "x:1", "folder": str(tmp_path), "head_node_type": "head"}
    made = fake_nodes.Provider(config, "test")
    yield made
    ending = [*made._processes.values(), *made._ending]
    for process in ending:
        process.kill()
        process.wait()


def workers(provider):
    return provider.non_terminated_nodes(WORKER)


def create(provider, count):
    provider.create_node_with_resources_and_labels({}, WORKER, count, {"CPU": 2}, {})


def test_at_first_there_is_the_head_alone(provider):
    (head,) = provider.non_terminated_nodes({})
    assert head == "f" * 51 + "00000"  # the number that Ray gives a fake head
    assert provider.node_tags(head)[TAG_RAY_USER_NODE_TYPE] == "head"
    assert provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "head"}) == [head]
    assert workers(provider) == []


def test_nodes_are_listed_as_soon_as_they_are_asked_for(provider):
    create(provider, 2)
    create(provider, 1)
    assert workers(provider) == [f"{'f' * 51}0000{n}" for n in (1, 2, 3)]
    assert all(provider.is_running(name) and provider.internal_ip(name) == name for name in workers(provider))


def test_a_node_that_is_taken_down_is_gone_and_its_process_ends(provider):
    create(provider, 2)
    one, two = workers(provider)
    process = provider._processes[one]
    provider.terminate_node(one)
    assert workers(provider) == [two]
    assert provider.is_terminated(one)
    process.wait(timeout=60)
    create(provider, 1)
    assert one not in workers(provider)  # a number is given once


def test_a_node_that_is_lost_is_gone(provider):
    create(provider, 2)
    one, two = workers(provider)
    process = provider._processes[one]
    process.kill()
    handle = os.pidfd_open(process.pid)
    assert select.select([handle], [], [], 60)[0]
    os.close(handle)
    assert workers(provider) == [two]
    provider.terminate_node(one)  # by the autoscaler, which had it on its list: no harm


def test_what_a_node_is_started_with(tmp_path):
    resources = {"CPU": 2, "GPU": 1, "object_store_memory": 2e8, "memory": 1e9, "trainer": 1}
    command = fake_nodes._command("x:1", tmp_path, resources, {"zone": "a"})
    for part in (
        *("--address=x:1", f"--temp-dir={tmp_path}", "--num-cpus=2", "--num-gpus=1", "--memory=1000000000"),
        *("--object-store-memory=200000000", '--resources={"trainer": 1}', "--labels=zone=a", "--block"),
    ):
        assert part in command
