"""YAML documents that know their lines, so that every mistake in a cluster file is reported with its line.

They are read as Ray and kubectl read them (YAML 1.1: ``yes`` is true, ``0644`` octal), not as study files are.
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MantissaNoDotYAML1_1Warning
from ruamel.yaml.scalarstring import FoldedScalarString, LiteralScalarString

from hybridtune.config.yaml_text import YAMLError, read_yaml_text, yaml_documents, yaml_mistake
from hybridtune.errors import InputError, nearest

MOST_NODES = 10_000  # of a cluster
YamlPath = tuple[str | int, ...]  # keys and indices from the root of a document
_KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "a boolean",
    "null": "null",
}


@dataclass(frozen=True)
class Document:
    """One document of a YAML file: as plain values, and by ruamel.yaml's types, whose lines are ``marked``."""

    source: str
    tree: Any
    marked: Any

    def line(self, path: YamlPath) -> int:
        """Return the line, from 1, of a key or an item, or of the closest one around it that exists."""
        node = self.marked
        line = 1 + (node.lc.line if isinstance(node, CommentedMap) else 0)
        for step in path:
            node = _defining(node, step)
            if node is None:
                break
            line = 1 + (node.lc.key(step) if isinstance(node, CommentedMap) else node.lc.item(step))[0]
            node = node[step]
        return line

    def mistake(self, path: YamlPath, message: str, line: int | None = None) -> str:
        """Return ``FILE:LINE: a.b[0]: message``."""
        named = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
        return f"{self.source}:{line or self.line(path)}: {named}{': ' if path else ''}{message}"

    def texts(self, path: YamlPath = (), node: Any = None) -> Iterator[tuple[YamlPath, int, str]]:
        """Yield every key, and every line of every text among the values below a node: its path, its line, the text."""
        node = self.marked if node is None else node
        for step in node if isinstance(node, CommentedMap) else range(len(node)):
            inside, value = (*path, step), node[step]
            if isinstance(node, CommentedMap):
                yield inside, self.line(inside), str(step)
            if isinstance(value, dict | list):
                yield from self.texts(inside, value)
            elif isinstance(value, str):
                holder = _defining(node, step)
                first = 1 + (holder.lc.value(step) if isinstance(holder, CommentedMap) else holder.lc.item(step))[0]
                first += isinstance(value, LiteralScalarString | FoldedScalarString)  # it begins below its | or >
                yield from ((inside, first + offset, text) for offset, text in enumerate(value.split("\n")))


def _defining(node: Any, step: str | int) -> Any:
    """Return the mapping or list in which a key or an item is written: the node, or what it merges by ``<<``."""
    if isinstance(node, list):
        return node if isinstance(step, int) and step < len(node) else None
    if not isinstance(node, CommentedMap) or step not in node:
        return None
    if step in node.lc.data:
        return node
    return next((found for one in node.merge if (found := _defining(one, step)) is not None), None)


def mapping_of(node: Any) -> dict[str, Any]:
    """Return a node, or an empty mapping in place of anything else, which its schema reports."""
    return node if isinstance(node, dict) else {}


def read_documents(path: Path) -> list[Document]:
    """Return the documents of a YAML file, without empty ones.

    Raises:
        InputError: it cannot be read, is not YAML (with the line), or has no document that is a mapping.
    """
    text = read_yaml_text(path, "the cluster file")
    try:
        plain, marked = _load(text, "safe"), _load(text, "rt")
    except YAMLError as error:
        raise InputError(yaml_mistake(path, error)) from None
    documents = [Document(str(path), *pair) for pair in zip(plain, marked, strict=True) if pair[0] is not None]
    for document in documents:
        if not isinstance(document.tree, dict):
            raise InputError(document.mistake((), "a cluster file is a mapping (cluster_name, provider, ...)"))
    if not documents:
        raise InputError(f"{path}: the file is empty; a cluster file is a mapping (cluster_name, provider, ...)")
    return documents


def _load(text: str, kind: Literal["safe", "rt"]) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MantissaNoDotYAML1_1Warning)
        return yaml_documents(text, kind, version=(1, 1))


def schema_mistakes(document: Document, tree: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a JSON schema finds wrong with a document, of which ``tree`` is the content to check."""
    from jsonschema.validators import validator_for

    for error in sorted(validator_for(schema)(schema).iter_errors(tree), key=lambda found: list(map(str, found.path))):
        path = tuple(error.absolute_path)
        if error.validator == "additionalProperties" and isinstance(error.instance, dict):
            known = set(error.schema.get("properties", {}))
            for key in (key for key in error.instance if key not in known):
                yield document.mistake((*path, key), "unknown key" + nearest(str(key), known))
        elif error.validator == "required":
            missing = (key for key in error.validator_value if key not in error.instance)
            for key in (key for key in missing if f"'{key}'" in error.message):  # each has an error of its own
                yield document.mistake(path, f"{key} is missing")
        else:
            yield document.mistake(path, _reason(error))


def _reason(error: Any) -> str:
    value = f" (got {error.instance!r})" if not isinstance(error.instance, dict | list) else ""
    if error.validator == "enum":
        return f"must be one of {', '.join(map(str, error.validator_value))}{value}"
    if error.validator == "type":
        kinds = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
        got = value or f" (got {_KINDS['object' if isinstance(error.instance, dict) else 'array']})"
        return f"must be {' or '.join(_KINDS[kind] for kind in kinds)}{got}"
    text: str = error.message
    return text if len(text) < 160 else f"{text[:150]}..."
