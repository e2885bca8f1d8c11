"""The record of a launch, ``launch.json``: signed by the user who launched, so that nobody else's is acted upon.

Whoever hands a folder on could else name in it what is to be ended, removed, or sent a token.
"""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any

from hybridtune.commands.folder import write_json, write_private
from hybridtune.errors import InputError

LAUNCH = "launch.json"  # in a folder that a study was launched from
_SIGNATURE = "signature"
_KEY = "launch.key"  # in the user's own folder on this machine


def make_key() -> bytes:
    """The key that this user's launches are signed with on this machine, made where there is none.

    Raises:
        InputError: it cannot be written.
    """
    key = _key()
    if key is not None:
        return key
    file, new = _key_file(), secrets.token_hex(32)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(new, file)
    except OSError as error:
        raise InputError(f"{file}: the key that launches are signed with cannot be written: {error.strerror}") from None
    return new.encode()


def write_record(told: dict[str, Any], folder: Path) -> None:
    """Write what was launched to its folder, signed for this user, this machine and this folder.

    Raises:
        InputError: see `make_key`.
    """
    write_json({**told, _SIGNATURE: _sign(make_key(), told, folder)}, folder / LAUNCH)


def read_record(folder: Path) -> dict[str, Any] | None:
    """What was launched, as `write_record` took it; None where the folder has no record.

    Raises:
        InputError: the record is damaged, or not one that this user wrote on this machine for this folder.
    """
    file = folder / LAUNCH
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        signed = isinstance(told, dict) and _is_signed(told.pop(_SIGNATURE, None), told, folder)
    except OSError:
        return None
    except (ValueError, RecursionError):  # also what is no text at all
        raise InputError(
            f"{file}: is damaged, and nothing was done; end the launch by its cluster's own tools"
        ) from None
    if not signed:
        raise InputError(
            f"{file}: is not the record of a launch of yours from this folder on this machine, and nothing was done; "
            "call the command where you launched, or end the launch by its cluster's own tools"
        )
    return dict(told)


def _is_signed(signature: object, told: dict[str, Any], folder: Path) -> bool:
    key = _key()
    if key is None or not isinstance(signature, str):
        return False
    return hmac.compare_digest(_sign(key, told, folder).encode(), signature.encode("utf-8", "replace"))


def _sign(key: bytes, told: dict[str, Any], folder: Path) -> str:
    text = json.dumps([str(folder.resolve()), told], sort_keys=True)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _key_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "hybridtune" / _KEY


def _key() -> bytes | None:
    """The user's key on this machine; None before the first launch."""
    with contextlib.suppress(OSError):
        return _key_file().read_bytes() or None
    return None
