"""The record of a launch, ``launch.json``, and the job of that launch: its state, its stop, the way to its cluster.

The record is signed by the user who launched: a folder from somebody else could name in it what is to be ended,
removed, or sent a token.
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
from hybridtune.storage.records import make
from hybridtune.study.folder import write_json

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

LAUNCH = "launch.json"  # in a folder that a study was launched from
LOG = "launch.log"  # beside it: what ray, ssh and kubectl print
_SIGNATURE = "signature"
Kind = Literal["here", "launcher", "raycluster", "rayjob", "address"]


@dataclass(frozen=True)
class Launch:
    """A study that was launched.

    Attributes:
        kind: what runs it: a head on this machine, Ray's launcher, KubeRay's cluster or job, or a cluster of others.
        out: location of its results, as the cluster sees it.
        job: submission id, or the RayJob's name.
        cluster: the cluster file; None for a cluster of others, which has an address.
    """

    kind: Kind
    study: str
    out: str
    job: str
    cluster: str | None = None
    address: str | None = None
    head: Head | None = None

    @property
    def file(self) -> Path:
        """Return the cluster file. Raises InputError where it is gone."""
        if self.cluster is None or not Path(self.cluster).is_file():
            raise InputError(f"{self.cluster}: the cluster file that the study was launched with is gone; put it back")
        return Path(self.cluster)


def make_key() -> bytes:
    """Return the key that signs this user's launches on this machine, made at the first launch.

    Raises:
        InputError: it cannot be written.
    """
    if key := _key():
        return key
    file, new = _key_file(), secrets.token_hex(32)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(file, new, private=True)
    except OSError as error:
        raise InputError(f"{file}: the key that launches are signed with cannot be written: {error.strerror}") from None
    return new.encode()


def write_launch(launch: Launch, folder: Path) -> None:
    """Write the record of a launch, signed for this user, this machine and this folder. Raises as `make_key` does."""
    record = dataclasses.asdict(launch)
    write_json({**record, _SIGNATURE: _sign(make_key(), record, folder)}, folder / LAUNCH)


def find_launch(folder: Path) -> Launch | None:
    """Return the launch of which a folder holds the record; None of none.

    Raises:
        InputError: the record is damaged, or not one that this user wrote on this machine for this folder.
    """
    file = folder / LAUNCH
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        signed = isinstance(record, dict) and _is_signed(record.pop(_SIGNATURE, None), record, folder)
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
    head = record.pop("head", None)
    launch = make(Launch, record, str(file))
    return launch if head is None else dataclasses.replace(launch, head=make(Head, head, f"{file}: head"))


def _is_signed(signature: object, record: dict[str, Any], folder: Path) -> bool:
    key = _key()
    if key is None or not isinstance(signature, str):
        return False
    return hmac.compare_digest(_sign(key, record, folder).encode(), signature.encode("utf-8", "replace"))


def _sign(key: bytes, record: dict[str, Any], folder: Path) -> str:
    text = json.dumps([str(folder.resolve()), record], sort_keys=True)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _key_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "hybridtune" / "launch.key"


def _key() -> bytes | None:
    """Return the user's key on this machine; None before the first launch."""
    with contextlib.suppress(OSError):
        return _key_file().read_bytes() or None
    return None


def read_launch(folder: Path) -> Launch:
    """Return the launch of which a folder holds the record. Raises InputError as `find_launch` does, or of none."""
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
    """Yield a function that connects to the job API of a launch's cluster, again after every break."""
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
