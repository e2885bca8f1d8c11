"""Out of memory, answered: the chunk and the batch that would fit this device."""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from hybridtune.config.study import Study
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.packing import TokenRows
from hybridtune.train.optimizer import Update

_CLOSE = 8  # a size is found when the next one tried would be less than an eighth larger


@dataclass(frozen=True)
class WorstStep:
    """The largest step a worker can be given: every text at its full length.

    Attributes:
        batch_size: B, pairs in the global batch.
        workers: W; a worker has b = B / W pairs.
        negatives: hard negatives a pair is given at most; 0 or more.
        query_length: tokens of a query; of a passage, where align batches hold passages on both sides.
        passage_length: tokens of a passage or a hard negative.
        chunk_size: texts encoded at once; None: all of a step.
    """

    batch_size: int
    workers: int
    negatives: int
    query_length: int
    passage_length: int
    chunk_size: int | None = None

    @classmethod
    def of(cls, study: Study, workers: int, negatives: int) -> "WorstStep":
        """Of a study's batches.

        Args:
            study: batch, chunk and lengths.
            workers: W.
            negatives: that a pair is given at most: ``train.negatives``, or what the corpus has if that is less.
        """
        train, encoder = study.train, study.encoder
        query = encoder.passage_length if study.mix.align_share else encoder.query_length
        return cls(train.batch_size, workers, negatives, query, encoder.passage_length, train.chunk_size)

    @property
    def pairs(self) -> int:
        """b: pairs of one worker."""
        return self.batch_size // self.workers

    def lengths(self, pairs: int) -> list[int]:
        """Tokens of each text of so many pairs, longest first."""
        sides = [self.passage_length] * (pairs * (1 + self.negatives)) + [self.query_length] * pairs
        return sorted(sides, reverse=True)

    def scores(self, pairs: int) -> int:
        """Cosines between a worker's queries and all columns, if every worker has so many pairs."""
        return pairs * pairs * self.workers * (1 + self.negatives)


def largest_that_fits(fits: Callable[[int], bool], most: int) -> int:
    """The largest size in [0, most] that fits, or one at most an eighth below it; 0 always fits and is not tried.

    Args:
        fits: true up to some size and false from there on. A try is dear: about 2 log2(most) are made at most.
        most: >= 0.
    """
    low, high = most, most + 1
    while low and not fits(low):
        low, high = low // 2, low
    while high - low > max(1, low // _CLOSE):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def advice(step: WorstStep, fits: Callable[[int, int], bool], device: str) -> str | None:
    """What to change, in a sentence, if a step does not fit; None if it does.

    Args:
        step: the worst one.
        fits: (texts encoded at once, pairs of a worker) -> whether forward and backward of that many of the pairs'
            longest texts, beside the pairs' table of scores, fit; all texts of the pairs where they are fewer.
        device: its name and memory, for the sentence.
    """
    texts = len(step.lengths(step.pairs))
    encoded = min(step.chunk_size or texts, texts)
    if fits(encoded, step.pairs):
        return None
    chunk = _rounded(largest_that_fits(lambda size: fits(size, step.pairs), encoded - 1))
    answers = [f"train.chunk_size={chunk} (the same gradient; texts are encoded twice)"] if chunk else []
    if not chunk or step.chunk_size is None:
        each, limit = texts // step.pairs, step.chunk_size or texts
        pairs = largest_that_fits(lambda size: fits(min(size * each, limit), size), step.pairs - 1)
        if pairs * step.workers >= 2:
            answers.append(f"train.batch_size={_rounded(pairs) * step.workers}")
    if not answers:
        answers = ["train.embeddings=frozen", "train.lora_rank=16", "a smaller encoder: not even one text fits"]
    return (
        f"train.batch_size {step.batch_size} on {step.workers} worker{'s' if step.workers > 1 else ''} does not fit: "
        f"to train on {encoded} texts of up to {max(step.query_length, step.passage_length)} tokens at once takes more "
        f"than is free of {device}; set {', or '.join(answers)}"
    )


def probe(
    model: DualEncoder,
    update: Update,
    step: WorstStep,
    scope: Callable[[], AbstractContextManager[Any]],
    device: torch.device,
) -> str | None:
    """Try the worst step on this worker alone, before the first; no other worker takes part.

    Weights, moments and random state stay as they were, gradients are dropped. Shards of FSDP2 are not tried: to
    compute with them takes all workers, and one that runs out of memory would leave the others waiting.

    Args:
        model: the bare encoder on its device, in training mode.
        update: its optimiser; memory for moments is counted where there are none yet.
        step: the worst one.
        scope: opens the context that the training encodes in, such as autocast.
        device: of the model.

    Returns:
        What to change, in a sentence; None: it fits, or was not tried.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if any(isinstance(parameter, DTensor) for parameter in trained):
        return None
    moments = 0 if update.state() else 2

    def train_on(texts: int, pairs: int) -> None:
        kept = [torch.empty_like(parameter) for parameter in trained for _ in range(moments)]
        kept.append(torch.empty(3, step.scores(pairs), device=device))  # cosines, their softmax, their gradient
        lengths = step.lengths(pairs)
        for _ in range(1 if texts >= len(lengths) else 2):  # a second chunk adds to the gradients of the first
            _train_on(model, torch.tensor(lengths[:texts]), scope, device)

    def fits(texts: int, pairs: int) -> bool:
        try:
            train_on(texts, pairs)
            fitted = True
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            fitted = False
        for parameter in trained:
            parameter.grad = None
        if device.type == "cuda":
            gc.collect()  # the error may have kept the frames that it went through, and these their tensors
            torch.cuda.empty_cache()
        return fitted

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        return advice(step, fits, _described(device))


def answer_out_of_memory(step: WorstStep, number: int, device: torch.device) -> str:
    """What to change, in a sentence, after step ``number`` of a training ran out of memory.

    Unlike ``probe`` it tries nothing: the other workers wait in a collective that this one left.
    """
    texts = len(step.lengths(step.pairs))
    encoded = min(step.chunk_size or texts, texts)
    half = _rounded(max(1, encoded // 2))
    return (
        f"out of memory at step {number} on {_described(device)}, encoding {encoded} texts at once: "
        f"set train.chunk_size={half} (the same gradient; texts are encoded twice) or a train.batch_size below "
        f"{step.batch_size}, and see that nothing else uses the device"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory is used up, also when a library under torch says so."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in ("out of memory", "_ALLOC_FAILED"))
    )


def _train_on(
    model: DualEncoder, lengths: torch.Tensor, scope: Callable[[], AbstractContextManager[Any]], device: torch.device
) -> None:
    """Forward and backward of texts of these lengths; the tokens are spread over the vocabulary."""
    tokens = int(lengths.sum())
    words = model.backbone.get_input_embeddings().num_embeddings
    ids = (torch.arange(tokens) * 7919) % words
    ids[ids == model.pad_id] = (model.pad_id + 1) % words
    texts = TokenRows(ids, lengths, int(lengths.max())).to(device)
    with scope():
        vectors = model(texts)  # [n, D]
    vectors.float().sum().backward()


def _rounded(size: int) -> int:
    """The size, or the largest with two leading bits that is below it: 0, 1, 2, 3, 4, 6, 8, 12, 16, ..."""
    if size < 4:
        return size
    unit = 1 << (size.bit_length() - 2)
    return size // unit * unit


def _described(device: torch.device) -> str:
    if device.type != "cuda":
        return f"the memory of {device}"
    properties = torch.cuda.get_device_properties(device)
    return f"the {properties.total_memory / 2**30:.1f} GiB of {properties.name}"
