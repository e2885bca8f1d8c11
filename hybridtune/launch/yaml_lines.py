"""YAML documents that remember their lines, so that every mistake in a cluster file is told with the line it is on.

They are read as Ray and kubectl read them (YAML 1.1 of PyYAML's safe loader), not as study files are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hybridtune.errors import InputError, nearest

Place = tuple[str | int, ...]  # keys and indices from the root of a document
_KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "a boolean",
    "null": "null",
}
_OWN_LINE = "\n"  # the last step of a text's own first line, where its key may be on another


@dataclass(frozen=True)
class Document:
    """One document of a YAML file.

    Attributes:
        source: the file, as it is named in messages.
        tree: the document as Python values.
        lines: place -> its line, from 1; a key's line where it has one.
        repeated: keys that stand twice in one mapping, as (place, first line).
    """

    source: str
    tree: Any
    lines: Mapping[Place, int]
    repeated: Sequence[tuple[Place, int, int]] = field(default=())

    def line(self, place: Sequence[str | int]) -> int:
        """The line of a place, or of the closest thing around it that is there."""
        steps = tuple(place)
        while steps not in self.lines and steps:
            steps = steps[:-1]
        return self.lines.get(steps, 1)

    def mistake(self, place: Sequence[str | int], message: str, line: int | None = None) -> str:
        """``FILE:LINE: a.b[0]: message``."""
        return f"{self.source}:{line or self.line(place)}: {named(place)}{': ' if place else ''}{message}"

    def texts(self) -> Iterator[tuple[Place, int, str]]:
        """Every key and every text among the values, a line at a time: its place, its line, itself."""
        yield from self._texts((), self.tree)

    def _texts(self, place: Place, node: Any) -> Iterator[tuple[Place, int, str]]:
        if isinstance(node, dict):
            for key, value in node.items():
                yield (*place, key), self.line((*place, key)), str(key)
                yield from self._texts((*place, key), value)
        elif isinstance(node, list):
            for index, value in enumerate(node):
                yield from self._texts((*place, index), value)
        elif isinstance(node, str):
            first = self.lines.get((*place, _OWN_LINE), self.line(place))
            for offset, text in enumerate(node.split("\n")):
                yield place, first + offset, text


def named(place: Sequence[str | int]) -> str:
    """``a.b[0].c``."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def mapping_of(node: Any) -> dict[str, Any]:
    """The node, or an empty mapping where it is anything else: its schema has told of that."""
    return node if isinstance(node, dict) else {}


def read_documents(path: Path) -> list[Document]:
    """The documents of a YAML file, without empty ones.

    Raises:
        InputError: it cannot be read, is not YAML (with the line), or has no document that is a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the cluster file: {getattr(error, 'strerror', None) or error}") from None
    documents = []
    try:
        loader = yaml.SafeLoader(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # check_node said so
            lines: dict[Place, int] = {}
            repeated: list[tuple[Place, int, int]] = []
            _remember(node, (), lines, repeated)
            tree = loader.construct_document(node)
            if tree is not None:
                documents.append(Document(str(path), tree, lines, repeated))
    except yaml.YAMLError as error:
        raise InputError(_syntax(path, error)) from None
    for document in documents:
        if not isinstance(document.tree, dict):
            raise InputError(document.mistake((), "a cluster file is a mapping (cluster_name, provider, ...)"))
    if not documents:
        raise InputError(f"{path}: the file is empty; a cluster file is a mapping (cluster_name, provider, ...)")
    return documents


def _syntax(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    hint = "; indent with spaces, YAML takes no tabs" if "\\t" in problem else ""
    return f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {problem}{hint}"


def _remember(node: yaml.Node, place: Place, lines: dict[Place, int], repeated: list[tuple[Place, int, int]]) -> None:
    """Note the line of everything below a node; an anchor's content counts where it is written."""
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        lines[(*place, _OWN_LINE)] = node.start_mark.line + (2 if node.style in ("|", ">") else 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            _remember(child, (*place, index), lines, repeated)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[Any, int] = {}
        for key, child in node.value:
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                for merged in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                    _remember(merged, place, lines, repeated)
                continue
            inside = (*place, _key(key))
            if key.value in seen:
                repeated.append((inside, seen[key.value], line))
            seen.setdefault(key.value, line)
            lines[inside] = line
            _remember(child, inside, lines, repeated)


def _key(node: yaml.Node) -> Any:
    """A key as the loader makes it, where that is a simple value."""
    return yaml.safe_load(node.value) if node.tag == "tag:yaml.org,2002:int" else node.value


def repeated_keys(document: Document) -> Iterator[str]:
    """Keys that stand twice: YAML takes the last without a word."""
    for place, first, line in document.repeated:
        yield document.mistake(place, f"stands twice (first in line {first}); remove one", line)


def schema_mistakes(document: Document, tree: Any, schema: Mapping[str, Any], at: Place = ()) -> Iterator[str]:
    """What a JSON schema finds wrong with a part of a document, one line each.

    Args:
        document: the document, for the lines.
        tree: the part, or what stands for it.
        schema: of the part.
        at: the part's place.
    """
    from jsonschema.validators import validator_for

    for error in sorted(validator_for(schema)(schema).iter_errors(tree), key=lambda found: list(map(str, found.path))):
        place = (*at, *error.absolute_path)
        if error.validator == "additionalProperties" and isinstance(error.instance, dict):
            known = set(error.schema.get("properties", {}))
            for key in [key for key in error.instance if key not in known]:
                yield document.mistake((*place, key), "unknown key" + nearest(str(key), known))
        elif error.validator == "required":
            for key in [key for key in error.validator_value if key not in error.instance]:
                if f"'{key}'" in error.message:  # one error for each that is missing
                    yield document.mistake(place, f"{key} is missing")
        else:
            yield document.mistake(place, _reason(error))


def _reason(error: Any) -> str:
    value = f" (got {error.instance!r})" if not isinstance(error.instance, dict | list) else ""
    if error.validator == "enum":
        values: Iterable[Any] = error.validator_value
        return f"must be one of {', '.join(map(str, values))}{value}"
    if error.validator == "type":
        asked = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
        got = value or f" (got {_KINDS['object' if isinstance(error.instance, dict) else 'array']})"
        return f"must be {' or '.join(_KINDS[kind] for kind in asked)}{got}"
    text: str = error.message
    return text if len(text) < 160 else f"{text[:150]}..."
