"""One trial: a study with some values put in is trained by Ray Train, and every score goes to Ray Tune."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

from ray import tune
from ray.train import UserCallback
from ray.util.queue import Queue

from hybridtune.search.space import trial_name, trial_values
from hybridtune.train.fit import fit
from hybridtune.train.loop import FitJob

_END = None  # stands in the queue behind the last report


def run_trial(config: Mapping[str, Any], job: FitJob) -> None:
    """What Tune calls with each configuration.

    Args:
        config: values of the trial, from `search_space`.
        job: the fit of the study's fixed values; ``storage`` is the folder of all trials.
    """
    name = trial_name(config)
    study = job.study.with_values(trial_values(config))
    job = replace(job, study=study, name=name, storage=str(trial_folder(job.storage, name) / "fit"))
    relay(lambda callbacks: fit(job, callbacks))


def relay(train: Callable[[Sequence[UserCallback]], object]) -> None:
    """Run a training, and report to Tune what it reports to Ray Train, all of it and in order.

    Ray's own bridge (TuneReportCallback) hands reports to Tune from a second thread: when a training ends before its
    last report was taken, that report and the end of the function wait for each other for ever. Here one thread
    reports, and it returns behind the last report.

    Args:
        train: called with the callbacks to train with, in a thread of its own.

    Raises:
        BaseException: whatever ``train`` raised, after its reports.
    """
    reports = Queue(actor_options={"num_cpus": 0})
    failures: list[BaseException] = []

    def run() -> None:
        try:
            train([_Forward(reports)])
        except BaseException as failure:
            failures.append(failure)
        finally:
            reports.put(_END)

    Thread(target=run, daemon=True).start()  # Tune ends a stopped trial with its process, whatever this thread does
    while (metrics := reports.get()) is not _END:
        tune.report(metrics)
    if failures:
        raise failures[0]


class _Forward(UserCallback):  # type: ignore[misc]
    """Puts rank 0's metrics, and where its checkpoint lies, into a queue."""

    def __init__(self, reports: Queue) -> None:
        self._reports = reports

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Called by Ray Train's controller at every report."""
        path = {"checkpoint_path": checkpoint.path} if checkpoint else {}
        self._reports.put({**metrics[0], **path})


def trial_folder(trials: str | Path, name: str) -> Path:
    """Where a trial keeps its checkpoints, events and metrics."""
    return Path(trials) / name
