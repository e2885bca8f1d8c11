"""The scores of a training, each with a checkpoint and a report: between its steps, or beside the steps that follow."""

import functools
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hybridtune.config.study import Study
from hybridtune.data.segments import DevScores
from hybridtune.metrics.metrics import Scores
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.train.checkpoint import Snapshot
from hybridtune.train.checkpoints import CheckpointManager
from hybridtune.train.hang import HangWatch
from hybridtune.train.job_queue import SEGMENTS
from hybridtune.train.progress import Clock, Metrics, Progress
from hybridtune.train.shares import read_shares, write_shares

SCORES = "scores.json"  # in every checkpoint: the full tables behind its metrics


@dataclass(frozen=True)
class ScoreCalls:
    """The calls by which a worker has weights scored and reports, and by which it is ended where it hangs."""

    score: Callable[[Mapping[str, Any], Path], Scores]  # of weights; writes the values of every ranking to the file
    report: Callable[[Metrics], bool]  # returns whether to go on
    hung: Callable[[str, str], None]  # tells a line and stacks, and ends the worker


class Scoring:
    """Takes the scores of a training on rank 0; on the other ranks it only counts their steps. A context manager.

    With ``train.scores: beside`` the steps go on while a score is taken, from a copy of the weights. What follows from
    it (patience, early stopping) then acts when it is known: at the next score, or of a single worker at the next step.
    Steps behind the last score of a training are lost. The last score is waited for, as are those that a learned mix
    goes on from and those at which trials wait for each other.

    Args:
        study: of the training, whose scores come one after another.
        checkpoints: of the training.
        clock: of the training.
        calls: None on the other ranks.
        alone: whether the training has one worker.

    Attributes:
        stopped: whether the last score that is known ends the training.
    """

    def __init__(
        self, study: Study, checkpoints: CheckpointManager, clock: Clock, calls: ScoreCalls | None, alone: bool
    ) -> None:
        self.stopped = False
        self._study, self._checkpoints, self._clock, self._calls, self._alone = study, checkpoints, clock, calls, alone
        self._watch = HangWatch(None, calls.hung) if calls is not None else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="score")
        self._pending: Future[tuple[Progress, bool]] | None = None

    def __enter__(self) -> "Scoring":
        if self._watch is not None:
            self._watch.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Wait for the score that is being taken: its report is not lost where a step behind it fails."""
        self._thread.shutdown()
        if self._watch is not None:
            self._watch.__exit__(*error)

    def is_beside(self, step: int) -> bool:
        """Return whether the score after ``step`` steps is taken beside the next ones."""
        study = self._study
        waits = study.train.scores == "between" or study.mix.schedule == "learned" or step >= study.train.max_steps
        return not waits and step not in {rung.steps for rung in study.search.fidelities}

    def is_over(self) -> bool:
        """Return whether a single worker need not go on to its next score: the one beside has ended it."""
        if not self._alone or self._pending is None or not self._pending.done():
            return False
        return self._pending.exception() is not None or not self._pending.result()[1]

    def settle(self, progress: Progress) -> Progress:
        """Wait for the score that is being taken, if any, and return the progress with it.

        Raises:
            FitError: it could not be taken, for want of memory for instance.
        """
        if self._pending is not None:
            (progress, go_on), self._pending = self._pending.result(), None
            self.stopped = not go_on
        return progress

    def score(self, snapshot: Snapshot, progress: Progress, metrics: Metrics) -> Progress:
        """Score a snapshot, or begin to: then the progress is the one before. ``metrics`` hold its step."""
        if self._calls is None:
            return replace(progress, step=metrics["step"])
        beside = self.is_beside(metrics["step"])
        spent = self._clock.metrics
        if beside:
            spent = functools.partial(dict, spent())  # at the end of the score the steps that go on would count to it
        self._pending = self._thread.submit(self._take, self._calls, snapshot, progress, metrics, spent)
        return progress if beside else self.settle(progress)

    def _take(
        self,
        calls: ScoreCalls,
        snapshot: Snapshot,
        before: Progress,
        metrics: Metrics,
        spent: Callable[[], Metrics],
    ) -> tuple[Progress, bool]:
        """Score the weights, write them with all that the training needs to go on, and report."""
        assert self._watch is not None
        weights = {name: value.numpy() for name, value in snapshot.weights.items()}
        study = self._study

        def write(folder: Path) -> Progress:
            scores = calls.score(weights, folder / PER_QUERY)
            scored = before.scored({**metrics, **scores.metrics}, spent(), study)
            if study.mix.schedule == "learned":
                scored = scored.with_next_segment(study.mix, DevScores.of(scores.metrics, scores.per_pair))
            snapshot.save(folder, asdict(scored))
            write_shares(study, folder / PER_QUERY)
            (folder / SCORES).write_text(json.dumps(asdict(scores)), encoding="utf-8")
            return scored

        self._watch.step_done(metrics["step"])
        with self._watch.score():
            progress = self._checkpoints.add(metrics["step"], write)
        return progress, calls.report(reported(self._checkpoints, progress)) and not progress.ended


def reported(checkpoints: CheckpointManager, progress: Progress) -> Metrics:
    """Return a score as it is reported, with the segments of a learned mix."""
    shares = read_shares(checkpoints.at(progress.metrics["step"]))
    metrics = {**progress.metrics, **shares}
    return {**metrics, SEGMENTS: progress.segments} if progress.segments else metrics
