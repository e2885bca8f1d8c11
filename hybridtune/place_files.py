"""Files and folders of a place: listed, read, written, sent, fetched and removed.

Local ones go through the file system, the others through ``pyarrow.fs``, with the keys and the region that the
provider's own environment gives. Object stores rename nothing, but a file there is seen when it is whole.
"""

import functools
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hybridtune.place_names import is_remote, join, local_path

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
