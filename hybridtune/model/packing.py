"""Texts of all lengths in one row of tokens, with little or no padding, and the attention that keeps them apart.

Token ids of n texts go in (`TokenRows`), the layout of the row comes out (`Packing`), worked out on the host and copied
to the device at once; `encoder` runs the model on it.
Only models whose attention and positions are known to allow it are packed.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from hybridtune.metrics.arrays import Int64
from hybridtune.model.published import PACKED_FROM_PADDING
from hybridtune.model.transfer import send


@dataclass(frozen=True)
class TokenRows:
    """Token ids of n texts without padding."""

    ids: Tensor  # [T] int64; the texts one after the other
    lengths: Tensor  # [n] int64, on the CPU whatever the device of ids: to know a shape, nobody waits for a GPU
    longest: int  # tokens of the longest text
    layout: "Packing | None" = None  # on the device of ids; None: not laid out yet

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def of(cls, rows: Sequence[npt.NDArray[np.integer[Any]]]) -> "TokenRows":
        """Join n >= 1 arrays of token ids, on the CPU."""
        return cls.flat(np.concatenate(rows), np.fromiter(map(len, rows), np.int64, len(rows)))

    @classmethod
    def flat(cls, ids: npt.NDArray[np.integer[Any]], lengths: npt.NDArray[np.integer[Any]]) -> "TokenRows":
        """Take [T] token ids of n >= 1 texts, one after the other, and [n] lengths, on the CPU.

        Raises:
            ValueError: there is no text, a text without tokens, or the lengths do not add up.
        """
        if not len(lengths) or lengths.min() < 1 or lengths.sum() != len(ids):
            raise ValueError(f"{len(ids)} token ids are not the tokens of texts of lengths {lengths.tolist()[:16]}")
        sizes = torch.from_numpy(lengths.astype(np.int64))
        return cls(torch.from_numpy(ids.astype(np.int64)), sizes, int(lengths.max()))

    def to(self, device: torch.device | str) -> "TokenRows":
        """Copy the token ids to a device; the CPU does not wait for a GPU."""
        return replace(self, ids=send(self.ids, torch.device(device)))

    def split(self, size: int | None) -> list["TokenRows"]:
        """Cut into chunks of at most ``size`` texts (> 0) each, in order; None: one chunk, itself."""
        if size is None or size >= len(self):
            return [self]
        lengths = torch.split(self.lengths, size)
        chunks = torch.split(self.ids, [int(part.sum()) for part in lengths])
        return [TokenRows(ids, part, int(part.max())) for ids, part in zip(chunks, lengths, strict=True)]


NAME = "hybridtune_packed"

# Models whose attention is full and goes by AttentionInterface, and whose only sense of order are the position_ids.
_FROM_ZERO = {"bert", "electra", "ernie", "distilbert", "albert"}
_GROUP_COST = {"cpu": 8, "cuda": 1024}  # one more call of the attention costs about as much as so many more tokens
_FORWARDS = 4  # and one more forward of the whole model, in a model that is not packed, so many times that


@dataclass(frozen=True)
class Group:
    """Neighbouring texts of like length: ``texts`` times ``length`` slots, some of them padding where ``ragged``."""

    texts: int
    length: int
    ragged: bool

    @property
    def slots(self) -> int:
        """Slots of the group."""
        return self.texts * self.length


@dataclass(frozen=True)
class Packing:
    """The layout of n texts in one row of S slots; ``groups`` or ``offsets`` are used, by kernel."""

    source: Tensor | None  # [S] index into the T token ids; T where a slot is padding. None: slot i is token i
    positions: Tensor  # [S] position of each slot within its text, from 0
    owner: Tensor  # [S] the text, in [0, n), that a slot belongs to
    firsts: Tensor  # [n] slot of each text's first token
    share: Tensor  # [S] float; 1 / length of the slot's text, 0 where it is padding: adds up to 1 for each text
    bias: Tensor | None  # [S] float, 0 where there is a token and -inf where there is padding; None without groups
    groups: tuple[Group, ...]  # the row, cut into groups; empty with offsets
    offsets: Tensor | None  # [n + 1] int32, for kernels that take texts of any length: each text's start, and the end
    longest: int  # slots of the longest text

    def fill(self, ids: Tensor, pad_id: int) -> Tensor:
        """Lay token ids [T] out in the slots [S]."""
        if self.source is None:
            return ids
        return torch.cat([ids, ids.new_full((1,), pad_id)])[self.source]  # [S]

    def add_up(self, values: Tensor) -> Tensor:
        """Add up over each text: [S, ...] -> [n, ...]."""
        return values.new_zeros(len(self.firsts), *values.shape[1:]).index_add(0, self.owner, values)


def group_by_length(lengths: Tensor, device: torch.device, packed: bool = True) -> Packing:
    """Put texts of [n] lengths side by side by length, with the padding and the groups that cost least together.

    A GPU gets fewer groups; so does a model whose texts are not packed, where each group has a forward of its own.
    """
    sizes: Int64 = lengths.numpy()
    order = np.argsort(sizes, kind="stable")  # [n]
    cost = _GROUP_COST.get(device.type, _GROUP_COST["cuda"]) * (1 if packed else _FORWARDS)
    groups = _groups(sizes[order], cost)
    widths = np.repeat([group.length for group in groups], [group.texts for group in groups])  # [n], in order
    starts = np.cumsum(widths) - widths  # [n], in order
    tokens = np.cumsum(sizes) - sizes  # [n] first token of each text
    positions = np.arange(widths.sum()) - np.repeat(starts, widths)  # [S]
    owner = np.repeat(order, widths)  # [S]
    filled = positions < sizes[owner]  # [S]
    firsts = np.empty_like(starts)
    firsts[order] = starts

    return Packing(
        source=send(np.where(filled, tokens[owner] + positions, sizes.sum()), device),
        positions=send(positions, device),
        owner=send(owner, device),
        firsts=send(firsts, device),
        share=send((filled / sizes[owner]).astype(np.float32), device),
        bias=send(np.where(filled, 0, -np.inf).astype(np.float32), device),
        groups=groups,
        offsets=None,
        longest=groups[-1].length,
    )


def one_after_the_other(lengths: Tensor, longest: int, device: torch.device) -> Packing:
    """Pack texts of [n] lengths in their own order without padding, for a kernel that takes any length."""
    sizes: Int64 = lengths.numpy()
    offsets = np.concatenate([[0], np.cumsum(sizes)])  # [n + 1]
    owner = np.repeat(np.arange(len(sizes)), sizes)  # [T]
    return Packing(
        source=None,
        positions=send(np.arange(len(owner)) - offsets[owner], device),
        owner=send(owner, device),
        firsts=send(offsets[:-1], device),
        share=send((1 / sizes).astype(np.float32)[owner], device),
        bias=None,
        groups=(),
        offsets=send(offsets.astype(np.int32), device),
        longest=longest,
    )


def first_position(config: Any) -> int | None:
    """Return the position of a text's first token in a model that can be packed; None: not known to be right."""
    kind = getattr(config, "model_type", None)
    if kind in PACKED_FROM_PADDING:
        return int(config.pad_token_id or 0) + 1
    return 0 if kind in _FROM_ZERO and getattr(config, "position_embedding_type", "absolute") == "absolute" else None


def takes_any_length(device: torch.device, dtype: torch.dtype, head_width: int) -> bool:
    """Return whether PyTorch's variable-length attention runs: Ampere or newer, half precision, heads it knows."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0) and head_width % 8 == 0 and head_width <= 256


def _by_group(q: Tensor, k: Tensor, v: Tensor, texts: Packing, dropout: float, scaling: float | None) -> Tensor:
    """Return the attended values [S, H, E]; groups are views of the row, so nothing is copied but the result."""
    dtype, sizes = q.dtype, [group.slots for group in texts.groups]
    if q.device.type == "cpu":
        q, k, v = q.float(), k.float(), v.float()  # the kernels of CPUs are slower in bfloat16, some many times
    assert texts.bias is not None
    biases = torch.split(texts.bias.to(q.dtype), sizes)
    # One split, and not a slice for each group: the gradient of a slice is a whole row of zeros.
    rows = zip(texts.groups, biases, *(torch.split(part, sizes) for part in (q, k, v)), strict=True)
    attended = []
    with torch.autocast(q.device.type, enabled=False):
        for group, bias, *parts in rows:
            shape = (group.texts, group.length)
            queries, keys, values = (part.unflatten(0, shape).transpose(1, 2) for part in parts)  # [b, H, L, E]
            mask = bias.view(group.texts, 1, 1, group.length) if group.ragged else None
            found = F.scaled_dot_product_attention(queries, keys, values, mask, dropout, scale=scaling)
            attended.append(found.transpose(1, 2).flatten(0, 1))  # [b * L, H, E]
    return (attended[0] if len(attended) == 1 else torch.cat(attended)).to(dtype)  # [S, H, E]


def register(compiled: bool = False) -> None:
    """Make packed attention known to transformers.

    A compiled model leaves attention in groups out of its graph, which serves all steps: its groups are others at each
    step. Attention for texts of any length is a part of it.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    attention: Any = packed_attention
    if compiled:
        by_group: Any = torch.compiler.disable(_by_group)  # type: ignore[no-untyped-call]
        attention = functools.partial(packed_attention, by_group=by_group)
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    texts: Packing | None = None,
    by_group: Callable[..., Tensor] = _by_group,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend such that a token sees its own text alone; without ``texts``, as transformers does.

    Query, key and value are [1, H, S, E], of H heads of width E; ``dropout`` is the probability that an attention
    weight is dropped (never with ``offsets``), and ``scaling`` None is 1 / sqrt(E). Returns [1, S, H, E], and None for
    the weights.
    """
    if texts is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        kwargs = {"dropout": dropout, "scaling": scaling, **others}
        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return found
    q, k, v = (part.transpose(1, 2)[0] for part in (query, key, value))  # [S, H, E]
    if texts.offsets is not None:  # this kernel drops no weights, which whoever packed the texts so has accepted
        from torch.nn.attention.varlen import varlen_attn

        ends, longest = texts.offsets, texts.longest
        attended = varlen_attn(q, k, v, ends, ends, longest, longest, scale=scaling)  # [S, H, E]
        assert isinstance(attended, Tensor)  # a pair only where the weights are asked for
        return attended[None], None
    return by_group(q, k, v, texts, dropout, scaling)[None], None


def _groups(sizes: Int64, group_cost: int) -> tuple[Group, ...]:
    """Cut ascending lengths [n] into groups, for the least slots plus ``group_cost`` for every group; exact."""
    widths, counts = np.unique(sizes, return_counts=True)  # [U], [U]
    before = np.concatenate([[0], np.cumsum(counts)])  # [U + 1] texts shorter than each width
    least = np.zeros(len(widths) + 1)  # cost of the texts before each width
    cut = np.zeros(len(widths) + 1, np.int64)  # the start of the last group then
    for i, width in enumerate(widths, 1):
        costs = least[:i] + width * (before[i] - before[:i]) + group_cost  # [i]
        cut[i] = costs.argmin()
        least[i] = costs[cut[i]]
    ends = [len(widths)]
    while ends[-1]:
        ends.append(int(cut[ends[-1]]))
    return tuple(
        Group(int(before[end] - before[start]), int(widths[end - 1]), bool(end - start > 1))
        for start, end in itertools.pairwise(reversed(ends))
    )
