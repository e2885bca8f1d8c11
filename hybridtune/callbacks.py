"""The events of a study that runs. `study/` calls them; a terminal, a notebook or a tracker of one's own listens."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from hybridtune.storage.trial_rows import TrialRow

if TYPE_CHECKING:
    from hybridtune.config.study import Study

Training = Literal["screening", "search", "reruns", "seed check", "fit"]
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
        """Receive the start of a phase of many like items (``tokenising`` of ``texts``); phases do not overlap."""

    def on_phase_progress(self, phase: str, done: int, total: int) -> None:
        """Receive the number of items done; those of the first call were done before."""

    def on_phase_end(self, phase: str, completed: bool) -> None:
        """Receive the end of a phase; it is not completed after an error or an interruption."""

    def on_training_start(
        self, training: Training, study: "Study", concurrent_trials: int, rows: Sequence[TrialRow]
    ) -> None:
        """Receive the start of the trials of a screening, of a search, of its reruns or seed check, or of a single fit.

        Args:
            training: which of them.
            study: resolved.
            concurrent_trials: trials at once.
            rows: trials of earlier runs of this study; of a search those of its screening, too.
        """

    def on_trial(self, row: TrialRow, rows: Sequence[TrialRow]) -> None:
        """Receive a trial that has begun, has a new score, or has ended.

        Args:
            row: the trial, with its id, values, status and latest metrics.
            rows: all trials, in the order of their numbers.
        """

    def on_score(self, trial: str, step: int, metrics: Mapping[str, float]) -> None:
        """Receive the scores of a trial on the dev benchmark."""

    def on_step(self, trial: str, step: int, loss: float, pairs_per_second: float) -> None:
        """Receive the step of a training, about once a second; the trial of a single fit is called ``fit``."""

    def on_workers_lost(self, trial: str, step: int, goes_on_from: int, reason: str) -> None:
        """Receive that workers of a training died, alone or with their node; it goes on from its last checkpoint.

        Args:
            trial: as of `on_step`.
            step: that it had come to.
            goes_on_from: the step of the checkpoint.
            reason: what died, and of what.
        """

    def on_early_checkpoint(self, trial: str, step: int, reason: str) -> None:
        """Receive that a training wrote a checkpoint between two scores, since the run ends or a node is about to go.

        Args:
            trial: as of `on_step`.
            step: of the checkpoint.
            reason: why.
        """

    def on_replaced(self, trial: str, text: str) -> None:
        """Receive, in a line, that something beside a training's workers died and was replaced."""

    def on_ray_lost(self, line: str) -> None:
        """Receive that a process of Ray on this machine is gone, just before this process ends itself."""

    def on_damage(self, trial: str | None, step: int, goes_on_from: int, text: str) -> None:
        """Receive that something stored was found damaged, and what is done instead.

        Args:
            trial: as of `on_step`, where it is a checkpoint; None of anything else.
            step: of the checkpoint.
            goes_on_from: the step of the one before it; 0: the training starts anew.
            text: what is damaged; of a checkpoint which file and how, else the whole line.
        """

    def on_training_end(self, training: Training) -> None:
        """Receive the end of the trials of `on_training_start`, by an error too."""

    def on_study_end(self, result: Mapping[str, Any]) -> None:
        """Receive the content of ``result.json`` of a study that has ended without an error."""


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
