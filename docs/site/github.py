"""Turn Markdown as GitHub reads it, which is how all pages here are written, into what Python-Markdown reads alike.

Python-Markdown, which mkdocs uses, asks for an empty line before a list and a table, and for four spaces where GitHub
takes the place at which an item's text begins.
"""

import re
from collections.abc import Callable

FENCE = re.compile(r"\s*(`{3,}|~{3,})")
_ITEM = re.compile(r"( *)([-*+]|\d+[.)])( +)")
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def for_python_markdown(text: str) -> str:
    """Return a page whose lists and tables Python-Markdown finds where GitHub does."""
    lines: list[str] = []
    starts: list[int] = []  # where the text of the open items begins, the innermost last
    fence = ""
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if not fence and line.strip():
            indent = _open_items(line, indent, starts, lines)
        lines.append(" " * indent + line.strip() if line.strip() and not fence else _moved(line, starts))
        mark = FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip() == fence:
            fence = ""
    return "\n".join(lines) + "\n"


def _open_items(line: str, indent: int, starts: list[int], lines: list[str]) -> int:
    """Close and open list items before a line, set an empty line where one is needed, and return its new indent."""
    item = _ITEM.match(line)
    after_text = bool(lines and lines[-1].strip())
    if item and after_text and not starts and item[2] not in ("-", "*", "+", "1.", "1)"):
        item = None  # a paragraph that goes on with a number
    if item or not after_text or FENCE.match(line) or line.startswith("#"):
        while starts and indent < starts[-1]:
            starts.pop()
    inside = starts[-1] if starts else 0
    new = 4 * len(starts) + max(0, indent - inside)
    table = line.lstrip().startswith("|") and after_text and not lines[-1].lstrip().startswith("|")
    if table or (item and after_text and not starts and not _ITEM.match(_first_line(lines))):
        lines.append("")
    if item:
        new = 4 * len(starts)
        starts.append(len(item[0]))
    return new


def _first_line(lines: list[str]) -> str:
    """Return the first line of the paragraph or list that ends with the last one."""
    first = len(lines) - 1
    while first > 0 and lines[first - 1].strip():
        first -= 1
    return lines[first]


def _moved(line: str, starts: list[int]) -> str:
    """Return a line of code in an item at the item's new place."""
    inside = starts[-1] if starts else 0
    return " " * 4 * len(starts) + line[inside:] if line.strip() else ""


def with_links(text: str, change: Callable[[str], str]) -> str:
    """Return a page with its links and pictures changed, those in blocks of code left alone."""
    parts = re.split(r"(^ *```.*?^ *```$)", text, flags=re.M | re.S)
    parts[::2] = [_LINK.sub(lambda found: found[1] + change(found[2]) + found[3], part) for part in parts[::2]]
    return "".join(parts)


def slug(title: str, separator: str = "-") -> str:
    """Return the anchor of a heading as GitHub makes it.

    Example:
        >>> slug("Leaks and a split: `hybridtune data check`, `hybridtune data split`")
        'leaks-and-a-split-hybridtune-data-check-hybridtune-data-split'
    """
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", separator)
