"""YAML 1.2 as studies are written in it: ``3e-5`` is a number, ``no`` is Norwegian, a duplicate key is an error.

What is read is bounded by `hybridtune.config.yaml_limits`. The study's models are in `hybridtune.config.study`; cluster
files, with their lines, in `hybridtune.launch.yaml_lines`.
"""

import io
import re
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.error import MarkedYAMLError, StreamMark
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.representer import SafeRepresenter

from hybridtune.config.yaml_limits import MOST_BYTES, reader
from hybridtune.errors import InputError

__all__ = ["YAMLError", "dump_yaml", "parse_yaml", "read_yaml_text", "yaml_documents", "yaml_mistake", "yaml_problem"]

_BREAKS = {"\x85", "\u2028", "\u2029"}  # end a line for readers of YAML 1.1 alone: written as escapes
# What readers of YAML 1.1 (kubectl, PyYAML) take for a boolean or a number of base 60, and those of 1.2 for a number.
_SEXAGESIMAL, _NUMBER = r"[-+]?\d[\d_]*(:[0-5]?\d)+(\.\d*)?", r"[-+]?(\.\d+|\d+(\.\d*)?)(e[-+]?\d+)?"
_QUOTED = re.compile(rf"(?i)y|n|yes|no|on|off|{_SEXAGESIMAL}|{_NUMBER}")


class _Representer(SafeRepresenter):  # type: ignore[misc]
    def represent_str(self, data: str) -> Any:
        style = '"' if _BREAKS & set(data) else "'" if _QUOTED.fullmatch(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    def represent_float(self, data: float) -> Any:
        node = super().represent_float(data)
        if "." not in node.value:  # readers of YAML 1.1 take 2e-05 for text
            node.value = node.value.replace("e", ".0e")
        return node


_Representer.add_representer(str, _Representer.represent_str)
_Representer.add_representer(float, _Representer.represent_float)


def read_yaml_text(path: Path, what: str) -> str:
    """Return the text of a file that is to be YAML, ``what`` it is for messages.

    Raises:
        InputError: it cannot be read, is not UTF-8, or is larger than any such file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError(f"{path}: is larger than {MOST_BYTES} bytes, the most that {what} may have")
        return content.decode("utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL character in the path
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot read {what}: {why}") from None


def parse_yaml(text: str) -> Any:
    """Return the content of a YAML document.

    Raises:
        YAMLError: it is not YAML, a key is given twice, or it is beyond the limits; see `yaml_mistake`.
    """
    documents = yaml_documents(text)
    if len(documents) > 1:
        raise MarkedYAMLError(problem="several documents in one file (---); keep one")
    return documents[0] if documents else None


def yaml_documents(text: str, kind: Literal["safe", "rt"] = "safe", version: tuple[int, int] = (1, 2)) -> list[Any]:
    """Return the documents of a YAML file, as plain values or by ruamel.yaml's types that know their lines (``rt``).

    Raises:
        YAMLError: as `parse_yaml`.
    """
    if len(text) > MOST_BYTES:
        raise MarkedYAMLError(problem=f"more than {MOST_BYTES} characters")
    try:
        return list(reader(kind, version).load_all(text))
    except ReaderError as error:
        mark = StreamMark("", error.position, text.count("\n", 0, error.position), 0)
        problem = f"the character {chr(error.character)!r} is not allowed"
        raise MarkedYAMLError(problem=problem, problem_mark=mark) from None
    except (ValueError, AssertionError) as error:  # of a %YAML directive, and of comments in odd places
        raise MarkedYAMLError(problem=f"it cannot be read ({str(error)[:80] or 'a comment or directive'})") from None


def dump_yaml(*documents: Any, width: int = 80) -> str:
    """Return documents as YAML, with their keys in order, which readers of YAML 1.1 read to the same values.

    Example:
        >>> dump_yaml({"languages": ["no", "en"], "learning_rate": 3e-5})
        "languages:\\n- 'no'\\n- en\\nlearning_rate: 3.0e-05\\n"
    """
    yaml, text = YAML(typ="safe", pure=True), io.StringIO()
    yaml.Representer, yaml.default_flow_style, yaml.width = _Representer, False, width
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump_all(documents, text)
    return text.getvalue()


def yaml_mistake(file: object, error: YAMLError) -> str:
    """Return a syntax error as ``FILE:LINE: not valid YAML: ...``."""
    mark = getattr(error, "problem_mark", None)
    return f"{file}:{mark.line + 1 if mark else 1}: not valid YAML: {yaml_problem(error)}"


def yaml_problem(error: YAMLError) -> str:
    """Return what is wrong, in one line of bounded length."""
    message = " ".join(str(getattr(error, "problem", None) or error).split())
    hint = "; indent with spaces, YAML takes no tabs" if "\\t" in message else ""
    return f"{message[:200]}{'...' * (len(message) > 200)}{hint}"
