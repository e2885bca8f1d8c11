"""A study as KubeRay's RayJob: what a RayJob file becomes for it. Nothing but documents."""

import base64
import io
import zipfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from hybridtune.cluster.jobs import STOP_SECONDS
from hybridtune.errors import InputError

STUDY_AT, CODE_AT = "/hybridtune/study", "/hybridtune/code"  # in every pod
_MOST_BYTES = 2**20  # of a ConfigMap
_STUDY, _CODE = "hybridtune-study", "hybridtune-code"  # volumes


def job_manifest(
    documents: Sequence[Mapping[str, Any]], name: str, study: str, entrypoint: str
) -> list[dict[str, Any]]:
    """A RayJob file's documents as this study's own: named, with the study and hybridtune itself in a ConfigMap.

    Args:
        documents: of the file; one is a RayJob.
        name: of the RayJob and the ConfigMap.
        study: text of the study file, which every pod finds at ``STUDY_AT/study.yaml``.
        entrypoint: the shell command that the job runs.

    Raises:
        InputError: the file's job is submitted in a way that leaves no logs to follow.
    """
    found = deepcopy([dict(document) for document in documents])
    job = next(document for document in found if document["kind"] == "RayJob")
    mode = job["spec"].get("submissionMode", "K8sJobMode")
    if mode != "K8sJobMode":
        raise InputError(
            f"RayJob {job['metadata']['name']}: submissionMode {mode} has no logs to follow; use K8sJobMode"
        )
    job["metadata"]["name"] = name
    job["spec"]["entrypoint"] = entrypoint
    environment = yaml.safe_load(job["spec"].get("runtimeEnvYAML") or "{}")
    stop = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
    environment["env_vars"] = stop | environment.get("env_vars", {})
    job["spec"]["runtimeEnvYAML"] = yaml.safe_dump(environment)
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])):
        _mount(group["template"]["spec"], name)
    code = _code()
    if len(code) + len(study.encode()) > _MOST_BYTES:
        raise InputError(f"the study file and hybridtune are {len(code) + len(study)} bytes; a ConfigMap holds 1 MiB")
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name} | _part(job["metadata"], "namespace"),
        "data": {"study.yaml": study},
        "binaryData": {"hybridtune.zip": base64.b64encode(code).decode()},
    }
    return [settings, *found]


def manifest_text(documents: Sequence[Mapping[str, Any]]) -> str:
    """The documents as one YAML text, which `kubectl create -f` takes."""
    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=120)


def _mount(pod: dict[str, Any], name: str) -> None:
    """Give a pod the study file, and hybridtune unpacked."""
    ray, own = pod["containers"][0], {"name": _CODE, "mountPath": CODE_AT}
    packed = {"name": _STUDY, "mountPath": STUDY_AT, "readOnly": True}
    unpack = ["python", "-m", "zipfile", "-e", f"{STUDY_AT}/hybridtune.zip", CODE_AT]
    init = {"name": _CODE, "image": ray["image"], "command": unpack, "volumeMounts": [packed, own]}
    init |= _part(ray, "securityContext") | _part(ray, "resources") | _part(ray, "imagePullPolicy")
    pod.setdefault("initContainers", []).append(init)
    volumes = [{"name": _STUDY, "configMap": {"name": name}}, {"name": _CODE, "emptyDir": {}}]
    pod.setdefault("volumes", []).extend(volumes)
    ray.setdefault("volumeMounts", []).extend([packed, own])
    ray.setdefault("env", []).append({"name": "PYTHONPATH", "value": CODE_AT})


def _code() -> bytes:
    """The package as a zip file: the same bytes for the same source."""
    package, packed = Path(__file__).parents[1], io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for source in sorted(package.rglob("*")):
            if source.is_file() and "__pycache__" not in source.parts:
                entry = zipfile.ZipInfo(str(Path(package.name, source.relative_to(package))), (1980, 1, 1, 0, 0, 0))
                file.writestr(entry, source.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _part(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {key: deepcopy(mapping[key])} if key in mapping else {}
