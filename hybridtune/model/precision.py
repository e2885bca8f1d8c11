"""The number format that a device computes in: half precision where its hardware multiplies it, and never emulated."""

import torch

from hybridtune.errors import InputError

_TENSOR_CORES = (7, 0)  # the first compute capability whose float16 is faster than float32


def native_half(device: torch.device, takes_float16: bool) -> torch.dtype | None:
    """Return the half precision that a device multiplies natively, bfloat16 before float16; None: float32 is faster.

    ``takes_float16``: whether the model's numbers stay below 65,504. BERT's and XLM-R's do, T5's do not.
    """
    if device.type != "cuda":
        has = torch.cpu.get_capabilities()
        return torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else None
    with torch.cuda.device(device):
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
    return torch.float16 if takes_float16 and torch.cuda.get_device_capability(device) >= _TENSOR_CORES else None


def half_of(precision: str, device: torch.device, takes_float16: bool) -> torch.dtype | None:
    """Return the half precision of a training by its ``train.precision``; None: it computes in float32.

    Raises:
        InputError: bf16 on a GPU that would emulate it.
    """
    if precision == "auto":
        return native_half(device, takes_float16)
    if precision == "bf16" and device.type == "cuda" and native_half(device, False) is None:
        raise InputError(
            f"train.precision bf16: {torch.cuda.get_device_name(device)} does not multiply bf16 and would emulate it, "
            "slower than float32; set auto, fp16 or float32"
        )
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
