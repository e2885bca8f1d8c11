"""Token batches on their way to the device: cut into chunks and copied there while the step before computes."""

import itertools
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hybridtune.data.sampling import Kind
from hybridtune.data.stream import TokenBatch
from hybridtune.data.teacher_vectors import TeacherVectors
from hybridtune.model.packing import TokenRows
from hybridtune.model.transfer import send


@dataclass(frozen=True)
class DeviceBatch:
    """A worker's b pairs of one step, on the device that computes them."""

    step: int
    kind: Kind  # of the global batch
    pairs: int  # b
    # b queries, b passages, k hard negatives, s second queries, cut into chunks that are encoded one by one
    chunks: list[TokenRows]
    answer_sets: Tensor  # [b]; pairs of one answer set are no negatives of each other
    negative_answer_sets: Tensor  # [m], m >= k, the same on all workers
    negative_rows: Tensor  # [m] the pair, in [0, b), that each is one of
    negative_margins: Tensor  # [m] how much higher the data score that pair's passage; NaN: they do not say
    asked_twice: Tensor  # [s] rows of the queries that come in a second language too
    # [2b + k + s, D'] the teacher's unit vector of each text, zeros where it reads none; None: it reads nothing
    taught: Tensor | None = None

    @property
    def texts(self) -> int:
        """The number of texts, 2 b + k + s."""
        return sum(len(chunk) for chunk in self.chunks)

    @property
    def negatives(self) -> int:
        """The number of hard negatives, k."""
        return self.texts - 2 * self.pairs - len(self.asked_twice)


LayOut = Callable[[TokenRows], TokenRows]  # see `DualEncoder.lay_out`


class Feed:
    """Prepares one batch ahead, in a thread: cutting, packing, pinning and copying never hold up the device.

    A context manager; the first batch is on its way as soon as it is made. ``waited`` is the time in seconds that the
    training has waited for batches, except for the first, which waits for the data pipeline to start.
    """

    def __init__(
        self,
        batches: Generator[TokenBatch],
        device: torch.device,
        chunk_size: int | None,
        teacher: TeacherVectors | None = None,
    ) -> None:
        self._batches, self._device, self._chunk_size, self._teacher = batches, device, chunk_size, teacher
        self.waited = 0.0
        # A thread begins with the first card, where pinning memory would open a context of its own.
        own_card = (torch.cuda.set_device, (device,)) if device.type == "cuda" else ()
        self._thread = ThreadPoolExecutor(1, "feed", *own_card)
        self._first = self._thread.submit(next, self._batches, None)

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *failure: object) -> None:
        """Release what the data pipeline holds."""
        self._thread.shutdown()
        self._batches.close()

    def batches(self, lay_out: LayOut) -> Iterator[DeviceBatch]:
        """Yield the batches, once; ``lay_out`` is called in the thread. Whoever has it may have loaded meanwhile."""
        batch = self._thread.submit(lambda: self._prepared(self._first.result(), lay_out)).result()
        while batch is not None:
            coming = self._thread.submit(lambda: self._prepared(next(self._batches, None), lay_out))
            yield batch
            began = time.perf_counter()
            batch = coming.result()
            self.waited += time.perf_counter() - began

    def _prepared(self, batch: TokenBatch | None, lay_out: LayOut) -> DeviceBatch | None:
        return None if batch is None else on_device(batch, self._device, self._chunk_size, lay_out, self._teacher)


def on_device(
    batch: TokenBatch,
    device: torch.device,
    chunk_size: int | None,
    lay_out: LayOut,
    teacher: TeacherVectors | None = None,
) -> DeviceBatch:
    """Cut a batch into the fewest chunks of at most ``chunk_size`` texts, all of about one size, and copy it.

    The vectors of its ``teacher``, if it has one, go with it.
    """
    pairs, texts = len(batch.answer_sets), len(batch.lengths)
    count = 1 if chunk_size is None else -(-texts // chunk_size)
    ends = np.concatenate([[0], np.cumsum(batch.lengths)])
    cuts = [texts * index // count for index in range(count + 1)]
    chunks = [
        lay_out(TokenRows.flat(batch.ids[ends[first] : ends[last]], batch.lengths[first:last]))
        for first, last in itertools.pairwise(cuts)
    ]
    twice = np.flatnonzero(batch.asked_twice)
    of_negatives = (batch.negative_answer_sets, batch.negative_rows, batch.negative_margins)
    tensors = [torch.tensor(values) for values in (batch.answer_sets, *of_negatives, twice)]
    if teacher is not None and (batch.taught >= 0).any():
        tensors.append(torch.from_numpy(teacher.take(batch.taught)))
    return DeviceBatch(batch.step, batch.kind, pairs, chunks, *(send(tensor, device) for tensor in tensors))
