"""docs/tour.md names functions that exist and fit on a screen."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOUR = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
STOPS = re.findall(r"^## (\d+)\. [^`]*`([\w.]+)` in \[`([\w/]+\.py)`\]\(\.\./(hybridtune/[\w/]+\.py)\)$", TOUR, re.M)
MOST_LINES = 40


def definition(file, dotted):
    node = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for name in dotted.split("."):
        node = next(child for child in node.body if getattr(child, "name", None) == name)
    return node


def test_there_are_twelve_stops_in_order():
    assert [int(number) for number, *_ in STOPS] == list(range(1, 13))
    assert len(re.findall(r"^## ", TOUR, re.M)) == 12
    assert all(f"hybridtune/{shown}" == file for _, _, shown, file in STOPS)
    assert TOUR.count("\nIn: ") == TOUR.count(" Out: ") == 12


@pytest.mark.parametrize(("name", "file"), [pytest.param(name, file, id=name) for _, name, _, file in STOPS])
def test_a_stop_exists_and_fits(name, file):
    node = definition(file, name)
    assert isinstance(node, ast.FunctionDef)
    assert ast.get_docstring(node)
    first = node.body[1].lineno if len(node.body) > 1 else node.end_lineno
    assert node.end_lineno - first + 1 + (node.body[0].lineno - node.lineno) <= MOST_LINES


def test_the_other_names_exist():
    for name, file in re.findall(r"\(`(\w+)` in\s+\[`[^`]+`\]\(\.\./(hybridtune/[\w/]+\.py)\)", TOUR):
        assert isinstance(definition(file, name), ast.FunctionDef)
