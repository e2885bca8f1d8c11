"""`hybridtune report`: a study folder as one page for a browser."""

from pathlib import Path
from typing import Any

from hybridtune.report.page import write_report
from hybridtune.storage.study_folder import check_format
from hybridtune.terminal.screen import Screen


def report(folder: Path, screen: Screen) -> dict[str, Any]:
    """Write ``report.html`` into a study folder; the study may still run.

    Args:
        folder: the study folder.
        screen: told where the page is.

    Returns:
        ``{"study", "report"}``: the folder and the file.

    Raises:
        InputError: the folder holds no study, or a file of it cannot be read.
    """
    check_format(folder)
    file = write_report(folder.absolute())
    screen.line(f"report {file}")
    return {"study": str(folder.absolute()), "report": str(file)}
