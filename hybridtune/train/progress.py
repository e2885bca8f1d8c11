"""How far a training is: what its checkpoints say of it, and the means that are reported between two scores."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist

from hybridtune.config import Study
from hybridtune.evaluate.metrics import direction
from hybridtune.model.loss import LossOutput
from hybridtune.train.feed import DeviceBatch

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """What a checkpoint knows beside its weights; all of it is JSON.

    Attributes:
        step: steps done.
        seconds: spent on them, without scoring.
        metrics: what was reported at this step.
        best_step: step of the best score so far, by the first objective; of equals the last.
        best_metrics: what was reported there.
        without_better: scores in a row that were not better than the best before them.
        ended: nothing is left to do: the last step was reached, or patience ran out.
    """

    step: int = 0
    seconds: float = 0.0
    metrics: Metrics = field(default_factory=dict)
    best_step: int = 0
    best_metrics: Metrics = field(default_factory=dict)
    without_better: int = 0
    ended: bool = False

    def scored(self, metrics: Metrics, seconds: float, study: Study) -> "Progress":
        """The progress after the next score.

        Args:
            metrics: with ``step`` and the study's first objective.
            seconds: spent on training since the last score.
            study: whose objective and patience count.
        """
        objective, train = study.search.objective[0], study.train
        sign = 1 if direction(objective) == "max" else -1
        before = self.best_metrics.get(objective)
        gain = 1.0 if before is None else sign * (metrics[objective] - before)
        without_better = 0 if gain > 0 else self.without_better + 1
        best = gain >= 0  # of equals the last, as Ray Train keeps checkpoints
        ended = metrics["step"] >= train.max_steps or without_better == train.patience
        metrics = {
            **metrics,
            "pairs": metrics["step"] * train.batch_size,
            "train_seconds": self.seconds + seconds,
            "best_step": metrics["step"] if best else self.best_step,
            "ended": float(ended),
            "final": 0.0,
        }
        return Progress(
            step=metrics["step"],
            seconds=self.seconds + seconds,
            metrics=metrics,
            best_step=metrics["best_step"],
            best_metrics=metrics if best else self.best_metrics,
            without_better=without_better,
            ended=ended,
        )

    def final_metrics(self) -> Metrics:
        """The metrics of the best score, beside how far the training went: what a trial is judged by."""
        went = ("step", "pairs", "train_seconds", "realised_ratio")
        return {**self.best_metrics, **{name: self.metrics[name] for name in went}, "ended": 1.0, "final": 1.0}

    def agreed(self, device: torch.device) -> "Progress":
        """Rank 0 alone scores: all workers learn from it whether the training has ended."""
        if not (dist.is_initialized() and dist.get_world_size() > 1):
            return self
        ended = torch.tensor([self.ended], dtype=torch.int32, device=device)
        dist.broadcast(ended, 0)
        return replace(self, ended=bool(ended))


class Totals:
    """Sums of what the steps since the last report gave; read off the device only at the next report.

    Args:
        study: of the training.
        device: where its losses are.
    """

    def __init__(self, study: Study, device: torch.device) -> None:
        self._study, self._device = study, device
        self._waited = 0.0
        self.start()

    def start(self, waited: float = 0.0) -> None:
        """Begin anew.

        Args:
            waited: seconds that were spent waiting for data until now.
        """
        self._waited = waited
        self._sums = torch.zeros(2, 3, device=self._device)  # pair batches, align batches
        self._counts = torch.zeros(2, 2)  # on the CPU, where they are known: nothing waits for the device
        self._started = time.perf_counter()

    def add(self, batch: DeviceBatch, output: LossOutput) -> None:
        """Take the next step's."""
        row = int(batch.kind == "align")
        self._sums[row] += torch.stack([output.loss.detach(), output.accuracy, output.spread])
        self._counts[row] += torch.tensor([1.0, (batch.texts - 2 * batch.pairs) / batch.pairs])

    def means(self, step: int, waited: float) -> tuple[Metrics, float]:
        """Means over the steps and workers since the last report, and the seconds they took here.

        Returns:
            ``{"step", "loss", "accuracy", "spread", "negatives", "data_wait"}`` of mono and cross batches, with
            ``align_loss`` where the study has align batches; data_wait is the share of the seconds spent waiting for
            data, in [0, 1]. And the seconds.
        """
        sums = torch.cat([self._sums, self._counts.to(self._device)], dim=1)  # [2, 5]
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(sums)
        (loss, accuracy, spread, pairs, negatives), aligned = sums.tolist()
        pairs = max(pairs, 1.0)
        seconds = time.perf_counter() - self._started
        metrics = {
            "step": step,
            "loss": loss / pairs,
            "accuracy": accuracy / pairs,
            "spread": spread / pairs,
            "negatives": negatives / pairs,  # hard ones that a pair was given
            "data_wait": (waited - self._waited) / seconds,
        }
        if self._study.mix.align_share:
            metrics["align_loss"] = aligned[0] / max(aligned[3], 1.0)
        return metrics, seconds
