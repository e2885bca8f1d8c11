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
from hybridtune.config.study import Study, check, dump_study
from hybridtune.config.yaml_text import parse_yaml
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.launch import attach, jobs
from hybridtune.launch import record as launched
from hybridtune.launch.jobs import PACKAGE_LIMIT
from hybridtune.launch.record import Launch
from hybridtune.search.samplers import expected_trials
from hybridtune.storage.files import is_remote
from hybridtune.study.folder import make_folder
from hybridtune.study.preflight import run_preflight
from hybridtune.terminal.screen import Screen

STUDY = "study.yaml"  # in the stage
_SECRET = re.compile(r"://[^/@]*:[^/@]+@")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_OF_A_STUDY = ("study.yaml", "environment.json", "optuna.db", "optuna.log")  # what search.warm_start reads of a folder


@dataclass(frozen=True)
class Upload:
    """A file that goes along.

    Attributes:
        source: on this machine.
        name: in the stage, with ``/``.
        size: bytes.
    """

    source: Path
    name: str
    size: int


@dataclass(frozen=True)
class Staged:
    """A study as the cluster reads it.

    Attributes:
        study: its paths are relative to the stage where their files go along.
        uploads: these files.
        variables: environment variables that the study names and that must be set on the cluster's head; their values
            are secrets, and do not go along.
    """

    study: Study
    uploads: tuple[Upload, ...]
    variables: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes that go along, before they are packed."""
        return sum(upload.size for upload in self.uploads)


def plan_stage(study: Study, shared: Path | None = None) -> Staged:
    """Work out what goes along; nothing is copied.

    Args:
        study: as read, on this machine.
        shared: a folder that the cluster's nodes see under the same name: what lies in it stays where it is.

    Raises:
        InputError: it is more than a cluster takes, or a place in the study holds a password.
    """
    uploads: dict[str, Upload] = {}
    taken: dict[str, str] = {}  # name in the stage -> what stands there

    def change(path: str, files: Callable[[Path], Iterator[Path]]) -> str:
        base, pattern = _parts(path)
        if base is None or (shared is not None and base.absolute().is_relative_to(shared)):
            return path if base is None else str(Path(base.absolute(), pattern))
        name = _free_name(base, taken)
        found = files(base) if not pattern else (f for one in _matches(base, pattern) for f in files(one))
        for file in found:
            inside = "" if file == base else f"/{file.relative_to(base).as_posix()}"
            uploads[name + inside] = Upload(file, name + inside, file.stat().st_size)
        return f"{name}/{pattern}" if pattern else name

    changed = _with_paths(study, change)
    staged = Staged(changed, tuple(uploads.values()), _variables(study))
    if staged.size > PACKAGE_LIMIT:
        largest = max(staged.uploads, key=lambda upload: upload.size)
        raise InputError(
            f"the study's local files are {staged.size / 2**20:,.0f} MiB ({largest.source} alone "
            f"{largest.size / 2**20:,.0f}), and a cluster takes {PACKAGE_LIMIT >> 20} MiB with a job; put them on "
            "s3://, gs:// or a path that all nodes share, from where nothing is uploaded"
        )
    return staged


def at_home(study: Study) -> Study:
    """Return a study for another process of this machine: its local paths are absolute."""

    def change(path: str, files: Callable[[Path], Iterator[Path]]) -> str:
        base, pattern = _parts(path)
        return path if base is None else str(Path(base.absolute(), pattern))

    return _with_paths(study, change)


def write_stage(staged: Staged, folder: Path) -> None:
    """Copy what goes along into an empty folder, the study file among it."""
    for upload in staged.uploads:
        target = folder / upload.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(upload.source, target)
    (folder / STUDY).write_text(dump_study(staged.study), encoding="utf-8")


def _with_paths(study: Study, change: Callable[[str, Callable[[Path], Iterator[Path]]], str]) -> Study:
    """Return the study with every place in it changed; what is no local path stays as it is."""
    tree = parse_yaml(dump_study(study))

    def place(holder: Any, key: Any, files: Callable[[Path], Iterator[Path]] = _all_files) -> None:
        value = holder[key]
        if isinstance(value, str):
            if _SECRET.search(value):
                hidden = _SECRET.sub("://***@", value)
                raise InputError(f"{hidden}: holds a password, which must not go to a cluster; see docs/storage.md")
            holder[key] = change(value, files)

    for data_set in tree["data"]["train"]:
        place(data_set, "path")
    for source in filter(None, tree["benchmarks"].values()):
        place(source, "path")
    place(tree["encoder"], "name")
    place(tree["train"], "teacher")
    if tree["search"]["warm_start"] is not None and not is_url(tree["search"]["warm_start"]):
        place(tree["search"], "warm_start", _study_files)
    teachers = tree["search"]["space"].get("train.teacher", {}).get("choice", [])
    for number in range(len(teachers)):
        place(teachers, number)
    return check(Study, tree, "the study")


def _parts(path: str) -> tuple[Path | None, str]:
    """Return the existing part of a local path and the pattern after it; (None, "") of a URL or a hub name."""
    if "://" in path or "${" in path:
        return None, ""
    here = Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser has a traceback for ~nobody
    if here.exists():
        return here, ""
    if not glob.has_magic(path):
        return None, ""
    first = next(place for place, part in enumerate(here.parts) if glob.has_magic(part))
    return Path(*here.parts[:first]), "/".join(here.parts[first:])


def _matches(base: Path, pattern: str) -> Iterator[Path]:
    return (base / found for found in sorted(glob.glob(pattern, root_dir=base, recursive=True)))  # noqa: PTH207 - as data.formats does


def _all_files(base: Path) -> Iterator[Path]:
    if base.is_file():
        yield base
    else:
        for entry in sorted(base.rglob("*")):
            if entry.is_file() and not any(part.startswith(".") for part in entry.relative_to(base).parts):
                yield entry


def _study_files(base: Path) -> Iterator[Path]:
    return (base / name for name in _OF_A_STUDY if (base / name).is_file())


def _free_name(base: Path, taken: dict[str, str]) -> str:
    """Return a name in the stage that tells what it was: the same one for the same place, whenever it is asked."""
    source = str(base.absolute())
    stem, number = re.sub(r"[^\w.-]+", "-", base.absolute().name) or "files", 1
    name = f"data/{stem}"
    while taken.setdefault(name, source) != source:
        number += 1
        name = f"data/{number}-{stem}"
    return name


def _variables(study: Study) -> tuple[str, ...]:
    """Return those that are filled in where they are used, because they may be passwords."""
    texts = (study.search.storage, study.search.warm_start or "")
    return tuple(dict.fromkeys(name for text in texts for name in _VARIABLE.findall(text)))


@dataclass(frozen=True)
class Options:
    """The options of a launch.

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
    """Return the folder on this machine, not yet made."""
    return (options.fetch_to or Path("studies") / f"{study.name}-{time.strftime('%Y%m%d-%H%M%S')}").absolute()


def study_place(out: str | None) -> str:
    """Return the location at which a study on other machines writes.

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
    """Return the mount that a location is on, whose files the cluster sees too; None on this machine's own disk."""
    if is_remote(place):
        return None
    here = next((folder for folder in (Path(place), *Path(place).parents) if folder.is_mount()), None)
    return here if here is not None and here != Path(here.anchor) else None


def job_name(study: Study) -> str:
    """Return a name that tells the study and the time, and that Ray and Kubernetes take."""
    words = re.sub(r"[^a-z0-9]+", "-", study.name.lower()).strip("-")[:24].strip("-")
    return f"{words or 'study'}-{time.strftime('%Y%m%d-%H%M%S')}"


def entrypoint(study_file: str, place: str) -> str:
    """Return the command that runs on the head."""
    return shlex.join(["python", "-m", "hybridtune", "run", study_file, "--address", "auto", "--out", place])


def send(launch: Launch, folder: Path, staged: Staged, env: Mapping[str, str], screen: Screen) -> None:
    """Stage a study and submit its job; the record stands in the folder before.

    Raises:
        HybridtuneError: the cluster did not take it.
    """
    launched.write_launch(launch, folder)
    with (
        tempfile.TemporaryDirectory(prefix="hybridtune-stage-") as packed,
        launched.reached(launch, folder) as connect,
    ):
        write_stage(staged, Path(packed))
        job = jobs.Job(
            name=launch.job,
            entrypoint=entrypoint(STUDY, launch.place),
            working_dir=Path(packed),
            modules=[Path(str(hybridtune.__file__)).parent],
            env=env,
            metadata={"study": launch.study, "out": launch.place},
        )
        jobs.submit(connect(), job)
    screen.line(f"job {launch.job} submitted; results go to {launch.place}")


def not_running(folder: Path) -> Launch | None:
    """Return the launch that a folder holds; None of none.

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
    staged = plan_stage(study, shared_folder(place))
    screen.line(f"uploaded: the study file and {len(staged.uploads)} files, {staged.size / 2**20:.1f} MiB")
    for line in describe_secrets(staged):
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
        return attach.summary(launch, folder, "PENDING")
    return attach.see_through(launch, folder, screen)


def describe_secrets(staged: Staged) -> list[str]:
    """Return a notice of the variables that must be set on the head."""
    names = ", ".join(staged.variables)
    return [f"{names}: to be set on the head; the study names them, and secrets do not go with a job"] if names else []
