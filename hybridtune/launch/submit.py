"""A study as a Ray job: what it takes along, sent to a cluster, followed to its end, its results fetched.

`hybridtune run --address http://…` is `run_there`; `hybridtune.launch.launch` starts the cluster first.
"""

import glob
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hybridtune
from hybridtune.config.fields import Resources
from hybridtune.config.search import is_url
from hybridtune.config.study import Study, dump_study
from hybridtune.config.validation import check
from hybridtune.errors import InputError
from hybridtune.launch import attach, jobs
from hybridtune.launch import record as launched
from hybridtune.launch.jobs import PACKAGE_LIMIT
from hybridtune.launch.record import Launch
from hybridtune.search.arms import expected_trials
from hybridtune.storage.files import is_remote
from hybridtune.study.folder import make_folder, new_folder
from hybridtune.study.preflight import run_preflight
from hybridtune.terminal.screen import Screen

STUDY = "study.yaml"  # in the stage
_SECRET = re.compile(r"://[^/@]*:[^/@]+@")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_OF_A_STUDY = ("study.yaml", "environment.json", "optuna.db", "optuna.log")  # what search.warm_start reads of a folder


@dataclass(frozen=True)
class Upload:
    """A file on this machine, its path in the stage (with ``/``), and its bytes."""

    source: Path
    name: str
    size: int


@dataclass(frozen=True)
class Staged:
    """A study as the cluster reads it.

    Attributes:
        study: its paths are relative to the stage where their files go along.
        uploads: these files.
        variables: environment variables that the study names. Their values are secrets, and do not go along: they must
            be set on the cluster's head.
    """

    study: Study
    uploads: tuple[Upload, ...]
    variables: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes that go along, before they are packed."""
        return sum(upload.size for upload in self.uploads)

    @property
    def notices(self) -> list[str]:
        """A line on the variables, if any."""
        names = ", ".join(self.variables)
        line = f"{names}: to be set on the head; the study names them, and secrets do not go with a job"
        return [line] if names else []


def plan_stage(study: Study, shared: Path | None = None) -> Staged:
    """Work out what goes along; nothing is copied. Files in a folder ``shared`` with all nodes stay where they are.

    Raises:
        InputError: it is more than a cluster takes, or a location in the study holds a password.
    """
    uploads: dict[str, Upload] = {}
    names: dict[str, str] = {}  # in the stage -> the path here

    def change(path: str, files: Callable[[Path], Iterator[Path]]) -> str:
        base, pattern = _parts(path)
        if base is None or (shared is not None and base.absolute().is_relative_to(shared)):
            return path if base is None else str(Path(base.absolute(), pattern))
        name = _free_name(base, names)
        matches = sorted(glob.glob(pattern, root_dir=base, recursive=True)) if pattern else [""]  # noqa: PTH207 - as data.formats does
        for file in (file for match in matches for file in files(base / match)):
            inside = "" if file == base else f"/{file.relative_to(base).as_posix()}"
            uploads[name + inside] = Upload(file, name + inside, file.stat().st_size)
        return f"{name}/{pattern}" if pattern else name

    changed = _with_paths(study, change)
    texts = (study.search.storage, study.search.warm_start or "")  # filled in at their use: they may be passwords
    variables = dict.fromkeys(name for text in texts for name in _VARIABLE.findall(text))
    staged = Staged(changed, tuple(uploads.values()), tuple(variables))
    if staged.size > PACKAGE_LIMIT:
        largest = max(staged.uploads, key=lambda upload: upload.size)
        raise InputError(
            f"the study's local files are {staged.size / 2**20:,.0f} MiB ({largest.source} alone "
            f"{largest.size / 2**20:,.0f}), and a cluster takes {PACKAGE_LIMIT >> 20} MiB with a job; put them on "
            "s3://, gs:// or a path that all nodes share, from where nothing is uploaded"
        )
    return staged


def write_stage(staged: Staged, folder: Path) -> None:
    """Copy what goes along into an empty folder, the study file among it."""
    for upload in staged.uploads:
        target = folder / upload.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(upload.source, target)
    (folder / STUDY).write_text(dump_study(staged.study), encoding="utf-8")


def with_absolute_paths(study: Study) -> Study:
    """Return a study for another process of this machine."""

    def change(path: str, files: Callable[[Path], Iterator[Path]]) -> str:
        base, pattern = _parts(path)
        return path if base is None else str(Path(base.absolute(), pattern))

    return _with_paths(study, change)


def _files_below(base: Path) -> Iterator[Path]:
    if base.is_file():
        yield base
        return
    for entry in sorted(base.rglob("*")):
        if entry.is_file() and not any(part.startswith(".") for part in entry.relative_to(base).parts):
            yield entry


def _study_files(base: Path) -> Iterator[Path]:
    return (base / name for name in _OF_A_STUDY if (base / name).is_file())


def _with_paths(study: Study, change: Callable[[str, Callable[[Path], Iterator[Path]]], str]) -> Study:
    """Return the study with every path in it changed; ``change`` also takes what lists the files of a folder there."""
    tree = study.model_dump(mode="json")

    def apply(holder: Any, key: Any, files: Callable[[Path], Iterator[Path]] = _files_below) -> None:
        value = holder[key]
        if isinstance(value, str):
            if _SECRET.search(value):
                hidden = _SECRET.sub("://***@", value)
                raise InputError(f"{hidden}: holds a password, which must not go to a cluster; see docs/storage.md")
            holder[key] = change(value, files)

    for source in (*tree["data"]["train"], *filter(None, tree["benchmarks"].values())):
        apply(source, "path")
    apply(tree["encoder"], "name")
    apply(tree["train"], "teacher")
    if tree["search"]["warm_start"] is not None and not is_url(tree["search"]["warm_start"]):
        apply(tree["search"], "warm_start", _study_files)
    teachers = tree["search"]["space"].get("train.teacher", {}).get("choice", [])
    for number in range(len(teachers)):
        apply(teachers, number)
    return check(Study, tree, "the study")


def _parts(path: str) -> tuple[Path | None, str]:
    """Return the existing part of a local path and the pattern after it; (None, "") of a URL or a hub name."""
    if "://" in path or "${" in path:
        return None, ""
    local = Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser has a traceback for ~nobody
    if local.exists():
        return local, ""
    if not glob.has_magic(path):
        return None, ""
    first = next(index for index, part in enumerate(local.parts) if glob.has_magic(part))
    return Path(*local.parts[:first]), "/".join(local.parts[first:])


def _free_name(base: Path, names: dict[str, str]) -> str:
    """Return a path's name in the stage, like its own: the same at every call for the same path."""
    source = str(base.absolute())
    stem, number = re.sub(r"[^\w.-]+", "-", base.absolute().name) or "files", 1
    name = f"data/{stem}"
    while names.setdefault(name, source) != source:
        number += 1
        name = f"data/{number}-{stem}"
    return name


def check_out(out: str | None) -> str:
    """Return the location of a study's results that all nodes share. Raises InputError for any other, and for None."""
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


def shared_folder(out: str) -> Path | None:
    """Return the mount of a location, whose files the cluster sees too; None on this machine's own disk."""
    if is_remote(out):
        return None
    mount = next((folder for folder in (Path(out), *Path(out).parents) if folder.is_mount()), None)
    return mount if mount != Path(Path(out).anchor) else None


def job_name(study: Study) -> str:
    """Return a name of the study and the time, which Ray and Kubernetes accept."""
    words = re.sub(r"[^a-z0-9]+", "-", study.name.lower()).strip("-")[:24].strip("-")
    return f"{words or 'study'}-{time.strftime('%Y%m%d-%H%M%S')}"


def entrypoint(study: Study, study_file: str, out: str, module: str = "hybridtune") -> str:
    """Return the command that runs a study on the head, where its file is, by `hybridtune` or what stands for it."""
    # No file allows a model's own code, and no module comes from the folder that the job works in.
    trusted = ["--set", "encoder.trust_remote_code=true"] if study.encoder.trust_remote_code else []
    command = ["python", "-P", "-m", module, "run", study_file, "--address", "auto", "--out", out, *trusted]
    return shlex.join(command)


def send(launch: Launch, folder: Path, staged: Staged, env: Mapping[str, str], screen: Screen) -> None:
    """Write the record of a launch, then stage its study and submit its job.

    Raises:
        HybridtuneError: the cluster refused it.
    """
    launched.write_launch(launch, folder)
    with (
        tempfile.TemporaryDirectory(prefix="hybridtune-stage-") as packed,
        launched.reached(launch, folder) as connect,
    ):
        write_stage(staged, Path(packed))
        jobs.submit(
            connect(),
            launch.job,
            entrypoint(staged.study, STUDY, launch.out),
            working_dir=Path(packed),
            modules=[Path(str(hybridtune.__file__)).parent],
            env=env,
            metadata={"study": launch.study, "out": launch.out},
        )
    screen.line(f"job {launch.job} submitted; results go to {launch.out}")


def run_there(address: str, study: Study, out: str | None, screen: Screen, dry_run: bool = False) -> dict[str, Any]:
    """Run a study as a job of a cluster that exists, and return its `attach.summary`.

    Args:
        address: ``http://HOST:PORT`` or ``https://…`` of its dashboard, or ``ray://HOST:PORT``.
        study: as read.
        out: location of its results, see `check_out`.
        screen: for messages.
        dry_run: check and print, and start nothing.

    Raises:
        InputError: the study, the address or ``out`` is wrong; nothing was submitted.
        HybridtuneError: the job failed.
    """
    folder, out = new_folder(study), check_out(out)
    # This machine's cores and GPUs do not count; the number of workers may be a part of the study.
    here = study.model_copy(update={"resources": Resources(workers=study.resources.workers, gpus_per_worker=0.0)})
    run_preflight(here, searching=True)
    staged = plan_stage(study, shared_folder(out))
    screen.line(f"uploaded: the study file and {len(staged.uploads)} files, {staged.size / 2**20:.1f} MiB")
    for line in staged.notices:
        screen.line(line)
    if dry_run:
        screen.line(f"{expected_trials(study)} trials, results to {out}, fetched to {folder}; nothing was started")
        return {"folder": str(folder), "out": out, "uploads": [upload.name for upload in staged.uploads]}
    jobs.connect(address)
    make_folder(folder)
    launch = Launch("address", study.name, out, job_name(study), address=address)
    send(launch, folder, staged, {}, screen)
    return attach.see_through(launch, folder, screen)
