"""The batches of a HybridPlan for other trainers: a PyTorch DataLoader or sentence-transformers' trainer.

A plan goes in; out come the question-passage pairs that it draws, as rows of a dataset, and batches of row numbers.
hybridtune's own trainer streams token ids instead: see `hybridtune.data.stream`.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hybridtune.data.plan import HybridPlan
from hybridtune.data.readers.sources import parse_groups
from hybridtune.errors import InputError


class HybridBatchSampler:
    """A batch sampler: iterate over the rows of every batch, all of one kind, in the order of the plan.

    The dataset is what `rows` returns: the P distinct pairs of the training, in the order in which they are first seen.

    Args:
        plan: the batches; without align batches, which need a teacher.
        steps: global batches of the whole training, >= 1. One epoch of a trainer is all of them.
        processes: n, ranks that train together; every rank takes a slice of B / n pairs of each global batch of B.
        rank: whose slices to yield, in [0, n). None: those of all ranks in turn, which is how Accelerate, and with it
            sentence-transformers' and transformers' trainers, deals batches to ranks.

    Attributes:
        pairs: int32 [P, 3], of every row the group, and the columns of the query's and of the passage's language in
            ``plan.corpus.languages``.
        kinds: of every step, ``mono`` or ``cross``.
        batch_size: B / n.

    Raises:
        InputError: a plan with align batches, or n does not divide B.

    Example:
        >>> from hybridtune.data.plan import HybridPlan
        >>> group = lambda i: {"group_id": str(i), "queries": {"de": f"wo {i}", "en": f"where {i}"},
        ...                    "passages": {"de": f"hier {i}", "en": f"here {i}"}}
        >>> groups = [group(i) for i in range(20)]
        >>> sampler = HybridBatchSampler(HybridPlan(groups, mixing_ratio=0.5, batch_size=4), steps=6)
        >>> rows = sampler.rows(groups)
        >>> [(kind, [rows[i]["query"] for i in batch][:1]) for kind, batch in zip(sampler.kinds, sampler)][:2]
        [('mono', ['where 7']), ('cross', ['wo 14'])]
    """

    drop_last = True  # every batch is full

    def __init__(self, plan: HybridPlan, steps: int, *, processes: int = 1, rank: int | None = None) -> None:
        if plan.align_share:
            raise InputError("a plan with align batches needs hybridtune's own trainer: give one with align_share=0")
        if plan.batch_size % processes:
            raise InputError(f"batch_size {plan.batch_size} is not a multiple of processes {processes}")
        batches = list(plan.batches(0, steps))
        drawn = np.concatenate([np.column_stack([batch.groups, batch.languages]) for batch in batches])  # [S * B, 3]
        pairs, first, row = np.unique(drawn, axis=0, return_index=True, return_inverse=True)
        by_first_use = np.argsort(first)
        self.plan = plan
        self.pairs = pairs[by_first_use]
        self.kinds = [batch.kind for batch in batches]
        self.rank = rank
        self.batch_size = plan.batch_size // processes
        self._rows = np.argsort(by_first_use)[row].reshape(steps, processes, self.batch_size)

    def rows(self, groups: str | Path | Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
        """Return the dataset: ``{"query", "passage"}`` of every pair.

        Args:
            groups: those that the plan was made of.
        """
        texts, languages = list(parse_groups(groups)), self.plan.corpus.languages
        return [
            {"query": texts[group].queries[languages[x]], "passage": texts[group].passages[languages[y]]}
            for group, x, y in self.pairs.tolist()
        ]

    def set_epoch(self, epoch: int) -> None:
        """Refuse a second epoch, which would repeat the first: a longer training has more steps instead."""
        if epoch:
            raise InputError(f"epoch {epoch}: {len(self.kinds)} steps are the whole training; set num_train_epochs=1")

    def __len__(self) -> int:
        return len(self._rows) * (self._rows.shape[1] if self.rank is None else 1)

    def __iter__(self) -> Iterator[list[int]]:
        slices = self._rows if self.rank is None else self._rows[:, self.rank : self.rank + 1]
        yield from slices.reshape(-1, self.batch_size).tolist()

    def __call__(self, dataset: Any, batch_size: int, **_: Any) -> "HybridBatchSampler":
        """Return the sampler itself: sentence-transformers' trainer calls what its arguments name as batch sampler.

        Args:
            dataset: the trainer's, made of `rows`.
            batch_size: pairs of one rank.

        Raises:
            InputError: another dataset, batch size or number of ranks than those of this sampler.
        """
        if len(dataset) != len(self.pairs):
            raise InputError(f"the dataset has {len(dataset)} rows, and this sampler's rows() has {len(self.pairs)}")
        ranks = int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun and accelerate launch
        if (batch_size, ranks) != (self.batch_size, self._rows.shape[1]):
            raise InputError(
                f"{ranks} processes of {batch_size} pairs do not make this sampler's global batch: "
                f"{self._rows.shape[1]} of {self.batch_size}; set processes= and per_device_train_batch_size"
            )
        return self
