"""Folders and files that nodes share: published under their digest, and one copy a machine of what is remote."""

import hashlib
import os
import re
import time
from pathlib import Path

from hybridtune.errors import HybridtuneError
from hybridtune.storage.files import (
    base_name,
    cache_folder,
    download,
    is_remote,
    join,
    list_files,
    local_path,
    locked,
    remove,
    upload,
    write_file,
)
from hybridtune.storage.manifests import MANIFEST, damage, manifest_of, manifest_text, read_manifest

DIGEST = re.compile(r"[0-9a-f]{64}")  # a name that is the digest of what it names: never stale
_UNUSED_SECONDS = 24 * 3600.0  # after which a downloaded copy that nobody uses is removed


def ensure_local(location: str) -> Path:
    """Return a local path of a file or folder; a remote one is downloaded once per machine and version.

    A folder that is named by a digest (see `publish`, and token stores) is looked for in `cache_folder`, where a build
    on this machine would have put it, and stays there. For anything else the names, sizes and times at the location
    decide whether the copy is current; a copy that nobody uses is removed after a day. A copy with a manifest is
    compared with it, once a process, and downloaded again where it is damaged.

    Raises:
        FileNotFoundError: the location does not exist.
        HybridtuneError: what was downloaded is damaged at the location, too.
    """
    if not is_remote(location):
        return local_path(location)
    cache, name = cache_folder(), base_name(location)
    if DIGEST.fullmatch(name):
        target = cache / name
    else:
        version = repr((location, sorted(list_files(location).items())))
        target = cache / "fetched" / hashlib.sha256(version.encode()).hexdigest()
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f"{target.name}.lock")):
        if target.exists() and _damage_of_copy(target) is not None:
            remove(str(target))
        if not target.exists():
            for path in (cache / "fetched").glob("*"):
                if path.suffix != ".lock" and time.time() - path.stat().st_mtime > _UNUSED_SECONDS:
                    remove(str(path))
            partial = target.with_name(f"{target.name}.fetching")
            remove(str(partial))  # left by a process that was killed
            download(location, partial)
            if (what := _damage_of_copy(partial)) is not None:
                remove(str(partial))
                raise HybridtuneError(f"{location} is damaged: {what}; remove it, and run the same command again")
            partial.rename(target)
        elif target.parent.name == "fetched":
            os.utime(target)
    return target


def _damage_of_copy(copy: Path) -> str | None:
    """Return what is wrong with a copy of a folder that was sealed; None of anything else."""
    return damage(copy) if (copy / MANIFEST).is_file() else None


def publish(folder: Path, under: str) -> str:
    """Upload a folder whose content no longer changes, unless it is complete there, and return its location ``under``.

    Its name is its digest (64 hexadecimal digits), so that `ensure_local` never returns a stale copy. What is damaged
    there is uploaded again.
    """
    if DIGEST.fullmatch(folder.name):  # sealed by who made it, and checked
        name, found = folder.name, read_manifest(str(folder)) or manifest_of(folder)
    else:  # maybe somebody's model: nothing is written into it
        found = manifest_of(folder)
        lines = "".join(f"{file} {entry.sha256}\n" for file, entry in found.items())
        name = hashlib.sha256(lines.encode()).hexdigest()
    location = join(under, name)
    if damage(location) is not None:
        remove(join(location, MANIFEST))
        upload(folder, location, exclude=[MANIFEST])
        write_file(join(location, MANIFEST), manifest_text(found).encode())
    return location
