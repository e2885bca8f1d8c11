"""The study folder: made once, recognised when the same study is run into it again."""

import json
import os
import platform
import secrets
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from hybridtune.config.study import Study, dump_study
from hybridtune.config.yaml_text import parse_yaml
from hybridtune.errors import InputError
from hybridtune.model.published import commit_of
from hybridtune.storage.files import remove, replace_folder, write_atomically
from hybridtune.storage.manifests import MANIFEST, check_whole, seal
from hybridtune.storage.study_folder import ENVIRONMENT, FORMAT, check_format
from hybridtune.storage.writer_lock import LOCKS

RAY_ADDRESS = "dashboard.txt"  # in the study folder, while Ray runs
RAY_TOKEN = "dashboard.token"  # beside it, for its user alone: what Ray's dashboard asks for
_EXTENT = ("time_budget", "step_budget", "soups", "soup_trials")  # of the search: what may change when a study goes on
_PACKAGES = ("hybridtune", "torch", "ray", "transformers", "tokenizers", "optuna", "pyarrow", "numpy", "faiss-cpu")


def make_folder(out: Path) -> None:
    """Make the folder of a command's results; raise InputError where it cannot be made or written to."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be made a folder: {error.strerror}") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise InputError(f"--out {out}: cannot be written to; choose another folder")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes ``folder``, sealed, when the block ends without an error; else it goes."""
    folder = folder.absolute()
    make_folder(folder.parent)
    new = folder.with_name(f".{secrets.token_hex(16)}.tmp")
    new.mkdir()
    try:
        yield new
        seal(new)
        replace_folder(new, folder)
    finally:
        remove(str(new))


def check_model_folder(folder: Path) -> None:
    """Raise InputError where a model folder that hybridtune wrote is damaged; anybody else's passes.

    The ``best`` and ``soup`` of a study must have a manifest; any other folder may.
    """
    study = folder.parent
    of_study = folder.name in ("best", "soup") and (study / "study.yaml").is_file()
    if not of_study and not (folder / MANIFEST).is_file():
        return
    anew = "write it anew by the command that made it"
    if of_study:
        anew = f"hybridtune run {study / 'study.yaml'} --out {study} writes it anew, or fetch it again"
    check_whole(folder, f"{anew}; if files were changed on purpose, use a copy of it without {MANIFEST}")


def write_json(content: Any, file: Path) -> None:
    """Write JSON; whoever sees the file sees all of it."""
    write_atomically(file, json.dumps(content, indent=1, allow_nan=False))


def new_folder(study: Study) -> Path:
    """Return the path of a study's folder where the user names none: ``studies/<name>-<time>``, here."""
    return (Path("studies") / f"{study.name}-{time.strftime('%Y%m%d-%H%M%S')}").absolute()


def check_study_folder(study: Study, folder: Path, shown: str | None = None) -> None:
    """Check that a study can be begun in a folder, or go on there; see `open_study_folder`."""
    named = f"--out {shown or folder}"
    file = folder / "study.yaml"
    if file.exists():
        check_format(folder, named)
        if not same_study(file.read_text(encoding="utf-8"), dump_study(study)):
            raise InputError(f"{named}: holds another study (its study.yaml differs); choose a new folder")
    elif folder.is_dir() and any(entry.name not in LOCKS for entry in folder.iterdir()):
        raise InputError(f"{named}: is not empty and holds no study; choose a new folder")


def open_study_folder(study: Study, folder: Path, shown: str | None = None) -> None:
    """Open the folder of a study: a new one, or the one that holds this very study, which then goes on.

    A study stays the same with another budget for its search, other soups, and other ``resources``; see `same_study`.

    Args:
        study: resolved.
        folder: absolute.
        shown: the location that ``folder`` is a copy of, for messages.

    Raises:
        InputError: the folder holds something else.
    """
    check_study_folder(study, folder, shown)
    file = folder / "study.yaml"
    text = dump_study(study)
    if not file.exists():
        make_folder(folder)
        write_study(study, folder)
        return
    before = file.read_text(encoding="utf-8")
    if before != text:
        write_atomically(file, text)
        if _extent(before) != _extent(text):
            (folder / "result.json").unlink(missing_ok=True)  # there is more, or less, to do: the study goes on


def write_study(study: Study, folder: Path) -> None:
    """Write the files that make a study folder: its environment with format and id, then the resolved study."""
    described = {**environment(), "id": uuid.uuid4().hex, "encoder": starting_encoder(study)}
    write_json(described, folder / ENVIRONMENT)
    write_atomically(folder / "study.yaml", dump_study(study))


def check_inputs(folder: Path, inputs: dict[str, str]) -> None:
    """Check that a study that goes on reads what it began with, and note what it reads for the first time.

    Args:
        folder: of the study.
        inputs: field of the study -> digest of the texts that it names.

    Raises:
        InputError: a field names other texts by now, so that trials of both could not be compared.
    """
    file = folder / ENVIRONMENT
    known = json.loads(file.read_text(encoding="utf-8"))
    before = known.get("inputs", {})
    changed = [name for name, digest in inputs.items() if before.get(name, digest) != digest]
    if changed:
        raise InputError(
            f"{', '.join(changed)}: not the content with which the study in {folder} began, so that its trials could "
            "not be compared; put the files back as they were, or choose a new --out"
        )
    if not inputs.keys() <= before.keys():  # a new study, or one that has got a benchmark
        write_json({**known, "inputs": {**before, **inputs}}, file)


def changed_packages(folder: Path) -> str:
    """Return which packages are other versions than those that a study began with, in words; empty: none is.

    Figures of other versions may differ in their last digits, or more.
    """
    before = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    versions, now = {"python": before.get("python"), **before.get("packages", {})}, environment()
    here = {"python": now["python"], **now["packages"]}
    other = [name for name, version in versions.items() if name in here and version != here[name]]
    return ", ".join(f"{name} {here[name] or '(none)'} in place of {versions[name] or '(none)'}" for name in other)


def starting_encoder(study: Study) -> dict[str, str | None]:
    """Return which encoder a study starts from, with the commit of a hub name where that is known."""
    with suppress(InputError):
        return {"name": study.encoder.name, "commit": commit_of(study.encoder.name)}
    return {"name": study.encoder.name, "commit": None}


def same_study(one: str, other: str) -> bool:
    """Return whether two resolved study files are of one study; its budget, soups and resources may differ.

    Not so the number of workers where each may have negatives of its own.
    """
    return bool(_identity(one) == _identity(other))


def _identity(text: str) -> Any:
    tree = parse_yaml(text)
    search = tree.get("search") if isinstance(tree, dict) else None
    if not isinstance(search, dict):  # none of ours
        return tree
    rest = {key: value for key, value in tree.items() if key != "resources"}
    local = not tree.get("train", {}).get("gather_negatives", True)  # each worker has, or may have, its own negatives
    if local or "train.gather_negatives" in search.get("space", {}):
        rest["workers"] = tree["resources"]["workers"]
    return {**rest, "search": {key: value for key, value in search.items() if key not in _EXTENT}}


def _extent(text: str) -> dict[str, Any]:
    return {key: value for key, value in parse_yaml(text)["search"].items() if key in _EXTENT}


def environment() -> dict[str, Any]:
    """Return the format of the folder, versions and hardware, for whoever repeats the study."""
    packages: dict[str, str | None] = dict.fromkeys(_PACKAGES)
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "format": FORMAT,
        "command": " ".join(["hybridtune", *sys.argv[1:]]),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": packages,
    }
