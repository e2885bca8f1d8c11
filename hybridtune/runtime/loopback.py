"""Ray kept to this machine: every listener is on 127.0.0.1, and whoever connects is asked for a token.

Ray takes a node address of 127.0.0.1 for an oversight and puts the machine's own in its place, unless it is told that
clusters are not supported, as it is by default on macOS. Its node address is what all its processes listen on.

`python -m hybridtune.runtime.loopback start …` is `ray start` of a further node on this machine.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator

from hybridtune.runtime import ray_private

HOST = "127.0.0.1"


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_hex(32)


def environment(address: str) -> dict[str, str]:
    """Return the variables that keep a Ray, and all that it starts, to this machine; the token is left out.

    Args:
        address: ``127.0.0.1:PORT`` of its head, by which Ray's own processes find it among several.
    """
    return {**ray_private.NO_CLUSTERS, "RAY_AUTH_MODE": "token", "RAY_ADDRESS": address, "no_proxy": _direct()}


def keep_direct() -> None:
    """Let no HTTP request of this process to this machine, and no token in it, go by a proxy."""
    os.environ["no_proxy"] = _direct()


@contextlib.contextmanager
def kept_here(port: int) -> Iterator[str]:
    """Have a Ray that this process starts while the block runs kept to this machine; yields its token.

    The token is in the environment of Ray's processes and nowhere else, and goes with them.

    Args:
        port: of the head.
    """
    token = new_token()
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


def _direct() -> str:
    """Hosts that no proxy is asked for: those of before, and this machine."""
    before = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [host.strip() for host in before.split(",") if host.strip()]
    return ",".join(dict.fromkeys([*hosts, HOST, "localhost"]))


if __name__ == "__main__":
    ray_private.run_loopback_node()
