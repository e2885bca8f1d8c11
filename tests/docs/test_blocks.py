"""What stands in the documentation's blocks of YAML, JSON and CSV is read by what reads it for a user."""

import json
import re
from pathlib import Path

import pytest
import yaml

from hybridtune.config.fields import DataSet
from hybridtune.config.study import load_study
from hybridtune.data.readers.native import parse_group
from hybridtune.data.readers.sources import find_sources, read_groups

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^ *(`{3,})(\w+)\n(.*?)^ *\1$", re.M | re.S)
FOUND = [
    pytest.param(code, kind, id=f"{page.relative_to(ROOT).as_posix()}:{number}")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    for number, (_, kind, code) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
]
BASE = {"name": "small", "data": {"train": "newsroom:train"}, "benchmarks": {"dev": {"path": "newsroom:dev"}}}


def of_kind(kind):
    return [pytest.param(found.values[0], id=found.id) for found in FOUND if found.values[1] == kind]


@pytest.mark.parametrize("code", [found for found in of_kind("yaml") if not found.id.startswith("docs/docker.md")])
def test_a_part_of_a_study_file_is_one(code, tmp_path):
    tree = BASE | yaml.safe_load(code)
    if "holdout" in tree["data"]:
        del tree["benchmarks"]  # they are what is held out
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    load_study(path)


@pytest.mark.parametrize("code", of_kind("json"))
def test_a_line_of_training_data_is_a_group(code):
    for line in code.splitlines():
        assert parse_group(json.loads(line), "the page").passages


def test_the_pairs_of_the_start_are_read_as_they_are(tmp_path):
    blocks = [found.values for found in FOUND if found.id.startswith("docs/start.md")]
    (code,) = (code for code, kind in blocks if kind == "text" and code.startswith("id,"))
    path = tmp_path / "pairs.csv"
    path.write_text(code, encoding="utf-8")
    groups = [group for source in find_sources([DataSet(path=str(path))]) for group in read_groups(source)]
    assert [[*group.queries, *group.passages] for group in groups] == [["en"] * 2, ["de"] * 2, ["sw"] * 2]


def test_every_kind_of_block_is_checked_somewhere():
    """A new kind of block needs a test: here, in test_pages, or beside its subject (dockerfile, fish)."""
    known = {"sh", "bash", "python", "text", "yaml", "json", "dockerfile", "fish"}
    assert {found.values[1] for found in FOUND} <= known
