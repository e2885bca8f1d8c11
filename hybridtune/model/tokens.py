"""TokenRows: the token ids of many texts, one after the other, as the encoder takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenRows:
    """Token ids of n texts without padding.

    Attributes:
        ids: [T] int64; the texts one after the other.
        lengths: [n] int64, on the CPU whatever the device of ``ids``: to know a shape, nobody waits for a GPU.
        longest: tokens of the longest text.
    """

    ids: Tensor
    lengths: Tensor
    longest: int

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def of(cls, rows: Sequence[npt.NDArray[np.integer[Any]]]) -> "TokenRows":
        """From n >= 1 arrays of token ids, on the CPU."""
        return cls.flat(np.concatenate(rows), np.fromiter(map(len, rows), np.int64, len(rows)))

    @classmethod
    def flat(cls, ids: npt.NDArray[np.integer[Any]], lengths: npt.NDArray[np.integer[Any]]) -> "TokenRows":
        """From [T] token ids of n >= 1 texts, one after the other, and [n] lengths, on the CPU.

        Raises:
            ValueError: there is no text, a text without tokens, or the lengths do not add up.
        """
        if not len(lengths) or lengths.min() < 1 or lengths.sum() != len(ids):
            raise ValueError(f"{len(ids)} token ids are not the tokens of texts of lengths {lengths.tolist()[:16]}")
        sizes = torch.from_numpy(lengths.astype(np.int64))
        return cls(torch.from_numpy(ids.astype(np.int64)), sizes, int(lengths.max()))

    def to(self, device: torch.device | str) -> "TokenRows":
        """On a device; the copy to a GPU goes on while the CPU does other work."""
        target = torch.device(device)
        if target.type == "cuda" and not self.ids.is_cuda:
            return TokenRows(self.ids.pin_memory().to(target, non_blocking=True), self.lengths, self.longest)
        return TokenRows(self.ids.to(target), self.lengths, self.longest)

    def split(self, size: int | None) -> list["TokenRows"]:
        """Chunks of at most ``size`` texts (> 0) each, in order; None: one chunk, itself."""
        if size is None or size >= len(self):
            return [self]
        lengths = torch.split(self.lengths, size)
        chunks = torch.split(self.ids, [int(part.sum()) for part in lengths])
        return [TokenRows(ids, part, int(part.max())) for ids, part in zip(chunks, lengths, strict=True)]
