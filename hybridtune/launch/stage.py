"""What a study takes along to a cluster: its file, and what of its data lies on this machine alone."""

import glob
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridtune.config.search import is_url
from hybridtune.config.study import Study, check, dump_study
from hybridtune.config.yaml_text import parse_yaml
from hybridtune.errors import InputError
from hybridtune.launch.jobs import PACKAGE_LIMIT

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
    """A study for another process of this machine: its local paths are absolute."""

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
    """The study with every place in it changed; what is no local path stays as it is."""
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
    """What of a local path is there, and the pattern behind it; (None, "") of a URL, a hub name, the newsroom."""
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
    """A name in the stage that tells what it was: the same one for the same place, whenever it is asked."""
    source = str(base.absolute())
    stem, number = re.sub(r"[^\w.-]+", "-", base.absolute().name) or "files", 1
    name = f"data/{stem}"
    while taken.setdefault(name, source) != source:
        number += 1
        name = f"data/{number}-{stem}"
    return name


def _variables(study: Study) -> tuple[str, ...]:
    """Those that are filled in where they are used, because they may be passwords."""
    texts = (study.search.storage, study.search.warm_start or "")
    return tuple(dict.fromkeys(name for text in texts for name in _VARIABLE.findall(text)))
