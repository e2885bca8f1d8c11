"""KubeRay's files: a RayCluster or a RayJob and what is beside it, checked as the API server and the operator do."""

import importlib.util
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from hybridtune.launch.yaml_lines import Document, YamlPath, mapping_of, schema_mistakes
from hybridtune.runtime.resources import NodeType, Shape

_LONGEST_NAME = 47  # of a RayJob: what the operator adds must fit a Kubernetes name
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_GPU = "nvidia.com/gpu"
_HEAD = "headgroup"  # what Ray's autoscaler calls the head's group
_IMAGE_RAY = re.compile(r"^(?:.*/)?rayproject/ray(?:-ml)?:(\d+\.\d+\.\d+)|[:.-]ray-?(\d+\.\d+\.\d+)")
_UNITS = {
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}
_SCHEMA = json.loads(Path(__file__).with_name("kuberay_schema.json").read_text(encoding="utf-8"))
SCHEMAS = {kind: {"$ref": f"#/$defs/{kind}", "$defs": _SCHEMA["$defs"]} for kind in ("RayCluster", "RayJob")}
_IDLE_SECONDS = 60  # Ray's own default on Kubernetes


def ray_document(documents: Sequence[Document]) -> Document:
    """Return the RayCluster or RayJob of a good file."""
    return next(document for document in documents if document.tree.get("kind") in SCHEMAS)


def cluster_spec(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the RayCluster's spec, which a RayJob has inside its own."""
    spec: Mapping[str, Any] = tree["spec"]["rayClusterSpec"] if tree["kind"] == "RayJob" else tree["spec"]
    return spec


def idle_minutes(spec: Mapping[str, Any]) -> float:
    """Return the minutes without work after which a worker pod is deleted."""
    return float(mapping_of(spec.get("autoscalerOptions")).get("idleTimeoutSeconds", _IDLE_SECONDS)) / 60


def shape(spec: Mapping[str, Any]) -> Shape:
    """Return the pods that a good file allows."""
    head = NodeType(_HEAD, *_sizes(spec["headGroupSpec"]), 1, 1, head=True)
    groups = [
        NodeType(
            group["groupName"],
            *_sizes(group),
            group.get("minReplicas", 0) * group.get("numOfHosts", 1),
            group["maxReplicas"] * group.get("numOfHosts", 1),
            spot=_spot(group),
        )
        for group in spec["workerGroupSpecs"]
    ]
    return Shape((head, *groups), None)


def mistakes(documents: Sequence[Document]) -> Iterator[str]:
    """Yield everything that is wrong with a KubeRay file, one line each."""
    ours = [document for document in documents if document.tree.get("kind") in SCHEMAS]
    if len(ours) != 1:
        where = documents[0] if not ours else ours[1]
        found = f"{len(ours)} of them" if ours else "none"
        yield where.mistake((), f"a file for KubeRay has one RayCluster or RayJob of ray.io/v1, this one has {found}")
    for document in documents:
        kind = document.tree.get("kind")
        if kind in SCHEMAS:
            wrong = [*schema_mistakes(document, document.tree, SCHEMAS[kind])]
            yield from wrong
            at: YamlPath = ("spec", "rayClusterSpec") if kind == "RayJob" else ("spec",)
            if not wrong:
                yield from _name(document)
                yield from _cluster(document, cluster_spec(document.tree), at)
                yield from _pods(document, at)
        else:
            yield from _of_kubernetes(document, (), document.tree)
            if kind == "Service" and mapping_of(document.tree.get("spec")).get("type") in ("LoadBalancer", "NodePort"):
                yield document.mistake(("spec", "type"), "shows the pods to the network; use kubectl port-forward")
            if kind == "Ingress":
                yield document.mistake(("kind",), "an Ingress shows the pods to the network; use kubectl port-forward")


def notices(documents: Sequence[Document]) -> list[str]:
    """Return notices about what a good file may have."""
    ray, told = ray_document(documents), []
    spec = cluster_spec(ray.tree)
    if mapping_of(spec.get("authOptions")).get("mode") != "token":
        told.append(f"{ray.source}: no authOptions.mode token: whoever reaches the head's ports may run code there")
    if ray.tree["kind"] == "RayJob" and not ray.tree["spec"].get("shutdownAfterJobFinishes"):
        told.append(f"{ray.source}: no shutdownAfterJobFinishes: the head's pod stays when the study has ended")
    if importlib.util.find_spec("kubernetes_validate") is None:
        told.append(f"{ray.source}: pod templates not checked offline: pip install 'hybridtune[kubernetes]'")
    return told


def quantity(value: Any) -> float:
    """Return a Kubernetes quantity, ``500m`` or ``4Gi``, as a number. Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", str(value))
    if found is None or found[2] not in ("", *_UNITS):
        raise ValueError(f"{value!r} is not a Kubernetes quantity")
    return float(found[1]) * _UNITS.get(found[2], 1.0)


def _containers(template: Any) -> list[Any]:
    found = mapping_of(mapping_of(template).get("spec")).get("containers")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _sizes(group: Mapping[str, Any]) -> tuple[float, float, str | None]:
    """CPUs, GPUs and accelerator of a group's pods, found where Ray's autoscaler looks for them, in its order."""
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


def _name(document: Document) -> Iterator[str]:
    name = document.tree["metadata"]["name"]
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        yield document.mistake(
            ("metadata", "name"), f"{name!r}: lower-case letters, digits and -, at most {_LONGEST_NAME} of them"
        )


def _cluster(document: Document, spec: Mapping[str, Any], at: YamlPath) -> Iterator[str]:
    """Yield what the operator and the autoscaler would refuse or misread."""
    version, installed = spec.get("rayVersion"), metadata.version("ray")
    if version != installed:
        yield document.mistake(
            (*at, "rayVersion"), f"{version} on the pods and {installed} here: they must be the same"
        )
    if not spec.get("enableInTreeAutoscaling"):
        yield document.mistake((*at, "enableInTreeAutoscaling"), "must be true, or no worker pod is ever added")
    elif mapping_of(spec.get("autoscalerOptions")).get("version", "v2") != "v2":
        yield document.mistake((*at, "autoscalerOptions", "version"), "must be v2, the only one tried with hybridtune")
    head = spec["headGroupSpec"]
    if head.get("serviceType", "ClusterIP") != "ClusterIP":
        yield document.mistake((*at, "headGroupSpec", "serviceType"), "must be ClusterIP; use kubectl port-forward")
    if head.get("enableIngress"):
        yield document.mistake((*at, "headGroupSpec", "enableIngress"), "must be false; use kubectl port-forward")
    names: set[str] = set()
    for index, group in enumerate(spec["workerGroupSpecs"]):
        path = (*at, "workerGroupSpecs", index)
        least, most, now = group.get("minReplicas", 0), group["maxReplicas"], group.get("replicas", 0)
        if not least <= most:
            yield document.mistake((*path, "minReplicas"), f"{least} is more than maxReplicas {most}")
        elif not least <= now <= most:
            yield document.mistake((*path, "replicas"), f"{now} is not from minReplicas {least} to maxReplicas {most}")
        if not _NAME.fullmatch(group["groupName"]) or group["groupName"] in {*names, _HEAD}:
            taken = "stands twice" if group["groupName"] in names else "lower-case letters, digits and -"
            yield document.mistake((*path, "groupName"), f"{group['groupName']!r}: {taken}")
        names.add(group["groupName"])


def _pods(document: Document, at: YamlPath) -> Iterator[str]:
    spec = cluster_spec(document.tree)
    groups = [((*at, "headGroupSpec"), spec["headGroupSpec"])]
    groups += [((*at, "workerGroupSpecs", i), group) for i, group in enumerate(spec["workerGroupSpecs"])]
    for path, group in groups:
        yield from _pod(document, (*path, "template"), group, spec.get("rayVersion"))
    if template := document.tree["spec"].get("submitterPodTemplate"):
        yield from _template(document, ("spec", "submitterPodTemplate"), template)


def _pod(document: Document, path: YamlPath, group: Mapping[str, Any], version: Any) -> Iterator[str]:
    """Check the first container, which is Ray's: its image and its resources."""
    containers = _containers(group["template"])
    if not containers:
        yield document.mistake((*path, "spec"), "containers is missing: the first one is Ray's")
        return
    yield from _template(document, path, group["template"])
    inside = (*path, "spec", "containers", 0)
    image = _IMAGE_RAY.search(str(containers[0].get("image", "")))
    if image and (image[1] or image[2]) != version:
        yield document.mistake((*inside, "image"), f"Ray {image[1] or image[2]}, and rayVersion is {version}")
    restart = group["template"]["spec"].get("restartPolicy", "Never")
    if restart != "Never":
        yield document.mistake((*path, "spec", "restartPolicy"), f"{restart}: the v2 autoscaler needs Never")
    resources = mapping_of(containers[0].get("resources"))
    limits, requests = mapping_of(resources.get("limits")), mapping_of(resources.get("requests"))
    for name, value in {**requests, **limits}.items():
        try:
            quantity(value)
        except ValueError as error:
            yield document.mistake((*inside, "resources", "limits" if name in limits else "requests", name), str(error))
    if "memory" not in limits:
        yield document.mistake((*inside, "resources"), "limits.memory is missing: Ray sizes its object store by it")
    if "cpu" not in {**requests, **limits}:
        yield document.mistake((*inside, "resources"), "limits.cpu is missing: hybridtune works out offline what fits")
    if str(limits.get(_GPU, "")) != str(requests.get(_GPU, limits.get(_GPU, ""))):
        yield document.mistake((*inside, "resources", "requests", _GPU), "requests and limits of GPUs must be equal")


def _template(document: Document, path: YamlPath, template: Any) -> Iterator[str]:
    whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "checked"}, "template": template}
    yield from _of_kubernetes(document, path, whole, skip=1)


def _of_kubernetes(document: Document, path: YamlPath, tree: Any, skip: int = 0) -> Iterator[str]:
    """Yield what Kubernetes' own schemas say to an object, where they are installed (``hybridtune[kubernetes]``)."""
    if not (isinstance(tree.get("apiVersion"), str) and isinstance(tree.get("kind"), str)):
        yield document.mistake(path, "apiVersion and kind are missing")
        return
    if importlib.util.find_spec("kubernetes_validate") is None:
        return
    import kubernetes_validate

    try:
        kubernetes_validate.validate(tree, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        yield document.mistake((*path, "kind"), f"{tree['apiVersion']} {tree['kind']} is no kind that Kubernetes has")
    except kubernetes_validate.ValidationError as error:
        inside = (*path, *list(error.absolute_path)[skip:])
        extra = re.search(r"\('([^']+)' (?:was|were) unexpected\)", error.message)
        yield document.mistake(
            (*inside, extra[1]) if extra else inside, "unknown key" if extra else error.message[:150]
        )
