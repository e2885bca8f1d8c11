"""Pool token vectors to one vector a text, in each way that sentence-transformers has, for texts packed in one row."""

import torch
from torch import Tensor

from hybridtune.model.packing import Packing


def pool(hidden: Tensor, places: Packing, mode: str, left_out: Tensor | None = None) -> Tensor:
    """Pool packed token vectors.

    Args:
        hidden: [S, D] of all slots.
        places: where the n texts stand in the S slots.
        mode: ``mean``, ``cls`` (the first token), ``lasttoken``, ``max``, ``weightedmean`` (the token at place i, from
            1, weighs i) or ``mean_sqrt_len`` (the sum over the root of the count).
        left_out: [S] bool, tokens that are not pooled (a prompt's); None: all are. Of a text of which all tokens are
            left out, all are pooled.

    Returns:
        [n, D].

    Source: ``Pooling`` of sentence-transformers 6.2, read.
    """
    if left_out is None and mode == "mean":
        return places.mean(hidden)
    if left_out is None and mode == "cls":
        return hidden[places.firsts]  # [n, D]
    held = places.share > 0  # [S]
    if left_out is not None:
        some = _sums(held & ~left_out, places) > 0  # [n]
        held = held & ~(left_out & some[places.owner])
    if mode == "max":
        masked = hidden.masked_fill(~held[:, None], -torch.inf)  # [S, D]
        owners = places.owner[:, None].expand_as(hidden)  # [S, D]
        lowest = hidden.new_full((len(places.firsts), hidden.shape[1]), -torch.inf)
        return lowest.scatter_reduce(0, owners, masked, "amax")  # [n, D]
    if mode in ("cls", "lasttoken"):
        return hidden[_ends(held, places, last=mode == "lasttoken")]  # [n, D]
    weights = held.float() * (places.positions + 1 if mode == "weightedmean" else 1)  # [S]
    sums = _sums(weights, places)  # [n]
    if mode == "mean_sqrt_len":
        sums = sums.sqrt()
    weighted = hidden * (weights / sums[places.owner])[:, None]  # [S, D]
    return hidden.new_zeros(len(places.firsts), hidden.shape[1]).index_add(0, places.owner, weighted)  # [n, D]


def _sums(values: Tensor, places: Packing) -> Tensor:
    """Sums over each text: [S] -> [n] float32."""
    none = torch.zeros(len(places.firsts), device=values.device)
    return none.index_add(0, places.owner, values.float())


def _ends(held: Tensor, places: Packing, last: bool) -> Tensor:
    """The slot [n] of each text's first, or last, token that is held; every text has one."""
    slots = torch.arange(len(held), device=held.device)
    outside = -1 if last else len(held)
    candidates = torch.where(held, slots, outside)  # [S]
    found = torch.full_like(places.firsts, outside)
    return found.scatter_reduce(0, places.owner, candidates, "amax" if last else "amin")  # [n]
