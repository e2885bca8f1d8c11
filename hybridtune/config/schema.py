"""The study file as a JSON Schema (`hybridtune schema`), for editors that complete keys and underline mistakes."""

from typing import Any

from hybridtune.config.names import short_name
from hybridtune.config.space import DATA_SET_WEIGHTS, RANGES, field_names
from hybridtune.config.study import Study

NAME = "study.schema.json"  # in the folder of study files, whose first lines name it


def schema() -> dict[str, Any]:
    """Return a JSON Schema (draft 2020-12) of the study file, made from the models that read it.

    Every field has its bounds and a description, and so has every range of ``search.space``. What JSON Schema cannot
    say is left to ``hybridtune run --dry-run``: bounds that depend on each other, names in ``when`` and ``points``.
    """
    made: dict[str, Any] = Study.model_json_schema()
    definitions = made["$defs"]
    for name in sorted({*field_names().values(), DATA_SET_WEIGHTS}):
        section, _, field = name.rpartition(".")
        searched = (definitions[section.capitalize()] if section else made)["properties"][field]
        if name == DATA_SET_WEIGHTS:
            searched = {**searched["additionalProperties"], "description": searched["description"]}
        # A range has its values within the field's own bounds.
        value = {key: part for key, part in searched.items() if key not in ("default", "title", "description")}
        ranges = {"^(" + "|".join(RANGES) + ")$": {"items": value}}
        definitions[name] = {
            "description": searched["description"],
            "$ref": "#/$defs/Parameter",
            "patternProperties": ranges,
        }
    space = definitions["Search"]["properties"]["space"]
    space["properties"] = {name: {"$ref": f"#/$defs/{full}"} for name, full in field_names().items()}
    weights = "|".join((DATA_SET_WEIGHTS, short_name(DATA_SET_WEIGHTS))).replace(".", r"\.")
    space["patternProperties"] = {rf"^({weights})\.[^.]+$": {"$ref": f"#/$defs/{DATA_SET_WEIGHTS}"}}
    space["additionalProperties"] = False
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "A hybridtune study",
        "description": "What hybridtune run takes.",
    }
