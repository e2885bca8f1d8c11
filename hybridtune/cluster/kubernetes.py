"""KubeRay by kubectl: a study as a RayJob of its own, and the way to a RayCluster that kubectl started."""

import base64
import contextlib
import json
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hybridtune.cluster.jobs import STOP_SECONDS, JobState, LostError
from hybridtune.cluster.rayjob import manifest_text
from hybridtune.errors import HybridtuneError, InputError

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
    """What forwards a RayCluster's dashboard to a port of this machine."""
    name, space = _ray_object(file)
    return lambda port: [_program(), "port-forward", *space, f"service/{name}-head-svc", f"{port}:8265"]


def cluster_token(file: Path) -> str | None:
    """The token that KubeRay made for a RayCluster; None where it asks for none."""
    name, space = _ray_object(file)
    with contextlib.suppress(HybridtuneError):
        told = _kubectl("get", *space, f"secret/{name}", "-o", "jsonpath={.data.auth_token}")
        return base64.b64decode(told).decode() or None
    return None


def job_state(file: Path, job: str) -> JobState:
    """How a RayJob stands. Raises LostError where Kubernetes does not answer, or does not know it."""
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
    """The head's pod."""
    name, space = _ray_object(file)
    cluster = name if job is None else _status(file, job).get("rayClusterName", "")
    selector = f"ray.io/cluster={cluster},ray.io/node-type=head"
    return _kubectl("get", *space, "pods", "-l", selector, "-o", "jsonpath={.items[0].metadata.name}")


def _ray_object(file: Path) -> tuple[str, list[str]]:
    """Name of a file's RayJob or RayCluster, and the options that name its namespace."""
    documents = [document for document in yaml.safe_load_all(file.read_text(encoding="utf-8")) if document]
    metadata = next(one["metadata"] for one in documents if one["kind"] in ("RayJob", "RayCluster"))
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
