"""The programs in the documentation, as modules that a test can import."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def write_module(page, name, folder):
    """Write the program of a page whose first line is ``# package/module.py`` into a folder; returns its lines."""
    programs = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.S)
    (program,) = [program for program in programs if program.startswith(f"# {name}\n")]
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(program, encoding="utf-8")
    return program.splitlines()
