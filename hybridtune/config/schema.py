"""`hybridtune schema`: the study file as a JSON Schema, for editors that complete keys and underline mistakes."""

from typing import Any

from hybridtune.config.fields import Encoder, Mix, Part, Train
from hybridtune.config.search import RANGES, field_names
from hybridtune.config.study import Study

DRAFT = "https://json-schema.org/draft/2020-12/schema"
NAME = "study.schema.json"  # in the folder of study files, whose first lines name it


def schema() -> dict[str, Any]:
    """Return a JSON Schema (draft 2020-12) of the study file, made from the models that read it.

    Every field has its bounds and a description, and so has every range of ``search.space``. What JSON Schema cannot
    say is left to ``hybridtune run --dry-run``: bounds that depend on each other, names in ``when`` and ``points``.

    Example:
        >>> schema()["$defs"]["Train"]["properties"]["max_steps"]["minimum"]
        1
    """
    made: dict[str, Any] = Study.model_json_schema()
    definitions = made["$defs"]
    models: dict[str, type[Part]] = {"encoder": Encoder, "mix": Mix, "train": Train}
    properties = {name: definitions[model.__name__]["properties"] for name, model in models.items()}
    for name in sorted(set(field_names().values())):
        section, _, field = name.rpartition(".")
        definitions[name] = _searched((properties[section] if section else made["properties"])[field])
    space = definitions["Search"]["properties"]["space"]
    space["properties"] = {name: {"$ref": f"#/$defs/{full}"} for name, full in field_names().items()}
    space["additionalProperties"] = False
    return {"$schema": DRAFT, **made, "title": "A hybridtune study", "description": "What hybridtune run takes."}


def _searched(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a range whose values are within the field's own bounds."""
    value = {key: part for key, part in field.items() if key not in ("default", "title", "description")}
    ranges = {"^(" + "|".join(RANGES) + ")$": {"items": value}}
    return {"description": field["description"], "$ref": "#/$defs/Parameter", "patternProperties": ranges}
