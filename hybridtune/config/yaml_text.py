"""YAML 1.2 as studies are written in it: ``3e-5`` is a number, ``no`` is Norwegian, a duplicate key is an error.

The study's models are in `hybridtune.config.study`; cluster files, with their lines, in `hybridtune.launch.yaml_lines`.
"""

import io
import re
from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.representer import SafeRepresenter

__all__ = ["YAMLError", "dump_yaml", "parse_yaml", "yaml_mistake"]

# What readers of YAML 1.1 (kubectl, PyYAML) take for a boolean or a number of base 60.
_QUOTED = re.compile(r"(?i)y|n|yes|no|on|off|[-+]?\d[\d_]*(:[0-5]?\d)+(\.\d*)?")
_NO_SIGN = re.compile(r"[-+]?\.\d+[eE]\d+$")


class _Representer(SafeRepresenter):  # type: ignore[misc]
    def represent_str(self, data: str) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="'" if _QUOTED.fullmatch(data) else None)

    def represent_float(self, data: float) -> Any:
        node = super().represent_float(data)
        if "." not in node.value:  # readers of YAML 1.1 take 2e-05 for text
            node.value = node.value.replace("e", ".0e")
        return node


_Representer.add_representer(str, _Representer.represent_str)
_Representer.add_representer(float, _Representer.represent_float)


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    _ = yaml.resolver.versioned_resolver  # fills in the defaults, which lack .5e1
    yaml.resolver.add_version_implicit_resolver((1, 2), "tag:yaml.org,2002:float", _NO_SIGN, list("-+."))
    return yaml


def parse_yaml(text: str) -> Any:
    """Return the content of a YAML document.

    Raises:
        YAMLError: it is not YAML, or a key is given twice; see `yaml_mistake`.
    """
    return _yaml().load(text)


def dump_yaml(*documents: Any, width: int = 80) -> str:
    """Return documents as YAML, with their keys in order, which readers of YAML 1.1 read to the same values.

    Example:
        >>> dump_yaml({"languages": ["no", "en"], "learning_rate": 3e-5})
        "languages:\\n- 'no'\\n- en\\nlearning_rate: 3.0e-05\\n"
    """
    yaml, text = _yaml(), io.StringIO()
    yaml.Representer, yaml.default_flow_style, yaml.width = _Representer, False, width
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump_all(documents, text)
    return text.getvalue()


def yaml_mistake(file: object, error: YAMLError) -> str:
    """Return a syntax error as ``FILE:LINE: not valid YAML: ...``."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    message = " ".join(str(problem or error).split())
    hint = "; indent with spaces, YAML takes no tabs" if "\\t" in message else ""
    return f"{file}:{mark.line + 1 if mark else 1}: not valid YAML: {message}{hint}"
