"""The check of a parsed section against its model, with the mistakes in it as lines for people."""

from collections.abc import Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from hybridtune.errors import InputError, nearest, short_repr

_MOST_SHOWN = 50  # mistakes of one file
Model = TypeVar("Model", bound=BaseModel)


def check(model: type[Model], tree: dict[str, Any], source: str) -> Model:
    """Return a parsed section as its model; raise InputError with one line per mistake, each naming ``source``."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise InputError(mistakes(error, model, source)) from None


def mistakes(error: ValidationError, model: type[BaseModel], source: str) -> str:
    """Return the mistakes that pydantic found in a section, one a line, each with ``source`` and its field."""
    lines = []
    for item in error.errors()[:_MOST_SHOWN]:
        where = ".".join(str(step)[:80] for step in item["loc"] if step != "[key]")  # pydantic's mark of a wrong key
        for line in reason(item, model).split("\n")[:_MOST_SHOWN]:
            lines.append(f"{source}: {where}: {line}" if where else f"{source}: {line}")
    if error.error_count() > _MOST_SHOWN:
        lines.append(f"{source}: and {error.error_count() - _MOST_SHOWN} more")
    return "\n".join(lines)


def reason(item: Any, root: type[BaseModel]) -> str:
    """Return one error of a ``ValidationError`` of the model ``root`` as one line."""
    value, kind = item.get("input"), item["type"]
    if kind == "extra_forbidden":
        return "unknown key" + nearest(str(item["loc"][-1]), _known_keys(root, item["loc"][:-1]))
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    shown = f" (got {short_repr(value)})" if not isinstance(value, dict) else ""
    message: str = item["msg"]
    return message[0].lower() + message[1:] + shown


def _known_keys(root: type[BaseModel], location: Sequence[Any]) -> list[str]:
    model: Any = root
    for step in location:
        annotation = model.model_fields[step].annotation if step in model.model_fields else None
        arguments = get_args(annotation)
        candidates = [annotation, *arguments, *(inner for outer in arguments for inner in get_args(outer))]
        # A key of a free mapping (a searched name) has no model: its values are the next one.
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return list(model.model_fields)
