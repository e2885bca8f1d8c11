"""The ``ray start`` lines of a launcher's file: what would go wrong with them, and what machines they tell of."""

import itertools
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hybridtune.cluster.lined_yaml import Document, Place, mapping_of
from hybridtune.cluster.shape import NodeType, Shape

FAKE_NODES = "hybridtune.cluster.fake_nodes.Provider"  # its head is started here, not by commands of the file
_LOCAL_NODE = "local.cluster.node"  # what Ray calls the one node type of `local`
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _ray_starts(document: Document, section: str) -> Iterator[tuple[Place, dict[str, str]]]:
    """The options of every ``ray start`` of a section: place, option -> value ('' for a flag)."""
    commands = document.tree.get(section)
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


def start_mistakes(document: Document) -> Iterator[str]:
    """Start commands with which a node would not join the cluster, or would be shown to the network."""
    provider = mapping_of(document.tree.get("provider"))
    if provider.get("module") == FAKE_NODES:
        return
    for section, needed in (
        ("head_start_ray_commands", {"--head": "", "--autoscaling-config": "=~/ray_bootstrap_config.yaml"}),
        ("worker_start_ray_commands", {"--address": "=$RAY_HEAD_IP:6379"}),
    ):
        starts = list(_ray_starts(document, section))
        commands = document.tree.get(section)
        if isinstance(commands, list) and not starts:
            yield document.mistake((section,), "no `ray start`: the node would not join the cluster")
        for place, options in starts:
            for option, value in needed.items():
                if option not in options:
                    yield document.mistake(place, f"`ray start` without {option}{value}")
            host = options.get("--dashboard-host")
            if host is not None and host not in _LOOPBACK:
                yield document.mistake(
                    place, f"--dashboard-host={host} shows the dashboard to the network; leave it out, `ray dashboard`"
                    " forwards its port",
                )  # fmt: skip
        if provider.get("type") == "local" and not any("--num-cpus" in options for _, options in starts):
            where: Place = (section,) if section in document.tree else ()
            yield document.mistake(
                where,
                f"{'' if where else section + ': '}say `ray start --num-cpus=N` (and --num-gpus): what fits is worked"
                " out offline",
            )


def local_shape(tree: Mapping[str, Any]) -> Shape:
    """Machines that are there: what they are is said in their `ray start`."""
    document = Document("", tree, {})
    machines = len(tree["provider"]["worker_ips"])
    most = min(int(tree.get("max_workers", machines)), machines)
    least = min(int(tree.get("min_workers", machines)), most)
    types = []
    for name, section in (("head", "head_start_ray_commands"), (_LOCAL_NODE, "worker_start_ray_commands")):
        options = next(options for _, options in _ray_starts(document, section) if "--num-cpus" in options)
        sizes = float(options["--num-cpus"]), float(options.get("--num-gpus", 0))
        named = re.search(r"accelerator_type:([\w-]+)", options.get("--resources", ""))
        head = section.startswith("head")
        counts = (1, 1) if head else (least, most)
        types.append(NodeType(name, *sizes, named[1] if named else None, *counts, head=head))
    return Shape(tuple(types), most)
