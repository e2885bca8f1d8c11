"""The screening of a study on the way: the encoder of its lowest layers, and the job that its trainings are."""

import dataclasses
import shutil
from pathlib import Path

from hybridtune.model.shallow import write_shallow
from hybridtune.search.screened import screened_study
from hybridtune.storage.copies import publish
from hybridtune.storage.screening_rows import SCREENING
from hybridtune.study.started import Started
from hybridtune.train.job_queue import FitJob

_ENCODER = ".encoder"  # in the screening's folder: hidden, since no copy of a study needs it


def screening_job(running: Started) -> tuple[FitJob, int]:
    """Return the job of the screened trainings, which begin with the encoder's lowest layers, and how many it has."""
    study, folder = running.preflight.study, running.home.folder / SCREENING
    screening, encoder = study.search.screening, folder / _ENCODER
    assert screening is not None
    shutil.rmtree(encoder, ignore_errors=True)  # of a run that was cut off
    of = write_shallow(running.source, study.encoder, running.store.tokenizer().pad_id, screening.layers, encoder)
    source = str(encoder)
    if running.home.address is not None:
        source = publish(encoder, running.home.inside("encoders"))
    job = dataclasses.replace(
        running.job,
        study=screened_study(study),
        source=source,
        storage=running.home.inside(SCREENING, "trials"),
        home=str(folder / "trials"),
    )
    return job, of


def end_screening(folder: Path) -> None:
    """Remove the encoder of a screening that has ended."""
    shutil.rmtree(folder / SCREENING / _ENCODER, ignore_errors=True)
