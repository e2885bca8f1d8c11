"""One training on one worker: the encoder, the loss, the optimiser, and a step that a batch goes through.

Where a step does not fit the device, `answer_out_of_memory` says what to set.
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybridtune.config.hooks import load_hook
from hybridtune.config.study import Study
from hybridtune.errors import InputError
from hybridtune.model import gradcache
from hybridtune.model.distil import consistency, distil, scores_of_margins, teacher_scores
from hybridtune.model.encoder import load_encoder, prepare_for_training
from hybridtune.model.loss import Beside, LearnedTemperature, LossOutput, RowLoss, align, info_nce
from hybridtune.model.packing import TokenRows
from hybridtune.model.precision import half_of
from hybridtune.model.projection import Projection
from hybridtune.runtime.device_memory import memory_of
from hybridtune.train.checkpoint import Average, Snapshot, load_checkpoint, take_snapshot
from hybridtune.train.feed import DeviceBatch
from hybridtune.train.optimizer import Optimizer, learning_rate_share
from hybridtune.train.parallel import distribute
from hybridtune.train.scaling import LossScale


class TrainingStep:
    """The state of a training on one worker, and the step that changes it.

    Args:
        study: with this fit's values put in.
        source: folder or hub name of the encoder to start from.
        pad_id: the tokenizer's.
        device: of this worker.
        rank: of this worker.
        teacher_width: numbers of a teacher's vectors; None: nothing is taught.

    Attributes:
        model: the bare encoder.
        parallel: the same, joined with the other workers' (DDP, FSDP2).
        half: the half precision that it computes in; None: float32.
        scale: of the loss, in float16.
    """

    def __init__(
        self,
        study: Study,
        source: str,
        pad_id: int,
        device: torch.device,
        rank: int,
        teacher_width: int | None = None,
    ) -> None:
        train = study.train
        self.study, self.device, self._rank = study, device, rank
        if device.type == "cuda":  # of the process, where another precision may have been trained before
            tf32 = train.precision in ("auto", "tf32")  # what autocast leaves in float32, and all of it in tf32
            torch.set_float32_matmul_precision("high" if tf32 else "highest")
        self.model = load_encoder(source, study.encoder, pad_id, train.dropout).train()
        self.half = half_of(train.precision, device, self.model.is_packed)
        prepare_for_training(self.model, train, study.seed)
        self.parallel = distribute(self.model, study.resources.sharding, device)
        self.temperature = None
        if train.learn_temperature:
            self.temperature = LearnedTemperature(train.temperature, *train.temperature_range).to(device)
        extras = {"temperature": self.temperature.log_ratio} if self.temperature is not None else {}
        self._teacher_width = teacher_width
        self._projection = None  # of align batches, to a teacher of another width
        if teacher_width not in (None, self.model.width):
            self._projection = Projection(self.model.width, teacher_width, study.seed).to(device)
            extras["projection"] = self._projection.weight
        self.scale = LossScale(device) if self.half == torch.float16 else None
        self.optimizer = Optimizer(self.model, train, extras, self.scale)
        self._row_loss = _checked_loss(train.loss) if train.loss is not None else None
        self.average = Average(self.model, train.ema) if train.ema else None

    def step(self, batch: DeviceBatch) -> LossOutput:
        """Run one step: encode, loss, backward, clip, update at this step's learning rate."""
        train = self.study.train
        seed_dropout(self.study.seed, batch.step, self._rank)
        loss_of = self._align(batch) if batch.kind == "align" else self._contrast(batch)
        factor = None if self.scale is None else self.scale.factor
        output = gradcache.backward(self.parallel, batch.chunks, loss_of, self._scope, factor)
        for beside in (self.temperature, self._projection):
            if beside is not None:
                beside.average_gradient()
        self.optimizer.step(learning_rate_share(batch.step, train.max_steps, train.warmup_ratio))
        if self.temperature is not None:
            self.temperature.project()
        if self.average is not None:
            self.average.update(batch.step)
        return output

    def lay_out(self, texts: TokenRows) -> TokenRows:
        """Return texts laid out for the steps, ahead of them and in any thread."""
        with self._scope():
            return self.model.lay_out(texts)

    def learned(self) -> dict[str, float]:
        """Return the temperature, where it is trained."""
        return {} if self.temperature is None else {"temperature": self.temperature.value().item()}

    def snapshot(self) -> Snapshot:
        """Copy what a checkpoint holds; all workers must call it."""
        return take_snapshot(self.model, self.optimizer, self.average)

    def load(self, folder: Path) -> dict[str, Any]:
        """Go on from a checkpoint; returns its state."""
        return load_checkpoint(folder, self.model, self.optimizer, self.average)

    def _scope(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.half, enabled=self.half is not None)

    def _contrast(self, batch: DeviceBatch) -> Callable[[Tensor], LossOutput]:
        train, pairs = self.study.train, batch.pairs

        def loss_of(vectors: Tensor) -> LossOutput:
            return info_nce(
                vectors[:pairs],
                vectors[pairs : 2 * pairs],
                batch.answer_sets,
                train.temperature if self.temperature is None else self.temperature.value(),
                train.symmetric,
                vectors[2 * pairs : 2 * pairs + batch.negatives],
                batch.negative_answer_sets,
                train.matryoshka,
                train.near_duplicate,
                self._row_loss,
                self._beside(batch, vectors[2 * pairs + batch.negatives :]),
                train.gather_negatives,
            )

        return loss_of

    def _beside(self, batch: DeviceBatch, second_queries: Tensor) -> dict[str, Beside]:
        """Return the losses beside InfoNCE, with their weights."""
        train = self.study.train
        losses: dict[str, Beside] = {}
        if train.distil is not None:
            targets, known = self._targets(batch)
            learn = functools.partial(distil, train.distil, targets=targets, known=known)
            losses["distil_loss"] = (train.distil_weight, learn)
        if train.consistency:
            agree = functools.partial(consistency, queries=second_queries, rows=batch.asked_twice)
            losses["consistency_loss"] = (train.consistency, agree)
        return losses

    def _targets(self, batch: DeviceBatch) -> tuple[Tensor, Tensor]:
        """Return the scores that are learnt beside InfoNCE, and which of them there are: [b, C] each."""
        train = self.study.train
        if train.distil_from == "data":
            margins = batch.negative_margins / (train.distil_temperature or 1.0)
            return scores_of_margins(margins, batch.negative_rows, batch.pairs, train.gather_negatives)
        taught = batch.taught
        if taught is None:  # of this worker's texts the teacher reads none
            taught = torch.zeros(batch.texts, self._teacher_width or 1, device=self.device)
        read = taught[: 2 * batch.pairs + batch.negatives]
        # Not at a temperature that is learnt, which would drift together with its own target.
        temperature = train.distil_temperature or train.temperature
        slots = len(batch.negative_answer_sets)
        return teacher_scores(read, batch.pairs, slots, temperature, train.gather_negatives)

    def _align(self, batch: DeviceBatch) -> Callable[[Tensor], LossOutput]:
        pairs = batch.pairs
        assert batch.taught is not None  # the teacher reads the first text of each pair
        teachers = batch.taught[:pairs]
        return lambda students: align(students[:pairs], students[pairs : 2 * pairs], teachers, self._projection)


def _checked_loss(hook: str) -> RowLoss:
    """Return the loss that a study names; it raises InputError where the user's function returns no scalar."""
    function = load_hook(hook, "train.loss")

    def loss(*arguments: Any) -> Tensor:
        value = function(*arguments)
        if not isinstance(value, Tensor) or value.dim() or not value.is_floating_point():
            form = f"shape {list(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
            raise InputError(f"train.loss {hook}: returned a value of {form}; return a scalar, the mean over the rows")
        return value

    return loss


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Make a step's dropout a function of its number, so that a resumed run draws what the first would have drawn."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0]))


def answer_out_of_memory(study: Study, workers: int, negatives: int, number: int, device: torch.device) -> str:
    """Return a sentence that says what to set after step ``number`` of a training ran out of memory.

    Nothing is tried: the other workers wait in a collective that this one left. A pair has at most so many negatives.
    """
    train = study.train
    texts = train.batch_size // workers * (2 + negatives + (train.consistency > 0))
    encoded = min(train.chunk_size or texts, texts)
    return (
        f"out of memory at step {number} on {memory_of(device)}, encoding {encoded} texts at once: "
        f"set train.chunk_size={_rounded(max(1, encoded // 2))} (the same gradient; texts are encoded twice) or a "
        f"train.batch_size below {train.batch_size}, and see that nothing else uses the device"
    )


def _rounded(size: int) -> int:
    """Return the size, or the largest with two leading bits that is below it: 0, 1, 2, 3, 4, 6, 8, 12, 16, ..."""
    if size < 4:
        return size
    unit = 1 << (size.bit_length() - 2)
    return size // unit * unit
