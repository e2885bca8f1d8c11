"""Trials: a study with some values put in is trained by a Ray Train worker group, and every score goes to Ray Tune."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import DONE

from hybridtune.search.space import trial_name, trial_values
from hybridtune.storage.files import join
from hybridtune.train.fit import WorkerGroup
from hybridtune.train.job_queue import FitJob


class Trial(tune.Trainable):  # type: ignore[misc]
    """One trial after another, on one worker group: Tune keeps this actor between trials (``reuse_actors``).

    A step of Tune's is one score of ours. The group waits at every score until Tune asks for the next; if Tune begins
    another trial instead, the one before was stopped.
    """

    def setup(self, config: Mapping[str, Any], job: FitJob) -> None:
        """Called once in this process; begins its first trial.

        Args:
            config: values of the trial, from `search_space`.
            job: the fit of the study's fixed values; ``storage`` is the location of all trials, ``home`` their folder.
        """
        self._job = job
        self._group = WorkerGroup(job.study.resources, _home(job))
        self._reports = self._begin(config)

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """Begin another trial on the same workers."""
        self._reports = self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Return the next score."""
        metrics = next(self._reports)
        return {**metrics, DONE: bool(metrics["final"])}

    def cleanup(self) -> None:
        """Close the worker group: no trial will follow."""
        self._group.close()

    def _begin(self, config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        name = trial_name(config)
        study = self._job.study.with_values(trial_values(config))
        storage, home = join(self._job.storage, name, "fit"), str(_home(self._job) / name)
        return self._group.reports(replace(self._job, study=study, name=name, storage=storage, home=home))


def _home(job: FitJob) -> Path:
    """Return the local folder of all trials."""
    return Path(job.home if job.home is not None else job.storage)
