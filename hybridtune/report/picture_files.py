"""The charts of a report as files: SVG for the web, PDF for papers, by Plotly's exporter Kaleido.

It has Chromium or Chrome draw them, as the page does: one way to draw, and the fonts are in the PDF.
"""

import importlib.util
import itertools
from pathlib import Path

from hybridtune.errors import InputError
from hybridtune.report.page import all_charts
from hybridtune.report.record import StudyRecord
from hybridtune.storage.files import explain_error

NEEDED = "the charts as SVG and PDF need Kaleido: pip install 'hybridtune[charts]'"
_WIDTH = 900  # pixels, as of the page's SVG button
_ON_PAPER = {"font_color": "#1a1a1a", "paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff"}


def can_draw() -> bool:
    """Return whether Kaleido is installed."""
    return importlib.util.find_spec("kaleido") is not None


def write_charts(record: StudyRecord, folder: Path) -> list[Path]:
    """Write every chart of a report that has a figure, as ``KEY.svg`` and ``KEY.pdf``.

    Args:
        record: of the study.
        folder: which is there; files of the same names are replaced.

    Returns:
        The files, those of one chart side by side.

    Raises:
        InputError: no browser starts, or the folder cannot be written.
    """
    files: list[Path] = []
    pictures = []
    for chart in itertools.chain(*all_charts(record).values()):
        if chart.figure is None:
            continue
        figure = chart.figure.update_layout(**_ON_PAPER).to_plotly_json()
        size = {"width": _WIDTH, "height": figure["layout"]["height"]}
        for kind in ("svg", "pdf"):
            files.append(folder / f"chart-{chart.key}.{kind}")
            pictures.append({"fig": figure, "path": files[-1], "opts": {"format": kind, **size}})
    try:
        import kaleido

        # Not by Plotly's `write_images`, which has the browser fetch MathJax from a network.
        kaleido.write_fig_from_object_sync(pictures, kopts={"mathjax": False})
    except OSError as error:
        raise InputError(f"--tables {folder}: {explain_error(error)}; give another folder") from None
    except Exception as error:  # Kaleido's own and those of its browser's driver, which it does not name
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(
            f"Kaleido could not draw the charts ({why}); it needs Chromium or Chrome: install one, or name it in "
            "BROWSER_PATH"
        ) from None
    return files
