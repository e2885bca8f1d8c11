"""KubeRay by kubectl: a study as a RayJob of its own, and the way to a RayCluster that kubectl started."""

import base64
import contextlib
import io
import json
import shlex
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from hybridtune.config.yaml_text import dump_yaml, parse_yaml
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.launch.jobs import STOP_SECONDS, JobState, LostError
from hybridtune.launch.yaml_lines import read_documents

_SECONDS_BETWEEN = 2.0


def create_job(documents: Sequence[Mapping[str, Any]]) -> None:
    """Create what `job_manifest` gave; what else the file holds (volumes, rules) may be there already.

    Raises:
        InputError: there is no kubectl.
        HybridtuneError: Kubernetes refused.
    """
    own = [document for document in documents if document["kind"] in ("RayJob", "ConfigMap")]
    others = [document for document in documents if document not in own]
    if others:
        _kubectl("apply", "-f", "-", given=manifest_text(others))
    _kubectl("create", "-f", "-", given=manifest_text(own))


def create_cluster(file: Path) -> None:
    """Apply a file with a RayCluster, and wait until its head is ready."""
    _kubectl("apply", "-f", str(file))
    name, space = _ray_object(file)
    _kubectl("wait", *space, f"raycluster/{name}", "--for=condition=HeadPodReady", "--timeout=900s")


def delete_cluster(file: Path) -> None:
    """Delete all that a file with a RayCluster made."""
    _kubectl("delete", "--ignore-not-found", "-f", str(file))


def delete_job(file: Path, job: str) -> None:
    """Delete a RayJob, its cluster and its ConfigMap."""
    _kubectl("delete", *_ray_object(file)[1], "--ignore-not-found", f"rayjob/{job}", f"configmap/{job}")


def dashboard_command(file: Path) -> Callable[[int], list[str]]:
    """Return what forwards a RayCluster's dashboard to a port of this machine."""
    name, space = _ray_object(file)
    return lambda port: [_program(), "port-forward", *space, f"service/{name}-head-svc", f"{port}:8265"]


def cluster_token(file: Path) -> str | None:
    """Return the token that KubeRay made for a RayCluster; None where it asks for none."""
    name, space = _ray_object(file)
    with contextlib.suppress(HybridtuneError):
        told = _kubectl("get", *space, f"secret/{name}", "-o", "jsonpath={.data.auth_token}")
        return base64.b64decode(told).decode() or None
    return None


def job_state(file: Path, job: str) -> JobState:
    """Return how a RayJob stands. Raises LostError where Kubernetes does not answer, or does not know it."""
    told = _status(file, job)
    status = told.get("jobStatus") or "PENDING"
    if told.get("jobDeploymentStatus") == "Failed" and status not in ("SUCCEEDED", "STOPPED"):
        status = "FAILED"  # the cluster did not come up, or the submitter gave up
    return JobState(status, told.get("message") or told.get("reason") or "", None)


def follow(file: Path, job: str, show: Callable[[str], None], patience: float = 300.0) -> JobState:
    """Show what a RayJob prints until it has ended.

    Raises:
        LostError: no answer for so many seconds.
    """
    shown, heard = 0, time.monotonic()
    while True:
        came = 0
        for text in _log(file, job):  # from its first line, each time
            came += len(text)
            if came > shown:
                show(text[-(came - shown) :])
                shown = came
        try:
            now = job_state(file, job)
            heard = time.monotonic()
            if now.ended:
                return now
        except LostError:
            if time.monotonic() - heard > patience:
                raise
        time.sleep(_SECONDS_BETWEEN)


def stop_job(file: Path, job: str, patience: float = STOP_SECONDS + 30.0) -> JobState:
    """Stop a RayJob as Ctrl-C would, and wait for its end."""
    now = job_state(file, job)
    if not now.ended:
        told = _status(file, job)
        _kubectl(
            "exec",
            *_ray_object(file)[1],
            _head(file, job),
            "--",
            "ray",
            "job",
            "stop",
            "--no-wait",
            told.get("jobId", ""),
        )
        end = time.monotonic() + patience
        while not (now := job_state(file, job)).ended:
            if time.monotonic() > end:
                raise HybridtuneError(f"RayJob {job}: was told to stop and still runs after {patience:.0f} s")
            time.sleep(_SECONDS_BETWEEN)
    return now


def copy_from_head(file: Path, job: str | None, place: str, folder: Path) -> None:
    """Copy a folder of the head's pod to this machine."""
    _kubectl("cp", *_ray_object(file)[1], f"{_head(file, job)}:{place}", str(folder))


def _log(file: Path, job: str) -> Iterator[str]:
    command = [_program(), "logs", "--follow", *_ray_object(file)[1], f"job/{job}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield from process.stdout
        finally:
            process.terminate()


def _status(file: Path, job: str) -> dict[str, Any]:
    try:
        told = json.loads(_kubectl("get", *_ray_object(file)[1], f"rayjob/{job}", "-o", "json"))
    except HybridtuneError as error:
        if isinstance(error, InputError):
            raise
        raise LostError(f"RayJob {job}: {error}") from None
    return dict(told.get("status") or {})


def _head(file: Path, job: str | None) -> str:
    """Return the head's pod."""
    name, space = _ray_object(file)
    cluster = name if job is None else _status(file, job).get("rayClusterName", "")
    selector = f"ray.io/cluster={cluster},ray.io/node-type=head"
    return _kubectl("get", *space, "pods", "-l", selector, "-o", "jsonpath={.items[0].metadata.name}")


def _ray_object(file: Path) -> tuple[str, list[str]]:
    """Name of a file's RayJob or RayCluster, and the options that name its namespace."""
    trees = [document.tree for document in read_documents(file)]
    metadata = next(tree["metadata"] for tree in trees if tree["kind"] in ("RayJob", "RayCluster"))
    return str(metadata["name"]), ["-n", metadata["namespace"]] if "namespace" in metadata else []


def _program() -> str:
    found = shutil.which("kubectl")
    if found is None:
        raise InputError("kubectl is not on the PATH; install it, or print the manifest by --dry-run and apply that")
    return found


def _kubectl(*arguments: str, given: str | None = None) -> str:
    done = subprocess.run([_program(), *arguments], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())[-400:] or f"exit code {done.returncode}"
        raise HybridtuneError(f"kubectl {shlex.join(arguments)}: {said}")
    return done.stdout


STUDY_AT, CODE_AT = "/hybridtune/study", "/hybridtune/code"  # in every pod
_MOST_BYTES = 2**20  # of a ConfigMap
_STUDY, _CODE = "hybridtune-study", "hybridtune-code"  # volumes


def job_manifest(
    documents: Sequence[Mapping[str, Any]], name: str, study: str, entrypoint: str
) -> list[dict[str, Any]]:
    """Return a RayJob file's documents as this study's own: named, with the study and hybridtune itself in a ConfigMap.

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
    environment = parse_yaml(job["spec"].get("runtimeEnvYAML") or "{}")
    stop = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
    environment["env_vars"] = stop | environment.get("env_vars", {})
    job["spec"]["runtimeEnvYAML"] = dump_yaml(environment)
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
    """Return the documents as one YAML text, which `kubectl create -f` takes."""
    return dump_yaml(*documents, width=120)


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
    """Return the package as a zip file: the same bytes for the same source."""
    package, packed = Path(__file__).parents[1], io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for source in sorted(package.rglob("*")):
            if source.is_file() and "__pycache__" not in source.parts:
                entry = zipfile.ZipInfo(str(Path(package.name, source.relative_to(package))), (1980, 1, 1, 0, 0, 0))
                file.writestr(entry, source.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _part(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {key: deepcopy(mapping[key])} if key in mapping else {}
