"""Files at a location, which is a local path or a URL (``s3://``, ``gs://``, ...): list, read, write, copy, publish.

A URL keeps its query (``?region=...``) at its end. Every file appears whole: locally it is written beside its target,
flushed to the disk and renamed, so that a power cut leaves the old file or the new one, and never through a link that
somebody left there; links among a study's folders are refused by `hybridtune.storage.links`. Trials are stored as
`hybridtune.storage.trial_rows`; a whole study is copied by `hybridtune.study.sync`.
"""

import contextlib
import errno
import fcntl
import functools
import gzip
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote, urlsplit

from hybridtune.errors import InputError
from hybridtune.storage.reachable import check_reachable

SCHEMES = ("s3://", "gs://", "abfs://", "hdfs://", "file://")
CHUNK = 2**20  # bytes of a read
_PARALLEL_COPIES = 8
_BUCKETS = ("s3", "gs", "gcs", "abfs", "abfss")  # schemes of object stores
# A small file is one request, and a failure is reported in seconds: Google's client retries for 15 minutes by default.
_SETTINGS = {"s3": "allow_delayed_open=true", "gs": "retry_limit_seconds=20", "gcs": "retry_limit_seconds=20"}
_UNKNOWN = "Unrecognized filesystem type"  # what pyarrow says of a scheme
NO_BUCKET = "there is no such bucket; make it first, or check the name"
_REASONS = {
    "NO_SUCH_BUCKET": NO_BUCKET,
    "ACCESS_DENIED": "no rights; it takes those to list, read, write and delete",
    "INVALID_ACCESS_KEY_ID": "the access key is not known there; check the provider's keys in the environment",
    "SIGNATURE_DOES_NOT_MATCH": "the secret key is wrong; check the provider's keys in the environment",
    "NETWORK_CONNECTION": "it cannot be reached; check the network, the region and the endpoint",
    "UNAVAILABLE": "it cannot be reached, or there are no credentials; check the network and the environment",
}


def is_remote(location: str) -> bool:
    """Return whether a location is outside this machine's file system (of which a mounted share is part)."""
    return "://" in location and not location.startswith("file://")


def local_path(location: str) -> Path:
    """Return the path of a location that is not remote."""
    return Path(unquote(urlsplit(location).path)) if location.startswith("file://") else Path(location)


def join(location: str, *names: str) -> str:
    """Return the location of a file inside a folder.

    Example:
        >>> join("s3://bucket/study?region=eu-west-1", "trials", "a b")
        's3://bucket/study/trials/a%20b?region=eu-west-1'
    """
    if not is_remote(location):
        return str(local_path(location).joinpath(*names))
    base, mark, query = location.partition("?")
    return "/".join([base.rstrip("/"), *map(quote, names)]) + mark + query


def base_name(location: str) -> str:
    """Return the last part of a location."""
    if not is_remote(location):
        return local_path(location).name
    return unquote(location.partition("?")[0].rstrip("/").rpartition("/")[2])


def with_name(location: str, name: str) -> str:
    """Return the location of another name in the same folder."""
    if not is_remote(location):
        return str(local_path(location).with_name(name))
    return join(parent(location), name)


def parent(location: str) -> str:
    """Return the location of the folder that a location is in."""
    if not is_remote(location):
        return str(local_path(location).parent)
    base, mark, query = location.partition("?")
    return base.rstrip("/").rpartition("/")[0] + mark + query


@contextlib.contextmanager
def replacing(file: Path, private: bool = False) -> Iterator[Path]:
    """Yield an empty file to write to, which replaces a file when the block ends; an error leaves the file as it was.

    The content is on the disk before the name is, and the name when this returns: a power cut leaves the file as it was
    or as it became, never an empty one. A ``private`` file is its user's alone to read.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{secrets.token_hex(16)}.tmp")  # nobody can have left a link of this name
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600 if private else 0o666))
    try:
        yield temporary
        flush(temporary)
        temporary.replace(file)
        flush(file.parent)
    finally:
        temporary.unlink(missing_ok=True)


def replace_folder(new: Path, folder: Path) -> None:
    """Give a complete folder, whose files are flushed, the name of another one, which goes if it is there."""
    old = folder.with_name(f".{secrets.token_hex(16)}.old")
    if os.path.lexists(folder):
        folder.rename(old)
    new.rename(folder)
    flush(folder.parent)
    remove(str(old))


def flush(path: Path) -> None:
    """Wait until the disk has a local file's content, or the names in a folder."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP, errno.EBADF)):
            raise  # some network file systems flush no folders
    finally:
        os.close(opened)


def file_digest(location: str) -> str:
    """Return the SHA-256 of a file in hexadecimal, read block by block."""
    if not is_remote(location):
        with local_path(location).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    filesystem, path = open_filesystem(location)
    with filesystem.open_input_stream(path, compression=None) as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def new_file(file: Path) -> Iterator[BinaryIO]:
    """Yield a stream to a local file that is there when the block ends without an error; ``.gz`` is packed.

    Equal content gives equal bytes: the header of a packed file has neither name nor time.
    """
    with replacing(file) as temporary, temporary.open("wb") as stream:
        if file.suffix != ".gz":
            yield stream
            return
        with gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed:
            yield packed  # type: ignore[misc]


def write_atomically(file: Path, content: bytes | str, private: bool = False) -> None:
    """Write a local file such that no reader sees a part of it; a private one is its user's alone to read."""
    with replacing(file, private) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def open_filesystem(location: str) -> tuple[Any, str]:
    """Return the pyarrow file system of a location, and the path in it."""
    from pyarrow import fs

    if not is_remote(location):
        return fs.LocalFileSystem(), str(local_path(location).absolute())
    return _open_url(location)


@functools.lru_cache(maxsize=256)
def _open_url(location: str) -> tuple[Any, str]:
    """Open a URL by pyarrow; one of a scheme that it does not know by fsspec."""
    from pyarrow import fs

    scheme, _, rest = location.partition("://")
    if scheme in _BUCKETS and not rest.strip("/"):
        raise InputError(f"{location}: names no bucket; write it like {scheme}://BUCKET/FOLDER")
    check_reachable(location)
    setting = _SETTINGS.get(scheme, "")
    if setting and setting.partition("=")[0] not in location:
        location += ("&" if "?" in location else "?") + setting
    try:
        return fs.FileSystem.from_uri(location)  # type: ignore[no-any-return]
    except ValueError as error:
        if _UNKNOWN not in str(error):
            raise
    from fsspec.core import url_to_fs

    filesystem, path = url_to_fs(location)
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path


def _info(location: str) -> Any:
    filesystem, path = open_filesystem(location)
    return filesystem.get_file_info(path)


def _entries(location: str, recursive: bool) -> Any:
    from pyarrow import fs

    filesystem, path = open_filesystem(location)
    return filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=recursive))


def exists(location: str) -> bool:
    """Return whether there is a file or folder."""
    if not is_remote(location):  # without pyarrow: `hybridtune status` answers at once
        return local_path(location).exists()
    return bool(_info(location).type.value)  # NotFound is 0


def list_names(location: str) -> list[str]:
    """Return the names in a folder, sorted; none where there is no folder."""
    return sorted(info.base_name for info in _entries(location, recursive=False))


def list_files(location: str) -> dict[str, tuple[int, int]]:
    """Return the files of a folder by their paths in it, with slashes: (bytes, modification time in ns).

    A location that is a file itself gives one entry, named ''.
    """
    info = _info(location)
    if info.is_file:
        return {"": (info.size, info.mtime_ns or 0)}
    if not is_remote(location):  # pyarrow would follow links to folders, in circles too
        top = local_path(location)
        stats = {path.relative_to(top).as_posix(): path.stat() for path in top.rglob("*") if path.is_file()}
        return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}
    root = len(open_filesystem(location)[1].rstrip("/")) + 1
    entries = (info for info in _entries(location, recursive=True) if info.is_file)
    return {info.path[root:]: (info.size, info.mtime_ns or 0) for info in entries}


def read_file(location: str) -> bytes | None:
    """Return the content of a small file; None where there is none.

    Raises:
        InputError: a folder is in its place, or it may not be read.
    """
    try:
        if not is_remote(location):
            return local_path(location).read_bytes()
        filesystem, path = open_filesystem(location)
        with filesystem.open_input_stream(path, compression=None) as stream:
            return bytes(stream.read())
    except FileNotFoundError:
        return None
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"{location}: cannot be read: {os.strerror(error.errno or 0).lower()}") from None


def write_file(location: str, content: bytes) -> None:
    """Write a small file; its folder is made, and no reader sees a part of the file."""
    if not is_remote(location):
        write_atomically(local_path(location), content)
        return
    filesystem, path = open_filesystem(location)
    with filesystem.open_output_stream(path, compression=None) as sink:
        sink.write(content)


def upload(local: Path, location: str, last: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
    """Copy a file or a folder to a location; other files that are already there stay.

    The ``last`` files, by their paths in the folder, are copied after all others in this order: none of them is at the
    location unless all before it are complete. Those to ``exclude`` are not copied.
    """

    def copy(name: str) -> None:
        file, target = (local / name, join(location, *name.split("/"))) if name else (local, location)
        if not is_remote(target):
            with replacing(local_path(target)) as temporary:
                shutil.copyfile(file, temporary)
            return
        filesystem, path = open_filesystem(target)
        with file.open("rb") as source, filesystem.open_output_stream(path, compression=None) as sink:
            shutil.copyfileobj(source, sink, CHUNK)

    found = sorted(path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file())
    others = [name for name in found if name not in last and name not in exclude]
    with ThreadPoolExecutor(_PARALLEL_COPIES) as pool:
        list(pool.map(copy, [""] if local.is_file() else others))
    for name in last:
        copy(name)


def download(location: str, local: Path, exclude: Callable[[str], bool] = lambda name: False) -> None:
    """Copy a file or a folder from a location; files that an earlier call copied and that did not change stay.

    Args:
        location: of the file or folder.
        local: path of the copy; its folder is made.
        exclude: returns whether to leave out a file, by its path in the folder, with slashes.

    Raises:
        FileNotFoundError: the location does not exist.
    """
    found = {name: stat for name, stat in list_files(location).items() if not exclude(name)}
    if outside := next((name for name in found if ".." in name.split("/")), None):
        raise ValueError(f"{outside!r} leads out of the folder")  # the key of an object may say anything
    if not found and not exists(location):
        raise FileNotFoundError(f"{location}: does not exist")

    def copy(name: str) -> None:
        if ".." in name.split("/"):
            raise ValueError(f"it holds a file outside itself, {name!r}")
        file, source = (local / name, join(location, *name.split("/"))) if name else (local, location)
        if file.is_file() and (file.stat().st_size, file.stat().st_mtime_ns) == found[name]:
            return
        filesystem, path = open_filesystem(source)
        with replacing(file) as temporary:
            with filesystem.open_input_stream(path, compression=None) as stream, temporary.open("wb") as sink:
                shutil.copyfileobj(stream, sink, CHUNK)
            os.utime(temporary, ns=(found[name][1],) * 2)

    with ThreadPoolExecutor(_PARALLEL_COPIES) as pool:
        list(pool.map(copy, found))


def remove(location: str) -> None:
    """Remove a file or a folder, if it is there; of a symbolic link, itself alone."""
    if not is_remote(location):
        path = local_path(location)
        whole = path.is_dir() and not path.is_symlink()
        shutil.rmtree(path, ignore_errors=True) if whole else path.unlink(missing_ok=True)
        return
    filesystem, key = open_filesystem(location)
    info = _info(location)
    if info.type.value:
        filesystem.delete_file(key) if info.is_file else filesystem.delete_dir(key)


def has_bucket(location: str) -> bool:
    """Return whether the bucket or container of a URL is there, as far as it can be asked for."""
    filesystem, path = open_filesystem(location)
    with contextlib.suppress(OSError):  # without rights for the bucket there may be some for what is in it
        return bool(filesystem.get_file_info(path.partition("/")[0]).type.value)
    return True


def refuse_key(location: str, option: str) -> None:
    """Raise InputError, which names the ``option``, where a URL holds a key, or is none."""
    try:
        password = urlsplit(location).password if is_remote(location) else None
    except ValueError as error:
        raise InputError(f"{option} {location}: is no URL: {error}") from None
    if password is not None:
        raise InputError(
            f"{option}: holds a key, which would appear in logs and study files; give keys by the provider's "
            "environment (AWS_ACCESS_KEY_ID, ...) or rights of the machine"
        )


def check_location(location: str, option: str) -> None:
    """Check that a folder, which need not exist, can be listed, written to and cleaned up; no file is left there.

    Raises:
        InputError: an unknown scheme, no such bucket, no rights, or no answer (within seconds); names the ``option``.
    """
    refuse_key(location, option)
    try:
        list_names(location)
        probe = join(location, f".writable-{os.urandom(4).hex()}")
        write_file(probe, b"")
        remove(probe)
    except (OSError, ValueError, ImportError, NotImplementedError) as error:  # the last two: a scheme of fsspec's
        raise InputError(f"{option} {location}: {explain_error(error)}") from None


def explain_error(error: Exception) -> str:
    """Return what an error of a file system means for a user."""
    message = " ".join(str(error).split())
    if "Protocol not known" in message:
        return f"unknown kind of storage; known: {', '.join(SCHEMES)} and paths"
    known = next((reason for code, reason in _REASONS.items() if code in message), None)
    return f"{known} ({message[:160]})" if known else f"cannot be used: {message[:300]}"


def cache_folder() -> Path:
    """Return the folder of what this machine can make or download again: ``$HYBRIDTUNE_CACHE``, or in ``~/.cache``."""
    given = os.environ.get("HYBRIDTUNE_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "hybridtune"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, one process of this machine at a time; the system frees it when the holder dies."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)
