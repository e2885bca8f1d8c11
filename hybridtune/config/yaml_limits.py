"""What a YAML file may hold, whoever wrote it: how much, how deep, of which types; and YAML 1.2's own numbers.

ruamel.yaml calls these classes while it reads, so that a file which unfolds to gigabytes is refused at the alias that
does it, and a value that cannot be made is a `YAMLError` with its place.
"""

import re
from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor, SafeConstructor
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.resolver import VersionedResolver

MOST_BYTES = 2**20  # of a file; Kubernetes takes no larger one either
MOST_VALUES = 20_000  # keys and values, each alias counted with all that it stands for
MOST_DEPTH = 50
LARGEST = 2**63  # what readers in other languages hold in an integer
_CORE = "tag:yaml.org,2002:"
_TYPES = {
    **dict.fromkeys(("str", "seq", "map", "null", "merge", "value"), ""),
    **{"int": "an integer", "float": "a number", "bool": "true or false"},
}
_NUMBERS = "-+.0123456789"
_IMPLICIT = (  # of the core schema: https://yaml.org/spec/1.2.2/#103-core-schema; a date is refused, see `_Checked`
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list(_NUMBERS)),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list(_NUMBERS)),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list(_NUMBERS)),
    ("timestamp", r"\d{4}-\d\d?-\d\d?([Tt \t].*)?", list("0123456789")),
    ("merge", "<<", ["<"]),
)
_BY_FIRST: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
for _name, _form, _first in _IMPLICIT:
    for _character in _first:
        _BY_FIRST.setdefault(_character, []).append((_CORE + _name, re.compile(rf"({_form})\Z")))


def reader(kind: str, version: tuple[int, int]) -> YAML:
    """Return a reader within these limits: ``safe`` gives plain values, ``rt`` values that know their lines.

    Of YAML 1.2 the core schema alone is read: ``0b1`` and ``1_000`` are texts, ``0o7`` is 7 and ``010`` is 10.
    """
    yaml = YAML(typ=kind, pure=True)
    yaml.Composer = _Composer
    yaml.Constructor = {"safe": _Plain, "rt": _Marked}[kind]
    if version == (1, 2):
        yaml.Resolver = _Resolver
    else:
        yaml.version = version
    return yaml


class _Resolver(VersionedResolver):  # type: ignore[misc]
    """Types of values without a tag and without quotes, by YAML 1.2's core schema, whatever ``%YAML`` says."""

    @property
    def versioned_resolver(self) -> Any:
        return _BY_FIRST

    @property
    def processing_version(self) -> Any:
        return (1, 2)


class _Composer(Composer):  # type: ignore[misc]
    """Makes the tree of a document, and counts it as if every alias were written out."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False
        self._values = self._depth = 0
        self._anchored: dict[Any, tuple[int, int]] = {}  # of what is anchored: values, and levels below it
        self._deepest = 0  # level below the current node

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        before, self._depth = self._values, self._depth + 1
        above, self._deepest = self._deepest, self._depth
        if isinstance(event, AliasEvent):
            node = super().compose_node(parent, index)
            if node.end_mark is None:
                raise _refusal(f"the alias *{event.anchor} stands inside what it names", event)
            values, levels = self._anchored[node]
            self._values += values
            self._deepest += levels
            self._check(event)
        else:
            self._values += 1
            self._check(event)
            node = super().compose_node(parent, index)
            if event.anchor is not None:
                self._anchored[node] = (self._values - before, self._deepest - self._depth)
        if parent is not None and index is None:
            _check_key(node, event)
        self._depth, self._deepest = self._depth - 1, max(above, self._deepest)
        return node

    def _check(self, event: Any) -> None:
        if self._values > MOST_VALUES:
            raise _refusal(f"more than {MOST_VALUES} keys and values, aliases written out", event)
        if self._deepest > MOST_DEPTH:
            raise _refusal(f"nested more than {MOST_DEPTH} deep", event)


def _check_key(node: Any, event: Any) -> None:
    """Refuse a key that is no text: what is called by it would be found by no name."""
    if not isinstance(node, ScalarNode):
        raise _refusal("a key is a list or a mapping; write a text", event)
    if str(node.tag).removeprefix(_CORE) not in ("str", "merge", "value"):
        raise _refusal(f"the key {node.value[:40]!r} does not read as a text; put it in quotes", event)


class _Checked:
    """Makes the values; what cannot be made, and types beyond those of JSON, are errors with a place."""

    def construct_non_recursive_object(self, node: Any, tag: Any = None) -> Any:
        kind = str(node.tag).removeprefix(_CORE)
        text = f"{node.value[:40]!r}" if isinstance(node.value, str) else ""
        if kind == "timestamp":
            raise _refusal(f"{text} reads as a date; put it in quotes", node)
        if kind not in _TYPES:
            raise _refusal(f"the tag {str(node.tag)[:40]} is not taken; leave it out", node)
        try:
            value = super().construct_non_recursive_object(node, tag)  # type: ignore[misc]
        except (ValueError, LookupError):
            if isinstance(node.value, str) and node.value.strip("-+_0123456789") == "" and len(node.value) > 40:
                raise _refusal(f"a number of {len(node.value)} characters is too large", node) from None
            raise _refusal(f"{text} is not {_TYPES[kind]}", node) from None
        if isinstance(value, int) and abs(value) > LARGEST:
            raise _refusal(f"{text} is too large an integer; at most 2^63 is taken", node)
        if isinstance(value, str) and re.search("[\0\ud800-\udfff]", value):
            raise _refusal(f"{text} holds a NUL character, or half a character", node)
        return value


class _Plain(_Checked, SafeConstructor):  # type: ignore[misc]
    """Makes plain values."""


class _Marked(_Checked, RoundTripConstructor):  # type: ignore[misc]
    """Makes values that know their lines."""


def _refusal(problem: str, at: Any) -> YAMLError:
    kind = ConstructorError if hasattr(at, "tag") else ComposerError
    return kind(None, None, problem, at.start_mark)
