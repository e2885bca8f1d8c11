"""Files of Ray's cluster launcher (``ray up``): Ray's own schema, and what it lets through that goes wrong later."""

import contextlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from hybridtune.errors import nearest
from hybridtune.launch.yaml_lines import Document, YamlPath, mapping_of, schema_mistakes
from hybridtune.runtime import ray_private
from hybridtune.runtime.launcher_shape import ray_starts

IDLE_MINUTES = 5.0  # Ray's own default
_PROVIDERS = ("aws", "gcp", "azure", "local", "external", "aliyun", "vsphere", "spark", "fake_multinode", "readonly")
_RAY_VERSION = re.compile(r"(?<![\w/-])ray(?:\[[\w,-]*\])?==([\w.]+)|\brayproject/ray(?:-ml)?:(\d+\.\d+\.\d+)")


def mistakes(document: Document) -> Iterator[str]:
    """Yield everything that is wrong with a launcher's file, one line each; Ray's own validation comes last."""
    tree = document.tree
    found = [
        *_schema(document),
        *_provider(document),
        *_node_types(document),
        *_network(document),
        *start_mistakes(document),
        *_mounts(document),
        *_versions(document),
    ]
    yield from found
    if not found and (refused := _refused_by_ray(tree)):
        path, message = refused
        yield document.mistake(path, message)


def notices(document: Document) -> list[str]:
    """Return notices about what a good file may have."""
    tree, told = document.tree, []
    if "idle_timeout_minutes" not in tree:
        told.append(f"{document.source}: no idle_timeout_minutes: Ray takes idle workers down after {IDLE_MINUTES:g}")
    for name, node in _types(tree).items():
        if int(node.get("max_workers", 0)) > _most(tree):
            told.append(
                document.mistake(
                    ("available_node_types", name, "max_workers"),
                    f"{node['max_workers']} nodes can never be there: max_workers of the cluster is {_most(tree)}",
                )
            )
    if tree["provider"].get("module") != LOCAL_NODES and not any(
        "RAY_AUTH_MODE=token" in text for _, _, text in document.texts()
    ):
        told.append(f"{document.source}: no RAY_AUTH_MODE=token: whoever reaches the head's ports may run code there")
    return told


def _most(tree: Mapping[str, Any]) -> int:
    return int(tree["max_workers"])


def _types(tree: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: mapping_of(node) for name, node in mapping_of(tree.get("available_node_types")).items()}


def _schema(document: Document) -> Iterator[str]:
    schema = json.loads(ray_private.launcher_schema().read_text(encoding="utf-8"))
    tree = dict(document.tree)
    if mapping_of(tree.get("provider")).get("type") == "local":
        tree.pop("min_workers", None)  # Ray takes it out before it validates
    yield from schema_mistakes(document, tree, schema)


def _provider(document: Document) -> Iterator[str]:
    provider = mapping_of(document.tree.get("provider"))
    kind = provider.get("type")
    if isinstance(kind, str) and kind not in _PROVIDERS:
        hint = "; a KubeRay file has apiVersion and kind" if kind in ("kuberay", "kubernetes") else ""
        yield document.mistake(
            ("provider", "type"), f"{kind!r} is no provider of Ray's launcher{hint or nearest(kind, _PROVIDERS)}"
        )
    idle = document.tree.get("idle_timeout_minutes")
    if isinstance(idle, int | float) and idle <= 0:
        yield document.mistake(("idle_timeout_minutes",), f"{idle} takes nodes down at once: more than 0")
    if kind == "local":
        for key in ("head_ip", "worker_ips"):
            if key not in provider:
                yield document.mistake(("provider",), f"{key} is missing: which machines are there?")
        for key in ("available_node_types", "head_node_type"):
            if key in document.tree:
                yield document.mistake((key,), "machines that are there (provider local) have no node types; remove it")
    elif "max_workers" not in document.tree:
        yield document.mistake((), "max_workers is missing: Ray would allow 2 worker nodes")


def _node_types(document: Document) -> Iterator[str]:
    tree = document.tree
    if mapping_of(tree.get("provider")).get("type") == "local":
        return
    types, at = _types(tree), ("available_node_types",)
    if not types:
        yield document.mistake((), "available_node_types is missing: one for the head, and one or more for workers")
        return
    head = tree.get("head_node_type")
    if head is None:
        yield document.mistake((), "head_node_type is missing: name one of available_node_types")
    elif head not in types:
        yield document.mistake(("head_node_type",), f"{head!r} is not in available_node_types" + nearest(head, types))
    yield from _counts(document, types)
    for name, node in types.items():
        if isinstance(node.get("resources"), dict) and "CPU" not in node["resources"]:
            yield document.mistake(
                (*at, name, "resources"),
                "say CPU (and GPU) of a node, like {CPU: 8, GPU: 1}: hybridtune works out offline what fits"
                + ("; CPU: 0 keeps trials off the head" if name == head else ""),
            )


def _counts(document: Document, types: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Yield numbers of workers that contradict each other."""
    total, most = 0, document.tree.get("max_workers")
    for name, node in types.items():
        least, largest = node.get("min_workers", 0), node.get("max_workers")
        at: YamlPath = ("available_node_types", name)
        for key in ("min_workers", "max_workers"):
            if isinstance(node.get(key), int) and node[key] < 0:
                yield document.mistake((*at, key), f"{node[key]} nodes: 0 or more")
        if isinstance(least, int) and isinstance(largest, int) and least > largest:
            yield document.mistake((*at, "min_workers"), f"{least} is more than its max_workers {largest}")
        total += least if isinstance(least, int) else 0
    if isinstance(most, int) and total > most:
        yield document.mistake(("max_workers",), f"{most} is less than the node types' min_workers together, {total}")


def _network(document: Document) -> Iterator[str]:
    """Yield where a provider's default lets everybody reach port 22 of the nodes."""
    provider = mapping_of(document.tree.get("provider"))
    for name, node in _types(document.tree).items():
        path = ("available_node_types", name, "node_config")
        config = mapping_of(node.get("node_config"))
        if provider.get("type") == "aws" and not {"SecurityGroupIds", "NetworkInterfaces"} & config.keys():
            yield document.mistake(
                path, "SecurityGroupIds is missing: Ray would make a group whose port 22 is open to everybody"
            )
        if provider.get("type") == "gcp" and "networkInterfaces" not in config:
            yield document.mistake(
                path, "networkInterfaces is missing: Ray would take a subnet by chance, and its firewall with it"
            )
    if provider.get("type") == "azure" and provider.get("use_internal_ips") is not True:
        yield document.mistake(
            ("provider", "use_internal_ips"),
            "must be true: with public addresses, the network that Ray makes opens port 22 to everybody",
        )
    if provider.get("type") == "azure" and provider.get("use_external_head_ip"):
        yield document.mistake(
            ("provider", "use_external_head_ip"), "opens port 22 of the head to everybody; remove it"
        )


def _mounts(document: Document) -> Iterator[str]:
    for remote, local in mapping_of(document.tree.get("file_mounts")).items():
        if isinstance(local, str) and "YOUR_" not in local and not Path(local).expanduser().exists():
            hint = "; make it: ray get-auth-token --generate" if local.endswith("auth_token") else ""
            yield document.mistake(("file_mounts", remote), f"{local} is not on this machine{hint}")


def _versions(document: Document) -> Iterator[str]:
    installed = metadata.version("ray")
    for path, line, text in document.texts():
        for pinned, image in _RAY_VERSION.findall(text):
            if (pinned or image) != installed:
                yield document.mistake(
                    path, f"Ray {pinned or image} on the nodes and {installed} here: they must be the same", line
                )


def _refused_by_ray(tree: dict[str, Any]) -> tuple[YamlPath, str] | None:
    """Return Ray's own verdict on a file that ``ray up`` would fill in: (path, message), or None if it is good."""
    from jsonschema import ValidationError

    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            ray_private.validate_cluster(tree)
    except ValidationError as error:
        return tuple(error.absolute_path), f"Ray refuses it: {error.message[:150]}"
    except (Exception, SystemExit) as error:  # Ray's own checks raise whatever they like
        said = " ".join((str(error) or printed.getvalue()).split())
        return (), f"Ray refuses it: {said[:200]}"
    return None


LOCAL_NODES = "hybridtune.launch.local_nodes.Provider"  # its head is started here, not by commands of the file
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def start_mistakes(document: Document) -> Iterator[str]:
    """Start commands with which a node would not join the cluster, or would be shown to the network."""
    provider = mapping_of(document.tree.get("provider"))
    if provider.get("module") == LOCAL_NODES:
        return
    for section, needed in (
        ("head_start_ray_commands", {"--head": "", "--autoscaling-config": "=~/ray_bootstrap_config.yaml"}),
        ("worker_start_ray_commands", {"--address": "=$RAY_HEAD_IP:6379"}),
    ):
        starts = list(ray_starts(document.tree, section))
        commands = document.tree.get(section)
        if isinstance(commands, list) and not starts:
            yield document.mistake((section,), "no `ray start`: the node would not join the cluster")
        for path, options in starts:
            for option, value in needed.items():
                if option not in options:
                    yield document.mistake(path, f"`ray start` without {option}{value}")
            host = options.get("--dashboard-host")
            if host is not None and host not in _LOOPBACK:
                yield document.mistake(
                    path, f"--dashboard-host={host} shows the dashboard to the network; leave it out, `ray dashboard`"
                    " forwards its port",
                )  # fmt: skip
        if provider.get("type") == "local" and not any("--num-cpus" in options for _, options in starts):
            where: YamlPath = (section,) if section in document.tree else ()
            yield document.mistake(
                where,
                f"{'' if where else section + ': '}say `ray start --num-cpus=N` (and --num-gpus): what fits is worked"
                " out offline",
            )
