"""Write the page of the study file's fields, from its JSON Schema."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).parents[2] / "search_spaces" / "study.schema.json"
Schema = Mapping[str, Any]
_HEAD = """\
# Fields of the study file

Made from the JSON Schema that `hybridtune schema` prints, by which editors complete and check a study file. What the fields
do together, by task, is in [The study file](../study.md) and [Training](../train.md).
"""
_LIMITS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}


def page() -> str:
    """Return the page."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    parts, plain = [_HEAD], {}
    for name, section in schema["properties"].items():
        if "$ref" in section:
            parts += _section(name, section["$ref"].rpartition("/")[2], schema["$defs"])
        else:
            plain[name] = section
    parts.insert(1, "## The study\n" + _table("", plain, schema["$defs"]))
    return "\n".join(parts)


def _section(path: str, name: str, defs: Schema) -> Iterator[str]:
    """Yield a section and, behind it, those of its fields that have fields of their own."""
    fields = defs[name]["properties"]
    yield f"## `{path}`\n\n{_sentence(defs[name]['description'])}\n{_table(f'{path}.', fields, defs)}"
    for field, spec in fields.items():
        for inner in _references(spec):
            yield from _section(f"{path}.{field}", inner, defs)


def _table(prefix: str, fields: Schema, defs: Schema) -> str:
    rows = ["", "| field | default | values | |", "|---|---|---|---|"]
    for name, spec in fields.items():
        shown = _values(spec, defs)
        default = f"`{json.dumps(spec['default'])}`" if "default" in spec and not _references(spec) else ""
        cells = f"`{prefix}{name}`", default, shown, _sentence(spec.get("description", ""))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _references(spec: Schema) -> list[str]:
    """Return the names of the objects that a field holds, itself or in a list."""
    if "$ref" in spec:
        return [spec["$ref"].rpartition("/")[2]]
    parts = [*spec.get("anyOf", ()), *spec.get("oneOf", ())]
    if spec.get("items"):
        parts.append(spec["items"])
    return [name for part in parts for name in _references(part)]


def _values(spec: Schema, defs: Schema) -> str:
    """Return the values that a field takes, in words."""
    if "$ref" in spec:
        return "see below" if defs[spec["$ref"].rpartition("/")[2]].get("properties") else "a mapping"
    if "enum" in spec:
        return ", ".join(f"`{value}`" for value in spec["enum"])
    either = [*spec.get("anyOf", ()), *spec.get("oneOf", ())]
    if either:
        return " or ".join(dict.fromkeys(_values(part, defs) for part in either))
    if spec["type"] == "array":
        inner = spec.get("items") or (spec.get("prefixItems") or [{"type": "string"}])[0]
        return f"a list: {_values(inner, defs)}"
    limits = ", ".join(text.format(f"{spec[key]:,}") for key, text in _LIMITS.items() if key in spec)
    named = {"string": "text", "object": "a mapping", "boolean": "true, false", "integer": "whole number"}
    return " ".join(filter(None, (named.get(spec["type"], spec["type"]), limits)))


def _sentence(text: str) -> str:
    """Return a description with a capital, but for one that begins with code or a symbol."""
    return text[:1].upper() + text[1:]
