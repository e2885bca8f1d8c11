"""The documentation's site: its Markdown is read as on GitHub, its references are whole, and it asks no server."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import markdown
import pytest
from github import for_python_markdown, slug
from markdown_it import MarkdownIt
from study_fields import page

import hybridtune

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BUILDERS = ("mkdocs", "material", "mkdocstrings_handlers", "mkdocs_click")
MISSING = [name for name in BUILDERS if find_spec(name) is None]


def counted(html):
    return {tag: len(re.findall(f"<{tag}[ >]", html)) for tag in ("table", "tr", "li", "h2", "h3")}


def on_github(text):
    return MarkdownIt("commonmark").enable("table").render(text)


def by_python(text):
    return markdown.markdown(text, extensions=["tables", "fenced_code"])


@pytest.mark.parametrize("file", [pytest.param(file, id=file.relative_to(ROOT).as_posix()) for file in PAGES])
def test_lists_and_tables_are_those_of_github(file):
    text = file.read_text(encoding="utf-8")
    assert counted(by_python(for_python_markdown(text))) == counted(on_github(text))


@pytest.mark.parametrize(
    "text",
    [
        "Of text\n- one\n  goes on\n- two\n\n  a paragraph of two\n\nAfter",
        "1. one\n   - inner\n     goes on\n   - second\n2. two",
        "A table:\n| a | b |\n|---|---|\n| 1 | 2 |\n\nThe year\n1984. Not a list",
        "- one\n\n      code of one\n\n  text of one\n- two\n# Title\ntext",
    ],
)
def test_what_python_markdown_reads_otherwise_is_put_right(text):
    def plain(html):
        return re.sub(r"\s+|</?p>", "", html)

    assert plain(by_python(for_python_markdown(text))) == plain(on_github(text))
    assert plain(by_python(text)) != plain(on_github(text))


def test_code_is_left_as_it_is():
    text = "```\n- no list\n  | no | table |\n\n\n1. no\n```\n"
    assert for_python_markdown(text) == text


def test_an_anchor_is_githubs():
    assert slug("Leaks and a split: `hybridtune data check`") == "leaks-and-a-split-hybridtune-data-check"
    assert slug("What is in best/") == "what-is-in-best"


def test_every_field_of_the_study_file_is_on_its_page():
    schema, sections = json.loads((ROOT / "search_spaces" / "study.schema.json").read_text(encoding="utf-8")), {}
    for section in page().split("\n## ")[1:]:
        sections[section.splitlines()[0].strip("`")] = set(re.findall(r"^\| `(\w+)` \|", section, re.M))
    for name, section in schema["properties"].items():
        known = sections[name] if "$ref" in section else sections["The study"]
        fields = schema["$defs"][section["$ref"].rpartition("/")[2]]["properties"] if "$ref" in section else {name}
        assert known == {*fields} if "$ref" in section else fields <= known
    assert {"patience", "chunk_size"} <= sections["train"]
    assert "reduction_factor" in sections["search.early_stopping"]


def test_every_public_name_is_on_the_page_of_the_python_api():
    text = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    assert sorted([*re.findall(r"^::: hybridtune\.(\w+)$", text, re.M), "__version__"]) == sorted(hybridtune.__all__)


def test_every_page_is_in_the_navigation():
    named = set(re.findall(r"^ *- ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M))
    assert {file.relative_to(ROOT / "docs").as_posix() for file in (ROOT / "docs").rglob("*.md")} <= named


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install -c constraints.txt -e '.[docs]'")
def test_it_is_built_without_a_warning_and_asks_no_server(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for file in (tmp_path / "site").rglob("*.html"):
        html = file.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe|link)[^>]* (?:src|href)=[\"']?([^\"' >]+)", html)
        assert fetched
        assert not [url for url in fetched if re.match(r"(https?:)?//", url)], file
    assert "chunk_size" in (tmp_path / "site" / "search" / "search_index.js").read_text(encoding="utf-8")
    commands = (tmp_path / "site" / "reference" / "cli.html").read_text(encoding="utf-8")
    assert all(f">{name}</a>" in re.sub(r"\s+|</?span[^>]*>", "", commands) for name in ("doctor", "inspect", "prune"))
    assert "UNSET" not in commands
