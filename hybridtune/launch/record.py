"""The record of a launch, ``launch.json``: signed by the user who launched, so that nobody else's is acted upon.

Whoever hands a folder on could else name in it what is to be ended, removed, or sent a token.
"""

import contextlib
import dataclasses
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hybridtune.errors import HybridtuneError, InputError
from hybridtune.launch import jobs, launcher
from hybridtune.launch import kuberay as kubernetes
from hybridtune.launch.jobs import JobState, LostError
from hybridtune.launch.local_head import Head
from hybridtune.storage.files import write_atomically
from hybridtune.study.folder import write_json

LAUNCH = "launch.json"  # in a folder that a study was launched from
_SIGNATURE = "signature"
_KEY = "launch.key"  # in the user's own folder on this machine


def make_key() -> bytes:
    """Return the key that this user's launches are signed with on this machine, made where there is none.

    Raises:
        InputError: it cannot be written.
    """
    key = _key()
    if key is not None:
        return key
    file, new = _key_file(), secrets.token_hex(32)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(file, new, private=True)
    except OSError as error:
        raise InputError(f"{file}: the key that launches are signed with cannot be written: {error.strerror}") from None
    return new.encode()


def write_record(told: dict[str, Any], folder: Path) -> None:
    """Write what was launched to its folder, signed for this user, this machine and this folder.

    Raises:
        InputError: see `make_key`.
    """
    write_json({**told, _SIGNATURE: _sign(make_key(), told, folder)}, folder / LAUNCH)


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return what was launched, as `write_record` took it; None where the folder has no record.

    Raises:
        InputError: the record is damaged, or not one that this user wrote on this machine for this folder.
    """
    file = folder / LAUNCH
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        signed = isinstance(told, dict) and _is_signed(told.pop(_SIGNATURE, None), told, folder)
    except OSError:
        return None
    except (ValueError, RecursionError):  # also what is no text at all
        raise InputError(
            f"{file}: is damaged, and nothing was done; end the launch by its cluster's own tools"
        ) from None
    if not signed:
        raise InputError(
            f"{file}: is not the record of a launch of yours from this folder on this machine, and nothing was done; "
            "call the command where you launched, or end the launch by its cluster's own tools"
        )
    return dict(told)


def _is_signed(signature: object, told: dict[str, Any], folder: Path) -> bool:
    key = _key()
    if key is None or not isinstance(signature, str):
        return False
    return hmac.compare_digest(_sign(key, told, folder).encode(), signature.encode("utf-8", "replace"))


def _sign(key: bytes, told: dict[str, Any], folder: Path) -> str:
    text = json.dumps([str(folder.resolve()), told], sort_keys=True)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _key_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "hybridtune" / _KEY


def _key() -> bytes | None:
    """Return the user's key on this machine; None before the first launch."""
    with contextlib.suppress(OSError):
        return _key_file().read_bytes() or None
    return None


if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

LOG = "launch.log"  # in the folder on this machine: what ray, ssh and kubectl print
Kind = Literal["here", "launcher", "raycluster", "rayjob", "address"]


@dataclass(frozen=True)
class Launch:
    """What was launched.

    Attributes:
        kind: what runs it: a head on this machine, Ray's launcher, KubeRay's cluster or job, or a cluster of others.
        study: its name.
        place: where the study writes its results (its ``--out``).
        job: submission id, or the RayJob's name.
        cluster: the cluster file; None for a cluster of others.
        address: of a cluster of others.
        head: on this machine.
    """

    kind: Kind
    study: str
    place: str
    job: str
    cluster: str | None = None
    address: str | None = None
    head: Head | None = None

    @property
    def file(self) -> Path:
        """Return the cluster file. Raises InputError where it is gone."""
        path = Path(self.cluster or "")
        if self.cluster is None or not path.is_file():
            raise InputError(f"{self.cluster}: the cluster file that the study was launched with is gone; put it back")
        return path


def write_launch(launch: Launch, folder: Path) -> None:
    """Keep the record of a launch, before anything of it exists that would be lost without."""
    write_record(dataclasses.asdict(launch), folder)


def find_launch(folder: Path) -> Launch | None:
    """Return the record in a folder; None where there is none.

    Raises:
        InputError: it is damaged, or not one of this user's.
    """
    told = read_record(folder)
    if told is None:
        return None
    head = told.pop("head")
    return Launch(**told, head=Head(**head) if head else None)


def read_launch(folder: Path) -> Launch:
    """Return the record in a folder.

    Raises:
        InputError: there is none, it is damaged, or not one of this user's.
    """
    found = find_launch(folder)
    if found is None:
        raise InputError(f"{folder}: no study was launched from there (no {LAUNCH}); give the folder that launch named")
    return found


def job_state(launch: Launch, folder: Path) -> JobState:
    """Return the state of the job. Raises LostError where its cluster does not answer."""
    if launch.kind == "rayjob":
        return kubernetes.job_state(launch.file, launch.job)
    with reached(launch, folder) as connect:
        return jobs.state(connect(), launch.job)


def stop_job(launch: Launch, folder: Path) -> JobState:
    """Stop the job as Ctrl-C would, and wait for its end."""
    if launch.kind == "rayjob":
        return kubernetes.stop_job(launch.file, launch.job)
    with reached(launch, folder) as connect:
        return jobs.stop(connect(), launch.job)


@contextlib.contextmanager
def reached(launch: Launch, folder: Path) -> "Iterator[Callable[[], JobSubmissionClient]]":
    """Yield what connects to the job API of a launch's cluster, again after every break."""
    head = launch.head
    if head is not None:
        if not head.alive:
            raise LostError(f"the head on this machine (process {head.pid}) has ended; launch again to go on")
        yield lambda: jobs.connect(head.dashboard, head.token)
    elif launch.kind == "address":
        yield lambda: jobs.connect(launch.address or "")
    else:
        file, token = launch.file, None
        command = launcher.dashboard_command(file)
        if launch.kind == "raycluster":
            command, token = kubernetes.dashboard_command(file), kubernetes.cluster_token(file)
        with launcher.forwarded(command, folder / LOG) as url:
            yield lambda: jobs.connect(url(), token)


def still_runs(launch: Launch, folder: Path) -> bool:
    """Return whether the job is known to run."""
    try:
        return not job_state(launch, folder).ended
    except HybridtuneError:
        return False
