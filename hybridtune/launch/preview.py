"""The plan of a launch, before anything is started: nodes over time, trials and waves, uploads, results. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.filesize import decimal

from hybridtune.config.study import Study
from hybridtune.launch.cluster_file import ClusterFile
from hybridtune.runtime.resources import Allocation, allocate
from hybridtune.search.arms import most_reruns
from hybridtune.search.screened import screened_trials

_OF_RESOURCES = {"workers", "cpus_per_worker", "gpus_per_worker", "placement", "accelerator_type"}


def describe_launch(
    cluster: ClusterFile,
    study: Study,
    allocation: Allocation,
    trials: int,
    uploads: Sequence[tuple[str, int]],
    out: str,
    folder: str,
) -> dict[str, Any]:
    """Return the plan as plain values, for ``--json``.

    The ``trials`` are those of all arms; ``uploads`` are the (name, bytes) of what goes along with the job; ``out`` is
    the location of the results as the cluster sees it, ``folder`` that of the fetched ones.

    Returns:
        ``cluster``, ``trials``, ``resources``, ``phases`` (when, trials at once, nodes by type), ``uploads``,
        ``results`` and ``notices``.
    """
    waves = math.ceil(trials / allocation.at_once)
    return {
        "cluster": {
            "name": cluster.name,
            "file": str(cluster.path),
            "kind": cluster.kind,
            "provider": cluster.provider,
            "most_workers": cluster.shape.most_nodes,
            "idle_minutes": cluster.idle_minutes,
            "spot": [node.name for node in cluster.shape.workers if node.spot],
        },
        "trials": {
            "screened": screened_trials(study),
            "all": trials,
            "arms": study.search.arms,
            "reruns": most_reruns(study),
            "at_once": allocation.at_once,
            "waves": waves,
            "repeat_best": study.search.repeat_best,
        },
        "resources": allocation.resources.model_dump(include=_OF_RESOURCES) | {"evaluators": allocation.evaluators},
        "phases": _phases(cluster, study, allocation, trials, waves),
        "uploads": [{"name": name, "bytes": size} for name, size in uploads],
        "results": {"out": out, "folder": folder},
        "notices": list(cluster.notices),
    }


def _phases(
    cluster: ClusterFile, study: Study, allocation: Allocation, trials: int, waves: int
) -> list[dict[str, Any]]:
    """Return the nodes of each phase; the autoscaler may choose other types that hold as much."""
    always: dict[str, int] = {}
    for node in cluster.shape.types:
        if node.least:
            always[node.name] = always.get(node.name, 0) + node.least
    phases = [
        {"when": "start", "trials": 0, "nodes": always},
        {"when": "trials wait", "trials": allocation.at_once, "nodes": dict(allocation.nodes)},
    ]
    rest = trials - allocation.at_once * (waves - 1)
    if waves > 1 and rest < allocation.at_once:
        last = allocate(allocation.resources, cluster.shape, rest, study.train.batch_size)
        phases.append({"when": "last trials", "trials": rest, "nodes": dict(last.nodes)})
    return [*phases, {"when": "idle", "trials": 0, "nodes": always}]


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """Return the plan of `describe_launch` for people, a line each."""
    cluster, trials = plan["cluster"], plan["trials"]
    kind = {"launcher": "Ray's launcher", "raycluster": "a RayCluster", "rayjob": "a RayJob"}[cluster["kind"]]
    most = _many(cluster["most_workers"], "worker node")
    spot = f"; may be taken back: {', '.join(cluster['spot'])}" if cluster["spot"] else ""
    arms = " (in four arms)" if trials["arms"] == "searched" else ""
    waves = f"{_many(trials['screened'], 'screened training')}; then " if trials["screened"] else ""
    waves += f"{trials['all']}{arms}, {trials['at_once']} at once, {_many(trials['waves'], 'wave')}"
    if trials["reruns"]:
        waves += f"; then up to {_many(trials['reruns'], 'training')} of fixed ratios"
    if trials["repeat_best"]:
        waves += f"; then {_many(trials['repeat_best'], 'further seed')} of each contestant"
    lines = [
        f"cluster {cluster['name']} ({cluster['file']}): {cluster['provider']} by {kind}, at most {most}{spot}",
        f"a trial: {_trial(plan['resources'])}",
        f"trials: {waves}",
        "nodes:",
    ]
    for phase in plan["phases"]:
        nodes = ", ".join(f"{count} {name}" for name, count in phase["nodes"].items()) or "none"
        lines.append(f"  {_when(phase, cluster['idle_minutes'])}: {nodes}")
    size = sum(upload["bytes"] for upload in plan["uploads"])
    what = f"{_many(len(plan['uploads']), 'file')}, {decimal(size)}" if plan["uploads"] else "the study file alone"
    return [
        *lines,
        f"uploaded with the job: {what}",
        *(f"  {upload['name']}: {decimal(upload['bytes'])}" for upload in plan["uploads"]),
        f"results: {plan['results']['out']}, fetched to {plan['results']['folder']}",
        *plan["notices"],
    ]


def _trial(resources: Mapping[str, Any]) -> str:
    workers = f"{_many(resources['workers'], 'worker')} with {_many(resources['cpus_per_worker'], 'CPU')}"
    if resources["gpus_per_worker"]:
        workers += f" and {_many(resources['gpus_per_worker'], 'GPU')}"
    kind = f" ({resources['accelerator_type']})" if resources["accelerator_type"] else ""
    nodes = {"pack": "on few nodes", "strict_pack": "on one node", "spread": "on many nodes"}[resources["placement"]]
    each = f" each, {nodes}" if resources["workers"] > 1 else ""
    return f"{workers}{kind}{each}; {_many(resources['evaluators'], 'evaluator')}"


def _when(phase: Mapping[str, Any], idle_minutes: float) -> str:
    trials = phase["trials"]
    return {
        "start": "at the start",
        "trials wait": f"while {_many(trials, 'trial')} {'runs' if trials == 1 else 'run'}",
        "last trials": f"the last {_many(trials, 'trial')}",
        "idle": f"{idle_minutes:g} min after the last",
    }[phase["when"]]


def _many(count: float, noun: str) -> str:
    return f"{count:g} {noun}{'s' * (count != 1)}"
