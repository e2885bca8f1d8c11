"""Write a notebook as a page of the documentation, with the outputs that are kept in it."""

import json
import re
from typing import Any

_TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # colours
_FENCE = "````"


def page(text: str) -> str:
    """Return the Markdown of a notebook: its prose, its code, and what each cell printed or drew."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts.append(_block(source, "python"))
            parts += [_output(output) for output in cell["outputs"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        return f'<img alt="What the cell above draws" src="data:image/png;base64,{picture}">'
    written = "".join(output.get("text") or data.get("text/plain", ""))
    return _block(_TERMINAL.sub("", written).rstrip(), "text")


def _block(code: str, kind: str) -> str:
    return f"{_FENCE}{kind}\n{code}\n{_FENCE}" if code else ""
