"""The meeting point of a group's workers: on loopback alone where their Ray is, else as Ray Train does it.

Torch's own store listens on every interface of the machine, and takes what anybody writes to it.
"""

import os
import socket
import sys
from datetime import timedelta
from typing import Any

import ray
import torch.distributed as dist
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _TorchBackend

_HOST = "127.0.0.1"
_INTERFACE = "lo0" if sys.platform == "darwin" else "lo"
_stores: list[Any] = []  # in the process of rank 0, so that one lives until the others have come


def torch_config(backend: str) -> TorchConfig:
    """Return the configuration by which workers connect, with a backend of torch (``gloo``, ``nccl``)."""
    on_loopback = ray.util.get_node_ip_address() == _HOST
    return LoopbackConfig(backend=backend) if on_loopback else TorchConfig(backend=backend)


class LoopbackConfig(TorchConfig):  # type: ignore[misc]
    """Workers that are all on this machine and cannot be reached from outside."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """The class by which Ray Train starts the workers' process group."""
        return _LoopbackBackend


class _LoopbackBackend(_TorchBackend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(_set_torch_distributed_env_vars)
        port = worker_group.execute_single(0, _open_store)
        size = len(worker_group)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank, _join, port, rank, size, backend_config.backend, backend_config.timeout_s
                )
                for rank in range(size)
            ]
        )


def _open_store() -> int:
    """Open the store in which the group's workers meet, and return its port."""
    listener = socket.socket()
    listener.bind((_HOST, 0))
    listener.listen(1024)
    port = int(listener.getsockname()[1])
    store = dist.TCPStore(  # type: ignore[attr-defined]
        _HOST, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
    )
    _stores.append(store)
    return port


def _join(port: int, rank: int, size: int, backend: str, timeout_s: int) -> None:
    os.environ.update(GLOO_SOCKET_IFNAME=_INTERFACE, NCCL_SOCKET_IFNAME=_INTERFACE)
    store = _stores[-1] if rank == 0 else dist.TCPStore(_HOST, port, is_master=False)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timedelta(seconds=timeout_s))
