"""Token ids to vectors, with little spent on padding: rows of like length are encoded together."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from hybridtune.model.encoder import DualEncoder

BATCH_TOKENS = 4096  # padded tokens encoded at once: stays in a core's caches
BATCH_TOKENS_GPU = 65536  # fills a card with a small model, and is far from its memory

Vectors = npt.NDArray[np.float32]


def embed_by_length(model: DualEncoder, rows: Sequence[npt.NDArray[np.int32]]) -> Vectors:
    """Unit vectors of n rows of token ids, longest rows first; bf16 on a GPU that has it.

    Args:
        model: in eval mode, on its device.
        rows: n rows of token ids, none empty.

    Returns:
        float32 [n, D], a function of the rows, the weights and the device alone.
    """
    device = next(model.parameters()).device
    most = BATCH_TOKENS_GPU if device.type == "cuda" else BATCH_TOKENS
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    vectors = np.zeros((len(rows), model.width), np.float32)
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    first = 0
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        while first < len(order):
            chosen = order[first : first + max(1, most // len(rows[order[first]]))]
            vectors[chosen] = model.embed([rows[i] for i in chosen]).float().cpu().numpy()
            first += len(chosen)
    return vectors
