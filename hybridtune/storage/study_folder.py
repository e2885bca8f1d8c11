"""Whether a folder is a study that this version of hybridtune can go on with or read: its format, and its links."""

from pathlib import Path

from hybridtune.errors import InputError
from hybridtune.storage.files import exists, join, read_file
from hybridtune.storage.links import check_links
from hybridtune.storage.records import parse_object, read_object

FORMAT = 6  # raised whenever an earlier folder could be misread; 1 wrote no number
ENVIRONMENT = "environment.json"  # the first file of a study folder, which holds the number
_REMEDY = "it says which hybridtune wrote the study: put it back from a copy, or start anew with another --out"


def study_id(folder: Path) -> str:
    """Return what tells a study apart from all others, wherever its folder lies; a copy of it has the same.

    Raises:
        InputError: the folder does not say it.
    """
    file = folder / ENVIRONMENT
    found = (read_object(file, _REMEDY) or {}).get("id")
    if not isinstance(found, str) or not found:
        raise InputError(f"{file}: is missing, or says no id of the study; {_REMEDY}")
    return found


def check_format(location: str | Path, shown: str | None = None) -> None:
    """Check that the format of a study folder is `FORMAT`, and that no link leads out of it.

    A folder without study.yaml passes. The location is a path or URL.

    Raises:
        InputError: another format, or such a link; the message names the folder by ``shown``, or else by its location.
    """
    if not exists(join(str(location), "study.yaml")):
        return
    check_links(location, shown)
    file = join(str(location), ENVIRONMENT)
    content = read_file(file)
    found = 1 if content is None else parse_object(content, file, _REMEDY).get("format", 1)
    if found == FORMAT:
        return
    version, advice = "an earlier", "finish it with that version"
    if isinstance(found, int) and found > FORMAT:
        version, advice = "a later", "use that version"
    raise InputError(
        f"{shown or location}: written by {version} hybridtune (format {found}, this one reads {FORMAT}): {advice}, "
        "or start anew with another --out"
    )
