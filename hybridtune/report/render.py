"""The templates of the package, filled: HTML and SVG with every value escaped, Markdown as it is."""

import re
from functools import cache
from importlib import resources

import jinja2
from markupsafe import Markup


def render(package: str, template: str, **values: object) -> str:
    """Return a template of a package with its values put in.

    Args:
        package: whose folder ``templates`` holds it.
        template: its name; all but ``.md.j2`` are escaped for HTML and XML.
        values: by the names that the template uses; it may use no other.

    Example:
        >>> "Scores" in render("hybridtune.report", "bias.svg.j2")
        Traceback (most recent call last):
        jinja2.exceptions.UndefinedError: 'width' is undefined
    """
    return environment(package).get_template(template).render(values)


@cache
def environment(package: str) -> jinja2.Environment:
    """Return Jinja with the templates of a package and the filters that they use.

    Example:
        >>> environment("hybridtune.report").from_string("{{ text }}").render(text="<b>")
        '&lt;b&gt;'
    """
    found = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=lambda name: not str(name).endswith(".md.j2"),
        finalize=_printable,
        keep_trailing_newline=True,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    found.globals.update(slug=_slug, static=_static)
    found.filters.update(cell=_cell, repr=repr)
    return found


def _printable(value: object) -> object:
    """A value without control characters, which HTML forbids; jinja calls it on all that a template shows."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return re.sub(r"[\x00-\x08\x0b-\x1f]", "\ufffd", value)
    return value


def _slug(title: str) -> str:
    """A title as an id: other characters than letters and digits of ASCII become hyphens."""
    return re.sub(r"[^a-z0-9]", "-", title.lower())


def _static(name: str) -> Markup:
    return Markup((resources.files("hybridtune.report") / "static" / name).read_text(encoding="utf-8"))


def _cell(value: object) -> str:
    """A cell of a Markdown table."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value).replace("|", "\\|")
