"""The life of a launch after its start: its job followed to the end, its results fetched, its cluster taken down.

The commands `attach`, `fetch`, `status` and `down` call these; a `Launch` is read by `hybridtune.launch.record`.
"""

import contextlib
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hybridtune.config.study import load_stored_study
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.launch import jobs, launcher
from hybridtune.launch import kuberay as kubernetes
from hybridtune.launch.jobs import JobState
from hybridtune.launch.launcher_file import LOCAL_NODES
from hybridtune.launch.local_head import stop_head
from hybridtune.launch.record import LOG, Launch, find_launch, job_state, reached
from hybridtune.launch.yaml_lines import read_documents
from hybridtune.storage.files import is_remote
from hybridtune.storage.records import read_object
from hybridtune.storage.study_record import RESULT
from hybridtune.study.result import located
from hybridtune.study.sync import fetch_study
from hybridtune.terminal.screen import Screen

_LAST = 5_000  # pieces of a job's output that hold its end


class DetachedError(HybridtuneError):
    """Ctrl-C: the study goes on without us."""


def see_through(launch: Launch, folder: Path, screen: Screen) -> dict[str, Any]:
    """Show what a job prints until it has ended, fetch its results, and return its `summary`.

    The study's tables are in what it prints; where they did not come through, they are shown from its results.

    Raises:
        DetachedError: on Ctrl-C; it says how to come back.
        InputError: the study refused its input on the cluster.
        HybridtuneError: it failed or was stopped, its results cannot be fetched, or the cluster does not answer.
    """
    screen.line(f"job {launch.job}: Ctrl-C leaves it running")

    printed: deque[str] = deque(maxlen=_LAST)

    def show(text: str) -> None:
        printed.append(text)
        screen.console.print(text, end="", markup=False, soft_wrap=True)

    try:
        if launch.kind == "rayjob":
            state = kubernetes.follow(launch.file, launch.job, show)
        else:
            with reached(launch, folder) as connect:
                state = jobs.follow(connect, launch.job, show)
    except KeyboardInterrupt:
        raise DetachedError(
            f"detached; the study goes on. Come back: hybridtune attach {folder}   "
            f"stop it: hybridtune stop {folder}   its cluster: hybridtune down {folder}"
        ) from None
    try:
        fetch(launch, folder)
    except HybridtuneError as error:
        if state.status == jobs.DONE:
            raise
        screen.line(f"not fetched: {error}")
    if state.status != jobs.DONE:
        raise _failure(launch, folder, state)
    found = summary(launch, folder, state.status)
    if found["result"] is not None and not _holds(printed, found["result"]["headline"]):
        from hybridtune.terminal.summary import study_summary

        study_summary(load_stored_study(folder), found["result"], screen)
    screen.line(f"study {launch.study} is complete; its results are in {folder}")
    return found


def _holds(printed: Iterable[str], line: str) -> bool:
    """Return whether a line is in a job's output, which may have broken it anywhere."""
    return "".join(line.split()) in "".join("".join(printed).split())


def fetch(launch: Launch, folder: Path, checkpoints: bool = False) -> bool:
    """Bring a study's results so far to a folder on this machine; return whether it has written any.

    Raises:
        HybridtuneError: they cannot be reached.
    """
    out = launch.out
    if not is_remote(out) and Path(out).absolute() == folder.absolute():
        return (folder / "trials.jsonl").exists()  # the study writes here itself
    if is_remote(out) or (Path(out) / "study.yaml").exists():
        fetch_study(out, folder, checkpoints)
    elif launch.kind == "launcher":
        launcher.copy_from_head(launch.file, out, folder, folder / LOG)
    elif launch.kind in ("raycluster", "rayjob"):
        kubernetes.copy_from_head(launch.file, launch.job if launch.kind == "rayjob" else None, out, folder)
    else:
        raise HybridtuneError(
            f"{out}: is not there on this machine; the results are on the cluster, and only an --out on s3://, gs:// "
            "or a path that this machine shares can be fetched"
        )
    return True


def summary(launch: Launch, folder: Path, status: str) -> dict[str, Any]:
    """Return what ``--json`` prints of a launch; ``result`` is what ``hybridtune run --json`` prints."""
    found = read_object(folder / RESULT) if status == jobs.DONE else None
    result = located(found, folder) if found is not None else None
    about = {"study": launch.study, "folder": str(folder), "out": launch.out, "job": launch.job}
    return about | {"status": status, "result": result}


def job_summary(folder: Path) -> dict[str, Any] | None:
    """Return the state of a launched study's job, for `hybridtune status`; its results so far are fetched.

    Returns:
        ``{"name", "status", "message", "out", "cluster"}`` with a status of `JobState` or ``LOST``; None of a study
        that was not launched.

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
    cluster = launch.cluster or launch.address
    return {"name": launch.job, "status": status, "message": message, "out": launch.out, "cluster": cluster}


def _failure(launch: Launch, folder: Path, state: JobState) -> HybridtuneError:
    if state.status == jobs.STOPPED:
        return HybridtuneError(f"job {launch.job} was stopped; launch again with --fetch-to {folder} to go on")
    lines = [line for line in state.message.splitlines() if line.strip()]
    own = next((line for line in reversed(lines) if line.startswith("hybridtune: ")), None)
    reason = own.removeprefix("hybridtune: ") if own else " ".join(lines[-3:])[-400:]
    if state.exit_code == 2:
        return InputError(f"on the cluster: {reason}")
    return HybridtuneError(f"job {launch.job} failed: {reason}; launch again with --fetch-to {folder} to go on")


def take_down(launch: Launch, folder: Path, screen: Screen) -> None:
    """Take the launch's cluster down, and all that runs on it. Raises InputError where the cluster is not ours."""
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
def taken_down(down: bool, folder: Path, screen: Screen) -> Iterator[list[Launch]]:
    """Take a cluster down when the block has ended, well or not; but not when the user only left (Ctrl-C).

    Yields a list for the launch, to be filled as soon as there is anything to take down. Without ``down``, an error's
    last line says that the cluster may still run.
    """
    started: list[Launch] = []
    try:
        yield started
    except DetachedError:
        if down:
            screen.line(f"--down is not done: hybridtune attach {folder} --down, or hybridtune down {folder}")
        raise
    except BaseException:
        if started and down:
            try:
                take_down(started[-1], folder, screen)
            except HybridtuneError as error:  # the first error is the one that is raised
                screen.line(str(error))
        elif started and started[-1].kind != "address":
            screen.line(f"the cluster may still run: hybridtune down {folder} takes it down")
        raise
    if started and down:
        take_down(started[-1], folder, screen)


def take_file_down(file: Path, screen: Screen) -> None:
    """Take the cluster of a cluster file down. Raises InputError where several clusters may be running of that file."""
    documents = [one.tree for one in read_documents(file)]  # no more is checked: machines cost money
    kinds = {str(document.get("kind")) for document in documents}
    local = any(document.get("provider", {}).get("module") == LOCAL_NODES for document in documents)
    if local or "RayJob" in kinds:
        raise InputError(f"{file}: may be running several times; give the folder that launch named")
    screen.line(f"taking the cluster down: {file}")
    if "RayCluster" not in kinds:
        launcher.down(file, Path(tempfile.gettempdir()) / LOG)
    else:
        kubernetes.delete_cluster(file)
    screen.line("the cluster is down")
