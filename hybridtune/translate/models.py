"""A translation model: found in a folder or on a hub, recognised, named by its licence, converted for CTranslate2."""

import contextlib
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridtune.callbacks import StudyCallback
from hybridtune.errors import InputError
from hybridtune.storage.files import cache_folder, locked
from hybridtune.translate.families import Family, recognise

CONVERTED = "model.bin"  # the file that makes a folder one of CTranslate2
# What a model is made of; hubs hold it in further formats, which are not fetched.
FILES = ("*.json", "*.model", "*.spm", "*.txt", "*.safetensors", "pytorch_model*.bin", CONVERTED, "README.md")
_DIGESTED = (".json", ".model", ".spm", ".txt", ".safetensors", ".bin")


@dataclass(frozen=True)
class Model:
    """A translation model on this machine; ``digest`` is equal for equal files."""

    name: str  # a hub name, or the last part of a folder: no path of this machine
    folder: Path
    family: Family
    licence: str
    digest: str

    @property
    def is_converted(self) -> bool:
        """Return whether its folder is one of CTranslate2."""
        return (self.folder / CONVERTED).is_file()


def find_model(name: str) -> Model:
    """Find a model by the path of its folder or by its name on a hub, and recognise its family.

    Raises:
        InputError: it is not there, cannot be fetched, or is of no known family.
    """
    folder = Path(name).expanduser()
    local = folder.is_dir()
    folder = folder.resolve() if local else _fetch(name)
    if (folder / CONVERTED).is_file() and not (folder / "tokenizer_config.json").is_file():
        raise InputError(
            f"--model {name}: was converted without its tokenizer; give the folder that it was converted from, or "
            f"convert it anew: ct2-transformers-converter --model FOLDER --output_dir {name} --force --copy_files "
            "tokenizer_config.json and the other files of its tokenizer"
        )
    family = recognise(folder, name)
    public = folder.name if local else name
    # A snapshot of a hub lies in a folder that is named by its commit.
    digest = _digest(folder) if local else hashlib.sha256(f"{name} {folder.name}".encode()).hexdigest()
    return Model(public, folder, family, _licence(folder) or family.licence, digest)


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        # Weights and tables alone; which version it was is kept by its digest.
        return Path(snapshot_download(name, allow_patterns=list(FILES)))  # nosec B615
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"--model {name}: neither a folder nor a model that could be fetched from the hub; offline, copy its "
            f"folder here and give the path ({reason})"
        ) from None


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in _DIGESTED and file.is_file():
            with file.open("rb") as content:
                digest.update(f"{file.name} {hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _licence(folder: Path) -> str:
    """Return the licence that the model's card names; empty where none does."""
    from huggingface_hub import ModelCard

    with contextlib.suppress(OSError, ValueError):
        given = ModelCard.load(folder / "README.md").data.license
        return given if isinstance(given, str) else ""
    return ""


def convert(model: Model, quantization: str, callback: StudyCallback) -> Path:
    """Return the folder of a model as CTranslate2 runs it, converted once into the cache.

    Raises:
        InputError: a converted folder lacks its tokenizer, or the converter refuses the model.
    """
    if model.is_converted:
        return model.folder
    parent = cache_folder() / "ctranslate2"
    target = parent / f"{model.digest[:32]}-{quantization}"
    parent.mkdir(parents=True, exist_ok=True)
    with locked(parent / f"{target.name}.lock"):
        if target.is_dir():
            return target
        callback.on_message(f"converting {model.name} for CTranslate2 ({quantization}); once, into {target}")
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
        try:
            _converter(model).convert(str(partial), quantization=None if quantization == "float32" else quantization)
        except (ValueError, NotImplementedError, KeyError, OSError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise InputError(
                f"--model {model.name}: CTranslate2 cannot convert it ({' '.join(str(error).split())[:200]}); "
                "--engine transformers runs it as it is"
            ) from None
        partial.rename(target)
    return target


def _converter(model: Model) -> Any:
    from ctranslate2.converters import TransformersConverter

    return TransformersConverter(str(model.folder), low_cpu_mem_usage=True)
