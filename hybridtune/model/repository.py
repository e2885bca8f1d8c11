"""Find the files of an encoder: in a folder here, or under a hub name, which is asked once and then its cache.

No torch and no transformers: what a folder says is read before anything is loaded (`published`).
"""

import json
from pathlib import Path
from typing import Any

from hybridtune.errors import InputError, model_not_loaded


class Repository:
    """The files of a model folder or hub name.

    Offline, and where the network does not answer, a hub name has the files that stand in the cache, and no others.

    Args:
        name: path of a folder, or a hub name such as ``intfloat/multilingual-e5-small``.

    Attributes:
        name: as given.
        folder: of a local model; None for a hub name.
        asks: whether the hub answers; if not, a file that is not there may still be published.

    Example:
        >>> Repository("intfloat/multilingual-e5-small").json("config.json")["model_type"]  # doctest: +SKIP
        'bert'
    """

    def __init__(self, name: str) -> None:
        self.name = name
        path = Path(name).expanduser()
        self.folder = path if path.is_dir() else None
        self.asks = True

    def file(self, path: str) -> Path | None:
        """Return a file's path on this machine, fetched from the hub where that has to be; None: it has no such file.

        Args:
            path: inside the model, with ``/`` between folders.

        Raises:
            InputError: the path leads out of the model, or there is neither such a folder nor such a hub name.
        """
        if path.startswith(("/", "~")) or "\\" in path or ".." in path.split("/"):
            raise InputError(f"encoder {self.name}: names a file outside itself, {path!r}, which is not opened")
        if self.folder is not None:
            found = self.folder / path
            return found if found.is_file() else None
        if self.name.startswith((".", "/", "~")) or self.name.count("/") > 1:
            raise model_not_loaded("model", self.name, "no such folder")  # asking a hub for a path would only cost time
        return self._fetched(path)

    def json(self, path: str) -> dict[str, Any]:
        """Return a JSON object of the model; empty where it has no such file.

        Raises:
            InputError: the file is no JSON object.
        """
        content = self.any_json(path)
        if content is not None and not isinstance(content, dict):
            raise InputError(f"{self.name}/{path}: not a JSON object but {type(content).__name__}")
        return content or {}

    def any_json(self, path: str) -> Any:
        """Return the content of a JSON file of the model; None where it has no such file.

        Raises:
            InputError: the file cannot be read, or is no JSON.
        """
        file = self.file(path)
        if file is None:
            return None
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.name}/{path}: not readable JSON: {' '.join(str(error).split())}") from None

    def _fetched(self, path: str) -> Path | None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HFValidationError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
        )

        try:
            return Path(hf_hub_download(self.name, path, local_files_only=not self.asks))
        except (LocalEntryNotFoundError, OfflineModeIsEnabled):
            # The network was asked in vain, with retries; the other files are looked for in the cache alone.
            self.asks = False
            return None
        except EntryNotFoundError:
            return None
        except (HFValidationError, OSError) as error:
            raise model_not_loaded("model", self.name, error) from None
