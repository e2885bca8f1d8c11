"""The scripts of a page, and the figures that they draw, in the page itself: it opens from disk, and runs no other."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs


def page_scripts(figures: Mapping[str, str]) -> dict[str, Any]:
    """Return what the template of a page takes: ``scripts``, their hashes and the figures.

    Args:
        figures: JSON as Plotly takes it, by the id of the element. Without any Plotly, 5 MB, is left out.
    """
    own = (resources.files("hybridtune.report") / "static" / "report.js").read_text(encoding="utf-8")
    texts = [get_plotlyjs(), own] if figures else [own]
    lines = [re.sub(r"\r\n?", "\n", text) for text in texts]  # with the line ends that a browser hashes
    scripts = [Markup(script) for script in lines]  # nosec B704 # of the two packages, with nothing of a study
    return {
        "figures": script_json("{" + ",\n".join(f"{json.dumps(key)}: {text}" for key, text in figures.items()) + "}"),
        "scripts": scripts,
        "script_sources": Markup(" ".join(map(_source, scripts))),  # nosec B704 # hashes
    }


def _source(script: str) -> str:
    """Return what a Content-Security-Policy names an inline script by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def script_json(text: str) -> Markup:
    """Return JSON that is safe in a script element: nothing in it ends the element or a line of script."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # nosec B704 # nothing is left that HTML would read
