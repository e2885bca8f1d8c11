"""What a launch would do, before anything is started: nodes over time, trials and waves, uploads, results. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hybridtune.config.study import Study
from hybridtune.launch.cluster_file import ClusterFile
from hybridtune.runtime.resources import Allocation, allocate

_UNITS = ("B", "KB", "MB", "GB", "TB")


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

    Args:
        cluster: the cluster file.
        study: the study.
        allocation: how its trials fit there.
        trials: in all, the baselines among them.
        uploads: what goes along with the job: (name, bytes).
        out: location of the results, as the cluster sees it.
        folder: of the fetched results.

    Returns:
        ``cluster``, ``trials``, ``resources``, ``phases`` (when, trials at once, nodes by type), ``uploads``,
        ``results`` and ``notices``.
    """
    waves = math.ceil(trials / allocation.at_once)
    repeats = study.search.repeat_best
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
            "all": trials,
            "baselines": study.search.baselines,
            "at_once": allocation.at_once,
            "waves": waves,
            "repeat_best": repeats,
        },
        "resources": {
            "workers": allocation.resources.workers,
            "cpus_per_worker": allocation.resources.cpus_per_worker,
            "gpus_per_worker": allocation.resources.gpus_per_worker,
            "evaluators": allocation.evaluators,
            "placement": allocation.resources.placement,
            "accelerator_type": allocation.resources.accelerator_type,
        },
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
    left = trials - allocation.at_once * (waves - 1)
    if waves > 1 and left < allocation.at_once:
        last = allocate(allocation.resources, cluster.shape, left, study.train.batch_size)
        phases.append({"when": "last trials", "trials": left, "nodes": dict(last.nodes)})
    phases.append({"when": "idle", "trials": 0, "nodes": always})
    return phases


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """Return the plan for people, a line each.

    Args:
        plan: of `describe_launch`.
    """
    cluster, trials, resources = plan["cluster"], plan["trials"], plan["resources"]
    kind = {"launcher": "Ray's launcher", "raycluster": "a RayCluster", "rayjob": "a RayJob"}[cluster["kind"]]
    most = _many(cluster["most_workers"], "worker node")
    spot = f"; may be taken back: {', '.join(cluster['spot'])}" if cluster["spot"] else ""
    lines = [
        f"cluster {cluster['name']} ({cluster['file']}): {cluster['provider']} by {kind}, at most {most}{spot}",
        f"a trial: {_trial(resources)}",
        f"trials: {_trials(trials)}",
        "nodes:",
        *(f"  {_when(phase, cluster['idle_minutes'])}: {_nodes(phase['nodes'])}" for phase in plan["phases"]),
    ]
    size = sum(upload["bytes"] for upload in plan["uploads"])
    if plan["uploads"]:
        lines.append(f"uploaded with the job: {_many(len(plan['uploads']), 'file')}, {_size(size)}")
        lines += [f"  {upload['name']}: {_size(upload['bytes'])}" for upload in plan["uploads"]]
    else:
        lines.append("uploaded with the job: the study file alone")
    lines.append(f"results: {plan['results']['out']}, fetched to {plan['results']['folder']}")
    return lines + list(plan["notices"])


def _trial(resources: Mapping[str, Any]) -> str:
    each = " each" if resources["workers"] > 1 else ""
    parts = [
        f"{_many(resources['workers'], 'worker')} with {_many(resources['cpus_per_worker'], 'CPU')}",
        f"{_many(resources['gpus_per_worker'], 'GPU')}" if resources["gpus_per_worker"] else "",
    ]
    kind = f" ({resources['accelerator_type']})" if resources["accelerator_type"] else ""
    placed = {"pack": "on few nodes", "strict_pack": "on one node", "spread": "on many nodes"}[resources["placement"]]
    together = f", {placed}" if resources["workers"] > 1 else ""
    workers = " and ".join(part for part in parts if part)
    return f"{workers}{kind}{each}{together}; {_many(resources['evaluators'], 'evaluator')}"


def _trials(trials: Mapping[str, Any]) -> str:
    baselines = " (the baselines among them)" if trials["baselines"] else ""
    text = f"{trials['all']}{baselines}, {trials['at_once']} at once, {_many(trials['waves'], 'wave')}"
    if trials["repeat_best"]:
        text += f"; then {_many(trials['repeat_best'], 'further seed')} of the best and of each baseline"
    return text


def _when(phase: Mapping[str, Any], idle_minutes: float) -> str:
    trials = phase["trials"]
    return {
        "start": "at the start",
        "trials wait": f"while {_many(trials, 'trial')} {'runs' if trials == 1 else 'run'}",
        "last trials": f"the last {_many(trials, 'trial')}",
        "idle": f"{idle_minutes:g} min after the last",
    }[phase["when"]]


def _nodes(nodes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in nodes.items()) or "none"


def _many(count: float, what: str) -> str:
    return f"{count:g} {what}{'s' * (count != 1)}"


def _size(count: float) -> str:
    """``3.2 MB``; powers of 1000."""
    power = 0
    while count >= 999.5 and power < len(_UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.3g} {_UNITS[power]}"
