"""Trials on machines: the cores of this process, the shape of a cluster, and the allocation of a study.

A shape comes from a cluster file (`hybridtune.launch`) or a running cluster (`hybridtune.runtime.connect`).
"""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hybridtune.config.fields import Resources
from hybridtune.errors import InputError
from hybridtune.runtime.control_groups import cpu_quota


def cores() -> int:
    """Return the cores that this process may use, at least 1; of a quota of 2.5 CPUs there are 2."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return count if quota is None else max(1, min(count, int(quota)))


@dataclass(frozen=True)
class NodeType:
    """One kind of node, as the cluster file or Ray names it.

    Attributes:
        cpus: logical CPUs that Ray may use, >= 0.
        accelerator: Ray's name of its GPUs (``A10G``).
        least: nodes that always run, >= 0.
        most: nodes at once, >= least.
        head: one always runs, and no bound on workers counts it.
        spot: the provider may take a node back.
    """

    name: str
    cpus: float
    gpus: float
    accelerator: str | None
    least: int
    most: int
    head: bool = False
    spot: bool = False


@dataclass(frozen=True)
class Shape:
    """The nodes that a cluster may have.

    Attributes:
        types: in the order of the cluster file; a head type that may also have workers is listed twice.
        most_workers: worker nodes at once over all types; None: no bound beside the types' own.
    """

    types: tuple[NodeType, ...]
    most_workers: int | None

    @property
    def workers(self) -> tuple[NodeType, ...]:
        """Return the types of which there may be worker nodes."""
        return tuple(node for node in self.types if not node.head and node.most)

    @property
    def most_nodes(self) -> int:
        """Worker nodes at once, by both bounds."""
        by_types = sum(node.most for node in self.workers)
        return by_types if self.most_workers is None else min(by_types, self.most_workers)


def accelerators(resources: Iterable[str]) -> Iterator[str]:
    """Yield the GPU types among the names of Ray's resources: ``A10G`` of ``accelerator_type:A10G``."""
    return (name.partition(":")[2] for name in resources if name.startswith("accelerator_type:"))


WORKER_OVERHEAD = 0.5  # CPUs beside cpus_per_worker, on any cluster: 0.25 the stream's task, 0.25 the evaluator
_PARTS = 10_000  # of one CPU or GPU


@dataclass(frozen=True)
class Allocation:
    """The share of a cluster that a study uses.

    Attributes:
        resources: the study's, with no ``auto`` left.
        at_once: trials at once, >= 1.
        evaluators: of a trial, from 1 to its workers.
        nodes: node type -> nodes while so many trials run; the head and those that always run among them.
    """

    resources: Resources
    at_once: int
    evaluators: int
    nodes: Mapping[str, int]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Trial:
    """The needs of one trial: its workers, and the CPUs (without the overhead) and GPUs of each."""

    workers: int
    cpus: int
    gpus: float
    together: bool  # all workers on one node

    def units(self, node: NodeType) -> int:
        """Return what a node holds: whole trials where workers stay together, else workers."""
        return self.workers_on(node) // self.workers if self.together else self.workers_on(node)

    def workers_on(self, node: NodeType) -> int:
        """Return the workers that a node holds; a worker's part of a GPU lies on one."""
        by_cpus = _parts(node.cpus) // _parts(self.cpus + WORKER_OVERHEAD)
        if not self.gpus:
            return by_cpus
        if self.gpus < 1:
            return min(by_cpus, int(node.gpus) * (_PARTS // max(1, _parts(self.gpus))))
        return min(by_cpus, _parts(node.gpus) // _parts(self.gpus))


def allocate(resources: Resources, shape: Shape, trials: int, batch_size: int, most: int | None = None) -> Allocation:
    """Work out how the trials of a study fit on a cluster.

    As with Ray's own autoscaler, nodes with GPUs start for trials without GPUs only where no other node could hold one.

    Args:
        resources: of the study; ``auto`` is worked out here.
        shape: of the cluster, as large as it may become.
        trials: to run in all, >= 1.
        batch_size: pairs in the global batch; an ``auto`` number of workers divides it.
        most: trials at once at most, where the resources do not set a number; None: as many as there is room for.

    Raises:
        InputError: one trial alone does not fit: one line with what it needs and what the cluster has.
    """
    able = _of_accelerator(resources.accelerator_type, shape)
    trial = _worked_out(resources, able, batch_size)
    growing = able if trial.gpus else [node for node in able if not node.gpus]
    room = _room(trial, able, _nodes(trial, shape, able, growing))
    if not room and len(growing) < len(able):
        growing = able
        room = _room(trial, able, _nodes(trial, shape, able, growing))
    if not room:
        raise InputError(_refusal(trial, shape, able))
    room = min(room, trials)
    at_once = min(room, resources.concurrent_trials or most or room)
    nodes = _nodes(trial, shape, able, growing, at_once if trial.together else at_once * trial.workers)
    capped = explain_cap(room, at_once) if resources.concurrent_trials is None else []
    return Allocation(
        resources.model_copy(
            update={"workers": trial.workers, "cpus_per_worker": trial.cpus, "gpus_per_worker": trial.gpus}
        ),
        at_once,
        min(trial.workers, max(1, (resources.evaluators or at_once * trial.workers) // at_once)),
        _by_name(shape, nodes),
        (*capped, *_gpus_left(resources, able)),
    )


def explain_cap(room: int, at_once: int) -> list[str]:
    """Return a notice of why fewer trials run at once than there is room for; none where all do."""
    notice = (
        f"{at_once} of the {room} trials that there is room for run{'s' * (at_once == 1)} at once: a quarter of the "
        "search at most, so that it learns from trials that have ended; resources.concurrent_trials sets another number"
    )
    return [notice] if at_once < room else []


def _of_accelerator(name: str | None, shape: Shape) -> list[NodeType]:
    """Return the types that a worker may run on. Raises InputError where none has the accelerator."""
    able = [node for node in shape.types if node.most and name in (None, node.accelerator)]
    if not able and name is not None:
        known = [f"{node.accelerator} ({node.name})" for node in shape.types if node.accelerator]
        raise InputError(
            f"resources.accelerator_type {name!r}: no node type of the cluster has it; "
            f"there: {', '.join(known) or 'no accelerator type at all'}"
        )
    return able


def _worked_out(resources: Resources, able: Sequence[NodeType], batch_size: int) -> _Trial:
    """Return the trial with numbers for ``auto``: the nodes beside the head decide, where there are any."""
    types = [node for node in able if not node.head] or able
    together = resources.placement == "strict_pack"
    gpus = resources.gpus_per_worker
    if gpus == "auto":
        gpus = 1.0 if any(node.gpus >= 1 for node in types) else 0.0
    if not gpus:
        types = [node for node in types if not node.gpus] or types
    cpus = resources.cpus_per_worker if isinstance(resources.cpus_per_worker, int) else 1
    workers = resources.workers
    if not isinstance(workers, int):
        one = _Trial(1, cpus, gpus, together)
        most = max(map(one.workers_on, types), default=1) if gpus else 1
        workers = next(n for n in range(max(1, min(most, batch_size)), 0, -1) if batch_size % n == 0)
    trial = _Trial(int(workers), cpus, gpus, together)
    if resources.cpus_per_worker == "auto":
        # Workers that share one node's CPUs: all of them, or as few as spreading allows; with GPUs as many as it holds.
        nodes = max(1, sum(node.most for node in types)) if resources.placement == "spread" else 1
        share = math.inf if gpus else math.ceil(trial.workers / nodes)
        on_node = [(node.cpus, int(min(share, trial.workers_on(node)))) for node in types if trial.workers_on(node)]
        left = [_parts(cpus) // count - _parts(WORKER_OVERHEAD) for cpus, count in on_node]
        trial = replace(trial, cpus=max(1, min(left, default=0) // _PARTS))
    return trial


def _nodes(
    trial: _Trial, shape: Shape, able: Sequence[NodeType], growing: Sequence[NodeType], units: int | None = None
) -> dict[NodeType, int]:
    """Return the nodes of each type: those that always run, and more of those that hold most, as ``units`` need.

    Workers run on the ``able`` types, and nodes start of the ``growing`` ones among them; units None: all that fit.
    """
    nodes = {node: node.least for node in shape.types if node.least}
    wanted = math.inf if units is None else units - sum(trial.units(n) * k for n, k in nodes.items() if n in able)
    spare = math.inf if shape.most_workers is None else shape.most_workers
    spare -= sum(count for node, count in nodes.items() if not node.head)
    for node in sorted(growing, key=lambda node: (-trial.units(node), not node.spot)):
        each = trial.units(node)
        if node.head or not each:
            continue
        more = max(0, min(node.most - node.least, spare, math.ceil(wanted / each) if units is not None else math.inf))
        nodes[node] = nodes.get(node, 0) + int(more)
        wanted, spare = wanted - more * each, spare - more
    return {node: count for node, count in nodes.items() if count}


def _room(trial: _Trial, able: Sequence[NodeType], nodes: Mapping[NodeType, int]) -> int:
    """Return the trials that these nodes hold."""
    units = sum(trial.units(node) * count for node, count in nodes.items() if node in able)
    return units if trial.together else units // trial.workers


def _gpus_left(resources: Resources, able: Sequence[NodeType]) -> list[str]:
    with_gpus = [node.name for node in able if node.gpus]
    if resources.gpus_per_worker != 0 or not with_gpus:
        return []
    return [
        f"warning: trains on CPUs, and {', '.join(with_gpus)} of the cluster has GPUs: resources.gpus_per_worker is 0; "
        "write auto, or leave it out"
    ]


def _by_name(shape: Shape, nodes: Mapping[NodeType, int]) -> dict[str, int]:
    """Return node type -> nodes in the order of the shape; a head and the workers of its type are one entry."""
    counts = dict.fromkeys((node.name for node in shape.types if node in nodes), 0)
    for node, count in nodes.items():
        counts[node.name] += count
    return counts


def _parts(amount: float) -> int:
    return round(amount * _PARTS)


def _refusal(trial: _Trial, shape: Shape, able: Sequence[NodeType]) -> str:
    """Return what one trial needs, and what the cluster has, in one line."""
    if not able:
        return "resources: the cluster may have no nodes at all: raise max_workers of a node type"
    largest = max(able, key=lambda node: (trial.workers_on(node), node.gpus if trial.gpus else node.cpus, node.cpus))
    several = trial.workers > 1
    needs = (
        f"resources: a trial of {trial.workers} worker{'s' * several} with "
        f"{_amounts(trial.cpus, trial.gpus)}{' each' * several} needs "
        f"{_amounts(trial.workers * (trial.cpus + WORKER_OVERHEAD), trial.workers * trial.gpus)}"
    )
    included = f"(each worker's {WORKER_OVERHEAD:g} CPUs for its stream and its evaluator included)"
    kind = "node type that can run trials" if largest.head else "worker type"
    has = f"the largest {kind}, {largest.name}, has {_amounts(largest.cpus, largest.gpus if trial.gpus else 0)}"
    fields = {"workers": several, "gpus_per_worker": trial.gpus, "cpus_per_worker": trial.cpus > 1}
    lower = " or ".join(name for name, helps in fields.items() if helps) or "what the head keeps for itself"
    if trial.together or not trial.workers_on(largest):
        one = "on one node" if trial.together or not several else "with each worker on one node"
        packed = ", choose placement pack" if trial.together and several else ""
        return f"{needs} {one} {included}; {has}; lower {lower}{packed}, or give the cluster larger nodes"
    most = sum(_nodes(trial, shape, able, able).get(node, 0) for node in able if trial.workers_on(node))
    return (
        f"{needs} {included}; {has}, and there are at most {most} node{'s' * (most != 1)} that hold such a worker; "
        f"lower {lower}, or raise max_workers of the cluster"
    )


def _amounts(cpus: float, gpus: float) -> str:
    parts = [f"{gpus:g} GPU{'s' * (gpus != 1)}"] if gpus else []
    return " and ".join([*parts, f"{cpus:g} CPU{'s' * (cpus != 1)}"])
