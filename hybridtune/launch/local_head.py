"""A Ray head on this machine with an autoscaler of its own: started, found again by another process, and ended.

It has its own ports, folder and token beside any other Ray here, and is ended by the ids of its own processes: Ray's
`ray stop` would end every Ray of the machine.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from hybridtune.config.yaml_text import dump_yaml
from hybridtune.runtime import ray_private
from hybridtune.runtime.connect import SHAPE, dump_shape
from hybridtune.runtime.launcher_shape import launcher_shape
from hybridtune.runtime.local import free_ports
from hybridtune.runtime.loopback import HOST, environment, wait_for_dashboard
from hybridtune.runtime.processes import is_running, start_time
from hybridtune.runtime.sessions import socket_path_mistake

_PREFIX = "hybridtune-"  # of the head's folder
_LOG = "start.log"  # in the head's folder: what `ray start` printed
_SECONDS_TO_START = 120
_SECONDS_TO_END = 5  # then they are killed


@dataclass(frozen=True)
class Head:
    """A head that runs here.

    Attributes:
        pid: of `ray start`, to whose session all processes of the cluster but the jobs' belong.
        start_time: of that process, see `hybridtune.runtime.processes`.
        folder: its own; the file `token` in it is the dashboard's token.
        address: for drivers of this machine, ``127.0.0.1:PORT``.
        dashboard: for jobs, ``http://127.0.0.1:PORT``.
    """

    pid: int
    start_time: str | None
    folder: str
    address: str
    dashboard: str

    @property
    def token(self) -> str:
        """Return the token of its dashboard."""
        return (Path(self.folder) / "token").read_text(encoding="utf-8")

    @property
    def alive(self) -> bool:
        """Return whether its `ray start` still runs: a process with its id, its start, and its command."""
        known = self.start_time is not None and is_running(self.pid, self.start_time)
        return known and _is_of(self, self.pid)


def temporary_folder_mistake() -> str | None:
    """Return what is wrong with the folder of temporary files, in which no head or node could open its sockets."""
    folder = tempfile.gettempdir()
    mistake = socket_path_mistake(Path(folder) / f"{_PREFIX}12345678" / "node-99")
    return None if mistake is None else f"TMPDIR {folder}: {mistake}; set a shorter one, like TMPDIR=/tmp"


def start_head(tree: Mapping[str, Any]) -> Head:
    """Start the head of a cluster file with the provider `local_nodes`, whose autoscaler adds nodes on this machine.

    Raises:
        HybridtuneError: the head did not come up.
    """
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))  # short: Ray's sockets are in it
    ports = free_ports(3)
    address, dashboard = f"{HOST}:{ports[0]}", f"http://{HOST}:{ports[1]}"
    provider = {"gcs_address": address, "folder": str(folder), "head_node_type": tree["head_node_type"]}
    config = ray_private.prepare_cluster(dict(tree) | {"provider": dict(tree["provider"]) | provider})
    (folder / "cluster.yaml").write_text(dump_yaml(config), encoding="utf-8")
    (folder / "token").touch(0o600)
    (folder / "token").write_text(secrets.token_hex(32), encoding="utf-8")
    with (folder / _LOG).open("wb") as log:
        process = subprocess.Popen(
            _command(tree, folder, ports),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(folder, address) | {SHAPE: dump_shape(launcher_shape(tree))},
            start_new_session=True,
        )
    started = Head(process.pid, start_time(process.pid), str(folder), address, dashboard)
    try:
        wait_for_dashboard(process, dashboard, folder / _LOG, _SECONDS_TO_START, "the head did not start")
    except BaseException:
        stop_head(started)
        raise
    return started


def stop_head(head: Head) -> None:
    """End a head, its nodes and its jobs, and remove its folder; of one that has ended, whatever it left."""
    found: set[psutil.Process] = set()
    for end in (psutil.Process.terminate, psutil.Process.kill):  # nothing that they hold is needed any more
        found |= _processes_of(head)
        alive = [process for process in found if start_time(process.pid) is not None]
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                end(process)
        psutil.wait_procs(alive, timeout=_SECONDS_TO_END)
    shutil.rmtree(head.folder, ignore_errors=True)


def _is_of(head: Head, pid: int) -> bool:
    """Return whether a process has the head's folder in its command; nobody else can know its name beforehand."""
    try:
        return any(head.folder in word for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def _command(tree: Mapping[str, Any], folder: Path, ports: Sequence[int]) -> list[str]:
    head = tree["available_node_types"][tree["head_node_type"]]["resources"]
    return [
        *(*ray_private.RAY_COMMAND, "start", "--head", "--block", "--disable-usage-stats"),
        *(f"--port={ports[0]}", f"--dashboard-port={ports[1]}", f"--ray-client-server-port={ports[2]}"),
        *(f"--node-ip-address={HOST}", f"--dashboard-host={HOST}", "--dashboard-agent-listen-port=0"),
        *("--min-worker-port=0", "--max-worker-port=0"),
        *(f"--num-cpus={int(head.get('CPU', 0))}", f"--num-gpus={int(head.get('GPU', 0))}"),
        *(f"--autoscaling-config={folder / 'cluster.yaml'}", f"--temp-dir={folder}"),
    ]


def _environment(folder: Path, address: str) -> dict[str, str]:
    package = str(Path(__file__).parents[2])  # the autoscaler imports our provider
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN"}  # it wins over a file
    return inherited | {
        **environment(address),
        **ray_private.LOCAL_NODES,
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "PYTHONPATH": os.pathsep.join(paths),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),  # of `python`
    }


def _processes_of(head: Head) -> set[psutil.Process]:
    """Return the processes of a head's session, and their descendants: jobs have sessions of their own.

    Of a head that has ended, another session may have the number: of those in it, the ones count that work in the
    head's folder, which every process of Ray names in its command.
    """
    alive, found = head.alive, set[psutil.Process]()
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):  # it has just ended
            if os.getsid(process.pid) == head.pid and (alive or _is_of(head, process.pid)):
                found.add(process)
    for process in list(found):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.update(process.children(recursive=True))
    return found
