"""`hybridtune down`: the end of a cluster that was started for a study."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hybridtune.errors import HybridtuneError, InputError
from hybridtune.launch import kuberay as kubernetes
from hybridtune.launch import launcher
from hybridtune.launch.attach import DetachedError
from hybridtune.launch.local_head import PROVIDER, stop_head
from hybridtune.launch.record import LOG, Launch
from hybridtune.launch.yaml_lines import read_documents
from hybridtune.terminal.screen import Screen


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
    here = any(document.get("provider", {}).get("module") == PROVIDER for document in documents)
    if here or "RayJob" in kinds:
        raise InputError(f"{file}: may be running several times; give the folder that launch named")
    screen.line(f"taking the cluster down: {file}")
    if "RayCluster" not in kinds:
        launcher.down(file, Path(tempfile.gettempdir()) / LOG)
    else:
        kubernetes.delete_cluster(file)
    screen.line("the cluster is down")
