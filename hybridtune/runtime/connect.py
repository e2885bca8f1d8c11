"""A Ray cluster that exists: joined from its head node for as long as a study runs, measured, and left as it was."""

import contextlib
import json
import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter

from hybridtune.config.yaml_text import parse_yaml
from hybridtune.errors import InputError
from hybridtune.runtime.launcher_shape import launcher_shape
from hybridtune.runtime.local import native_stderr_to, silence
from hybridtune.runtime.loopback import job_environment, keep_direct
from hybridtune.runtime.processes import SAFE_PATH
from hybridtune.runtime.ray_private import (
    BOOTSTRAP_FILE,
    HEAD_RESOURCE,
    MERGED_JOB_ENVIRONMENT,
    SETTINGS,
    cluster_config,
    job_config,
    start_data_actors,
)
from hybridtune.runtime.resources import NodeType, Shape, accelerators
from hybridtune.runtime.termination import sigterm_raises
from hybridtune.runtime.watch import ray_watched

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
def cluster(
    address: str, log: Path = Path(os.devnull), lost: Callable[[str], None] = lambda line: None
) -> Iterator[str]:
    """Join a running cluster while the block runs; yields the address of its dashboard ('' without one).

    The cluster goes on after it. Tokens are those of the environment, as Ray looks for them.

    Args:
        address: ``auto`` or ``HOST:PORT``.
        log: takes what Ray and its libraries print; standard output and error stay for our own messages.
        lost: see `ray_watched`.

    Raises:
        InputError: no cluster answers, it has another version or other tokens, or this is not its head node.
        RayLostError: the head was lost, or the raylet of this machine.
    """
    _check_answers(address)
    keep_direct()
    os.environ.update(SETTINGS, **MERGED_JOB_ENVIRONMENT)
    with log.open("a") as output, contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        import ray

        with sigterm_raises() as set_handler, ray_watched(lost) as watch:
            dashboard = _join(address, output)
            try:
                set_handler()
                silence()
                _check_on_head(address)
                start_data_actors()
                watch.begin()
                yield dashboard
            finally:
                watch.leave()
                ray.shutdown()


def shape_of(address: str | None) -> Shape | None:
    """Return the shape of the cluster at an address; None: no address. Raises InputError as `cluster` does."""
    if address is None:
        return None
    with cluster(address):
        return shape_of_running()


def shape_of_running() -> Shape:
    """Return the shape of the cluster that this process has joined: its nodes, and those that its autoscaler may add.

    The shape that a launch left in the environment goes first, since few clusters report to Ray which nodes may come;
    without it and without such a report, the file by which Ray's launcher started this head is read.
    """
    if launched := os.environ.get(SHAPE):
        return load_shape(launched)
    import ray

    may_come, file = _may_come(), Path.home() / BOOTSTRAP_FILE
    if not may_come and file.is_file():
        return launcher_shape(parse_yaml(file.read_text(encoding="utf-8")))
    most = {kind.name: kind.most for kind in may_come}
    alive = Counter(_type_of(node) for node in ray.nodes() if node["Alive"])
    types = [
        replace(kind, least=count, most=count if kind.head else max(count, most.get(kind.name, 0)))
        for kind, count in alive.items()
    ]
    known = {kind.name for kind in types if not kind.head}
    return Shape((*types, *(kind for kind in may_come if kind.name not in known)), None)


def dump_shape(shape: Shape) -> str:
    """Return a shape for the environment of a launched study."""
    return json.dumps(asdict(shape))


def load_shape(text: str) -> Shape:
    """Return the shape that `dump_shape` wrote."""
    return TypeAdapter(Shape).validate_json(text)


def waiting_workers() -> list[Mapping[str, float]]:
    """Return the resources of each worker in the placement groups that wait for nodes."""
    from ray.util import placement_group_table

    waiting = [group for group in placement_group_table().values() if group["state"] in ("PENDING", "RESCHEDULING")]
    bundles = [bundle for group in waiting for bundle in group["bundles"].values()]
    return [bundle for bundle in bundles if HEAD_RESOURCE not in bundle]  # that is a trial itself


def describe_waiting(workers: list[Mapping[str, float]]) -> str:
    """Return ``waiting for nodes: 2 workers of 1.5 CPU pending; free now: 1 CPU``."""
    import ray

    counts = Counter(map(_amounts, workers))
    parts = [f"{count} worker{'s' * (count > 1)} of {each}" for each, count in counts.items()]
    return f"waiting for nodes: {', '.join(parts)} pending; free now: {_amounts(ray.available_resources())}"


def _amounts(resources: Mapping[str, float]) -> str:
    """Return ``1.5 CPU, 1 GPU, A10G``."""
    parts = [f"{resources[kind]:g} {kind}" for kind in ("CPU", "GPU") if resources.get(kind)]
    return ", ".join([*parts, *sorted(accelerators(resources))]) or "no CPU and no GPU"


def _check_answers(address: str) -> None:
    """Refuse an address without a head at once; Ray would try for minutes."""
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


def _join(address: str, output: IO[str]) -> str:
    import ray

    named = {} if address == "auto" else {"RAY_ADDRESS": address}  # Ray's own processes may see several clusters
    libraries = {name: os.environ[name] for name in _FOR_LIBRARIES if name in os.environ}
    try:
        with native_stderr_to(output):
            context = ray.init(
                address=address,
                namespace="hybridtune",
                runtime_env={"env_vars": {**SETTINGS, **SAFE_PATH, **job_environment(), **libraries, **named}},
                logging_level="ERROR",
                log_to_driver=False,
                job_config=job_config(),
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
    """Return the type of a live node, with a count of one."""
    resources = node["Resources"]
    cpus, gpus, head = resources.get("CPU", 0.0), resources.get("GPU", 0.0), HEAD_RESOURCE in resources
    unnamed = "head" if head else f"{cpus:g}-cpu" + (f"-{gpus:g}-gpu" if gpus else "")
    group = (node.get("Labels") or {}).get("ray.io/node-group")
    return NodeType(group or unnamed, cpus, gpus, next(accelerators(resources), None), 1, 1, head)


def _may_come() -> list[NodeType]:
    """Return the node types that an autoscaler may add, where Ray knows them."""
    try:
        config = cluster_config()
    except (ImportError, AttributeError):
        return []
    return [
        NodeType(
            group.name,
            float(group.resources.get("CPU", 0)),
            float(group.resources.get("GPU", 0)),
            next(accelerators(group.resources), None),
            least=0,
            most=int(group.max_count) if group.max_count >= 0 else 1000,  # -1: no bound
        )
        for group in (config.node_group_configs if config else [])
        if group.max_count
    ]
