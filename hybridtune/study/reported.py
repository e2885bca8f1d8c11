"""Reports running trainings to a callback: trials and scores as they come, paces, and what befalls their workers."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hybridtune.callbacks import StudyCallback, Training, every
from hybridtune.runtime.termination import was_terminated
from hybridtune.runtime.watch import is_ray_there
from hybridtune.search.trial_log import Display
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.train.asked import ask_for_checkpoints
from hybridtune.train.incidents import DIED, Damage, Early, Incident, Loss, Replaced, death_line, read_incidents
from hybridtune.train.job_queue import FitJob
from hybridtune.train.pace import SECONDS_BETWEEN_POSTS, Pace, read_paces

_EVENTS = {
    Loss: "on_workers_lost",
    Damage: "on_damage",
    Early: "on_early_checkpoint",
    Replaced: "on_replaced",
}  # the method of a callback that receives it


@contextlib.contextmanager
def reported(
    callback: StudyCallback, training: Training, job: FitJob, concurrent_trials: int = 1, rows: Sequence[TrialRow] = ()
) -> Iterator[Display]:
    """Report trainings to a callback while the block runs; yield what a search calls at every change of a trial."""
    scored = {row.id: row.metrics.get("step") for row in rows}

    def display(rows: list[TrialRow], row: TrialRow) -> None:
        callback.on_trial(row, rows)
        step = row.metrics.get("step")
        if row.status == "running" and step is not None and step != scored.get(row.id):
            scored[row.id] = step
            callback.on_score(row.id, int(step), row.metrics)

    look = _Look(callback, job.monitor)
    callback.on_training_start(training, job.study, concurrent_trials, rows)
    try:
        with every(SECONDS_BETWEEN_POSTS, look):
            yield display
        look()
    except KeyboardInterrupt as stop:
        why = "the run ends by SIGTERM" if was_terminated(stop) else "interrupted"
        if is_ray_there() and ask_for_checkpoints(job.monitor, why):
            look()
        raise
    finally:
        callback.on_training_end(training)


class _Look:
    """Looks at the monitor of the trainings, and reports what is new; what was before it began is known."""

    def __init__(self, callback: StudyCallback, monitor: Any) -> None:
        self._callback, self._monitor = callback, monitor
        self._paces: dict[str, Pace] = {}
        self._incidents: list[Incident] = []
        self._alive = True
        with self._watched():
            self._incidents = read_incidents(monitor, 0)

    def __call__(self) -> None:
        """Look once more."""
        if not self._alive:
            return
        paces, incidents = dict[str, Pace](), list[Incident]()
        with self._watched():  # the monitor alone: a callback may call actors of its own, which die for themselves
            paces = read_paces(self._monitor)
            incidents = read_incidents(self._monitor, len(self._incidents))
        for trial, pace in paces.items():
            if self._paces.get(trial) != pace:
                self._paces[trial] = pace
                self._callback.on_step(trial, pace.step, pace.loss, pace.pairs_per_second)
        for incident in incidents:
            self._incidents.append(incident)
            getattr(self._callback, _EVENTS[type(incident)])(*incident)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Report once that the monitor itself has died: the trainings go on without it."""
        try:
            yield
        except DIED as error:
            self._alive = False
            self._callback.on_message(
                f"the trainings' monitor died ({death_line(error)}): their pace, and workers that die, are told no more"
            )


def report_score(callback: StudyCallback, metrics: Mapping[str, Any]) -> None:
    """Report a score of a single fit; its final report repeats one."""
    if not metrics["final"]:
        callback.on_score("fit", int(metrics["step"]), metrics)
