"""KubeRay's files: a RayCluster or a RayJob and what is beside it, checked as the API server and the operator do.

A check yields mistakes: a path in its document, and what is wrong there.
"""

import importlib.util
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from hybridtune.errors import short_repr
from hybridtune.launch.yaml_lines import MOST_NODES, Document, YamlPath, mapping_of, schema_mistakes
from hybridtune.runtime.resources import NodeType, Shape

_LONGEST_NAME = 47  # of a RayJob: what the operator adds must fit a Kubernetes name
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_GPU = "nvidia.com/gpu"
_HEAD = "headgroup"  # what Ray's autoscaler calls the head's group
_IMAGE_RAY = re.compile(r"^(?:.*/)?rayproject/ray(?:-ml)?:(\d+\.\d+\.\d+)|[:.-]ray-?(\d+\.\d+\.\d+)")
_UNITS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12} | {
    f"{prefix}i": 2.0 ** (10 * power) for power, prefix in enumerate("KMGT", 1)
}
_SCHEMA = json.loads(Path(__file__).with_name("kuberay_schema.json").read_text(encoding="utf-8"))
SCHEMAS = {kind: {"$ref": f"#/$defs/{kind}", "$defs": _SCHEMA["$defs"]} for kind in ("RayCluster", "RayJob")}
_IDLE_SECONDS = 60  # Ray's own default on Kubernetes
_OF_KUBERNETES = frozenset(  # groups of its API with a dot, before .k8s.io; Kueue and Gateway have others there
    (
        *("admission", "admissionregistration", "apiextensions", "apiregistration", "authentication", "authorization"),
        *("certificates", "coordination", "discovery", "events", "flowcontrol.apiserver", "imagepolicy"),
        *("internal.apiserver", "lifecycle", "networking", "node", "rbac.authorization", "resource", "scheduling"),
        *("storage", "storagemigration"),
    )
)
_GATEWAY = "gateway.networking.k8s.io"
_Mistakes = Iterator[tuple[YamlPath, str]]


def ray_document(documents: Sequence[Document]) -> Document:
    """Return the RayCluster or RayJob of a valid file."""
    return next(document for document in documents if _is_rays(document.tree))


def _is_rays(tree: Mapping[str, Any]) -> bool:
    return isinstance(tree.get("kind"), str) and tree["kind"] in SCHEMAS


def cluster_spec(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the spec of a RayCluster, or the one inside a RayJob."""
    spec: Mapping[str, Any] = tree["spec"]["rayClusterSpec"] if tree["kind"] == "RayJob" else tree["spec"]
    return spec


def idle_minutes(spec: Mapping[str, Any]) -> float:
    """Return the minutes without work after which a worker pod is deleted."""
    return float(mapping_of(spec.get("autoscalerOptions")).get("idleTimeoutSeconds", _IDLE_SECONDS)) / 60


def shape(spec: Mapping[str, Any]) -> Shape:
    """Return the pods that a valid file allows; without an autoscaler, those of `replicas` are always there."""
    head = NodeType(_HEAD, *_sizes(spec["headGroupSpec"]), 1, 1, head=True)
    groups = []
    for group in spec["workerGroupSpecs"]:
        least, most = group.get("minReplicas", 0), group["maxReplicas"]
        if not _grows(spec):
            least = most = group.get("replicas", 0)
        hosts = group.get("numOfHosts", 1)
        groups.append(NodeType(group["groupName"], *_sizes(group), least * hosts, most * hosts, spot=_spot(group)))
    return Shape((head, *groups), None)


def _grows(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("enableInTreeAutoscaling"))


def mistakes(documents: Sequence[Document]) -> Iterator[str]:
    """Yield everything that is wrong with a KubeRay file, one line each."""
    ours = [document for document in documents if _is_rays(document.tree)]
    if len(ours) != 1:
        document = documents[0] if not ours else ours[1]
        count = f"{len(ours)} of them" if ours else "none"
        yield document.mistake(
            (), f"a file for KubeRay has one RayCluster or RayJob of ray.io/v1, this one has {count}"
        )
    for document in documents:
        if _is_rays(document.tree):
            wrong = [*schema_mistakes(document, document.tree, SCHEMAS[document.tree["kind"]])]
            yield from wrong
            found = iter(()) if wrong else _of_ray(document.tree)
        else:
            found = _of_others(document.tree)
        yield from (document.mistake(path, message) for path, message in found)


def notices(documents: Sequence[Document]) -> list[str]:
    """Return notices of what a valid file may have."""
    ray, found = ray_document(documents), []
    spec = cluster_spec(ray.tree)
    if mapping_of(spec.get("authOptions")).get("mode") != "token":
        found.append("no authOptions.mode token: whoever reaches the head's ports may run code there")
    if ray.tree["kind"] == "RayJob" and not ray.tree["spec"].get("shutdownAfterJobFinishes"):
        found.append("no shutdownAfterJobFinishes: the head's pod stays when the study has ended")
    if not _grows(spec):
        pods = ", ".join(f"{group.name} {group.least}" for group in shape(spec).workers)
        found.append(f"no enableInTreeAutoscaling: a fixed size, whose pods run also without work ({pods})")
    if importlib.util.find_spec("kubernetes_validate") is None:
        found.append("pod templates not checked offline: pip install 'hybridtune[kubernetes]'")
    return [*(f"{ray.source}: {notice}" for notice in found), *filter(None, map(_passed_over, documents))]


def _passed_over(document: Document) -> str | None:
    """Return a notice of an object of another operator's, which nobody here knows; None of any other object."""
    tree = document.tree
    if _is_rays(tree) or _kubernetes_has(tree.get("apiVersion")):
        return None
    name = mapping_of(tree.get("metadata")).get("name")
    open_to = "; it may show the pods to the network" if tree["apiVersion"].startswith(_GATEWAY) else ""
    return document.mistake(
        (), f"{tree['kind']} {name} of {tree['apiVersion']} is another operator's: applied, and not checked{open_to}"
    )


def _kubernetes_has(version: Any) -> bool:
    """Return whether an `apiVersion` is of a group of Kubernetes itself, which also refuses one that is no text."""
    if not isinstance(version, str):
        return True
    group = version.rpartition("/")[0]
    return "." not in group or group.removesuffix(".k8s.io") in _OF_KUBERNETES


def quantity(value: Any) -> float:
    """Return a Kubernetes quantity, ``500m`` or ``4Gi``, as a number. Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)([a-zA-Z]*)", str(value))
    if found is None or found[2] not in ("", *_UNITS):
        raise ValueError(_not_a_quantity(value))
    return float(found[1]) * _UNITS.get(found[2], 1.0)


def _not_a_quantity(value: Any) -> str:
    return f"{short_repr(value)} is not a Kubernetes quantity"


def _containers(template: Any) -> list[Any]:
    found = mapping_of(mapping_of(template).get("spec")).get("containers")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _sizes(group: Mapping[str, Any]) -> tuple[float, float, str | None]:
    """Return CPUs, GPUs and accelerator of a group's pods, from where Ray's autoscaler takes them, in its order."""
    own, start = mapping_of(group.get("resources")), mapping_of(group.get("rayStartParams"))
    limits = _limits(group)
    cpus = own.get("CPU", start.get("num-cpus", limits.get("cpu", 0)))
    gpus = own.get("GPU", start.get("num-gpus", limits.get(_GPU, 0)))
    named = re.search(r"accelerator_type:([\w-]+)", " ".join([*own, str(start.get("resources", ""))]))
    return float(math.ceil(quantity(cpus))), float(math.ceil(quantity(gpus))), named[1] if named else None


def _limits(group: Mapping[str, Any]) -> Mapping[str, Any]:
    containers = _containers(group.get("template"))
    resources = mapping_of(containers[0].get("resources")) if containers else {}
    return {**mapping_of(resources.get("requests")), **mapping_of(resources.get("limits"))}


def _spot(group: Mapping[str, Any]) -> bool:
    """Return whether the pods ask for nodes that the provider may take back, as the large providers label these."""
    chosen = mapping_of(mapping_of(mapping_of(group.get("template")).get("spec")).get("nodeSelector"))
    return any("spot" in f"{key}={value}".lower() and str(value) != "false" for key, value in chosen.items())


def _of_others(tree: Mapping[str, Any]) -> _Mistakes:
    """Check an object that is not Ray's."""
    kind = tree.get("kind")
    if isinstance(kind, str) and not _kubernetes_has(tree.get("apiVersion")):
        return
    yield from _of_kubernetes((), tree)
    if kind == "Service" and mapping_of(tree.get("spec")).get("type") in ("LoadBalancer", "NodePort"):
        yield ("spec", "type"), "shows the pods to the network; use kubectl port-forward"
    if kind == "Ingress":
        yield ("kind",), "an Ingress shows the pods to the network; use kubectl port-forward"


def _of_ray(tree: Mapping[str, Any]) -> _Mistakes:
    """Check a RayCluster or a RayJob that keeps to the schema."""
    name = tree["metadata"]["name"]
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        yield ("metadata", "name"), f"{name!r}: lower-case letters, digits and -, at most {_LONGEST_NAME} of them"
    spec, at = cluster_spec(tree), ("spec", "rayClusterSpec") if tree["kind"] == "RayJob" else ("spec",)
    yield from _cluster(spec, at)
    yield from _pod((*at, "headGroupSpec", "template"), spec["headGroupSpec"], spec)
    for index, group in enumerate(spec["workerGroupSpecs"]):
        yield from _pod((*at, "workerGroupSpecs", index, "template"), group, spec)
    if template := tree["spec"].get("submitterPodTemplate"):
        yield from _template(("spec", "submitterPodTemplate"), template)


def _cluster(spec: Mapping[str, Any], at: YamlPath) -> _Mistakes:
    """Yield what the operator and the autoscaler would refuse or misread."""
    version, installed = spec.get("rayVersion"), metadata.version("ray")
    if version != installed:
        yield (*at, "rayVersion"), f"{version} on the pods and {installed} here: they must be the same"
    if not _grows(spec):
        if not any(group.get("replicas") for group in spec["workerGroupSpecs"]):
            fixed = "without it, say the replicas of a worker group: no worker pod is ever added"
            yield (*at, "enableInTreeAutoscaling"), f"must be true; {fixed}"
    elif mapping_of(spec.get("autoscalerOptions")).get("version", "v2") != "v2":
        yield (*at, "autoscalerOptions", "version"), "must be v2, the only one tried with hybridtune"
    head = spec["headGroupSpec"]
    if head.get("serviceType", "ClusterIP") != "ClusterIP":
        yield (*at, "headGroupSpec", "serviceType"), "must be ClusterIP; use kubectl port-forward"
    if head.get("enableIngress"):
        yield (*at, "headGroupSpec", "enableIngress"), "must be false; use kubectl port-forward"
    names: set[str] = set()
    for index, group in enumerate(spec["workerGroupSpecs"]):
        path, name = (*at, "workerGroupSpecs", index), group["groupName"]
        least, most, now = group.get("minReplicas", 0), group["maxReplicas"], group.get("replicas", 0)
        pods = max(most, now) * group.get("numOfHosts", 1)
        if pods > MOST_NODES:
            yield path, f"{pods} pods: {MOST_NODES} at most"
        elif not least <= most:
            yield (*path, "minReplicas"), f"{least} is more than maxReplicas {most}"
        elif not least <= now <= most:
            yield (*path, "replicas"), f"{now} is not from minReplicas {least} to maxReplicas {most}"
        if not _NAME.fullmatch(name) or name in {*names, _HEAD}:
            reason = "is there twice" if name in names else "lower-case letters, digits and -"
            yield (*path, "groupName"), f"{name!r}: {reason}"
        names.add(name)


def _pod(path: YamlPath, group: Mapping[str, Any], spec: Mapping[str, Any]) -> _Mistakes:
    """Check the first container, which is Ray's: its image and its resources."""
    containers = _containers(group["template"])
    if not containers:
        yield (*path, "spec"), "containers is missing: the first one is Ray's"
        return
    yield from _template(path, group["template"])
    inside = (*path, "spec", "containers", 0)
    image = _IMAGE_RAY.search(str(containers[0].get("image", "")))
    version = spec.get("rayVersion")
    if image and (image[1] or image[2]) != version:
        yield (*inside, "image"), f"Ray {image[1] or image[2]}, and rayVersion is {version}"
    restart = group["template"]["spec"].get("restartPolicy", "Never")
    if restart != "Never" and _grows(spec):
        yield (*path, "spec", "restartPolicy"), f"{restart}: the v2 autoscaler needs Never"
    resources = mapping_of(containers[0].get("resources"))
    limits, asked = mapping_of(resources.get("limits")), mapping_of(resources.get("requests"))
    both = {**asked, **limits}
    try:
        _sizes(group)
    except ValueError as error:
        if str(error) not in map(_not_a_quantity, both.values()):  # else it is told at its own line
            yield path[:-1], f"its CPUs or GPUs: {error}"
    for name, value in both.items():
        try:
            quantity(value)
        except ValueError as error:
            yield (*inside, "resources", "limits" if name in limits else "requests", name), str(error)
    if "memory" not in limits:
        yield (*inside, "resources"), "limits.memory is missing: Ray sizes its object store by it"
    if "cpu" not in both:
        yield (*inside, "resources"), "limits.cpu is missing: hybridtune works out offline what fits"
    if str(limits.get(_GPU, "")) != str(asked.get(_GPU, limits.get(_GPU, ""))):
        yield (*inside, "resources", "requests", _GPU), "requests and limits of GPUs must be equal"


def _template(path: YamlPath, template: Any) -> _Mistakes:
    whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "checked"}, "template": template}
    yield from _of_kubernetes(path, whole, skip=1)


def _of_kubernetes(path: YamlPath, tree: Any, skip: int = 0) -> _Mistakes:
    """Check an object by Kubernetes' own schemas, where they are installed (``hybridtune[kubernetes]``).

    The first ``skip`` steps of a mistake's path in the object are replaced by ``path``.
    """
    if not (isinstance(tree.get("apiVersion"), str) and isinstance(tree.get("kind"), str)):
        yield path, "apiVersion and kind are missing"
        return
    if importlib.util.find_spec("kubernetes_validate") is None:
        return
    import kubernetes_validate

    try:
        kubernetes_validate.validate(tree, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        yield (*path, "kind"), f"{tree['apiVersion']} {tree['kind']} is no kind that Kubernetes has"
    except kubernetes_validate.ValidationError as error:
        inside = (*path, *list(error.absolute_path)[skip:])
        extra = re.search(r"\('([^']+)' (?:was|were) unexpected\)", error.message)
        yield ((*inside, extra[1]), "unknown key") if extra else (inside, error.message[:150])
