"""A Ray cluster that exists: joined from its head node for as long as a study runs, measured, and left as it was."""

import contextlib
import json
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from hybridtune.config.yaml_text import parse_yaml
from hybridtune.errors import InputError
from hybridtune.runtime.launcher_shape import launcher_shape
from hybridtune.runtime.local import native_stderr_to, silence
from hybridtune.runtime.ray_private import (
    BOOTSTRAP_FILE,
    HEAD_RESOURCE,
    MERGED_JOB_ENVIRONMENT,
    SETTINGS,
    cluster_config,
    start_data_actors,
)
from hybridtune.runtime.resources import NodeType, Shape

SHAPE = "HYBRIDTUNE_SHAPE"  # in the environment of a study that was launched: what its cluster may become
_FOR_LIBRARIES = (
    "HF_HUB_DISABLE_PROGRESS_BARS",
    "HF_HUB_VERBOSITY",
    "TRANSFORMERS_VERBOSITY",
    "TOKENIZERS_PARALLELISM",
)
_TOKEN = "RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH"
_SECONDS = 5.0  # for a head to take a connection


@contextlib.contextmanager
def cluster(address: str, noise: Path = Path(os.devnull)) -> Iterator[str]:
    """Join a running cluster while the block runs; yields the address of its dashboard ('' without one).

    The cluster goes on after it. Tokens are those of the environment, as Ray looks for them.

    Args:
        address: ``auto`` or ``HOST:PORT``.
        noise: file that takes what Ray and its libraries print; standard output and error stay for our own words.

    Raises:
        InputError: there is none, it has another version or other tokens, or this is not its head node.
    """
    _check_answers(address)
    os.environ.update(SETTINGS, **MERGED_JOB_ENVIRONMENT)
    with noise.open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        import ray

        dashboard = _join(address, log)
        try:
            silence()
            _check_on_head(address)
            start_data_actors()
            yield dashboard
        finally:
            ray.shutdown()


def shape_of(address: str | None) -> Shape | None:
    """Return the shape of the cluster at an address; None: no address.

    Raises:
        InputError: see `cluster`.
    """
    if address is None:
        return None
    with cluster(address):
        return shape_of_running()


def shape_of_running() -> Shape:
    """Return the shape of the cluster that this process has joined: its nodes, and those that its autoscaler may add.

    What a launcher told of it goes first, for Ray tells of the nodes that may come on few clusters; where it does not,
    the file by which Ray's launcher started this head is read.
    """
    told = os.environ.get(SHAPE)
    if told:
        return load_shape(told)
    import ray

    may_come, file = _may_come(), Path.home() / BOOTSTRAP_FILE
    if not may_come and file.is_file():
        return launcher_shape(parse_yaml(file.read_text(encoding="utf-8")))
    most = {kind.name: kind.most for kind in may_come}
    there = Counter(_type_of(node) for node in ray.nodes() if node["Alive"])
    types = [
        replace(kind, least=count, most=count if kind.head else max(count, most.get(kind.name, 0)))
        for kind, count in there.items()
    ]
    known = {kind.name for kind in types if not kind.head}
    return Shape((*types, *(kind for kind in may_come if kind.name not in known)), None)


def dump_shape(shape: Shape) -> str:
    """Return a shape for the environment of a launched study."""
    return json.dumps(asdict(shape))


def load_shape(text: str) -> Shape:
    """Return the shape that `dump_shape` wrote."""
    tree = json.loads(text)
    return Shape(tuple(NodeType(**kind) for kind in tree["types"]), tree["most_workers"])


def waiting_workers() -> list[Mapping[str, float]]:
    """Return what each worker holds of the groups that wait for nodes to be there."""
    from ray.util import placement_group_table

    waiting = [group for group in placement_group_table().values() if group["state"] in ("PENDING", "RESCHEDULING")]
    bundles = [bundle for group in waiting for bundle in group["bundles"].values()]
    return [bundle for bundle in bundles if HEAD_RESOURCE not in bundle]  # that is a trial itself


def describe_waiting(workers: list[Mapping[str, float]]) -> str:
    """``waiting for nodes: 2 workers of 1.5 CPU are pending``, and what is free."""
    import ray

    asked = Counter(_amounts(worker) for worker in workers)
    parts = [f"{count} worker{'s' * (count > 1)} of {each}" for each, count in asked.items()]
    return f"waiting for nodes: {', '.join(parts)} pending; free now: {_amounts(ray.available_resources())}"


def _amounts(resources: Mapping[str, float]) -> str:
    """``1.5 CPU, 1 GPU``."""
    kinds = ["CPU", "GPU", *sorted(name for name in resources if name.startswith("accelerator_type:"))]
    told = [f"{resources[kind]:g} {kind}" for kind in kinds[:2] if resources.get(kind)]
    return ", ".join([*told, *(kind.partition(":")[2] for kind in kinds[2:])]) or "no CPU and no GPU"


def _check_answers(address: str) -> None:
    """Ray tries for minutes where nobody is."""
    if address == "auto":
        return
    found = re.fullmatch(r"\[?([^\]/]+)\]?:(\d+)", address)
    if found is None:
        raise InputError(f"--address {address}: give auto, or HOST:PORT of a head's GCS (6379 by default)")
    try:
        socket.create_connection((found[1], int(found[2])), _SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--address {address}: nothing answers there ({error}); start a head by `ray start --head`, or leave "
            "--address out to run on this machine"
        ) from None


def _join(address: str, log: IO[str]) -> str:
    import ray

    named = {} if address == "auto" else {"RAY_ADDRESS": address}  # Ray's own processes may see several clusters
    libraries = {name: os.environ[name] for name in _FOR_LIBRARIES if name in os.environ}
    try:
        with native_stderr_to(log):
            context = ray.init(
                address=address,
                namespace="hybridtune",
                runtime_env={"env_vars": {**SETTINGS, **libraries, **named}},
                logging_level="ERROR",
                log_to_driver=False,
            )
    except ConnectionError:  # also what a head answers that asks for another token
        raise InputError(
            f"--address {address}: no Ray cluster takes this connection; start one by `ray start --head`, set "
            f"{_TOKEN} as on its head if it asks for a token, or leave --address out to run on this machine"
        ) from None
    except ray.exceptions.AuthenticationError as error:
        raise InputError(
            f"--address {address}: {_line(error).partition('. ')[0]}; set {_TOKEN} as on the head"
        ) from None
    except RuntimeError as error:
        raise InputError(
            f"--address {address}: the cluster cannot be joined: {_line(error)}; run the Python and Ray of its nodes"
        ) from None
    return context.dashboard_url or ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".;: ")


def _check_on_head(address: str) -> None:
    import ray

    here = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():
        if node["Alive"] and HEAD_RESOURCE in node["Resources"] and node["NodeID"] != here:
            where = node["NodeManagerAddress"]
            raise InputError(
                f"--address {address}: this is not the head node, which is {where}; run the command there, or submit "
                f"it by --address http://{where}:8265"
            )


def _type_of(node: Mapping[str, Any]) -> NodeType:
    """Return the kind of a live node, one of them."""
    holds = node["Resources"]
    cpus, gpus = holds.get("CPU", 0.0), holds.get("GPU", 0.0)
    accelerator = next((name.partition(":")[2] for name in holds if name.startswith("accelerator_type:")), None)
    head = HEAD_RESOURCE in holds
    unnamed = "head" if head else f"{cpus:g}-cpu" + (f"-{gpus:g}-gpu" if gpus else "")
    group = (node.get("Labels") or {}).get("ray.io/node-group")
    return NodeType(group or unnamed, cpus, gpus, accelerator, 1, 1, head)


def _may_come() -> list[NodeType]:
    """Return the kinds that an autoscaler may add, where Ray knows of them."""
    try:
        config = cluster_config()
    except (ImportError, AttributeError):
        return []
    return [
        NodeType(
            name=group.name,
            cpus=float(group.resources.get("CPU", 0)),
            gpus=float(group.resources.get("GPU", 0)),
            accelerator=next((n.partition(":")[2] for n in group.resources if n.startswith("accelerator_type:")), None),
            least=0,
            most=int(group.max_count) if group.max_count >= 0 else 1000,  # -1: no bound
        )
        for group in (config.node_group_configs if config else [])
        if group.max_count
    ]
