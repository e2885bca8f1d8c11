"""The finding of files: by path, folder or glob, on this machine or at a URI that pyarrow or fsspec opens."""

import fnmatch
import glob
import os.path
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyarrow import fs

from hybridtune.data.readers.files import (
    COMPRESSED,
    EMBEDDED,
    KINDS,
    Source,
    embedded_part,
    is_junk,
    kind_of,
)
from hybridtune.errors import InputError, one_line
from hybridtune.storage.files import open_filesystem

_DEPTH = 3  # miracl/miracl-v1.0-sw/topics/<file>
_ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json", "metadata.json")
# Of a data set of the hub, data/train-00000-of-00002.parquet, or of a saved one, train/data-00000-of-00001.arrow.
_SHARD = re.compile(r"(?:(?P<folder>[^/]+)/data|(?P<split>[^/]+?))-\d{5}-of-\d{5}\.[^/]+$")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
KNOWN_SUFFIXES = f"{', '.join(f'.{kind}' for kind in KINDS)} ({', '.join(COMPRESSED)} too)"


def files_below(path: str) -> dict[str, Source]:
    """List the files of a folder and of the folders in it, ``{path inside the folder: file}``, sorted.

    The path is a local folder, or a URI; anything else has no files. What is hidden, and what archives add, is passed
    over.
    """
    if "*" in path or path.startswith(EMBEDDED):
        return {}
    if "://" in path:
        filesystem, root = open_location(path)
        name = root = root.rstrip("/")
    else:  # whole, for processes in other folders; messages name it as the user did
        home = os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser has a traceback for ~nobody
        filesystem, root, name = fs.LocalFileSystem(), str(Path(home).absolute()), path.rstrip("/")
    with reporting(path):
        if filesystem.get_file_info(root).type != fs.FileType.Directory:
            return {}
        inside = ((file, file.removeprefix(root).lstrip("/")) for file in _walk(filesystem, root, _DEPTH))
        found = {tail: Source(f"{name}/{tail}", file, filesystem) for file, tail in inside}
    return dict(sorted(found.items()))


@contextmanager
def reporting(path: str) -> Iterator[None]:
    """Turn what a file system raises into an error of one line; its kinds are many, those of libraries for HTTP too."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: cannot be opened: {one_line(error.__cause__ or error)}") from None


def open_location(path: str) -> tuple[Any, str]:
    """Return the file system of a URI, and the path in it."""
    with reporting(path):
        return open_filesystem(path)


def _walk(filesystem: Any, folder: str, depth: int) -> Iterator[str]:
    for entry in _list_folder(filesystem, folder, lambda name: not is_junk(name)):
        if entry.type == fs.FileType.File:
            yield entry.path
        elif entry.type == fs.FileType.Directory and depth:
            yield from _walk(filesystem, entry.path, depth - 1)


def _list_folder(filesystem: fs.FileSystem, folder: str, wanted: Callable[[str], bool]) -> list[fs.FileInfo]:
    """Return the entries of a folder whose path is wanted; none if there is no such folder.

    Arrow leaves symbolic links to nowhere out of its listing without a word: a wanted one is refused.
    """
    entries = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    if isinstance(filesystem, fs.LocalFileSystem) and Path(folder).is_dir():
        for entry in sorted(Path(folder).iterdir()):
            if wanted(str(entry)) and entry.is_symlink() and not entry.exists():
                raise InputError(f"{entry}: {_broken_link(entry)}")
    return [entry for entry in entries if wanted(entry.path)]


def _broken_link(link: Path) -> str:
    return f"is a symbolic link to {link.readlink()}, which does not exist"


def nothing_at(path: str) -> str:
    """Explain why no file was found at a path."""
    if path.startswith("http"):  # its file system takes a server that does not answer for one without the file
        return "does not exist, or its server cannot be reached"
    if "://" not in path and not glob.has_magic(path):
        location = Path(path)
        if not location.exists():
            if location.is_symlink():
                return _broken_link(location)
            hub = _HUB_NAME.fullmatch(path)
            return "does not exist" + f"; a data set of the hub is written hf://datasets/{path}" * bool(hub)
        if location.is_dir() and all(is_junk(entry.name) for entry in location.iterdir()):
            return "the folder is empty"
    return f"no {KNOWN_SUFFIXES} file there"


def expand(path: str, split: str | None = None) -> list[Source]:
    """Find the data files of a path, folder or glob, sorted; refuse a file of an unknown kind.

    Of a folder these are the files in it, or, if none, those in its folders; JSON only where there is nothing else.
    """
    if path.startswith(EMBEDDED):
        embedded_part(path)
        return [Source(path, path, None)]
    if "://" in path:
        with reporting(path):
            filesystem, names = _remote_files(path)
    else:
        filesystem, names = fs.LocalFileSystem(), _local_files(Path(path), path)
    chosen = _of_split(names, split) if len(names) > 1 else names
    if names and not chosen:
        raise InputError(f"{path}: no file of the split {split!r}; there are: {', '.join(map(_last, names[:5]))}")
    for name in chosen:
        if kind_of(name) is None:
            raise InputError(f"{name}: unknown kind of file; known: {KNOWN_SUFFIXES}")
        if "://" not in path and not Path(name).is_file():
            raise InputError(f"{name}: {_broken_link(Path(name)) if not Path(name).exists() else 'is not a file'}")
    return [Source(name, name, filesystem) for name in chosen]


def _local_files(folder: Path, path: str) -> list[str]:
    if folder.is_dir():
        direct = [str(entry) for entry in folder.iterdir() if not is_junk(entry.name)]
        return _data_files(direct) or _data_files([f"{folder}/{tail}" for tail in files_below(path)])
    if glob.has_magic(path):
        return sorted(name for name in glob.glob(path) if not is_junk(name))  # noqa: PTH207 - takes absolute patterns
    return [path] * folder.is_file()


def _remote_files(path: str) -> tuple[Any, list[str]]:
    folder_uri, pattern = path.rsplit("/", 1) if "*" in path else (path, "")
    filesystem, inner = open_location(folder_uri)
    if pattern:
        wanted = f"{inner.rstrip('/')}/{pattern}"
        entries = _list_folder(filesystem, inner, lambda name: fnmatch.fnmatch(name, wanted) and not is_junk(name))
        return filesystem, sorted(entry.path for entry in entries)
    info = filesystem.get_file_info(inner)
    if info.type == fs.FileType.Directory:
        entries = _list_folder(filesystem, inner, lambda name: not is_junk(name))
        direct = [entry.path for entry in entries if entry.type == fs.FileType.File]
        return filesystem, _data_files(direct) or _data_files([file.path for file in files_below(path).values()])
    return filesystem, [inner] if info.type == fs.FileType.File else []


def _data_files(names: list[str]) -> list[str]:
    # What `datasets` caches of a folder that it saved is no part of it.
    cached = [name for name in names if name.endswith(".arrow") and _last(name).startswith("cache-")]
    rows = sorted(name for name in {*names} - {*cached} if kind_of(name) not in (None, "json"))
    return rows or sorted(name for name in names if kind_of(name) == "json" and _last(name) not in _ABOUT)


def _of_split(names: list[str], split: str | None) -> list[str]:
    """Return the files that are named for a split; without one, of the hub's shards those of the training split.

    A folder that `datasets` saved has a folder a split.
    """
    if split is None:
        shards = [_SHARD.search(name) for name in names]
        if not all(shards) or "train" not in {shard["folder"] or shard["split"] for shard in shards if shard}:
            return names
        split = "train"
    word = re.compile(rf"(^|[/._-]){re.escape(split)}([/._-]|$)")
    common = os.path.commonpath(names)  # the folder's own name says nothing
    return [name for name in names if word.search(name[len(common) :])]


def _last(name: str) -> str:
    return name.rpartition("/")[2]
