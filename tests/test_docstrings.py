"""Docstrings: imperative, with examples that run; every name of the Python API has one."""

import ast
import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import hybridtune

ROOT = Path(hybridtune.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if path.read_text(encoding="utf-8").strip())
NO_VERBS = {
    "a",
    "all",
    "an",
    "every",
    "how",
    "its",
    "of",
    "the",
    "those",
    "what",
    "when",
    "where",
    "whether",
    "which",
    "who",
}


def module_name(path):
    name = ".".join((ROOT.name, *path.relative_to(ROOT).with_suffix("").parts))
    return name.removesuffix(".__init__")


@pytest.mark.parametrize("path", [pytest.param(path, id=module_name(path)) for path in FILES])
def test_functions_say_what_to_do(path):
    wrong = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and not is_property(node):
            docstring = ast.get_docstring(node) or "Return"
            if docstring.split()[0].lower().strip(",:") in NO_VERBS:
                wrong.append(f"line {node.lineno}: {node.name}: {docstring.splitlines()[0]}")
    assert not wrong, f"{path}: begin with a verb: " + "; ".join(wrong)


def is_property(node):
    return any(
        getattr(decorator, "id", getattr(decorator, "attr", "")).endswith("property")
        for decorator in node.decorator_list
    )


@pytest.mark.parametrize("name", [module_name(path) for path in FILES if ">>>" in path.read_text(encoding="utf-8")])
def test_examples_run(name, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what an example writes is not left behind
    flags, names = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS, {"getfixture": request.getfixturevalue}
    assert not doctest.testmod(importlib.import_module(name), optionflags=flags, extraglobs=names).failed


@pytest.mark.parametrize("name", [name for name in hybridtune.__all__ if name != "__version__"])
def test_every_public_name_has_an_example(name):
    assert "xample" in inspect.getdoc(getattr(hybridtune, name))
