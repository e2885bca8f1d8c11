"""The translations that were left out, by the translator's reports beside the training files: for the model card."""

import glob
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from hybridtune.config.json_text import parse_json
from hybridtune.storage.files import is_remote, local_path

REPORT = ".report.json"  # after the name of the file that `hybridtune translate` wrote


def dropped_translations(paths: Iterable[str]) -> dict[str, int]:
    """Count the translations that were left out of training files, by reason; nothing where no report is there.

    The paths are files, folders or globs; what lies on another machine is not looked for.
    """
    found: Counter[str] = Counter()
    for report in {report for path in paths if not is_remote(path) for report in _reports(path)}:
        try:
            content = parse_json(report.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if (
            isinstance(content, dict) and {"translated", "dropped"} <= content.keys()
        ):  # other commands write reports too
            found.update(content["dropped"])
    return dict(found.most_common())


def _reports(path: str) -> Iterator[Path]:
    place = local_path(path).expanduser()
    if place.is_dir():
        yield from place.glob(f"*{REPORT}")
        return
    for file in glob.glob(str(place)):  # noqa: PTH207 - Path.glob takes no absolute pattern
        report = Path(f"{file}{REPORT}")
        if report.is_file():
            yield report
