"""`hybridtune export --push`: a model folder as a repository of the Hugging Face hub, private unless it is opened.

What goes there is what a user of the model needs, by the names of the files (`_USED`); what says more of the study, as
the hashes of its training texts and the figures of single queries, stays.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridtune.callbacks import StudyCallback
from hybridtune.errors import HybridtuneError, InputError, one_line
from hybridtune.model.hub import why_unreachable
from hybridtune.model.language_vectors import FILE as LANGUAGE_VECTORS
from hybridtune.storage.links import check_links

_WEIGHTS = r"(adapter_)?model(-\d{5}-of-\d{5})?\.safetensors"
_TOKENIZERS = (
    r"tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(txt|json)|merges\.txt|"
    r"(tokenizer|spiece|sentencepiece\.bpe)\.model"
)
_SETTINGS = (
    r"(modules|config|generation_config|adapter_config|config_sentence_transformers|sentence_[\w-]+_config)\.json"
)
_OURS = rf"hybridtune\.json|merged\.json|{re.escape(LANGUAGE_VECTORS)}"
_MODULES = r"\d+_\w+/(config\.json|model\.safetensors)"
_GRAPHS = r"onnx/\w+\.onnx(\.data)?"
_USED = re.compile(
    rf"README\.md|LICENSE(\.\w+)?|\w+\.py|model\.safetensors\.index\.json|"
    rf"{_WEIGHTS}|{_TOKENIZERS}|{_SETTINGS}|{_OURS}|{_MODULES}|{_GRAPHS}"
)
# Files of an earlier push that this folder may lack: weights and graphs of another model are worse than none.
_STALE = ["*.safetensors", "onnx/*"]
_OFFLINE = "HF_HUB_OFFLINE says that no hub is to be asked; unset it to push"


@dataclass(frozen=True)
class Destination:
    """A repository of the hub that a token may be used for."""

    name: str  # NAME or OWNER/NAME, as the user gave it
    public: bool
    token: str


def check_destination(name: str, public: bool) -> Destination:
    """Return where a model is to be pushed to, before anything is computed for it.

    Raises:
        InputError: the name is none, there is no token, or the environment says that the hub is not to be asked.
        HybridtuneError: the hub cannot be reached.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined] # public, but not in its __all__

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(
            f"--push {name}: is no name on the hub; write it like OWNER/NAME ({one_line(error)})"
        ) from None
    token = get_token()
    if token is None:
        raise InputError(
            f"--push {name}: no token of the hub; set HF_TOKEN to one that may write, or log in by: hf auth login"
        )
    if constants.HF_HUB_OFFLINE:
        raise InputError(f"--push {name}: {_OFFLINE}")
    reason = why_unreachable()
    if reason is not None:
        raise HybridtuneError(f"--push {name}: {reason}; nothing was uploaded")
    return Destination(name, public, token)


def used_files(folder: Path) -> tuple[list[str], list[str]]:
    """Return the files of a model folder that its users need, and those that stay, both sorted; no hidden ones."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    seen = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    used = [name for name in seen if _USED.fullmatch(name)]
    return used, [name for name in seen if name not in used]


def push(folder: Path, to: Destination, callback: StudyCallback) -> dict[str, Any]:
    """Upload a model folder; what is uploaded, and what stays, is told before.

    Returns:
        ``{"name", "url", "private", "files", "left_out"}``.

    Raises:
        InputError: the hub refuses the name or the token, the repository is there and open where it was not to be, or
            a link leads out of the folder.
        HybridtuneError: the upload did not end.
    """
    from huggingface_hub import HfApi

    check_links(folder)
    files, left_out = used_files(folder)
    size = sum((folder / name).stat().st_size for name in files)
    shown = "public" if to.public else "private"
    callback.on_message(f"pushing {len(files)} files, {size / 1e6:,.1f} MB, to {to.name} ({shown}): {', '.join(files)}")
    if left_out:
        callback.on_message(f"not pushed: {', '.join(left_out)}")
    api = HfApi(token=to.token)
    with _explained(to.name):
        name = api.create_repo(to.name, private=not to.public, exist_ok=True).repo_id
        private = bool(api.model_info(name).private)
        if private == to.public:  # it was there before
            raise InputError(
                f"--push {name}: is there, and {'private' if private else 'public'}; change that in its settings, or "
                f"{'leave --public out' if to.public else 'give --public'}"
            )
        api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=files,
            delete_patterns=list(_STALE),
            commit_message="Upload by hybridtune",
        )
    url = f"{api.endpoint}/{name}"
    callback.on_message(f"pushed: {url} ({shown})")
    return {"name": name, "url": url, "private": private, "files": files, "left_out": left_out}


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what the hub answers into an error of one line; a refusal is the user's, anything else is not."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HybridtuneError:
        raise
    except HfHubHTTPError as error:
        status, said = error.response.status_code, one_line(error.server_message or error)[:200]
        if status in (401, 403):
            raise InputError(
                f"--push {name}: the hub refuses it ({status}: {said}); the token must be allowed to write there"
            ) from None
        if status < 500:
            raise InputError(f"--push {name}: the hub refuses it ({status}: {said})") from None
        raise HybridtuneError(f"--push {name}: the hub has failed ({status}: {said}); push again") from error
    except Exception as error:  # the hub's client has many, those of libraries for HTTP among them
        raise HybridtuneError(f"--push {name}: the upload did not end ({one_line(error)[:200]}); push again") from error
