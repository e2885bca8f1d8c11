"""One trial: a study with some values put in is trained by Ray Train, and every score goes to Ray Tune."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.tune.integration.ray_train import TuneReportCallback

from hybridtune.search.space import trial_name, trial_values
from hybridtune.train.fit import fit
from hybridtune.train.loop import FitJob


def run_trial(config: Mapping[str, Any], job: FitJob) -> None:
    """What Tune calls with each configuration.

    Args:
        config: values of the trial, from `search_space`.
        job: the fit of the study's fixed values; ``storage`` is the folder of all trials.
    """
    name = trial_name(config)
    study = job.study.with_values(trial_values(config))
    job = replace(job, study=study, name=name, storage=str(trial_folder(job.storage, name) / "fit"))
    fit(job, callbacks=[TuneReportCallback()])


def trial_folder(trials: str | Path, name: str) -> Path:
    """Where a trial keeps its checkpoints, events and metrics."""
    return Path(trials) / name
