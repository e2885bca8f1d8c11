"""Places: where files lie that several machines share. A place is a local path, or a URL that pyarrow opens.

    /mnt/nfs/study    file:///mnt/nfs/study    s3://bucket/study?region=eu-west-1    gs://bucket/study    abfs://...

Each machine has a cache of its own for what it fetches (`node_cache`, `at_hand`).
"""

import fcntl
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from hybridtune.errors import InputError
from hybridtune.place_files import CHUNK, exists, fetch, listing, names, read, remove, send, write
from hybridtune.place_names import beside, is_remote, join, last_name, local_path

__all__ = [
    "at_hand",
    "beside",
    "check_place",
    "exists",
    "fetch",
    "is_remote",
    "join",
    "last_name",
    "listing",
    "local_path",
    "locked",
    "names",
    "node_cache",
    "publish",
    "read",
    "reason",
    "remove",
    "send",
    "write",
]

SCHEMES = ("s3://", "gs://", "abfs://", "hdfs://", "file://")
_ADDRESS = re.compile(r"[0-9a-f]{64}")  # a name that is the digest of what it names: never stale
_WHOLE = "whole"  # the last file of what is published
_KEPT_SECONDS = 24 * 3600.0  # of a fetched copy that nobody asks for, beside the addressed ones
_REASONS = {
    "NO_SUCH_BUCKET": "there is no such bucket; make it first, or check the name",
    "ACCESS_DENIED": "no rights; it takes those to list, read, write and delete",
    "INVALID_ACCESS_KEY_ID": "the access key is not known there; check the provider's keys in the environment",
    "SIGNATURE_DOES_NOT_MATCH": "the secret key is wrong; check the provider's keys in the environment",
    "NETWORK_CONNECTION": "it cannot be reached; check the network, the region and the endpoint",
    "UNAVAILABLE": "it cannot be reached, or there are no credentials; check the network and the environment",
}


def check_place(place: str, option: str) -> None:
    """See that a place can be listed, written to and cleaned up; nothing is left there.

    Args:
        place: of a folder, which need not be there.
        option: of the command line or the study file, for messages.

    Raises:
        InputError: an unknown scheme, no such bucket, no rights, or no answer (within seconds).
    """
    if is_remote(place) and urlsplit(place).password is not None:
        raise InputError(
            f"{option}: the URL holds a key, which would stand in logs and study files; give keys by the provider's "
            "environment (AWS_ACCESS_KEY_ID, ...) or rights of the machine"
        )
    try:
        if not is_remote(place):
            folder = local_path(place)
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return
        names(place)
        probe = join(place, f".writable-{os.urandom(4).hex()}")
        write(probe, b"")
        remove(probe)
    except (OSError, ValueError) as error:
        raise InputError(f"{option} {place}: {reason(error)}") from None


def reason(error: Exception) -> str:
    """What an error of a place means, in words for a person."""
    told = " ".join(str(error).split())
    if "Unrecognized filesystem type" in told:
        return f"unknown kind of storage; known: {', '.join(SCHEMES)} and paths"
    known = next((reason for code, reason in _REASONS.items() if code in told), None)
    return f"{known} ({told[:160]})" if known else f"cannot be used: {told[:300]}"


def node_cache() -> Path:
    """Where this machine keeps what can be made or fetched again: ``$HYBRIDTUNE_CACHE``, or in the user's cache."""
    given = os.environ.get("HYBRIDTUNE_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "hybridtune"


def at_hand(place: str) -> Path:
    """A local path of what a place holds: a remote one is fetched once per machine and version, and found again.

    What has an address for its name (see `publish`, and token stores) is looked for in `node_cache`, where a builder
    on this machine would have put it, and stays there. Of anything else the names, sizes and times at the place tell
    whether the copy still holds; a copy that nobody asks for is removed after a day.

    Raises:
        FileNotFoundError: nothing is there.
    """
    if not is_remote(place):
        return local_path(place)
    cache, name = node_cache(), last_name(place)
    if _ADDRESS.fullmatch(name):
        target = cache / name
    else:
        target = cache / "fetched" / hashlib.sha256(repr((place, sorted(listing(place).items()))).encode()).hexdigest()
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f"{target.name}.lock")):
        if not target.exists():
            _expire(cache / "fetched")
            partial = target.with_name(f"{target.name}.fetching")
            remove(str(partial))  # of a process that was killed
            fetch(place, partial, leave_out=lambda file: file == _WHOLE)
            partial.rename(target)
        elif target.parent.name == "fetched":
            os.utime(target)
    return target


def _expire(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if not path.name.endswith(".lock") and time.time() - path.stat().st_mtime > _KEPT_SECONDS:
            remove(str(path))


def publish(folder: Path, under: str) -> str:
    """Send a folder to a place where it is found again: sent once, whoever asks.

    Args:
        folder: whose content no longer changes; a name that is an address (64 hexadecimal digits) is kept.
        under: the place of all that is published.

    Returns:
        Its place, named by its address or by the digest of its content: what `at_hand` takes is never stale.
    """
    place = join(under, folder.name if _ADDRESS.fullmatch(folder.name) else _digest(folder))
    if not exists(join(place, _WHOLE)):
        send(folder, place)
        write(join(place, _WHOLE), b"")
    return place


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = hashlib.sha256()
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                content.update(chunk)
        digest.update(f"{file.relative_to(folder).as_posix()} {content.hexdigest()}\n".encode())
    return digest.hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Held by one process of this machine at a time; the system frees it when its holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
