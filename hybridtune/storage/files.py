"""The names of places: local paths, and URLs with a query that stays at their end. Pure text, nothing is opened."""

import fcntl
import functools
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from hybridtune.errors import InputError


def is_remote(place: str) -> bool:
    """Whether a place is none of this machine's file system (which a shared folder is part of)."""
    return "://" in place and not place.startswith("file://")


def local_path(place: str) -> Path:
    """The path of a place that is not remote."""
    return Path(unquote(urlsplit(place).path)) if place.startswith("file://") else Path(place)


def join(place: str, *names: str) -> str:
    """A place inside another; the query of a URL (``?region=...``) stays at its end."""
    if not is_remote(place):
        return str(local_path(place).joinpath(*names))
    base, mark, query = place.partition("?")
    return "/".join([base.rstrip("/"), *map(quote, names)]) + mark + query


def last_name(place: str) -> str:
    """What a place is called in its folder."""
    if not is_remote(place):
        return local_path(place).name
    return unquote(place.partition("?")[0].rstrip("/").rpartition("/")[2])


def beside(place: str, name: str) -> str:
    """The place of that name in the same folder."""
    if not is_remote(place):
        return str(local_path(place).with_name(name))
    base, mark, query = place.partition("?")
    return f"{base.rstrip('/').rpartition('/')[0]}/{quote(name)}{mark}{query}"


# A small file is one request, and what does not answer is told in seconds: Google's client asks for 15 minutes.
_SETTINGS = {"s3": "allow_delayed_open=true", "gs": "retry_limit_seconds=20", "gcs": "retry_limit_seconds=20"}
_AT_ONCE, CHUNK = 8, 2**20  # files under way; bytes of a read


def names(place: str) -> list[str]:
    """What a folder holds, sorted; nothing where there is none."""
    if not is_remote(place):
        folder = local_path(place)
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    return sorted(info.base_name for info in _entries(place, recursive=False))


def exists(place: str) -> bool:
    """Whether a file or folder is there."""
    if not is_remote(place):
        return local_path(place).exists()
    return bool(_info(place).type.value)  # NotFound is 0


def read(place: str) -> bytes | None:
    """The content of a small file; None where there is none."""
    try:
        if not is_remote(place):
            return local_path(place).read_bytes()
        filesystem, path = opened(place)
        with filesystem.open_input_stream(path, compression=None) as stream:
            return bytes(stream.read())
    except FileNotFoundError:
        return None


def write(place: str, content: bytes) -> None:
    """Write a small file; its folder is made. Whoever sees it sees all of it."""
    if is_remote(place):
        filesystem, path = opened(place)
        with filesystem.open_output_stream(path, compression=None) as sink:
            sink.write(content)
        return
    file = local_path(place)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(file)


def send(local: Path, place: str, last: Sequence[str] = ()) -> None:
    """Copy a file or a folder to a place; files that are there and not in ``local`` stay.

    Args:
        local: the file or folder.
        place: of the copy.
        last: files of the folder, by their paths in it, which follow when all others are there, in this order.

    Raises:
        OSError: it could not be written; none of ``last`` has come then but in their order.
    """
    if local.is_file():
        _put(local, place)
        return
    found = sorted(path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file())
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        first = [name for name in found if name not in last]
        list(pool.map(lambda name: _put(local / name, join(place, *name.split("/"))), first))
    for name in last:
        _put(local / name, join(place, *name.split("/")))


def _put(file: Path, place: str) -> None:
    if not is_remote(place):
        target = local_path(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(file, temporary)
        temporary.replace(target)
        return
    filesystem, path = opened(place)
    with file.open("rb") as source, filesystem.open_output_stream(path, compression=None) as sink:
        shutil.copyfileobj(source, sink, CHUNK)


def fetch(place: str, local: Path, leave_out: Callable[[str], bool] = lambda name: False) -> None:
    """Copy a file or a folder from a place; files of a folder that an earlier fetch brought and are the same stay.

    Args:
        place: of the file or folder.
        local: path of the copy; its folder is made.
        leave_out: told the path of a file inside the folder, with slashes, says whether to leave it there.

    Raises:
        FileNotFoundError: nothing is there.
    """
    found = {name: info for name, info in listing(place).items() if not leave_out(name)}
    if not found and not exists(place):
        raise FileNotFoundError(f"{place}: there is nothing")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda name: _get(*found[name], local / name if name else local, place, name), found))


def listing(place: str) -> dict[str, tuple[int, int]]:
    """The files of a folder by their paths in it, with slashes: (bytes, time of change in ns); a file itself is ''."""
    if is_remote(place):
        info = _info(place)
        if info.is_file:
            return {"": (info.size, info.mtime_ns or 0)}
        root = len(opened(place)[1].rstrip("/")) + 1
        entries = (info for info in _entries(place, recursive=True) if info.is_file)
        return {info.path[root:]: (info.size, info.mtime_ns or 0) for info in entries}
    top = local_path(place)
    files = [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
    stats = {path.relative_to(top).as_posix() if path != top else "": path.stat() for path in files}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def _get(size: int, changed: int, file: Path, folder: str, name: str) -> None:
    if file.is_file() and (file.stat().st_size, file.stat().st_mtime_ns) == (size, changed):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    place = join(folder, *name.split("/")) if name else folder
    if is_remote(place):
        filesystem, path = opened(place)
        with filesystem.open_input_stream(path, compression=None) as source, temporary.open("wb") as sink:
            shutil.copyfileobj(source, sink, CHUNK)
    else:
        shutil.copyfile(local_path(place), temporary)
    os.utime(temporary, ns=(changed, changed))
    temporary.replace(file)


def remove(place: str) -> None:
    """Remove a file or a folder, if it is there."""
    if not is_remote(place):
        here = local_path(place)
        shutil.rmtree(here, ignore_errors=True) if here.is_dir() else here.unlink(missing_ok=True)
        return
    filesystem, path = opened(place)
    info = _info(place)
    if info.type.value:
        filesystem.delete_file(path) if info.is_file else filesystem.delete_dir(path)


@functools.lru_cache(maxsize=256)
def opened(place: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    from pyarrow import fs

    setting = _SETTINGS.get(place.partition("://")[0], "")
    if setting and setting.partition("=")[0] not in place:
        place += ("&" if "?" in place else "?") + setting
    filesystem, path = fs.FileSystem.from_uri(place)
    return filesystem, path


def _info(place: str) -> Any:
    filesystem, path = opened(place)
    return filesystem.get_file_info(path)


def _entries(place: str, recursive: bool) -> list[Any]:
    from pyarrow import fs

    filesystem, path = opened(place)
    found: list[Any] = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=recursive))
    return found


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
