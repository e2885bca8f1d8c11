"""CONTRIBUTING.md names files that exist, and names that stand in them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:hybridtune|tests|clusters)/[\w/.]*)`", TEXT))))
def test_a_path_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("name", "path"), re.findall(r"`(\w+)` in `(hybridtune/[\w/]+\.py)`", TEXT))
def test_a_name_is_defined_there(name, path):
    assert re.search(rf"^\s*(?:def |class )?{name}\b", (ROOT / path).read_text(encoding="utf-8"), re.M)
