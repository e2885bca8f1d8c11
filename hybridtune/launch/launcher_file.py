"""Files of Ray's cluster launcher (``ray up``): Ray's own schema, and what it lets through that goes wrong later.

A check takes a document's content and yields mistakes: a path in the file, and what is wrong there.
"""

import contextlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from hybridtune.errors import nearest, short_repr
from hybridtune.launch.yaml_lines import MOST_NODES, Document, YamlPath, mapping_of, schema_mistakes
from hybridtune.runtime import ray_private
from hybridtune.runtime.launcher_shape import ray_starts

LOCAL_NODES = "hybridtune.launch.local_nodes.Provider"  # its head is started here, not by commands of the file
IDLE_MINUTES = 5.0  # Ray's own default
_PROVIDERS = ("aws", "gcp", "azure", "local", "external", "aliyun", "vsphere", "spark", "fake_multinode", "readonly")
_RAY_VERSION = re.compile(r"(?<![\w/-])ray(?:\[[\w,-]*\])?==([\w.]+)|\brayproject/ray(?:-ml)?:(\d+\.\d+\.\d+)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OPTIONS = {  # of `ray start`, without which a node would not join
    "head_start_ray_commands": {"--head": "", "--autoscaling-config": "=~/ray_bootstrap_config.yaml"},
    "worker_start_ray_commands": {"--address": "=$RAY_HEAD_IP:6379"},
}
_Mistakes = Iterator[tuple[YamlPath, str]]


def mistakes(document: Document) -> Iterator[str]:
    """Yield everything that is wrong with a launcher's file, one line each; Ray's own validation comes last."""
    found = [*_schema(document)]
    for check in (_provider, _node_types, _network, _starts, _mounts):
        found += [document.mistake(path, message) for path, message in check(document.tree)]
    installed = metadata.version("ray")
    for path, line, text in document.texts():
        for version in filter(None, (version for pair in _RAY_VERSION.findall(text) for version in pair)):
            if version != installed:
                message = f"Ray {version} on the nodes and {installed} here: they must be the same"
                found.append(document.mistake(path, message, line))
    yield from found
    if not found:
        yield from (document.mistake(path, message) for path, message in _refused_by_ray(document.tree))


def notices(document: Document) -> list[str]:
    """Return notices of what a valid file may have."""
    tree, found = document.tree, []
    if "idle_timeout_minutes" not in tree:
        found.append(f"{document.source}: no idle_timeout_minutes: Ray takes idle workers down after {IDLE_MINUTES:g}")
    for name, node in _types(tree).items():
        if int(node.get("max_workers", 0)) > int(tree["max_workers"]):
            path = ("available_node_types", name, "max_workers")
            many = f"{node['max_workers']} nodes are never up: max_workers of the cluster is {tree['max_workers']}"
            found.append(document.mistake(path, many))
    local = tree["provider"].get("module") == LOCAL_NODES
    if not local and not any("RAY_AUTH_MODE=token" in text for _, _, text in document.texts()):
        found.append(f"{document.source}: no RAY_AUTH_MODE=token: whoever reaches the head's ports may run code there")
    return found


def _types(tree: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: mapping_of(node) for name, node in mapping_of(tree.get("available_node_types")).items()}


def _provider_of(tree: Mapping[str, Any]) -> dict[str, Any]:
    return mapping_of(tree.get("provider"))


def _schema(document: Document) -> Iterator[str]:
    schema = json.loads(ray_private.launcher_schema().read_text(encoding="utf-8"))
    tree = dict(document.tree)
    if _provider_of(tree).get("type") == "local":
        tree.pop("min_workers", None)  # Ray takes it out before it validates
    return schema_mistakes(document, tree, schema)


def _provider(tree: Mapping[str, Any]) -> _Mistakes:
    provider = _provider_of(tree)
    kind, name = provider.get("type"), tree.get("cluster_name")
    if isinstance(name, str) and not _NAME.fullmatch(name):  # Ray puts it into shell commands
        yield ("cluster_name",), f"{short_repr(name)}: letters, digits, ., _ and -, at most 63, a letter or digit first"
    if isinstance(kind, str) and kind not in _PROVIDERS:
        kube = kind in ("kuberay", "kubernetes")
        hint = "; a KubeRay file has apiVersion and kind" if kube else nearest(kind, _PROVIDERS)
        yield ("provider", "type"), f"{kind!r} is no provider of Ray's launcher{hint}"
    idle = tree.get("idle_timeout_minutes")
    if isinstance(idle, int | float) and idle <= 0:
        yield ("idle_timeout_minutes",), f"{idle} takes nodes down at once: more than 0"
    if kind == "local":
        for key in ("head_ip", "worker_ips"):
            if key not in provider:
                yield ("provider",), f"{key} is missing: name the machines"
        for key in ("available_node_types", "head_node_type"):
            if key in tree:
                yield (key,), "machines of your own (provider local) have no node types; remove it"
    elif "max_workers" not in tree:
        yield (), "max_workers is missing: Ray would allow 2 worker nodes"


def _node_types(tree: Mapping[str, Any]) -> _Mistakes:
    if _provider_of(tree).get("type") == "local":
        return
    types = _types(tree)
    if not types:
        yield (), "available_node_types is missing: one for the head, and one or more for workers"
        return
    head = tree.get("head_node_type")
    if head is None:
        yield (), "head_node_type is missing: name one of available_node_types"
    elif not isinstance(head, str) or head not in types:
        yield ("head_node_type",), f"{head!r} is not in available_node_types" + nearest(str(head), types)
    total, limit = 0, tree.get("max_workers")
    for name, node in types.items():
        path: YamlPath = ("available_node_types", name)
        least, most = node.get("min_workers", 0), node.get("max_workers")
        for key in ("min_workers", "max_workers"):
            if isinstance(node.get(key), int) and not 0 <= node[key] <= MOST_NODES:
                yield (*path, key), f"{node[key]} nodes: 0 to {MOST_NODES}"
        if isinstance(least, int) and isinstance(most, int) and least > most:
            yield (*path, "min_workers"), f"{least} is more than its max_workers {most}"
        total += least if isinstance(least, int) else 0
        if isinstance(node.get("resources"), dict) and "CPU" not in node["resources"]:
            hint = "; CPU: 0 keeps trials off the head" if name == head else ""
            cpu = "say CPU (and GPU) of a node, like {CPU: 8, GPU: 1}: hybridtune works out offline what fits"
            yield (*path, "resources"), cpu + hint
    if isinstance(limit, int) and limit > MOST_NODES:
        yield ("max_workers",), f"{limit} nodes: at most {MOST_NODES}"
    if isinstance(limit, int) and total > limit:
        yield ("max_workers",), f"{limit} is less than the node types' min_workers together, {total}"


def _network(tree: Mapping[str, Any]) -> _Mistakes:
    """Yield where a provider's default lets everybody reach port 22 of the nodes."""
    provider = _provider_of(tree)
    kind = provider.get("type")
    for name, node in _types(tree).items():
        path = ("available_node_types", name, "node_config")
        config = mapping_of(node.get("node_config"))
        if kind == "aws" and not {"SecurityGroupIds", "NetworkInterfaces"} & config.keys():
            yield path, "SecurityGroupIds is missing: Ray would make a group whose port 22 is open to everybody"
        if kind == "gcp" and "networkInterfaces" not in config:
            yield path, "networkInterfaces is missing: Ray would take a subnet by chance, and its firewall with it"
    if kind == "azure" and provider.get("use_internal_ips") is not True:
        message = "must be true: with public addresses, the network that Ray makes opens port 22 to everybody"
        yield ("provider", "use_internal_ips"), message
    if kind == "azure" and provider.get("use_external_head_ip"):
        yield ("provider", "use_external_head_ip"), "opens port 22 of the head to everybody; remove it"


def _starts(tree: Mapping[str, Any]) -> _Mistakes:
    """Yield start commands with which a node would not join the cluster, or would be open to the network."""
    provider = _provider_of(tree)
    if provider.get("module") == LOCAL_NODES:
        return
    for section, needed in _OPTIONS.items():
        starts = list(ray_starts(tree, section))
        if isinstance(tree.get(section), list) and not starts:
            yield (section,), "no `ray start`: the node would not join the cluster"
        for path, options in starts:
            for option, value in needed.items():
                if option not in options:
                    yield path, f"`ray start` without {option}{value}"
            host = options.get("--dashboard-host")
            if host is not None and host not in _LOOPBACK:
                hint = "leave it out, `ray dashboard` forwards its port"
                yield path, f"--dashboard-host={host} shows the dashboard to the network; {hint}"
        if provider.get("type") == "local" and not any("--num-cpus" in options for _, options in starts):
            cpus = "say `ray start --num-cpus=N` (and --num-gpus): what fits is worked out offline"
            yield ((section,), cpus) if section in tree else ((), f"{section}: {cpus}")


def _mounts(tree: Mapping[str, Any]) -> _Mistakes:
    for remote, local in mapping_of(tree.get("file_mounts")).items():
        if isinstance(local, str) and "YOUR_" not in local and not Path(local).expanduser().exists():
            hint = "; make it: ray get-auth-token --generate" if local.endswith("auth_token") else ""
            yield ("file_mounts", remote), f"{local} is not on this machine{hint}"


def _refused_by_ray(tree: dict[str, Any]) -> _Mistakes:
    """Yield the first thing that ``ray up`` would refuse."""
    from jsonschema import ValidationError

    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            ray_private.validate_cluster(tree)
    except ValidationError as error:
        yield tuple(error.absolute_path), f"Ray refuses it: {error.message[:150]}"
    except (Exception, SystemExit) as error:  # Ray's own checks raise whatever they like
        yield (), f"Ray refuses it: {' '.join((str(error) or printed.getvalue()).split())[:200]}"
