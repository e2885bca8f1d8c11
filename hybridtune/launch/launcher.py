"""Ray's cluster launcher, as its own commands: up, down, the way to the dashboard, and files from the head."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from hybridtune.errors import HybridtuneError
from hybridtune.runtime.local import free_ports
from hybridtune.runtime.loopback import keep_direct
from hybridtune.runtime.ray_private import RAY_COMMAND

RAY = list(RAY_COMMAND)
DASHBOARD_PORT = 8265  # on the head
_TAIL = 15  # lines of a command that failed
_SECONDS_TO_FORWARD = 120.0


def head_address(cluster: Path) -> str | None:
    """Return the IP address of a cluster's head; None where the cluster is not up (or its provider cannot be asked)."""
    done = subprocess.run([*RAY, "get-head-ip", str(cluster)], capture_output=True, text=True, check=False)
    lines = done.stdout.split()
    return lines[-1] if done.returncode == 0 and lines else None


def up(cluster: Path, log: Path) -> None:
    """Start or update a cluster.

    Raises:
        HybridtuneError: it did not come up; with the last lines.
    """
    _run(["up", "--yes", "--no-config-cache", "--disable-usage-stats", str(cluster)], log)


def down(cluster: Path, log: Path) -> None:
    """Take all nodes of a cluster down.

    Raises:
        HybridtuneError: that did not work: machines may be left, which cost money.
    """
    try:
        _run(["down", "--yes", str(cluster)], log)
    except HybridtuneError as error:
        raise HybridtuneError(f"{error}; machines may be left that cost money: look at the provider's list") from None


def copy_from_head(cluster: Path, remote: str, local: Path, log: Path) -> None:
    """Copy a folder of the head to this machine.

    Raises:
        HybridtuneError: that did not work.
    """
    local.mkdir(parents=True, exist_ok=True)
    _run(["rsync-down", str(cluster), f"{remote.rstrip('/')}/", f"{local}/"], log)


@contextlib.contextmanager
def forwarded(command: Callable[[int], list[str]], log: Path) -> Iterator[Callable[[], str]]:
    """Forward a head's dashboard to this machine while the block runs.

    Args:
        command: forwards the dashboard to a port of this machine for as long as it runs.
        log: takes what it prints.

    Yields:
        what gives the dashboard's URL here, making the way anew where it has broken; it raises HybridtuneError where
        no dashboard answers.
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
        _await(process, running[-1][1], log)
        return running[-1][1]

    try:
        yield url
    finally:
        for process, _ in running:
            _end(process)


def dashboard_command(cluster: Path) -> Callable[[int], list[str]]:
    """Return what forwards a launcher cluster's dashboard to a port: Ray's own command, over ssh."""
    return lambda port: [*RAY, "dashboard", "--port", str(port), "--remote-port", str(DASHBOARD_PORT), str(cluster)]


def _run(arguments: list[str], log: Path) -> None:
    """Run a command of Ray's; what it prints goes to a file."""
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


def _await(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    ended = time.monotonic() + _SECONDS_TO_FORWARD
    while time.monotonic() < ended:
        try:
            with urlopen(f"{url}/api/version", timeout=10):
                return
        except HTTPError:
            return  # it answers: by asking for the token
        except OSError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
                break
    _end(process)
    last = " ".join(log.read_text(encoding="utf-8", errors="replace").split())[-300:]
    raise HybridtuneError(f"the head's dashboard does not answer through the port that was forwarded: {last}")


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
