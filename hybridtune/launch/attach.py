"""What follows a launch: its job followed to the end, its results fetched, its cluster taken down.

A `Launch` comes from `hybridtune.launch.record`; the commands `attach`, `fetch`, `status` and `down` call these.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hybridtune.errors import HybridtuneError, InputError
from hybridtune.launch import jobs, launcher
from hybridtune.launch import kuberay as kubernetes
from hybridtune.launch.jobs import JobState
from hybridtune.launch.launcher_file import LOCAL_NODES
from hybridtune.launch.local_head import stop_head
from hybridtune.launch.record import LOG, Launch, find_launch, job_state, reached
from hybridtune.launch.yaml_lines import read_documents
from hybridtune.storage.files import is_remote
from hybridtune.study.sync import fetch_study
from hybridtune.terminal.screen import Screen


class DetachedError(HybridtuneError):
    """Ctrl-C: the study goes on without us."""


def follow(launch: Launch, folder: Path, screen: Screen) -> JobState:
    """Show what the job prints until it has ended.

    Raises:
        DetachedError: on Ctrl-C; it says how to come back.
        LostError: the cluster does not answer any more.
    """
    screen.line(f"job {launch.job}: Ctrl-C leaves it running")

    def show(text: str) -> None:
        screen.console.print(text, end="", markup=False, soft_wrap=True)

    try:
        if launch.kind == "rayjob":
            return kubernetes.follow(launch.file, launch.job, show)
        with reached(launch, folder) as connect:
            return jobs.follow(connect, launch.job, show)
    except KeyboardInterrupt:
        raise DetachedError(
            f"detached; the study goes on. Come back: hybridtune attach {folder}   "
            f"stop it: hybridtune stop {folder}   its cluster: hybridtune down {folder}"
        ) from None


def fetch(launch: Launch, folder: Path, checkpoints: bool = False) -> bool:
    """Bring the study's results, as far as they are, to the folder on this machine.

    Args:
        launch: of the study.
        folder: where they go.
        checkpoints: whether those of all trials come too.

    Returns:
        whether there was anything yet.

    Raises:
        HybridtuneError: they cannot be reached.
    """
    place = launch.place
    if not is_remote(place) and Path(place).absolute() == folder.absolute():
        return (folder / "trials.jsonl").exists()  # they are written here
    if is_remote(place) or (Path(place) / "study.yaml").exists():
        fetch_study(place, folder, checkpoints)
    elif launch.kind == "launcher":
        launcher.copy_from_head(launch.file, place, folder, folder / LOG)
    elif launch.kind in ("raycluster", "rayjob"):
        kubernetes.copy_from_head(launch.file, launch.job if launch.kind == "rayjob" else None, place, folder)
    else:
        raise HybridtuneError(
            f"{place}: is not there on this machine; the results are on the cluster, and only an --out on s3://, gs:// "
            "or a path that this machine shares can be fetched"
        )
    return True


def conclude(launch: Launch, folder: Path, state: JobState, screen: Screen) -> None:
    """Fetch what a job that has ended left, and say how it ended.

    Raises:
        InputError: the study refused its input on the cluster.
        HybridtuneError: it failed, was stopped, or cannot be fetched.
    """
    fetched: HybridtuneError | None = None
    try:
        fetch(launch, folder)
    except HybridtuneError as error:
        fetched = error
    if state.status != jobs.DONE:
        if fetched is not None:
            screen.line(f"not fetched: {fetched}")
        raise _failure(launch, folder, state)
    if fetched is not None:
        raise fetched
    screen.line(f"study {launch.study} is complete; its results are in {folder}")


def see_through(launch: Launch, folder: Path, screen: Screen) -> dict[str, Any]:
    """Follow a job to its end and fetch what it did.

    Returns:
        ``{"study", "folder", "out", "job", "status", "result"}``; result is that of ``hybridtune run --json``.

    Raises:
        DetachedError: on Ctrl-C.
        HybridtuneError: it failed, or its cluster is lost.
    """
    state = follow(launch, folder, screen)
    conclude(launch, folder, state, screen)
    return summary(launch, folder, state.status)


def summary(launch: Launch, folder: Path, status: str) -> dict[str, Any]:
    """Return what ``--json`` prints of a launch."""
    file = folder / "result.json"
    result = json.loads(file.read_text(encoding="utf-8")) if status == jobs.DONE and file.exists() else None
    about = {"study": launch.study, "folder": str(folder), "out": launch.place, "job": launch.job}
    return about | {"status": status, "result": result}


def job_summary(folder: Path) -> dict[str, Any] | None:
    """Return how the job of a launched study stands, for `hybridtune status`; its results so far are fetched.

    Returns:
        ``{"name", "status", "message", "place", "cluster"}``; None where the folder is no launched study's. The status
        is that of `JobState`, or ``LOST``.

    Raises:
        InputError: the record of the launch is damaged, or not one of this user's.
    """
    launch = find_launch(folder)
    if launch is None:
        return None
    status, message = "LOST", ""
    try:
        status = job_state(launch, folder).status
    except HybridtuneError as error:
        message = str(error)
    with contextlib.suppress(HybridtuneError):  # there may be nothing yet
        fetch(launch, folder)
    where = {"place": launch.place, "cluster": launch.cluster or launch.address}
    return {"name": launch.job, "status": status, "message": message} | where


def _failure(launch: Launch, folder: Path, state: JobState) -> HybridtuneError:
    if state.status == jobs.STOPPED:
        return HybridtuneError(f"job {launch.job} was stopped; launch again with --fetch-to {folder} to go on")
    lines = [line for line in state.message.splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if line.startswith("hybridtune: ")), None)
    reason = told.removeprefix("hybridtune: ") if told else " ".join(lines[-3:])[-400:]
    if state.exit_code == 2:
        return InputError(f"on the cluster: {reason}")
    return HybridtuneError(f"job {launch.job} failed: {reason}; launch again with --fetch-to {folder} to go on")


def take_down(launch: Launch, folder: Path, screen: Screen) -> None:
    """Take the launch's cluster down, and all that runs on it.

    Raises:
        InputError: the cluster is others'.
        HybridtuneError: it did not work.
    """
    if launch.kind == "address":
        raise InputError(f"{folder}: its study runs on {launch.address}, which is not ours to end; use hybridtune stop")
    screen.line(f"taking the cluster down: {launch.cluster}")
    if launch.head is not None:
        stop_head(launch.head)
    elif launch.kind == "launcher":
        launcher.down(launch.file, folder / LOG)
    elif launch.kind == "raycluster":
        kubernetes.delete_cluster(launch.file)
    else:
        kubernetes.delete_job(launch.file, launch.job)
    screen.line("the cluster is down")


@contextlib.contextmanager
def taken_down(wished: bool, folder: Path, screen: Screen) -> Iterator[list[Launch]]:
    """Take a cluster down when the block has ended, well or not; but not when the user only left (Ctrl-C).

    Args:
        wished: ``--down``; without it the block's errors are told what goes on costing.
        folder: of the launch.
        screen: told what happens.

    Yields:
        the list that takes the launch, as soon as there is anything to take down.
    """
    started: list[Launch] = []
    try:
        yield started
    except DetachedError:
        if wished:
            screen.line(f"--down is not done: hybridtune attach {folder} --down, or hybridtune down {folder}")
        raise
    except BaseException:
        if started and wished:
            try:
                take_down(started[-1], folder, screen)
            except HybridtuneError as error:  # what went wrong first is what is raised
                screen.line(str(error))
        elif started and started[-1].kind != "address":
            screen.line(f"the cluster may still run: hybridtune down {folder} takes it down")
        raise
    if started and wished:
        take_down(started[-1], folder, screen)


def take_file_down(file: Path, screen: Screen) -> None:
    """Take the cluster of a cluster file down, whoever launched what on it.

    Raises:
        InputError: the file alone does not tell which cluster that is.
        HybridtuneError: it did not work.
    """
    documents = [one.tree for one in read_documents(file)]  # no more is checked: machines cost money
    kinds = {str(document.get("kind")) for document in documents}
    here = any(document.get("provider", {}).get("module") == LOCAL_NODES for document in documents)
    if here or "RayJob" in kinds:
        raise InputError(f"{file}: may be running several times; give the folder that launch named")
    screen.line(f"taking the cluster down: {file}")
    if "RayCluster" not in kinds:
        launcher.down(file, Path(tempfile.gettempdir()) / LOG)
    else:
        kubernetes.delete_cluster(file)
    screen.line("the cluster is down")
