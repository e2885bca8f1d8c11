"""A study or a model where it lies: on this machine its own folder, at a URL a copy of what a command reads of it.

The copy is a temporary folder of the moment when it was made. `sync` copies the other way, while a study runs.
"""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hybridtune.errors import HybridtuneError, InputError
from hybridtune.storage import files
from hybridtune.storage.manifests import MANIFEST

Wanted = Callable[[str], object]  # whether a file is fetched, by its path in the folder

_STUDY = r"study\.yaml|environment\.json"
_ROWS = r"(screening/|repeats/)?(trials\.jsonl|running\.json)"
_RECORDS = rf"{_STUDY}|{_ROWS}|(result|screening|repeats)\.json|events\.jsonl|\.writer\.lock|soups/[^/]+/scores\.json"
_FIGURES = rf"per_query\.parquet|{re.escape(MANIFEST)}"
_OPTUNA = r"optuna\.(db|log)"
_EVENTS = r"trials/[^/]+/events\..*"
# What no report shows: weights, encoders, token stores, what dashboards and loggers read.
_HEAVY = (
    r"(store|encoders|encoder|teachers|wandb|mlflow|evaluations)/.*|.*\.(safetensors|onnx|data|pkl|npz)|ray\.log"
    r"|(best|soup)/tokenizer.*|.*/events\.out\..*|.*/\..*"
)
_MODEL = ("study.yaml", "modules.json", "config.json")  # one of them makes a folder a study or a model
_TRAINING = r".*/(optimizer|training)\.safetensors"  # of a checkpoint: what a training alone goes on from

of_status: Wanted = re.compile(_RECORDS).fullmatch
of_dashboard: Wanted = re.compile(rf"{_STUDY}|{_OPTUNA}|{_EVENTS}").fullmatch
of_model: Wanted = re.compile(rf"{_STUDY}|trials\.jsonl|best/.*").fullmatch
of_comparison: Wanted = re.compile(rf"{_STUDY}|(best/|fit/checkpoint_[^/]+/)?({_FIGURES})").fullmatch


def of_report(name: str) -> bool:
    """Return whether a report reads a file of a study folder."""
    return re.fullmatch(_HEAVY, name) is None or re.fullmatch(_RECORDS, name) is not None


def of_trial_model(trial: str | None) -> Wanted:
    """Return what the model of a trial is made from; None: of a study's single training."""
    place = f"trials/{trial.zfill(4)}/" if trial is not None else ""
    shared = rf"{_STUDY}|trials\.jsonl|leaks\.json|encoder(-projected)?/.*|contestants/.*|best/training_texts\.npz"
    wanted = re.compile(rf"{shared}|{re.escape(place)}fit/.*")
    return lambda name: wanted.fullmatch(name) and re.fullmatch(_TRAINING, name) is None


@contextmanager
def opened(location: str | Path, wanted: Wanted) -> Iterator[Path]:
    """Yield the folder at a location: the folder itself on this machine, at a URL a copy of its ``wanted`` files.

    Errors within the block name the location, not the copy.

    Raises:
        InputError: there is nothing at the URL, or it cannot be read.
    """
    location = str(location)
    if not files.is_remote(location):
        yield files.local_path(location)
        return
    files.refuse_key(location, "the URL")
    with tempfile.TemporaryDirectory(prefix="hybridtune-opened-") as work:
        folder = Path(work) / (files.base_name(location) or "study")
        folder.mkdir()
        _fetch(location, folder, wanted)
        try:
            yield folder
        except HybridtuneError as error:
            raise type(error)(str(error).replace(str(folder), location)) from error.__cause__


@contextmanager
def opened_model(location: str) -> Iterator[str]:
    """Yield a model by a name that is opened here: a hub name or folder as it is, at a URL that of a copy.

    Of a study that is its best model, in its folder.

    Raises:
        InputError: there is nothing at the URL, or it cannot be read.
    """
    if not files.is_remote(location):
        yield str(files.local_path(location)) if "://" in location else location
        return
    files.refuse_key(location, "the URL")
    with opened(location, of_model if _holds(location, "study.yaml") else lambda name: True) as folder:
        if not any((folder / name).is_file() for name in _MODEL):
            raise InputError(f"{location}: holds neither a study nor a model (no {' and no '.join(_MODEL)})")
        yield str(folder)


def _holds(location: str, name: str) -> bool:
    with _explained(location):
        return files.exists(files.join(location, name))


def _fetch(location: str, folder: Path, wanted: Wanted) -> None:
    with _explained(location):
        try:
            files.download(location, folder, lambda name: not wanted(name))
        except FileNotFoundError:
            why = "there is nothing there; give the --out of a study" if files.has_bucket(location) else files.NO_BUCKET
            raise InputError(f"{location}: {why}") from None


@contextmanager
def _explained(location: str) -> Iterator[None]:
    """Turn what a file system raises into an error of one line; its kinds are many, those of libraries for HTTP too."""
    try:
        yield
    except HybridtuneError:
        raise
    except Exception as error:
        raise InputError(f"{location}: {files.explain_error(error)}") from None
