"""The answer to a device that is out of memory: the settings with which a step fits it."""

import torch

from hybridtune.config.study import Study


def answer_out_of_memory(study: Study, workers: int, negatives: int, number: int, device: torch.device) -> str:
    """Return a sentence that says what to set after step ``number`` of a training ran out of memory.

    Nothing is tried: the other workers wait in a collective that this one left. A pair has at most so many negatives.
    """
    train = study.train
    texts = train.batch_size // workers * (2 + negatives)
    encoded = min(train.chunk_size or texts, texts)
    memory = f"the memory of {device}"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        memory = f"the {properties.total_memory / 2**30:.1f} GiB of {properties.name}"
    return (
        f"out of memory at step {number} on {memory}, encoding {encoded} texts at once: "
        f"set train.chunk_size={_rounded(max(1, encoded // 2))} (the same gradient; texts are encoded twice) or a "
        f"train.batch_size below {train.batch_size}, and see that nothing else uses the device"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the device's memory is used up, also when a library under torch says so."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in ("out of memory", "_ALLOC_FAILED"))
    )


def _rounded(size: int) -> int:
    """Return the size, or the largest with two leading bits that is below it: 0, 1, 2, 3, 4, 6, 8, 12, 16, ..."""
    if size < 4:
        return size
    unit = 1 << (size.bit_length() - 2)
    return size // unit * unit
