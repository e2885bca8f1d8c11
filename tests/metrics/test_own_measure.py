"""A measure of the user's own: the example of the documentation, in every place where measures are named."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from hybridtune.errors import InputError
from hybridtune.metrics.measures import UNRETRIEVED, Lists, check_measure
from hybridtune.metrics.metrics import direction, measures_of

NAME = "my_measures:first_half"
DOCS = Path(__file__).parents[2] / "docs" / "evaluate.md"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The two blocks of code of the page; the first can be imported."""
    section = DOCS.read_text().split("## A measure of your own")[1].split("\n## ")[0]
    module, script = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "my_measures.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    return module, script


def test_the_example_of_the_documentation_runs(example, capsys):
    module, script = example
    assert len(module.splitlines()) <= 30
    exec(script, {})
    assert 0 <= float(capsys.readouterr().out) <= 1


def test_it_gets_the_ranks_and_grades_of_one_ranking_after_the_other(example):
    ranks, gains = np.array([2, 7, 40, 8, UNRETRIEVED]), np.array([1.0, 2.0, 1.0, 1.0, 3.0])
    lists = Lists(ranks, gains, np.array([0, 3]))
    assert lists.values(NAME).tolist() == [0.6, 0.0]


def test_it_may_be_an_objective(example):
    check_measure(NAME)
    assert direction(f"multi/{NAME}") == "max"
    assert NAME in measures_of([f"multi/{NAME}"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def first_half(ranks, grades):\n    return 1 / 0", r"my_measures:first_half: failed for ranks \[2\].*Zero"),
        ("def first_half(ranks, grades):\n    return 'much'", "my_measures:first_half: failed for ranks"),
        ("def last_half(ranks, grades):\n    return 0", "has no 'first_half'"),
    ],
)
def test_what_is_wrong_with_it_is_one_line(tmp_path, monkeypatch, body, message):
    (tmp_path / "other_measures.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=message.replace("my_measures", "other_measures")):
        Lists(np.array([2]), np.ones(1), np.array([0])).values(NAME.replace("my_", "other_"))


@pytest.fixture(autouse=True)
def fresh_modules():
    """The modules of one test are not those of the next."""
    yield
    for name in ("my_measures", "other_measures"):
        sys.modules.pop(name, None)
