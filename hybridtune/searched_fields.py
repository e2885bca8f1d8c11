"""Which fields a search may set, in which order and when, and at which values a study has to be tried."""

import functools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from hybridtune.mistakes import nearest
from hybridtune.search_section import Parameter
from hybridtune.sections import Mix, Part, Train

Path = tuple[str, str]  # section and field; a field of the study itself has the section ""
Space = Mapping[str, Parameter]

_SAME_FOR_ALL = ("max_steps", "eval_steps", "patience", "keep_checkpoints")
_REFUSED = {  # sections and fields that no trial may change, and why
    **dict.fromkeys([f"train.{name}" for name in _SAME_FOR_ALL], "all trials are trained and compared by one rule"),
    **dict.fromkeys(
        ["encoder.query_length", "encoder.passage_length", "encoder.query_prefix", "encoder.passage_prefix"],
        "texts are tokenised once, for all trials",
    ),
    "encoder": "all trials start from one encoder; run a study for each",
    "resources": "what a trial runs on is no hyperparameter; its batch is the same on any number of workers",
    "data": "all trials train on one token store; mix.weights and mix.sampling_exponent change what is drawn of it",
    "benchmarks": "all trials are compared on one benchmark",
    "search": "a search does not search itself",
    "name": "all trials are of one study",
}


@functools.cache
def searchable_paths() -> dict[str, Path]:
    """Names a search may use, short (``temperature``) and dotted (``train.temperature``) -> (section, field)."""
    parts: dict[str, type[Part]] = {"mix": Mix, "train": Train}
    pooling = ("encoder", "pooling")
    paths = {"seed": ("", "seed"), "pooling": pooling, "encoder.pooling": pooling}
    for part, model in parts.items():
        for field in (name for name in model.model_fields if name not in _SAME_FOR_ALL):
            paths[field] = paths[f"{part}.{field}"] = (part, field)
    return paths


def not_searchable(name: str) -> str:
    """Why a search may not use a name: the reason for a field that there is, else the nearest one."""
    dotted = f"train.{name}" if name in _SAME_FOR_ALL else name
    short = {key.split(".")[1]: key for key in _REFUSED if key.startswith("encoder.")}
    why = _REFUSED.get(dotted) or _REFUSED.get(short.get(name, "")) or _REFUSED.get(name.split(".")[0])
    return f"cannot be searched: {why}" if why else f"no such field{nearest(name, searchable_paths())}"


def key_of(space: Iterable[str], name: str) -> str | None:
    """The key by which a space has the field that a name, short or dotted, stands for; None: it is not searched."""
    path = searchable_paths().get(name)
    return next((key for key in space if path is not None and searchable_paths().get(key) == path), None)


def active(space: Space, key: str, values: Mapping[str, Any]) -> bool:
    """Whether a field is searched in a trial, by what its ``when`` names.

    Args:
        space: all searched fields.
        key: one of them.
        values: of the searched fields before it; those not searched in this trial are left out.
    """
    conditions = ((key_of(space, name) or name, allowed) for name, allowed in space[key].when.items())
    return all(parent in values and _among(values[parent], allowed) for parent, allowed in conditions)


def _among(value: Any, allowed: Sequence[Any]) -> bool:
    if isinstance(value, float):
        return any(isinstance(one, int | float) and math.isclose(value, one) for one in allowed)  # 3 * 0.1 is 0.3
    return value in allowed


def in_order(space: Space) -> list[str]:
    """The searched fields, each behind those that its ``when`` names, else as they stand in the file.

    Raises:
        ValueError: they name each other in a circle.
    """
    left, done = list(space), list[str]()
    while left:
        ready = next((key for key in left if not {key_of(left, name) for name in space[key].when} - {None}), None)
        if ready is None:
            raise ValueError(f"{', '.join(left)}: their `when` name each other in a circle; leave one out")
        left.remove(ready)
        done.append(ready)
    return done


def corners(space: Space, fields: Collection[str]) -> Iterator[dict[str, Any]]:
    """The values of some fields at which a study could turn out impossible: if these work, all between do.

    Args:
        space: all searched fields.
        fields: short names; of those that are searched, and of what their ``when`` names, every combination of ends
            is yielded that a trial may get. Fields that are not searched then are left out: they keep their value.
    """
    wanted = {key for key in space if key.split(".")[-1] in fields}
    for key in reversed(in_order(space)):  # children before parents
        if key in wanted:
            wanted |= {parent for name in space[key].when if (parent := key_of(space, name)) is not None}
    ends = {key: [*space[key].ends()] for key in in_order(space) if key in wanted}
    for key in ends:
        for name, values in space[key].when.items():
            tried = ends[key_of(space, name) or name]
            tried += [value for value in values if value not in tried]
    yield from _combinations(space, ends, {})


def _combinations(space: Space, ends: Mapping[str, list[Any]], chosen: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not ends:
        yield dict(chosen)
        return
    (key, values), *rest = ends.items()
    if not active(space, key, chosen):
        yield from _combinations(space, dict(rest), chosen)
        return
    for value in values:
        yield from _combinations(space, dict(rest), {**chosen, key: value})


def pinned(tree: Any) -> Any:
    """A study's tree with the plain values of its search space moved to the fields that they fix.

    ``search.space.temperature: 0.05`` is ``train.temperature: 0.05`` with the temperature no longer searched. What is
    searched only when a fixed field has some value is from then on always searched, or never.

    Args:
        tree: what a study is made from; one of another form than a study's is returned as it is.
    """
    search = tree.get("search") if isinstance(tree, dict) else None
    space = search.get("space") if isinstance(search, dict) else None
    plain = {key: value for key, value in _items(space) if not isinstance(value, dict | Parameter)}
    if not plain:
        return tree
    fixed = {key: value for key, value in plain.items() if key in searchable_paths()}
    left = {key: value for key, value in _items(space) if key not in plain}
    left |= {key: {"choice": [value]} for key, value in plain.items() if key not in fixed}  # no field: told later
    tree = {**tree, "search": {**_as_dict(search), "space": _settled(left, fixed)}}
    for key, value in fixed.items():
        part, field = searchable_paths()[key]
        if part:
            tree[part] = {**_as_dict(tree.get(part)), field: value}
        else:
            tree[field] = value
    return tree


def _settled(space: dict[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The ranges of a space, as written, without the conditions on fields that are fixed, and what these exclude."""
    space, never = dict(space), set[str]()
    for key, value in space.items():
        conditions = value.get("when") if isinstance(value, dict) else None
        for name, allowed in _items(conditions):
            parent = key_of(fixed, name)
            if parent is None:
                continue
            if not _among(fixed[parent], allowed if isinstance(allowed, list) else [allowed]):
                never.add(key)
            conditions = {other: values for other, values in _items(conditions) if other != name}
            space[key] = {**value, "when": conditions}
    while never:
        space = {key: value for key, value in space.items() if key not in never}
        names = {key: [name for name, _ in _items(_as_dict(value).get("when"))] for key, value in space.items()}
        never = {key for key in space for name in names[key] if key_of(never, name) is not None}
    return space


def _items(node: Any) -> list[tuple[str, Any]]:
    return list(node.items()) if isinstance(node, dict) else []


def _as_dict(node: Any) -> dict[str, Any]:
    return node.model_dump() if isinstance(node, Part) else dict(_items(node))
