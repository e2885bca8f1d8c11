"""Out of memory, answered: what to set so that a step fits the device."""

import torch

from hybridtune.config.study import Study


def answer_out_of_memory(study: Study, workers: int, negatives: int, number: int, device: torch.device) -> str:
    """Return a sentence that says what to set after step ``number`` of a training ran out of memory.

    Nothing is tried: the other workers wait in a collective that this one left.

    Args:
        study: of the training.
        workers: that share its batch.
        negatives: hard negatives a pair is given at most.
        number: of the step, from 1.
        device: of this worker.

    Example: see `hybridtune.train.loop`.
    """
    train = study.train
    texts = train.batch_size // workers * (2 + negatives)
    encoded = min(train.chunk_size or texts, texts)
    return (
        f"out of memory at step {number} on {_described(device)}, encoding {encoded} texts at once: "
        f"set train.chunk_size={_rounded(max(1, encoded // 2))} (the same gradient; texts are encoded twice) or a "
        f"train.batch_size below {train.batch_size}, and see that nothing else uses the device"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the device's memory is used up, also when a library under torch says so.

    Example:
        >>> is_out_of_memory(RuntimeError("CUDA error: out of memory"))
        True
    """
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in ("out of memory", "_ALLOC_FAILED"))
    )


def _rounded(size: int) -> int:
    """Return the size, or the largest with two leading bits that is below it: 0, 1, 2, 3, 4, 6, 8, 12, 16, ..."""
    if size < 4:
        return size
    unit = 1 << (size.bit_length() - 2)
    return size // unit * unit


def _described(device: torch.device) -> str:
    if device.type != "cuda":
        return f"the memory of {device}"
    properties = torch.cuda.get_device_properties(device)
    return f"the {properties.total_memory / 2**30:.1f} GiB of {properties.name}"
