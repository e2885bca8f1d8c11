"""Worker nodes that are processes of this machine: the provider of clusters/local_autoscaling.yaml.

Ray's autoscaler loads it on the head by its name, as it loads that of a cloud. Ray's own fake provider does not do: its
nodes share one folder (in which each that starts removes the working folder of the jobs that run), they are not listed
while they start (so that more of them are started), and one that is lost stays on the list.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from hybridtune.runtime import ray_private
from hybridtune.runtime.loopback import HOST

_FIRST = int("f" * 51 + "00000", 16)  # Ray's own number of a fake head; nodes are counted from it


class Provider(NodeProvider):  # type: ignore[misc]
    """A machine list of `ray start` processes, each a node with a folder of its own.

    The `provider` section has two keys more than the cluster file, from `hybridtune.launch.local_head`:
    ``gcs_address`` (``IP:PORT`` of the head) and ``folder`` (of the nodes' folders).
    """

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        head = {TAG_RAY_NODE_KIND: NODE_KIND_HEAD, TAG_RAY_USER_NODE_TYPE: provider_config["head_node_type"]}
        name = _name(0)
        self._tags = {name: head | {TAG_RAY_NODE_NAME: name, TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE}}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ending: list[subprocess.Popen[bytes]] = []
        self._count = 0

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """Return the nodes with these tags; one that was lost is gone, as a spot machine is."""
        for name, process in list(self._processes.items()):
            if process.poll() is not None:
                self.terminate_node(name)
        self._ending = [process for process in self._ending if process.poll() is None]  # and no zombies
        return [name for name, tags in list(self._tags.items()) if tag_filters.items() <= tags.items()]

    def is_running(self, node_id: str) -> bool:
        """Return whether the node is on the list."""
        return node_id in self._tags

    def is_terminated(self, node_id: str) -> bool:
        """Return whether the node is not on the list."""
        return node_id not in self._tags

    def node_tags(self, node_id: str) -> dict[str, str]:
        """Return the node's tags."""
        return dict(self._tags[node_id])

    def internal_ip(self, node_id: str) -> str:
        """Return the node's id, which tells the nodes of one machine apart (``use_node_id_as_ip``)."""
        return node_id

    def external_ip(self, node_id: str) -> str:
        """Return the node's id, as `internal_ip` does."""
        return node_id

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> None:
        """Start nodes, which are on the list from then on."""
        for _ in range(count):
            self._count += 1
            name, folder = _name(self._count), Path(self.provider_config["folder"], f"node-{self._count}")
            folder.mkdir()
            ids = {ray_private.NODE_ID: name, ray_private.INSTANCE_ID: name}
            with (folder / "start.log").open("wb") as log:
                self._processes[name] = subprocess.Popen(
                    _command(self.provider_config["gcs_address"], folder, resources, labels),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=os.environ | ids | {ray_private.NODE_TYPE: tags[TAG_RAY_USER_NODE_TYPE]},
                )
            self._tags[name] = tags | {TAG_RAY_NODE_NAME: name, TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE}

    def terminate_node(self, node_id: str) -> None:
        """End a node, without waiting for it."""
        self._tags.pop(node_id, None)
        process = self._processes.pop(node_id, None)
        if process is not None:
            process.terminate()
            self._ending.append(process)

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        """Add to a node's tags."""
        self._tags[node_id] |= tags

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Return the cluster file as it is: a node is this machine."""
        return cluster_config


def _name(number: int) -> str:
    return f"{_FIRST + number:056x}"


def _command(address: str, folder: Path, resources: dict[str, float], labels: dict[str, str]) -> list[str]:
    """Return the `ray start` of a node, without a log monitor, whose lines nobody reads."""
    others = dict(resources)
    memory = {"--memory": others.pop("memory", None), "--object-store-memory": others.pop("object_store_memory", None)}
    sizes = [f"{option}={int(size)}" for option, size in memory.items() if size is not None]
    return [
        *(sys.executable, "-P", "-m", "hybridtune.runtime.loopback", "start", "--block", "--disable-usage-stats"),
        *(f"--address={address}", f"--node-ip-address={HOST}", f"--temp-dir={folder}", "--include-log-monitor=false"),
        *("--dashboard-agent-listen-port=0", "--min-worker-port=0", "--max-worker-port=0"),
        *(f"--num-cpus={int(others.pop('CPU', 0))}", f"--num-gpus={int(others.pop('GPU', 0))}", *sizes),
        *(f"--resources={json.dumps(others)}", f"--labels={','.join(f'{key}={labels[key]}' for key in labels)}"),
    ]
