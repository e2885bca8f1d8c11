"""A YAML file of anybody's is read within limits, and whatever is wrong with it is one line with its place."""

import re
from contextlib import suppress

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from hybridtune.config.yaml_limits import MOST_BYTES, MOST_DEPTH, MOST_VALUES
from hybridtune.config.yaml_text import (
    YAMLError,
    dump_yaml,
    parse_yaml,
    read_yaml_text,
    yaml_documents,
    yaml_mistake,
)
from hybridtune.errors import InputError

KINDS = [("safe", (1, 2)), ("safe", (1, 1)), ("rt", (1, 1))]
LEVELS = "abcdefghij"
BOMB = "\n".join(
    f"{name}: &{name} [{','.join([f'*{before}' if before else 'x'] * 9)}]"
    for before, name in zip(["", *LEVELS], LEVELS, strict=False)
)
REFUSED = {  # a text, the line of what is wrong, and how it is said
    BOMB: (5, f"more than {MOST_VALUES} keys and values, aliases written out"),
    "a: &a [*a]": (1, "the alias *a stands inside what it names"),
    "\na: &a {b: {c: *a}}": (2, "the alias *a stands inside what it names"),
    "x: 1\na: *b": (2, "found undefined alias 'b'"),
    "a: " + "[" * 3000 + "]" * 3000: (1, f"nested more than {MOST_DEPTH} deep"),
    "a: " + "{a: " * 3000 + "1" + "}" * 3000: (1, f"nested more than {MOST_DEPTH} deep"),
    "\n".join(" " * n + "a:" for n in range(400)): (MOST_DEPTH, f"nested more than {MOST_DEPTH} deep"),
    "a: [" + ", ".join("x" * MOST_VALUES) + "]": (1, f"more than {MOST_VALUES} keys and values, aliases written out"),
    "a: 1\nb: !!int x": (2, "'x' is not an integer"),
    "a: !!int ''": (1, "'' is not an integer"),
    "a: !!float x": (1, "'x' is not a number"),
    "a: !!bool x": (1, "'x' is not true or false"),
    "a: !!binary x": (1, "the tag tag:yaml.org,2002:binary is not taken; leave it out"),
    "a: !!set {x}": (1, "the tag tag:yaml.org,2002:set is not taken; leave it out"),
    "a: !mine 1": (1, "the tag !mine is not taken; leave it out"),
    "a: !!python/object/apply:os.system [x]": (1, "the tag tag:yaml.org,2002:python/object/apply:os is not taken"),
    "a: 2024-13-45": (1, "'2024-13-45' reads as a date; put it in quotes"),
    "a: 2024-11-12": (1, "'2024-11-12' reads as a date; put it in quotes"),
    "a: " + "9" * 5000: (1, "a number of 5000 characters is too large"),
    "a: 99999999999999999999": (1, "'99999999999999999999' is too large an integer; at most 2^63 is taken"),
    "? [a]\n: 2": (1, "a key is a list or a mapping; write a text"),
    "? {a: 1}\n: 2": (1, "a key is a list or a mapping; write a text"),
    "a: 1\nb: 2\na: 3": (3, 'found duplicate key "a"'),
    "a: {b: 1, b: 2}": (1, 'found duplicate key "b"'),
    'a: "\\0"': (1, "'\\x00' holds a NUL character, or half a character"),
    'a: "\\ud800"': (1, "'\\ud800' holds a NUL character, or half a character"),
    "a: 1\nb: \x07": (2, "the character '\\x07' is not allowed"),
    f"%YAML 1.{'9' * 5000}\n--- a": (1, "it cannot be read"),
    "a: [": (1, "expected the node content"),
}


def mistake(text, kind="safe", version=(1, 2)):
    with pytest.raises(YAMLError) as refused:
        yaml_documents(text, kind, version)
    return yaml_mistake("FILE", refused.value)


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:24])
def test_what_is_wrong_is_one_line_with_its_place(text):
    line, problem = REFUSED[text]
    assert mistake(text).startswith(f"FILE:{line}: not valid YAML: {problem}")


@pytest.mark.parametrize(("kind", "version"), KINDS)
@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:24])
def test_it_is_refused_by_every_kind_of_reader(text, kind, version):
    found = mistake(text, kind, version)
    assert re.match(r"FILE:\d+: not valid YAML: ", found)
    assert "\n" not in found
    assert len(found) < 300


@given(st.text("&*[]{}:,-?!|>'\"#% \n\tab1.~<", max_size=60))
def test_any_text_is_read_or_refused(text):
    for kind, version in KINDS:
        with suppress(YAMLError):
            yaml_documents(text, kind, version)


def test_what_is_within_the_limits_is_read():
    assert parse_yaml("base: &b {x: 1}\na: {<<: *b, y: 2}\nc: [*b, *b]") == {
        "base": {"x": 1},
        "a": {"x": 1, "y": 2},
        "c": [{"x": 1}, {"x": 1}],
    }
    deep = MOST_DEPTH - 2
    found = parse_yaml("a: " + "[" * deep + "x" + "]" * deep)["a"]
    for _ in range(deep):
        (found,) = found
    assert found == "x"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("0o17", 15), ("0xfF", 255), ("010", 10), ("-7", -7), ("+7", 7), ("1.", 1.0), (".5e1", 5.0)],
        *[("1_000", "1_000"), ("0b1", "0b1"), ("0b_", "0b_"), ("0x_", "0x_"), ("-_", "-_"), ("1:30", "1:30")],
        *[("yes", "yes"), ("no", "no"), ("on", "on"), ("=", "="), ("0o8", "0o8"), ("true", True), ("~", None)],
    ],
)
def test_numbers_are_those_of_the_core_schema_of_yaml_1_2(text, value):
    for document in (f"a: {text}", f"%YAML 1.1\n---\na: {text}"):
        found = parse_yaml(document)["a"]
        assert (found, type(found)) == (value, type(value))


@example("\x85")
@example("a\u2028b\u2029")
@example(".0E0")
@given(st.text() | st.from_regex(r"[-+0-9._:exbo]{1,8}", fullmatch=True))
def test_a_text_is_written_so_that_readers_of_both_versions_read_it(text):
    written = dump_yaml({"a": text})
    assert "\0" in text or parse_yaml(written) == {"a": text}
    assert yaml.safe_load(written) == {"a": text}


def test_a_file_is_refused_by_its_size_before_it_is_parsed(tmp_path):
    file = tmp_path / "large.yaml"
    file.write_text("#" * (MOST_BYTES + 1), encoding="utf-8")
    with pytest.raises(
        InputError, match=f"^{file}: is larger than {MOST_BYTES} bytes, the most that a study may have$"
    ):
        read_yaml_text(file, "a study")
    assert mistake("#" * (MOST_BYTES + 1)).endswith(f"more than {MOST_BYTES} characters")


@pytest.mark.parametrize("name", ["x" * 300, "none", ".", "a\0b"])
def test_a_file_that_cannot_be_opened_is_one_line(tmp_path, name):
    with pytest.raises(InputError) as refused:
        read_yaml_text(tmp_path / name, "the study file")
    assert str(refused.value).startswith(f"{tmp_path / name}: cannot read the study file: ")
