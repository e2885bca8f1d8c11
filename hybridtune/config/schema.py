"""`hybridtune schema`: the study file as a JSON Schema, for editors that complete keys and underline mistakes."""

from typing import Any

from hybridtune.config.search import RANGES
from hybridtune.config.study import Encoder, Mix, Part, Study, Train, searchable_paths

DRAFT = "https://json-schema.org/draft/2020-12/schema"
NAME = "study.schema.json"  # in the folder of study files, whose first lines name it


def schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of the study file, made from the models that read it.

    Every field has its bounds and a description, and so has every range of ``search.space``. What JSON Schema cannot
    say is left to ``hybridtune run --dry-run``: bounds that depend on each other, names in ``when`` and ``points``.
    """
    made: dict[str, Any] = Study.model_json_schema()
    definitions = made["$defs"]
    fields = _fields(made)
    definitions |= {".".join(path).strip("."): _searched(field) for path, field in fields.items()}
    space = definitions["Search"]["properties"]["space"]
    space["properties"] = {
        name: {"$ref": f"#/$defs/{'.'.join(path).strip('.')}"} for name, path in searchable_paths().items()
    }
    space["additionalProperties"] = False
    return {"$schema": DRAFT, **made, "title": "A hybridtune study", "description": "What hybridtune run takes."}


def _fields(made: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The schemas of the fields that can be searched, by section and field."""
    models: dict[str, type[Part]] = {"encoder": Encoder, "mix": Mix, "train": Train}
    properties = {name: made["$defs"][model.__name__]["properties"] for name, model in models.items()}
    properties[""] = made["properties"]
    return {(section, field): properties[section][field] for section, field in sorted(set(searchable_paths().values()))}


def _searched(field: dict[str, Any]) -> dict[str, Any]:
    """A range of a field's values, or the value that fixes it; both within the field's own bounds."""
    value = {key: part for key, part in field.items() if key not in ("default", "title", "description")}
    ranges = {"^(" + "|".join(RANGES) + ")$": {"items": value}}
    return {
        "description": field["description"],
        "anyOf": [{"$ref": "#/$defs/Parameter", "patternProperties": ranges}, value],
    }
