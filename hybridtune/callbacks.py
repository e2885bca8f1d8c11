"""The events of a study that runs. `study/` calls them; a terminal, a notebook or a tracker of one's own listens."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from hybridtune.storage.trial_rows import TrialRow

if TYPE_CHECKING:
    from hybridtune.config.study import Study

Training = Literal["search", "seed check", "fit"]
Progress = Callable[[int, int], None]


class StudyCallback:
    """Receives the events of a study; override the ones of interest, all others do nothing.

    They are called in the process that runs the study, `on_step` by a thread of its own. What one raises ends the
    study.

    Example:
        >>> class Scores(StudyCallback):
        ...     def on_score(self, trial, step, metrics):
        ...         print(trial, step, metrics["balanced/AP"])
        >>> Scores().on_score("0004", 50, {"balanced/AP": 0.25})
        0004 50 0.25
    """

    def on_message(self, text: str) -> None:
        """Receive a line for the user: a notice, or what happens now."""

    def on_phase_start(self, phase: str, unit: str) -> None:
        """A phase of many like items begins, such as ``tokenising`` of ``texts``; phases do not overlap."""

    def on_phase_progress(self, phase: str, done: int, total: int) -> None:
        """Some items are done; those of the first call were done before."""

    def on_phase_end(self, phase: str, completed: bool) -> None:
        """A phase ends; not completed: by an error or an interruption."""

    def on_training_start(
        self, training: Training, study: "Study", concurrent_trials: int, rows: Sequence[TrialRow]
    ) -> None:
        """Trials begin: those of the search, those of the seed check, or a single fit.

        Args:
            training: which of them.
            study: resolved.
            concurrent_trials: trials at once.
            rows: trials of earlier runs of this study.
        """

    def on_trial(self, row: TrialRow, rows: Sequence[TrialRow]) -> None:
        """A trial has begun, has a new score, or has ended.

        Args:
            row: the trial, with its id, values, status and latest metrics.
            rows: all trials, in the order of their numbers.
        """

    def on_score(self, trial: str, step: int, metrics: Mapping[str, float]) -> None:
        """A trial has been scored on the dev benchmark."""

    def on_step(self, trial: str, step: int, loss: float, pairs_per_second: float) -> None:
        """A training has come to a step; about once a second, not at every step. A single fit is called ``fit``."""

    def on_training_end(self, training: Training) -> None:
        """The trials of `on_training_start` have ended, well or not."""

    def on_study_end(self, result: Mapping[str, Any]) -> None:
        """The study has ended well; the result is what ``result.json`` holds."""


class Callbacks(StudyCallback):
    """Passes every event on to several callbacks, in their order."""

    def __init__(self, callbacks: Sequence[StudyCallback]) -> None:
        self._callbacks = tuple(callbacks)
        for event in vars(StudyCallback):
            if event.startswith("on_"):
                setattr(self, event, partial(self._pass_on, event))

    def _pass_on(self, event: str, *arguments: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, event)(*arguments)


@contextlib.contextmanager
def phase(callback: StudyCallback, name: str, unit: str) -> Iterator[Progress]:
    """Report a phase to a callback while the block runs; yield a function of (items done, items in all)."""
    completed = False
    callback.on_phase_start(name, unit)
    try:
        yield partial(callback.on_phase_progress, name)
        completed = True
    finally:
        callback.on_phase_end(name, completed)


@contextlib.contextmanager
def every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Call a function at intervals, in a thread, while the block runs."""
    over = threading.Event()

    def loop() -> None:
        while not over.wait(seconds):
            call()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
