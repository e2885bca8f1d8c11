"""One trial as Tune runs it, and what its configuration says; its actor only waits, and imports no torch."""

from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import DONE

from hybridtune.search.arms import ARM, PROPOSED
from hybridtune.storage.files import join
from hybridtune.storage.trial_rows import FIT
from hybridtune.train.fit import WorkerGroups
from hybridtune.train.job_queue import FitJob


def trial_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the study fields in a trial's configuration."""
    return {key: value for key, value in config.items() if key not in (ARM, PROPOSED, "number", "name")}


def trial_name(config: Mapping[str, Any]) -> str:
    """Return a trial's name, also of its folder: its number in Optuna, which it keeps when it is resumed.

    A training that Optuna does not know has a ``name`` of its own.
    """
    return str(config.get("name") or f"{config['number']:04d}")


def trial_storage(job: FitJob, config: Mapping[str, Any]) -> str:
    """Return the location of a trial's checkpoints, by the job of `run_trials`."""
    return join(job.storage, trial_name(config), FIT)


class Trial(tune.Trainable):  # type: ignore[misc]
    """One trial after another, trained by the study's worker groups; Tune keeps this actor (``reuse_actors``).

    A step of Tune's is one score of ours. A group waits at every score until Tune asks for the next; if Tune begins
    another trial instead, the one before was stopped.
    """

    def setup(self, config: Mapping[str, Any], job: FitJob, groups: WorkerGroups) -> None:
        """Begin this actor's first trial, by the job of `run_trials`."""
        self._job, self._home = job, Path(job.home if job.home is not None else job.storage)
        self._groups = groups
        self._reports = self._begin(config)

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """Begin another trial; the one before is left."""
        self._reports.close()
        self._reports = self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Return the next score."""
        metrics = next(self._reports)
        return {**metrics, DONE: bool(metrics["final"])}

    def cleanup(self) -> None:
        """Leave the trial: none will follow."""
        self._reports.close()

    def _begin(self, config: Mapping[str, Any]) -> Generator[dict[str, Any]]:
        name = trial_name(config)
        study = self._job.study.with_values(trial_values(config))
        storage, home = trial_storage(self._job, config), str(self._home / name)
        return self._groups.reports(replace(self._job, study=study, name=name, storage=storage, home=home))
