"""Links of the documentation lead somewhere; its commands, options, programs and messages are those that there are."""

import ast
import json
import re
import shlex
from functools import cache
from itertools import product
from pathlib import Path

import click
import pytest
from github import slug

from hybridtune.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^ *(`{3,})(\w*)\n(.*?)^ *\1$", re.M | re.S)
MADE = {"docs/reference/study-file.md"}  # by docs/site/study_fields.py
SCHEMA = json.loads((ROOT / "search_spaces" / "study.schema.json").read_text(encoding="utf-8"))


def named(page):
    return pytest.param(page, id=page.relative_to(ROOT).as_posix())


@cache
def prose(page):
    """The text of a page without its blocks of code, and without code in lines."""
    return re.sub(r"`[^`\n]*`", "``", BLOCK.sub("", page.read_text(encoding="utf-8")))


@cache
def anchors(page):
    titles = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text(encoding="utf-8")), re.M)
    found = [slug(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)) for title in titles]
    return {f"{name}-{found[:n].count(name)}" if name in found[:n] else name for n, name in enumerate(found)}


def blocks(page, *kinds):
    return [code for _, kind, code in BLOCK.findall(page.read_text(encoding="utf-8")) if kind in kinds]


@pytest.mark.parametrize("page", [named(page) for page in PAGES])
def test_links_lead_somewhere(page):
    lost = []
    for link in [*re.findall(r"\]\(([^)\s]+)\)", prose(page)), *re.findall(r'(?:src|href)="([^"]+)"', prose(page))]:
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        if target.relative_to(ROOT).as_posix() in MADE:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


def commands(code):
    """The `hybridtune ...` commands of a block of shell, each alternative `a|b` by itself."""
    for line in code.replace("\\\n", " ").splitlines():
        words = [word for word in shlex.split(line, comments=True) if word != "..."]  # that more follows
        if words[:1] == ["$"]:
            words = words[1:]
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words[:1] == ["hybridtune"]:
            words = words[1 : next((n for n, word in enumerate(words) if word in (">", "|", "&&", ";")), None)]
            yield from product(*(word.split("|") for word in words))


def parse(words):
    """Raise where there is no such command, or it has no such option; returns the command and the values of options."""
    command, rest = cli, list(words)
    while isinstance(command, click.Group):
        _, rest, _ = command.make_parser(click.Context(command)).parse_args(rest)
        assert rest[0] in command.commands, f"no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    values, left, _ = command.make_parser(click.Context(command)).parse_args(rest)
    assert not left, f"{left} is too much"
    return command, values


def is_field(name):
    """Whether a study file has the field, or a benchmark of its own, as `evaluate` has one."""
    section, _, field = name.partition(".")
    parts = SCHEMA["$defs"]["BenchmarkSource"] if section == "benchmark" else SCHEMA["properties"].get(section, {})
    if "$ref" in parts:
        parts = SCHEMA["$defs"][parts["$ref"].rpartition("/")[2]]
    return field.partition(".")[0] in parts.get("properties", ()) if field else bool(parts)


@pytest.mark.parametrize("page", [named(page) for page in PAGES if blocks(page, "sh", "bash")])
def test_commands_are_those_of_the_command_line(page):
    wrong = []
    for words in (words for code in blocks(page, "sh", "bash") for words in commands(code)):
        try:
            _, values = parse(words)
        except (AssertionError, click.UsageError) as error:
            wrong.append(f"hybridtune {' '.join(words)}: {error}")
            continue
        fields = [value.partition("=")[0] for value in values.get("overrides") or ()]
        wrong += [f"hybridtune {' '.join(words)}: no field {name}" for name in fields if not is_field(name)]
    assert not wrong


@pytest.mark.parametrize("words", [["runn"], ["run", "--outt", "x"], ["data", "inspectt"], ["schema", "--out"]])
def test_a_command_that_there_is_not_is_found(words):
    with pytest.raises((AssertionError, click.UsageError)):
        parse(words)
    assert not is_field("train.max_stepps")
    assert is_field("benchmark.split")


@pytest.mark.parametrize("page", [named(page) for page in PAGES if blocks(page, "python")])
def test_programs_compile(page):
    for code in blocks(page, "python"):
        indent = len(code) - len(code.lstrip())
        compile("\n".join(line[indent:] for line in code.splitlines()), str(page), "exec")


@cache
def texts_of_the_code():
    """All texts in hybridtune's source, `…` in the place of values."""
    found = set()
    for file in (ROOT / "hybridtune").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.add("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def holds(text, parts):
    """Whether a text has some parts, with `…` between them, in their order."""
    at = 0
    for part in parts.split("…"):
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def is_said(message):
    """Whether the code says a message: a text of it holds the message, or is the message but for its values."""
    return any(
        holds(text, message) or (len(text.replace("…", "")) > 20 and holds(message, text))
        for text in texts_of_the_code()
    )


MESSAGES = [line for code in blocks(ROOT / "docs" / "troubleshooting.md", "text") for line in code.splitlines()]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_on_the_page_of_troubles_is_one_that_is_shown(message):
    assert is_said(message)


def test_a_message_that_nothing_says_is_found():
    assert len(MESSAGES) > 20
    assert not is_said("out of memory in step … on …")
