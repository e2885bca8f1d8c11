"""Ray's cluster launcher, as its own commands: up, down, the way to the dashboard, and files from the head."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from hybridtune.errors import HybridtuneError
from hybridtune.runtime.local import free_ports
from hybridtune.runtime.loopback import keep_direct, wait_for_dashboard
from hybridtune.runtime.ray_private import RAY_COMMAND

RAY = list(RAY_COMMAND)

_TAIL = 15  # lines of a command that failed
_SECONDS_TO_FORWARD = 120.0
_UNREACHED = "the head's dashboard does not answer through the port that was forwarded"


def head_address(cluster: Path) -> str | None:
    """Return the IP address of a cluster's head; None where the cluster is not up (or its provider cannot be asked)."""
    done = subprocess.run([*RAY, "get-head-ip", str(cluster)], capture_output=True, text=True, check=False)
    lines = done.stdout.split()
    return lines[-1] if done.returncode == 0 and lines else None


def up(cluster: Path, log: Path) -> None:
    """Start or update a cluster. Raises HybridtuneError with the last lines where it does not come up."""
    _run(["up", "--yes", "--no-config-cache", "--disable-usage-stats", str(cluster)], log)


def down(cluster: Path, log: Path) -> None:
    """Take all nodes of a cluster down. Raises HybridtuneError where machines may be left, which cost money."""
    try:
        _run(["down", "--yes", str(cluster)], log)
    except HybridtuneError as error:
        raise HybridtuneError(f"{error}; machines may be left that cost money: look at the provider's list") from None


def copy_from_head(cluster: Path, remote: str, local: Path, log: Path) -> None:
    """Copy a folder of the head to this machine."""
    local.mkdir(parents=True, exist_ok=True)
    _run(["rsync-down", str(cluster), f"{remote.rstrip('/')}/", f"{local}/"], log)


@contextlib.contextmanager
def forwarded(command: Callable[[int], list[str]], log: Path) -> Iterator[Callable[[], str]]:
    """Forward a head's dashboard to this machine while the block runs.

    Args:
        command: of a port of this machine: forwards the dashboard to it for as long as it runs.
        log: takes what it prints.

    Yields:
        a function that returns the dashboard's URL here, and forwards anew where the connection has broken; it raises
        HybridtuneError where no dashboard answers.
    """
    keep_direct()
    running: list[tuple[subprocess.Popen[bytes], str]] = []

    def url() -> str:
        if running and running[-1][0].poll() is None:
            return running[-1][1]
        [port] = free_ports(1)
        with log.open("ab") as file:
            process = subprocess.Popen(
                command(port), stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True
            )  # an open stdin: the shell at the other end would leave at its end
        running.append((process, f"http://127.0.0.1:{port}"))
        try:
            wait_for_dashboard(process, running[-1][1], log, _SECONDS_TO_FORWARD, _UNREACHED)
        except HybridtuneError:
            _end(process)
            raise
        return running[-1][1]

    try:
        yield url
    finally:
        for process, _ in running:
            _end(process)


def dashboard_command(cluster: Path) -> Callable[[int], list[str]]:
    """Return what forwards a launcher cluster's dashboard to a port: Ray's own command, over ssh."""
    return lambda port: [*RAY, "dashboard", "--port", str(port), "--remote-port", "8265", str(cluster)]


def _run(arguments: list[str], log: Path) -> None:
    with log.open("ab") as file:
        file.write(f"\n$ ray {' '.join(arguments)}\n".encode())
        file.flush()
        begin = file.tell()
        code = subprocess.run([*RAY, *arguments], stdin=subprocess.DEVNULL, stdout=file, stderr=file).returncode
    if code:
        with log.open("rb") as file:
            file.seek(begin)
            lines = file.read().decode(errors="replace").strip().split("\n")
        tail = "\n".join(f"  {line}" for line in lines[-_TAIL:])
        raise HybridtuneError(f"ray {arguments[0]} failed (exit code {code}); all of it is in {log}\n{tail}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a command of ours and what it started (ssh)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdin is not None:
        process.stdin.close()
