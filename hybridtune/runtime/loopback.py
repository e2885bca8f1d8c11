"""Ray on this machine alone: every listener is on 127.0.0.1, and every connection needs a token.

All processes of Ray listen on its node address. It replaces 127.0.0.1 there by the machine's own address, as an
oversight, unless clusters count as not supported, the default on macOS.

`python -m hybridtune.runtime.loopback start …` is `ray start` of a further node on this machine.
"""

import contextlib
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener, getproxies_environment

from hybridtune.errors import HybridtuneError
from hybridtune.runtime import ray_private
from hybridtune.runtime.processes import SAFE_PATH

HOST = "127.0.0.1"


def environment(address: str) -> dict[str, str]:
    """Return the variables that keep a Ray, and all that it starts, to this machine; without its token.

    By the ``address``, ``127.0.0.1:PORT`` of its head, Ray's own processes find it among several.
    """
    token = {"RAY_AUTH_MODE": "token", "RAY_ADDRESS": address, "no_proxy": _direct()}
    return {**ray_private.NO_CLUSTERS, **SAFE_PATH, **token}


def keep_direct() -> None:
    """Keep this process's HTTP requests to this machine, and the tokens in them, away from proxies."""
    os.environ["no_proxy"] = _direct()


def job_environment() -> dict[str, str]:
    """Return what keeps requests of a job's workers, each to its own machine, away from the proxies that this one has.

    Nothing without proxies: the hosts that a worker's own machine excepts would be replaced by those of this one.
    """
    return {"no_proxy": _direct()} if getproxies_environment() else {}


@contextlib.contextmanager
def loopback_only(port: int) -> Iterator[str]:
    """Keep a Ray that this process starts in the block to this machine, its head at the port; yields its token.

    The token is in the environment of Ray's processes and nowhere else, and goes with them.
    """
    token = secrets.token_hex(32)
    wanted = environment(f"{HOST}:{port}") | {"RAY_AUTH_TOKEN": token, ray_private.HEAD_PORT: str(port)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    ray_private.reload_settings()
    try:
        yield token
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        ray_private.reload_settings()


def wait_for_dashboard(process: "subprocess.Popen[bytes]", url: str, log: Path, seconds: float, failure: str) -> None:
    """Wait until a dashboard answers, if only with a demand for its token.

    Raises:
        HybridtuneError: the process has ended, or no answer for so long; with the end of its log.
    """
    direct = build_opener(ProxyHandler({}))  # no proxy leads to this machine
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            direct.open(f"{url}/api/version", timeout=10).close()
            return
        except HTTPError:
            return
        except OSError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
                break
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    raise HybridtuneError(f"{failure}: {' '.join(' '.join(lines[-15:]).split())[-600:] or 'it printed nothing'}")


def _direct() -> str:
    """Return the hosts to reach without a proxy: those of before, and this machine."""
    before = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [host.strip() for host in before.split(",") if host.strip()]
    return ",".join(dict.fromkeys([*hosts, HOST, "localhost", "::1"]))


if __name__ == "__main__":
    ray_private.run_loopback_node()
