"""A study as a Ray job: sent to a cluster, followed to its end, its results fetched. `hybridtune run --address http://…`."""

import re
import shlex
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hybridtune
from hybridtune.config.study import Resources, Study
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.launch import attach, jobs, stage
from hybridtune.launch import record as launched
from hybridtune.launch.record import Launch
from hybridtune.search.samplers import expected_trials
from hybridtune.storage.files import is_remote
from hybridtune.study.folder import make_folder
from hybridtune.study.preflight import run_preflight
from hybridtune.terminal.screen import Screen

_SECRET = re.compile(r"://[^/@]*:[^/@]+@")


@dataclass(frozen=True)
class Options:
    """What the user wants of a launch.

    Attributes:
        out: where the study writes its results; None: found by `study_place`.
        fetch_to: folder on this machine for the record and the results; None: ``studies/<name>-<time>``.
        down: whether the cluster goes when the study has ended, well or not.
        detach: whether to leave once the job is submitted.
    """

    out: str | None = None
    fetch_to: Path | None = None
    down: bool = False
    detach: bool = False


def check_study(study: Study) -> Study:
    """See that a study's input is good, but for its resources, which are not this machine's; the study as it will run.

    Raises:
        InputError: the first thing that is wrong.
    """
    found = run_preflight(study.model_copy(update={"resources": Resources()}), searching=True).study
    return found.model_copy(update={"resources": study.resources})


def here_folder(study: Study, options: Options) -> Path:
    """The folder on this machine, not yet made."""
    return (options.fetch_to or Path("studies") / f"{study.name}-{time.strftime('%Y%m%d-%H%M%S')}").absolute()


def study_place(out: str | None) -> str:
    """Where a study on other machines writes.

    Raises:
        InputError: not given, or no place that all nodes could share.
    """
    if out is None:
        raise InputError(
            "--out is missing: give a place that all nodes of the cluster and this machine reach, like "
            "s3://BUCKET/STUDY, gs://BUCKET/STUDY or an absolute path that is mounted everywhere"
        )
    if _SECRET.search(out):
        raise InputError("--out holds a password; leave it to the machines' own role or environment (docs/storage.md)")
    if not is_remote(out) and not Path(out).is_absolute():
        raise InputError(f"--out {out}: a relative path is another one on the cluster; give an absolute path or a URL")
    return out


def shared_folder(place: str) -> Path | None:
    """What of this machine's files the cluster sees too: the mount that a place is on, where it is one of its own."""
    if is_remote(place):
        return None
    here = next((folder for folder in (Path(place), *Path(place).parents) if folder.is_mount()), None)
    return here if here is not None and here != Path(here.anchor) else None


def job_name(study: Study) -> str:
    """A name that tells the study and the time, and that Ray and Kubernetes take."""
    words = re.sub(r"[^a-z0-9]+", "-", study.name.lower()).strip("-")[:24].strip("-")
    return f"{words or 'study'}-{time.strftime('%Y%m%d-%H%M%S')}"


def entrypoint(study_file: str, place: str) -> str:
    """The command that runs on the head."""
    return shlex.join(["python", "-m", "hybridtune", "run", study_file, "--address", "auto", "--out", place])


def send(launch: Launch, folder: Path, staged: stage.Staged, env: Mapping[str, str], screen: Screen) -> None:
    """Stage a study and submit its job; the record stands in the folder before.

    Raises:
        HybridtuneError: the cluster did not take it.
    """
    launched.write_launch(launch, folder)
    with (
        tempfile.TemporaryDirectory(prefix="hybridtune-stage-") as packed,
        launched.reached(launch, folder) as connect,
    ):
        stage.write_stage(staged, Path(packed))
        job = jobs.Job(
            name=launch.job,
            entrypoint=entrypoint(stage.STUDY, launch.place),
            working_dir=Path(packed),
            modules=[Path(str(hybridtune.__file__)).parent],
            env=env,
            metadata={"study": launch.study, "out": launch.place},
        )
        jobs.submit(connect(), job)
    screen.line(f"job {launch.job} submitted; results go to {launch.place}")


def not_running(folder: Path) -> Launch | None:
    """The launch that a folder holds; None of none.

    Raises:
        InputError: its job still runs, which is a thing to attach to, not to launch again.
    """
    before = launched.find_launch(folder)
    if before is None:
        return None
    try:
        ended = launched.job_state(before, folder).ended
    except HybridtuneError:
        return before  # its cluster is gone: the study goes on on another
    if not ended:
        raise InputError(f"{folder}: its job {before.job} still runs; hybridtune attach {folder}, or stop it first")
    return before


def run_there(address: str, study: Study, options: Options, screen: Screen, dry_run: bool = False) -> dict[str, Any]:
    """Run a study as a job of a cluster that exists.

    Args:
        address: ``http://HOST:PORT`` or ``https://…`` of its dashboard, or ``ray://HOST:PORT``.
        study: as read.
        options: where to; `down` is not for clusters of others.
        screen: told what happens.
        dry_run: whether to check and tell, and start nothing.

    Raises:
        InputError: the study, the address or the place is wrong; nothing was submitted.
        HybridtuneError: the job failed.
    """
    folder = here_folder(study, options)
    before = launched.find_launch(folder)
    place = study_place(options.out or (before.place if before else None))
    check_study(study)
    staged = stage.plan_stage(study, shared_folder(place))
    screen.line(f"uploaded: the study file and {len(staged.uploads)} files, {staged.size / 2**20:.1f} MiB")
    for line in secrets_told(staged):
        screen.line(line)
    if dry_run:
        screen.line(f"{expected_trials(study)} trials, results to {place}, fetched to {folder}; nothing was started")
        return {"folder": str(folder), "out": place, "uploads": [one.name for one in staged.uploads]}
    jobs.connect(address)
    not_running(folder)
    make_folder(folder)
    launch = Launch("address", study.name, place, job_name(study), address=address)
    send(launch, folder, staged, {}, screen)
    if options.detach:
        return attach.told(launch, folder, "PENDING")
    return attach.see_through(launch, folder, screen)


def secrets_told(staged: stage.Staged) -> list[str]:
    """What must be on the head already."""
    names = ", ".join(staged.variables)
    return [f"{names}: to be set on the head; the study names them, and secrets do not go with a job"] if names else []
