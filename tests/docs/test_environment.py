"""The table of environment variables has those that the source reads or sets, and no others."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = sorted((ROOT / "hybridtune").rglob("*.py"))
PAGE = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
VARIABLE = re.compile(r"_?[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[a-z]+_proxy")
NO_VARIABLES = {  # names of that form: errors of providers and allocators, words of help
    *("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "NETWORK_CONNECTION", "NO_SUCH_BUCKET", "SIGNATURE_DOES_NOT_MATCH"),
    *("FILE_OR_FOLDER", "FOLDER_OR_CLUSTER", "STUDY_OR_MODEL", "_ALLOC_FAILED"),
}
OF_CLICK = {"_HYBRIDTUNE_COMPLETE"}  # made of the program's name


def listed():
    return re.findall(r"^\| `(\w+)` \|", PAGE, re.M)


def is_environ(node):
    """Whether an expression is os.environ, by whatever name it was imported."""
    return (isinstance(node, ast.Attribute) and node.attr == "environ") or (
        isinstance(node, ast.Name) and node.id == "environ"
    )


def keys(node):
    """The expressions by which a node of the source names variables: of os.environ, and of os.getenv."""
    if isinstance(node, ast.Subscript) and is_environ(node.value):
        return [node.slice]
    if isinstance(node, ast.Compare) and any(map(is_environ, node.comparators)):
        return [node.left]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
        asked = is_environ(node.func.value) and node.func.attr in ("get", "pop", "setdefault")
        return node.args[:1] if asked or node.func.attr == "getenv" else []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getenv":
        return node.args[:1]
    return []


def names_in(tree):
    """The variables that a module names: the texts by which os.environ is asked, and all texts of their form."""
    for node in ast.walk(tree):
        yield from (key.value for key in keys(node) if isinstance(key, ast.Constant))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and VARIABLE.fullmatch(node.value):
            yield node.value
        elif isinstance(node, ast.keyword) and node.arg and VARIABLE.fullmatch(node.arg):
            yield node.arg


@cache
def named():
    return {name for file in SOURCE for name in names_in(ast.parse(file.read_text(encoding="utf-8")))} - NO_VARIABLES


def test_every_variable_that_the_source_reads_or_sets_is_on_the_page():
    assert sorted(named() - {*listed()}) == []


def test_the_page_has_no_variable_that_the_source_does_not_know():
    text = "".join(file.read_text(encoding="utf-8") for file in SOURCE)
    proxies = {name.upper() for name in named() if name.endswith("_proxy")}  # the doctor asks for both
    unknown = {name for name in listed() if not re.search(rf"\b{name}\b", text)} - proxies - OF_CLICK
    assert sorted(unknown) == []
    assert len(listed()) == len({*listed()})


def test_a_name_that_is_no_variable_is_in_the_source():
    text = "".join(file.read_text(encoding="utf-8") for file in SOURCE)
    assert [name for name in sorted(NO_VARIABLES) if name not in text] == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("os.environ['HOMEWARD']", ["HOMEWARD"]),
        ("os.environ.get('NEW')", ["NEW"]),
        ("environ.setdefault('NEW', '1')", ["NEW"]),
        ("'NEW' in os.environ", ["NEW"]),
        ("os.getenv('NEW')", ["NEW"]),
        ("X = 'NEW_ONE'", ["NEW_ONE"]),
        ("os.environ.update(NEW_ONE='1')", ["NEW_ONE"]),
        ("('ftp_proxy', 'not a NEW_ONE', 'word')", ["ftp_proxy"]),
    ],
)
def test_a_new_variable_would_be_found(code, found):
    assert list(names_in(ast.parse(code))) == found
