"""The nodes that a cluster file of Ray's launcher allows; the launcher leaves that file on the head it starts."""

import itertools
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hybridtune.runtime.resources import NodeType, Shape, accelerators

_LOCAL_NODE = "local.cluster.node"  # what Ray calls the one node type of `local`


def launcher_shape(tree: Mapping[str, Any]) -> Shape:
    """Return the nodes that a valid file allows."""
    if tree["provider"]["type"] == "local":
        return _local_shape(tree)
    head = tree["head_node_type"]
    types = []
    for name, node in tree["available_node_types"].items():
        resources = node["resources"]
        sizes = (name, float(resources["CPU"]), float(resources.get("GPU", 0)), next(accelerators(resources), None))
        least = int(node.get("min_workers", 0))
        most = int(node.get("max_workers", 0 if name == head else tree["max_workers"]))
        if name == head:
            types.append(NodeType(*sizes, 1, 1, head=True))
        if name != head or most:
            types.append(NodeType(*sizes, least, most, spot=_spot(node.get("node_config") or {})))
    return Shape(tuple(types), int(tree["max_workers"]))


def _local_shape(tree: Mapping[str, Any]) -> Shape:
    """Return the shape of machines of one's own, whose sizes are options of their `ray start`."""
    machines = len(tree["provider"]["worker_ips"])
    most = min(int(tree.get("max_workers", machines)), machines)
    least = min(int(tree.get("min_workers", machines)), most)

    def node_type(name: str, section: str, least: int, most: int, head: bool) -> NodeType:
        options = next(options for _, options in ray_starts(tree, section) if "--num-cpus" in options)
        sizes = float(options["--num-cpus"]), float(options.get("--num-gpus", 0))
        named = re.search(r"accelerator_type:([\w-]+)", options.get("--resources", ""))
        return NodeType(name, *sizes, named[1] if named else None, least, most, head)

    head = node_type("head", "head_start_ray_commands", 1, 1, head=True)
    return Shape((head, node_type(_LOCAL_NODE, "worker_start_ray_commands", least, most, head=False)), most)


def _spot(config: Mapping[str, Any]) -> bool:
    """Return whether a provider's node settings ask for machines that it may take back."""
    market = (config.get("InstanceMarketOptions") or {}).get("MarketType")
    priority = (config.get("azure_arm_parameters") or {}).get("priority")
    scheduling = config.get("scheduling")
    items = scheduling if isinstance(scheduling, list) else [scheduling]
    preemptible = any(
        item.get("preemptible") or item.get("provisioningModel") == "SPOT" for item in items if isinstance(item, dict)
    )
    return market == "spot" or priority == "Spot" or preemptible


def ray_starts(tree: Mapping[str, Any], section: str) -> Iterator[tuple[tuple[str | int, ...], dict[str, str]]]:
    """Yield the options of every ``ray start`` of a section: its path in the file, option -> value ('' for a flag)."""
    commands = tree.get(section)
    for index, command in enumerate(commands if isinstance(commands, list) else []):
        for part in re.split(r";|&&", command) if isinstance(command, str) else []:
            try:
                words = shlex.split(part)
            except ValueError:  # a quote that another part closes
                words = part.split()
            if "start" not in words or not any(Path(word).name == "ray" for word in words[: words.index("start")]):
                continue
            given, options = words[words.index("start") + 1 :], {}
            for word, after in itertools.zip_longest(given, given[1:], fillvalue=""):
                if word.startswith("--"):
                    key, equals, value = word.partition("=")
                    options[key] = value if equals else "" if after.startswith("--") else after
            yield (section, index), options
