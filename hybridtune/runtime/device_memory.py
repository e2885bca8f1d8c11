"""The memory of a device: what is said where it is used up, and what a process of it gives back to the others."""

import torch


def memory_of(device: torch.device) -> str:
    """Return ``the 15.6 GiB of Tesla T4``, or ``the memory of cpu``."""
    if device.type != "cuda":
        return f"the memory of {device}"
    properties = torch.cuda.get_device_properties(device)
    return f"the {properties.total_memory / 2**30:.1f} GiB of {properties.name}"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the device's memory is used up, also when a library under torch says so."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in ("out of memory", "_ALLOC_FAILED"))
    )


def share_memory(device: torch.device) -> None:
    """Give other processes of a GPU what this one keeps of its memory without using it.

    PyTorch keeps what is freed for its own later use; a training and an evaluator use the same card in turns.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.empty_cache()
