"""Writes what happens in a run to the study's ``events.jsonl``, and the sum of it to its ``environment.json``."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hybridtune.callbacks import StudyCallback, Training
from hybridtune.config.study import Study
from hybridtune.errors import HybridtuneError, RayLostError
from hybridtune.runtime.termination import was_terminated
from hybridtune.storage.events import (
    Event,
    Kind,
    append_event,
    checkpoint_line,
    damaged_line,
    history,
    lost_line,
    read_events,
)
from hybridtune.storage.study_folder import ENVIRONMENT
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.study.folder import write_json

_KEPT = ("scored", "checkpoint")  # at whose steps there is a checkpoint
_OVER = ("ended", "interrupted", "failed")  # how a run ends that was not killed


class EventLog(StudyCallback):
    """Adds the events of a run to those of the runs before.

    Nothing is written before something is trained: a study that has ended is only looked at.

    Args:
        folder: of the study.
        other_versions: packages that are not those of its beginning, in words.
    """

    def __init__(self, folder: Path, other_versions: str = "") -> None:
        self._folder = folder
        self._with = f", with {other_versions}" if other_versions else ""
        self._before = read_events(folder)
        self._written = False
        self._found: list[str] = []  # what was damaged, before anything was trained
        self._states: dict[str, str] = {}  # by trial
        self._labels: dict[str, str] = {}
        self._steps: dict[str, int] = {}  # that each training has come to
        # from which it would go on
        self._kept = {one.trial: one.step or 0 for one in self._before if one.trial and one.kind in _KEPT}

    @contextlib.contextmanager
    def run(self) -> Iterator[None]:
        """Note how the block ends, which trains."""
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(OSError):  # the disk may be full, and the error is what counts
                self._broken_off(error)
            raise
        if self._written:
            self._write("ended", "the run came to its end")
            self._sum_up()

    def on_training_start(
        self, training: Training, study: Study, concurrent_trials: int, rows: Sequence[TrialRow]
    ) -> None:
        """Note the start of the run."""
        self._states |= {row.id: "cut off" if row.status == "running" else row.status for row in rows}
        if self._written:
            return
        last = self._before[-1] if self._before else None
        if last is None:
            self._write("began", "the study began")
        elif last.kind in _OVER:
            self._write("resumed", f"the study goes on{self._with}")
        else:
            self._write("resumed", f"the study goes on{self._with}; the run before was cut off without a word")
        for line in self._found:
            self._write("damaged", line)

    def on_trial(self, row: TrialRow, rows: Sequence[TrialRow]) -> None:
        """Note that a trial has begun or ended."""
        self._labels[row.id] = row.label
        if self._states.get(row.id) == row.status:
            return
        self._states[row.id] = row.status
        step = int(row.metrics["step"]) if "step" in row.metrics else None
        if row.status == "running" and (step is not None or row.id in self._kept):  # by an earlier run
            kept = self._kept[row.id] = max(step or 0, self._kept.get(row.id, 0))
            self._write("trial goes on", f"{row.label}: goes on from step {kept}", row.id, kept)
        elif row.status == "running":
            self._write("trial began", f"{row.label}: began", row.id)
        else:
            why = f" ({row.reason})" if row.reason else ""
            self._write("trial ended", f"{row.label}: {row.status}{why}", row.id, step)

    def on_score(self, trial: str, step: int, metrics: Mapping[str, float]) -> None:
        """Note a score, from whose checkpoint a training goes on."""
        self._kept[trial] = step
        goal = next((name for name in metrics if name.startswith("balanced/")), None)
        figures = f": {goal} {metrics[goal]:.4f}" if goal is not None else ""
        self._write("scored", f"{self._labels.get(trial, trial)}: step {step} scored{figures}", trial, step)

    def on_step(self, trial: str, step: int, loss: float, pairs_per_second: float) -> None:
        """Keep the step, for when the training breaks off."""
        self._steps[trial] = step

    def on_workers_lost(self, trial: str, step: int, goes_on_from: int, reason: str) -> None:
        """Note that workers were lost, and what is trained again."""
        self._steps[trial] = goes_on_from
        text = lost_line(self._labels.get(trial, trial), step, goes_on_from, reason)
        self._write("workers lost", text, trial, step, max(0, step - goes_on_from))

    def on_early_checkpoint(self, trial: str, step: int, reason: str) -> None:
        """Note it, and that nothing before it is trained again."""
        self._kept[trial] = step
        self._steps[trial] = max(step, self._steps.get(trial, 0))
        self._write("checkpoint", checkpoint_line(self._labels.get(trial, trial), step, reason), trial, step)

    def on_replaced(self, trial: str, text: str) -> None:
        """Note it."""
        self._write("replaced", f"{self._labels.get(trial, trial)}: {text}", trial, self._steps.get(trial))

    def on_ray_lost(self, line: str) -> None:
        """Note how the run ends."""
        self._broken_off(RayLostError(line))

    def on_damage(self, trial: str | None, step: int, goes_on_from: int, text: str) -> None:
        """Note what was damaged; of a checkpoint, the steps since the one before it are trained again."""
        if trial is None and self._written:
            self._write("damaged", text)
        elif trial is None:
            self._found.append(text)
        if trial is None:
            return
        self._steps[trial] = self._kept[trial] = goes_on_from
        line = damaged_line(self._labels.get(trial, trial), step, goes_on_from, text)
        self._write("damaged", line, trial, step, max(0, step - goes_on_from))

    def _broken_off(self, error: BaseException) -> None:
        if not self._written:
            return
        lost = sum(step - self._kept.get(name, 0) for name, step in self._steps.items() if self._runs(name))
        if isinstance(error, KeyboardInterrupt):
            text = "ended by SIGTERM" if was_terminated(error) else "interrupted"
            self._write("interrupted", f"the run was {text}", repeated=max(0, lost))
        else:
            line = " ".join(str(error).split())[:500]
            text = line if isinstance(error, HybridtuneError) else f"{type(error).__name__}: {line}"
            self._write("failed", f"the run failed: {text}", repeated=max(0, lost))
        self._sum_up()

    def _runs(self, trial: str) -> bool:
        return self._states.get(trial, "running") == "running"  # a single fit is no trial

    def _write(
        self, kind: Kind, text: str, trial: str | None = None, step: int | None = None, repeated: int | None = None
    ) -> None:
        self._written = True
        append_event(self._folder, Event(round(time.time(), 3), kind, text, trial, step, repeated or None))

    def _sum_up(self) -> None:
        file = self._folder / ENVIRONMENT
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        write_json({**known, "history": history(read_events(self._folder))}, file)
