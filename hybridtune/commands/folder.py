"""The study folder: made once, recognised when the same study is run into it again."""

import json
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from hybridtune.config import Study
from hybridtune.errors import InputError
from hybridtune.study_file import dump_study

_PACKAGES = ("hybridtune", "torch", "ray", "transformers", "tokenizers", "optuna", "pyarrow", "numpy", "faiss-cpu")


def open_study_folder(study: Study, out: Path | None) -> Path:
    """The folder of a study: new, or the one that holds this very study (which then goes on).

    Args:
        study: resolved.
        out: as the user gave it; None: ``studies/<name>-<time>`` in the current folder.

    Raises:
        InputError: the folder holds something else.
    """
    folder = (out or Path("studies") / f"{study.name}-{time.strftime('%Y%m%d-%H%M%S')}").absolute()
    file = folder / "study.yaml"
    text = dump_study(study)
    if file.exists():
        if file.read_text(encoding="utf-8") != text:
            raise InputError(f"--out {folder}: holds another study (its study.yaml differs); choose a new folder")
        return folder
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"--out {folder}: is not empty and holds no study; choose a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "environment.json").write_text(json.dumps(environment(), indent=1), encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    return folder


def environment() -> dict[str, Any]:
    """Versions and hardware, for whoever repeats the study."""
    return {
        "command": " ".join(["hybridtune", *sys.argv[1:]]),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
