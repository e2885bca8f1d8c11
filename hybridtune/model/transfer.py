"""Copies between the host and a device that nobody waits for: through pinned memory, in the order of the device's work.

On a CPU there is nothing to copy, and the same calls return at once.
"""

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor


def send(values: npt.NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """Copy an array or a tensor to a device; what the calling thread has it compute from then on sees the copy."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    if device.type == "cuda" and not tensor.is_cuda:
        # PyTorch keeps pinned memory for later copies, and takes none back before the copy out of it is done.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Fetch:
    """A tensor on its way to the host, which goes on meanwhile; the copy is made of what the tensor holds now.

    Args:
        tensor: on any device. On the CPU it is no copy: it must not be changed before it is read.
    """

    def __init__(self, tensor: Tensor) -> None:
        tensor = tensor.detach()
        self._event: Any = None
        self._copy = tensor.to("cpu", non_blocking=True)  # into pinned memory, by that argument
        if tensor.is_cuda:
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(tensor.device))

    def arrived(self) -> bool:
        """Return whether ``result`` would return at once."""
        return self._event is None or bool(self._event.query())

    def result(self) -> Tensor:
        """Return the tensor on the CPU; waits for the device, but for nothing that it was given later."""
        if self._event is not None:
            self._event.synchronize()
        return self._copy
