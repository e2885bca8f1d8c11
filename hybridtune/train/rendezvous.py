"""The meeting point of a group's workers: on loopback alone where their Ray is, else as Ray Train does it.

Torch's own store listens on every interface of the machine, and takes what anybody writes to it. Ray Train's controller
imports this module; what needs torch runs in the workers and imports it there.
"""

import os
import socket
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig

_HOST = "127.0.0.1"
_INTERFACE = "lo0" if sys.platform == "darwin" else "lo"
_TIMEOUT = timedelta(minutes=30)  # of a collective, as in Ray Train
_SHUTDOWN_SECONDS = 30.0  # most that the end of a group waits for its workers to part, as in Ray Train
_stores: list[Any] = []  # in the process of rank 0, so that one lives until the others have come


def torch_config(backend: str) -> BackendConfig:
    """Return the configuration by which workers connect, with a backend of torch (``gloo``, ``nccl``)."""
    if ray.util.get_node_ip_address() == _HOST:
        return LoopbackConfig(backend)
    from ray.train.torch import TorchConfig  # imports torch

    return TorchConfig(backend=backend)


@dataclass
class LoopbackConfig(BackendConfig):  # type: ignore[misc]
    """Workers that are all on this machine and cannot be reached from outside."""

    backend: str

    @property
    def backend_cls(self) -> type[Backend]:
        """The class by which Ray Train starts the workers' process group."""
        return _LoopbackBackend


class _LoopbackBackend(Backend):  # type: ignore[misc]
    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: LoopbackConfig) -> None:
        port = worker_group.execute_single(0, _open_store)
        size = len(worker_group)
        ray.get(
            [
                worker_group.execute_single_async(rank, _join, port, rank, size, backend_config.backend)
                for rank in range(size)
            ]
        )

    def on_shutdown(self, worker_group: Any, backend_config: LoopbackConfig) -> None:
        parting = worker_group.execute_async(_part, len(worker_group) > 1)
        ray.wait(parting, num_returns=len(parting), timeout=_SHUTDOWN_SECONDS)


def _open_store() -> int:
    """Open the store in which the group's workers meet, and return its port."""
    import torch.distributed as dist

    listener = socket.socket()
    listener.bind((_HOST, 0))
    listener.listen(1024)
    port = int(listener.getsockname()[1])
    store = dist.TCPStore(  # type: ignore[attr-defined]
        _HOST, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
    )
    _stores.append(store)
    return port


def _join(port: int, rank: int, size: int, backend: str) -> None:
    import torch.distributed as dist
    from ray.train.torch.config import _set_torch_distributed_env_vars

    _set_torch_distributed_env_vars()
    os.environ.update(GLOO_SOCKET_IFNAME=_INTERFACE, NCCL_SOCKET_IFNAME=_INTERFACE)
    store = _stores[-1] if rank == 0 else dist.TCPStore(_HOST, port, is_master=False)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_TIMEOUT)


def _part(with_group: bool) -> None:
    from ray.train.torch.config import _shutdown_torch

    _shutdown_torch(with_group)
