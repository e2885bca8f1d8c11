"""The format of a study folder, which says which version of hybridtune can go on with it or read it."""

import json
from pathlib import Path
from typing import Any

from hybridtune.errors import InputError
from hybridtune.storage.files import exists, join, read_file

FORMAT = 2  # raised whenever an earlier folder could be misread; 1 wrote no number
ENVIRONMENT = "environment.json"  # the first file of a study folder, which holds the number


def check_format(location: str | Path, shown: str | None = None) -> None:
    """Refuse the folder of a study that another version of hybridtune has laid out.

    Args:
        location: path or URL of a folder; one without study.yaml holds no study, and passes.
        shown: what the message calls it; None: by its location.

    Raises:
        InputError: its format is not `FORMAT`.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> _ = (folder / "study.yaml").write_text("name: old")
        >>> check_format(folder, "--out old")
        Traceback (most recent call last):
        ...
        hybridtune.errors.InputError: --out old: written by an earlier hybridtune (format 1, this one reads 2): finish \
it with that version, or start anew with another --out
    """
    if not exists(join(str(location), "study.yaml")):
        return
    found = _format(read_file(join(str(location), ENVIRONMENT)))
    if found == FORMAT:
        return
    newer = isinstance(found, int) and found > FORMAT
    whose, advice = (
        ("a later", "use that version, or start anew with another --out")
        if newer
        else ("an earlier", "finish it with that version, or start anew with another --out")
    )
    raise InputError(
        f"{shown or location}: written by {whose} hybridtune (format {found}, this one reads {FORMAT}): {advice}"
    )


def _format(text: bytes | None) -> Any:
    try:
        environment = json.loads(text or b"{}")
    except ValueError:
        return "unknown"
    return environment.get("format", 1) if isinstance(environment, dict) else "unknown"
