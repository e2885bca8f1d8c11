"""A study that runs elsewhere: the record of its launch, and the way to its job."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hybridtune.cluster import jobs, kubernetes, launcher
from hybridtune.cluster.here import Head
from hybridtune.cluster.jobs import JobState, LostError
from hybridtune.commands.launch_record import LAUNCH, read_record, write_record
from hybridtune.errors import HybridtuneError, InputError

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
        """The cluster file. Raises InputError where it is gone."""
        path = Path(self.cluster or "")
        if self.cluster is None or not path.is_file():
            raise InputError(f"{self.cluster}: the cluster file that the study was launched with is gone; put it back")
        return path


def write_launch(launch: Launch, folder: Path) -> None:
    """Keep the record of a launch, before anything of it exists that would be lost without."""
    write_record(dataclasses.asdict(launch), folder)


def find_launch(folder: Path) -> Launch | None:
    """The record in a folder; None where there is none.

    Raises:
        InputError: it is damaged, or not one of this user's.
    """
    told = read_record(folder)
    if told is None:
        return None
    head = told.pop("head")
    return Launch(**told, head=Head(**head) if head else None)


def read_launch(folder: Path) -> Launch:
    """The record in a folder.

    Raises:
        InputError: there is none, it is damaged, or not one of this user's.
    """
    found = find_launch(folder)
    if found is None:
        raise InputError(f"{folder}: no study was launched from there (no {LAUNCH}); give the folder that launch named")
    return found


def job_state(launch: Launch, folder: Path) -> JobState:
    """How the job stands. Raises LostError where its cluster does not answer."""
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
    """The way to the job API of a launch's cluster: what makes a client, again after every break."""
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
    """Whether the job is known to run."""
    try:
        return not job_state(launch, folder).ended
    except HybridtuneError:
        return False
