"""KubeRay by kubectl: a study as a RayJob of its own, and the way to a RayCluster that kubectl started."""

import asyncio
import base64
import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from hybridtune.config.yaml_text import dump_yaml, parse_yaml
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.launch.jobs import (
    DONE,
    FAILED,
    RETRYING,
    STOP_VARIABLES,
    STOPPED,
    JobState,
    LostError,
    follow_log,
    stop_and_wait,
)
from hybridtune.launch.yaml_lines import read_documents

STUDY_AT, CODE_AT = "/hybridtune/study", "/hybridtune/code"  # in every pod
_STUDY, _CODE = "hybridtune-study", "hybridtune-code"  # volumes
_MOST_BYTES = 2**20  # of a ConfigMap
_LONGEST_LINE = 2**24  # bytes of a log
DRIVER = "hybridtune.cli.driver"  # the module that a RayJob runs
REFUSED = "the input was refused: exit code 2"  # the last line of a driver that stopped its own job for it
_TAIL = 200  # lines of a log that hold the end of a driver, and what Ray prints after it
_EXIT_CODE = re.compile(r"failed with exit code (\d+)")  # Ray's message of a job that failed


def create_job(documents: Sequence[Mapping[str, Any]]) -> None:
    """Create the RayJob of a `job_manifest`; the file's other objects (volumes, rules) may exist already.

    Raises:
        InputError: kubectl is not installed.
        HybridtuneError: Kubernetes refused.
    """
    own = [document for document in documents if document["kind"] in ("RayJob", "ConfigMap")]
    others = [document for document in documents if document not in own]
    if others:
        _kubectl("apply", "-f", "-", stdin=manifest_text(others))
    _kubectl("create", "-f", "-", stdin=manifest_text(own))


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
    """Return the token that KubeRay made for a RayCluster; None where it has none."""
    name, space = _ray_object(file)
    with contextlib.suppress(HybridtuneError):
        token = _kubectl("get", *space, f"secret/{name}", "-o", "jsonpath={.data.auth_token}")
        return base64.b64decode(token).decode() or None
    return None


def job_state(file: Path, job: str) -> JobState:
    """Return the state of a RayJob. Raises LostError where Kubernetes does not answer, or does not know it.

    KubeRay's state of the whole goes before Ray's state of the driver: a driver that failed is no end where KubeRay
    starts it again, and is not known to be one before KubeRay says so.
    """
    found = _status(file, job)
    status, whole = found.get("jobStatus") or "PENDING", found.get("jobDeploymentStatus")
    message = found.get("message") or found.get("reason") or ""
    if whole == "Retrying":
        return JobState(RETRYING, message, None)
    if whole in ("Failed", "ValidationFailed") and status not in (DONE, STOPPED):
        code = _EXIT_CODE.search(message)
        return JobState(FAILED, message, int(code[1]) if code else None)
    if status == FAILED:
        return JobState("RUNNING", message, None)
    if status == STOPPED:
        with contextlib.suppress(HybridtuneError):  # without its log it was stopped, by whomever
            log = _kubectl("logs", *_ray_object(file)[1], f"--tail={_TAIL}", f"job/{job}")
            if REFUSED in log.splitlines():
                return JobState(FAILED, log, 2)
    return JobState(status, message, None)


def follow(file: Path, job: str, show: Callable[[str], None], patience: float = 300.0) -> JobState:
    """Show what a RayJob prints until it has ended, and has not only failed to be started again.

    Raises:
        LostError: no answer for so many seconds.
    """
    command = [_program(), "logs", "--follow", *_ray_object(file)[1], f"job/{job}"]
    drivers: list[str] = []

    async def lines() -> AsyncIterator[str]:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, limit=_LONGEST_LINE
        )
        try:
            assert process.stdout is not None
            async for line in process.stdout:
                yield line.decode(errors="replace")
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()

    def attempt() -> tuple[str, AsyncIterator[str], Callable[[], JobState]]:
        driver = _status(file, job).get("jobId") or ""
        if driver and driver not in drivers:
            if drivers:
                show("hybridtune: the driver was lost or failed; KubeRay starts it again on a new cluster\n")
            drivers.append(driver)
        return drivers[-1] if drivers else "", lines(), lambda: job_state(file, job)

    return asyncio.run(follow_log(f"RayJob {job}", attempt, show, patience))


def stop_job(file: Path, job: str) -> JobState:
    """Stop a RayJob as Ctrl-C would, and wait for its end; one without a driver (yet, or between two) is deleted."""
    if not job_state(file, job).ended and _status(file, job).get("jobDeploymentStatus") != "Running":
        delete_job(file, job)
        return JobState(STOPPED, "", None)

    def request() -> None:
        stop = ["ray", "job", "stop", "--no-wait", _status(file, job).get("jobId", "")]
        _kubectl("exec", *_ray_object(file)[1], _head(file, job), "--", *stop)

    return stop_and_wait(f"RayJob {job}", lambda: job_state(file, job), request)


def copy_from_head(file: Path, job: str | None, source: str, folder: Path) -> None:
    """Copy a folder of the head's pod to this machine."""
    _kubectl("cp", *_ray_object(file)[1], f"{_head(file, job)}:{source}", str(folder))


def _status(file: Path, job: str) -> dict[str, Any]:
    try:
        found = json.loads(_kubectl("get", *_ray_object(file)[1], f"rayjob/{job}", "-o", "json"))
    except InputError:
        raise
    except HybridtuneError as error:
        raise LostError(f"RayJob {job}: {error}") from None
    return dict(found.get("status") or {})


def _head(file: Path, job: str | None) -> str:
    """Return the head's pod."""
    name, space = _ray_object(file)
    cluster = name if job is None else _status(file, job).get("rayClusterName", "")
    selector = f"ray.io/cluster={cluster},ray.io/node-type=head"
    return _kubectl("get", *space, "pods", "-l", selector, "-o", "jsonpath={.items[0].metadata.name}")


def _ray_object(file: Path) -> tuple[str, list[str]]:
    """Return the name of a file's RayJob or RayCluster, and the options that name its namespace."""
    trees = [document.tree for document in read_documents(file)]
    metadata = next(tree["metadata"] for tree in trees if tree["kind"] in ("RayJob", "RayCluster"))
    return str(metadata["name"]), ["-n", metadata["namespace"]] if "namespace" in metadata else []


def _program() -> str:
    found = shutil.which("kubectl")
    if found is None:
        raise InputError("kubectl is not on the PATH; install it, or print the manifest by --dry-run and apply that")
    return found


def _kubectl(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run([_program(), *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join(done.stderr.split())[-400:] or f"exit code {done.returncode}"
        raise HybridtuneError(f"kubectl {shlex.join(arguments)}: {reason}")
    return done.stdout


def job_manifest(
    documents: Sequence[Mapping[str, Any]], name: str, study: str, entrypoint: str
) -> list[dict[str, Any]]:
    """Return a RayJob file's documents for this study: named, with the study and hybridtune itself in a ConfigMap.

    Args:
        documents: of the file; one is a RayJob.
        name: of the RayJob and the ConfigMap.
        study: text of the study file, ``STUDY_AT/study.yaml`` in every pod.
        entrypoint: the shell command of the job.

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
    environment["env_vars"] = STOP_VARIABLES | environment.get("env_vars", {})
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
        "metadata": _part(job["metadata"], "namespace", "name"),
        "data": {"study.yaml": study},
        "binaryData": {"hybridtune.zip": base64.b64encode(code).decode()},
    }
    return [settings, *found]


def manifest_text(documents: Sequence[Mapping[str, Any]]) -> str:
    """Return the documents as one YAML text for `kubectl create -f`."""
    return dump_yaml(*documents, width=120)


def _mount(pod: dict[str, Any], name: str) -> None:
    """Mount the study file in a pod, and hybridtune unpacked."""
    ray, own = pod["containers"][0], {"name": _CODE, "mountPath": CODE_AT}
    packed = {"name": _STUDY, "mountPath": STUDY_AT, "readOnly": True}
    unpack = ["python", "-m", "zipfile", "-e", f"{STUDY_AT}/hybridtune.zip", CODE_AT]
    init = {"name": _CODE, "image": ray["image"], "command": unpack, "volumeMounts": [packed, own]}
    init |= _part(ray, "securityContext", "resources", "imagePullPolicy")
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


def _part(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: deepcopy(mapping[key]) for key in keys if key in mapping}
