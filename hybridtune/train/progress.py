"""The progress of a training, as its checkpoints hold it, and the means that are reported between two scores."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist

from hybridtune.config.fields import Mix
from hybridtune.config.study import Study
from hybridtune.config.training import Train
from hybridtune.data.learned_mix import first_segment, next_segment
from hybridtune.data.segments import DevScores, Segment, read_segments
from hybridtune.metrics.metrics import direction
from hybridtune.model.loss import LossOutput
from hybridtune.train.feed import DeviceBatch

Metrics = dict[str, Any]
# The losses beside InfoNCE, and whether a training has each.
BESIDE: dict[str, Callable[[Train], bool]] = {
    "distil_loss": lambda train: train.distil is not None,
    "consistency_loss": lambda train: train.consistency > 0,
}
# The metrics that say how far a training went, not how good it is.
EXTENT = ("step", "pairs", "setup_seconds", "train_seconds", "score_seconds", "realised_ratio")


@dataclass(frozen=True)
class Progress:
    """The content of a checkpoint beside its weights; all of it is JSON.

    ``metrics`` are those reported at this step (of a checkpoint between two scores: at the last score), with the
    seconds of all runs: ``setup_seconds`` (from a job's start to its first step), ``train_seconds`` and
    ``score_seconds`` (scores and checkpoints). The best step is that of the best score so far by the first objective,
    of equals the last.
    """

    step: int = 0  # number of steps done
    metrics: Metrics = field(default_factory=dict)
    best_step: int = 0
    best_metrics: Metrics = field(default_factory=dict)
    without_better: int = 0  # scores in a row that were not better than the best before them
    ended: bool = False  # the last step was reached, or patience ran out
    segments: tuple[Segment, ...] = ()  # of a learned mix: those so far and the one that begins at this step
    sums: tuple[tuple[float, ...], ...] = ()  # of a checkpoint between two scores: `Totals.state` since the last

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Progress":
        """Read it back from its plain values."""
        sums = tuple(tuple(row) for row in state.get("sums", ()))
        return cls(**{**state, "segments": read_segments(state.get("segments", ())), "sums": sums})

    def scored(self, metrics: Metrics, spent: Metrics, study: Study) -> "Progress":
        """Return the progress after the next score.

        Args:
            metrics: of the score, with ``step`` and the study's first objective.
            spent: `Clock.metrics`.
            study: of the training.
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
            **spent,
            "best_step": metrics["step"] if best else self.best_step,
            "ended": float(ended),
            "final": 0.0,
        }
        best_metrics = metrics if best else self.best_metrics
        return Progress(
            metrics["step"], metrics, metrics["best_step"], best_metrics, without_better, ended, self.segments
        )

    def with_next_segment(self, mix: Mix, scores: DevScores) -> "Progress":
        """Return the progress of a learned mix with the segment that follows these scores; the last step has none."""
        if self.ended:
            return self
        segments = self.segments or (first_segment(mix),)
        return replace(self, segments=(*segments, next_segment(mix, segments, self.step, scores)))

    def final_metrics(self) -> Metrics:
        """Return the metrics of the best score, by which a trial is judged, and how far the training went."""
        return {**self.best_metrics, **{name: self.metrics[name] for name in EXTENT}, "ended": 1.0, "final": 1.0}


def agreed(over: bool, device: torch.device) -> bool:
    """Return whether the training is over by rank 0, which scores and reports; all workers must call it."""
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return over
    agreement = torch.tensor([over], dtype=torch.int32, device=device)
    dist.broadcast(agreement, 0)
    return bool(agreement)


class Clock:
    """Measures the time of a training: set-up, steps, and the rest, which is scores and checkpoints.

    Seconds are added to those of the progress with which this run began.
    """

    def __init__(self, progress: Progress) -> None:
        self._before = progress.metrics
        self._began = self._first_step = time.perf_counter()
        self._training = 0.0

    def steps_begin(self) -> None:
        """Note that the first batch has come."""
        self._first_step = time.perf_counter()

    def add_steps(self, seconds: float) -> None:
        """Add time that was spent on steps."""
        self._training += seconds

    def metrics(self) -> Metrics:
        """Return ``setup_seconds``, ``train_seconds`` and ``score_seconds`` until now."""
        rest = time.perf_counter() - self._first_step - self._training
        spent = {
            "setup_seconds": self._first_step - self._began,
            "train_seconds": self._training,
            "score_seconds": rest,
        }
        return {name: self._before.get(name, 0.0) + seconds for name, seconds in spent.items()}


class Totals:
    """Sums of the losses since the last report; read off the device only at the next report."""

    def __init__(self, study: Study, device: torch.device) -> None:
        self._study, self._device = study, device
        self._waited = 0.0
        self.start()

    def start(self, waited: float = 0.0, state: Sequence[Sequence[float]] = ()) -> None:
        """Begin anew, after so many seconds of waiting for data, or go on from a `state`: on one worker alone."""
        self._waited = waited
        width = 3 + len(BESIDE)
        sums = torch.tensor(state) if state else torch.zeros(2, width + 2)  # pair batches, align batches
        self._sums = sums[:, :width].to(self._device)
        self._counts = sums[:, width:]  # on the CPU, where they are known: nothing waits for the device
        self._started = time.perf_counter()

    def add(self, batch: DeviceBatch, output: LossOutput) -> None:
        """Add the next step's."""
        row = int(batch.kind == "align")
        none = torch.zeros((), device=self._device)
        beside = [output.beside.get(name, none) for name in BESIDE]
        self._sums[row] += torch.stack([output.loss.detach(), output.accuracy, output.spread, *beside])
        self._counts[row] += torch.tensor([1.0, batch.negatives / batch.pairs])

    def state(self) -> tuple[tuple[float, ...], ...]:
        """Return the sums over the steps and workers since the last report: [2, 5 + losses beside InfoNCE]."""
        sums = torch.cat([self._sums, self._counts.to(self._device)], dim=1)
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(sums)
        return tuple(map(tuple, sums.tolist()))

    def means(self, step: int, waited: float) -> tuple[Metrics, float]:
        """Return the means over the steps and workers since the last report, and the seconds they took here.

        Returns:
            ``{"step", "loss", "accuracy", "spread", "negatives", "data_wait"}`` of mono and cross batches, with the
            losses beside InfoNCE that the study has, and with ``align_loss`` where it has align batches; data_wait is
            the share of the seconds spent waiting for data, in [0, 1]. And the seconds.
        """
        (loss, accuracy, spread, *beside, pairs, negatives), aligned = self.state()
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
            metrics["align_loss"] = aligned[0] / max(aligned[-2], 1.0)
        for (name, is_used), total in zip(BESIDE.items(), beside, strict=True):
            if is_used(self._study.train):
                metrics[name] = total / pairs
        return metrics, seconds
