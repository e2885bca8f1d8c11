"""The templates of the package, filled: HTML and SVG with every value escaped, Markdown and YAML as they are."""

import re
from functools import cache
from importlib import resources

import jinja2
from markupsafe import Markup

from hybridtune.storage.trial_rows import TrialRow


def render(package: str, template: str, **values: object) -> str:
    """Return a template of a package's folder ``templates``, with a value for every name that it uses.

    All but ``.md.j2`` and ``.yaml.j2`` are escaped for HTML and XML.
    """
    return environment(package).get_template(template).render(values)


@cache
def environment(package: str) -> jinja2.Environment:
    """Return Jinja with the templates of a package and the filters that they use."""
    found = jinja2.Environment(  # nosec B701 # all but Markdown and YAML is escaped
        loader=jinja2.PackageLoader(package),
        autoescape=lambda name: not str(name).endswith((".md.j2", ".yaml.j2")),
        finalize=_printable,
        keep_trailing_newline=True,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    static = resources.files("hybridtune.report") / "static"
    found.globals.update(slug=slug, static=lambda name: Markup((static / name).read_text("utf-8")))  # nosec B704
    found.filters.update(cell=_cell, repr=repr)
    return found


def _printable(value: object) -> object:
    """Return a value without control characters, which HTML forbids; Jinja calls it on all that a template shows."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return re.sub(r"[\x00-\x08\x0b-\x1f]", "\ufffd", value)
    return value


def slug(title: str) -> str:
    """Return a title as an id: other characters than letters and digits of ASCII become hyphens."""
    return re.sub(r"[^a-z0-9]", "-", title.lower())


def page_key(trial: TrialRow) -> str:
    """Return the id of a trial's page in the report, as ``trial-0007``."""
    return f"trial-{slug(trial.id)}"


def _cell(value: object) -> str:
    """Return a cell of a Markdown table."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value).replace("|", "\\|")
