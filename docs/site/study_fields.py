"""Write the page of the study file's fields, from its JSON Schema."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).parents[2] / "search_spaces" / "study.schema.json"
Schema = Mapping[str, Any]
_HEAD = """\
# Fields of the study file

Made from the JSON Schema that `hybridtune schema` prints, by which editors complete and check a study file.
[The study file](../study.md) and [Training](../train.md) say what the fields do together.
"""
_LIMITS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}


def page() -> str:
    """Return the page."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return "\n".join([_HEAD, *_section("", schema, schema["$defs"])])


def _section(path: str, spec: Schema, defs: Schema) -> Iterator[str]:
    """Yield the fields of a mapping and, behind them, those of its fields that are mappings themselves."""
    inner = {name: _references(field) for name, field in spec["properties"].items()}
    plain = {name: field for name, field in spec["properties"].items() if path or "$ref" not in field}
    title = f"## `{path}`\n\n{_sentence(spec['description'])}\n" if path else "## The study"
    yield f"{title}\n{_table(plain)}"
    for name, found in inner.items():
        for reference in found:
            yield from _section(f"{path}.{name}".lstrip("."), defs[reference], defs)


def _table(fields: Schema) -> str:
    rows = ["| field | default | values | |", "|---|---|---|---|"]
    for name, spec in fields.items():
        default = json.dumps(spec["default"], ensure_ascii=False) if "default" in spec else ""
        shown = f"`{default}`" if default and not (_references(spec) and default.startswith("{")) else ""
        cells = f"`{name}`", shown, _values(spec), _sentence(spec.get("description", ""))
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


def _values(spec: Schema) -> str:
    """Return the values that a field takes, in words."""
    if "$ref" in spec:
        return "a mapping (below)"
    if "enum" in spec:
        return ", ".join(f"`{value}`" for value in spec["enum"])
    either = [*spec.get("anyOf", ()), *spec.get("oneOf", ())]
    if either:
        return " or ".join(dict.fromkeys(_values(part) for part in either))
    if spec["type"] == "array":
        inner = spec.get("items") or (spec.get("prefixItems") or [{"type": "string"}])[0]
        return f"a list: {_values(inner)}"
    limits = ", ".join(text.format(f"{spec[key]:,}") for key, text in _LIMITS.items() if key in spec)
    named = {"string": "text", "object": "a mapping", "boolean": "true, false", "integer": "whole number"}
    return " ".join(filter(None, (named.get(spec["type"], spec["type"]), limits)))


def _sentence(text: str) -> str:
    """Return a description with a capital, but for one that begins with code or a symbol."""
    return text[:1].upper() + text[1:]
