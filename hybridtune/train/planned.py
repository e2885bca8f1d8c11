"""A worker's token batches as far as their plan is known: to the last step, or of a learned mix to the next score."""

from collections.abc import Callable, Generator, Sequence
from queue import SimpleQueue

from hybridtune.config.study import Study
from hybridtune.data.plan import HybridPlan
from hybridtune.data.segments import Segment
from hybridtune.data.stream import TokenBatch


class PlannedBatches:
    """Hands on the batches of one plan after another; a context manager, which ends them.

    Of a learned mix the ratio and the weights after a score are not known before it, so no batch of theirs is drawn
    early: the consumer, which may be a thread that is ahead of the training, waits for `go_on`.

    Args:
        study: says when scores come, and whether its mix is learned.
        plan: from ``start`` on; its corpus is that of the study's training texts.
        start: the first step.
        stream: makes the batches of steps [start, stop) of a plan, called as (plan, start=, stop=).

    Attributes:
        plan: of the steps so far.
    """

    def __init__(
        self, study: Study, plan: HybridPlan, start: int, stream: Callable[..., Generator[TokenBatch]]
    ) -> None:
        self.plan = plan
        self._study, self._stream, self._learned = study, stream, study.mix.schedule == "learned"
        self._streams: SimpleQueue[Generator[TokenBatch] | None] = SimpleQueue()
        self._add(start)

    def __enter__(self) -> "PlannedBatches":
        return self

    def __exit__(self, *failure: object) -> None:
        """Let a consumer that waits see the end."""
        self._streams.put(None)

    def batches(self) -> Generator[TokenBatch]:
        """Yield the batches in order."""
        while (stream := self._streams.get()) is not None:
            yield from stream

    def go_on(self, step: int, segments: Sequence[Segment]) -> None:
        """Go on at ``step`` by the segments so far, of a learned mix; the batches of any other are planned already."""
        if self._learned:
            self.plan = self.plan.with_segments(segments)
            self._add(step)

    def _add(self, start: int) -> None:
        stop = self._study.next_score(start) if self._learned else self._study.train.max_steps
        self._streams.put(self._stream(self.plan, start=start, stop=stop))
        if stop == self._study.train.max_steps:
            self._streams.put(None)
