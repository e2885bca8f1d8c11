"""Ways in which input goes wrong, drawn by hypothesis: values, trees of values, and texts and bytes of files."""

import copy
import json

from hypothesis import strategies as st

HUGE = 10**400
NUMBERS = st.sampled_from(
    [
        0,
        -1,
        1,
        2,
        3,
        7,
        2**31,
        2**63,
        -(2**63) - 1,
        10**15,
        HUGE,
        0.5,
        -0.5,
        1.5,
        1e-320,
        1e308,
        float("inf"),
        float("-inf"),
        float("nan"),
    ]
)
TEXTS = st.sampled_from(
    [
        "",
        " ",
        "-",
        "~",
        "x",
        "0",
        "1e5",
        ".nan",
        "auto",
        "null",
        "yes",
        "2024-11-12",
        "1:30",
        "a\nb",
        "\t",
        "a: b",
        "[",
        "{}",
        "x" * 300,
        "x/" * 3000,
        "../..",
        "/",
        "/dev/null",
        "~nobody/x",
        "*",
        "**",
        "[a",
        "a\\b",
        "${HOME}",
        "${NO_SUCH}",
        "${",
        "://",
        "foo://bar",
        "file:///nowhere",
        "http://[",
        "s3://",
        "a=b",
        "a:b",
        "module:function",
        "nowhere:nothing",
        "newsroom:",
        "newsroom:nothing",
        "\x1b[31m",
        "\u202e",
        "é",
        "\ud7ff",
        "😀",
        "en",
        "xx",
        "en-de",
        "en-en",
        "balanced/AP",
        "AP@0",
    ]
) | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
DEPTH = st.sampled_from([2, 50, 400, 3000])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS


def nested(depth):
    """A list in a list in a list ..."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


JUNK = (
    SCALARS
    | st.lists(SCALARS, max_size=3)
    | st.dictionaries(TEXTS, SCALARS, max_size=3)
    | st.lists(st.dictionaries(TEXTS, SCALARS, max_size=2) | st.lists(SCALARS, max_size=2), max_size=2)
)


def places(tree, above=()):
    """Every place in a tree, as the keys that lead there."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inside:
        yield (*above, key)
        yield from places(value, (*above, key))


@st.composite
def changed_trees(draw, tree, most=2):
    """A tree of JSON in which one place or two is something else, is gone, or has another name."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, most))):
        known = list(places(tree)) if isinstance(tree, dict | list) else []
        if not known:
            return draw(JUNK)
        *above, key = draw(st.sampled_from(known))
        parent = tree
        for step in above:
            parent = parent[step]
        way = draw(st.sampled_from(["junk"] * 5 + ["gone", "renamed", "in a list", "in a mapping", "beside", "number"]))
        if way == "junk":
            parent[key] = draw(JUNK)
        elif way == "number":
            parent[key] = draw(NUMBERS)
        elif way == "gone":
            del parent[key]
        elif way == "in a list":
            parent[key] = [parent[key]]
        elif way == "in a mapping":
            parent[key] = {draw(TEXTS): parent[key]}
        elif isinstance(parent, dict) and way == "renamed":
            parent[draw(TEXTS)] = parent.pop(key)
        elif isinstance(parent, dict):
            parent[draw(TEXTS)] = draw(JUNK)
        else:
            parent.insert(key, draw(JUNK))
    return tree


@st.composite
def damaged(draw, content):
    """The bytes of a file as a disk, a copy, an editor or another program would leave them."""
    way = draw(st.sampled_from(["cut", "flip", "zeros", "insert", "empty", "again", "lost", "mark", "end"]))
    place = draw(st.integers(0, max(0, len(content) - 1)))
    end = min(len(content), place + draw(st.integers(1, 40)))
    if way == "cut":
        return content[:place]
    if way == "flip":
        return (
            content[:place] + bytes([content[place] ^ draw(st.integers(1, 255))]) + content[place + 1 :]
            if content
            else b"x"
        )
    if way == "zeros":
        return content[:place] + b"\0" * (end - place) + content[end:]
    if way == "insert":
        return content[:place] + draw(st.binary(min_size=1, max_size=8)) + content[place:]
    if way == "again":
        return content[:end] + content[place:]
    if way == "lost":
        return content[:place] + content[end:]
    if way == "mark":
        return (
            draw(st.sampled_from([b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0", b"\x1f\x8b", b"PK\x03\x04"]))
            + content
        )
    if way == "end":
        return content + draw(st.sampled_from([b"\0", b"\n\n\n", b"}", b"]", b"\x1a", b"\xff", b"\n---\nx: 1\n"]))
    return b""


def encoded_wrong(text):
    """The bytes of a text in an encoding that is not UTF-8."""
    return st.sampled_from(["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-7", "shift_jis"]).map(
        lambda encoding: text.encode(encoding, "replace")
    )


def as_json(tree):
    """The bytes of a JSON file, with numbers that JSON itself has not."""
    return json.dumps(tree, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def changed_rows(draw, rows):
    """Rows of which one is changed, or no row at all; rows are mappings."""
    rows = copy.deepcopy(rows)
    at = draw(st.integers(0, len(rows) - 1))
    rows[at] = draw(changed_trees(rows[at]) | JUNK)
    return rows


def as_lines(rows):
    """The bytes of JSON lines."""
    return b"".join(as_json(row) + b"\n" for row in rows)


TINY = {"query_length": 8, "passage_length": 8, "tiny": {"vocab_size": 200, "hidden_size": 8, "heads": 1, "layers": 1}}
GROUPS = [
    {
        "group_id": str(n),
        "queries": {"en": f"where {n}", "de": f"wo {n}"},
        "passages": {"en": f"there {n}", "de": f"da {n}"},
    }
    for n in range(12)
]
PAIRS = as_lines(GROUPS)  # a good training file
