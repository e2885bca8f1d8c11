"""Benchmarks of every known layout that are wrong in any way: a line a problem, and nothing written."""

import gzip
import json

import pytest
from bad_calls import Case
from bad_inputs import JUNK, TEXTS, TINY, as_json, as_lines, changed_rows, changed_trees, damaged
from hypothesis import strategies as st


def news(*docs):
    return [{"id": name, "title": "T", "text": text, "url": "u"} for name, text in docs]


def article(language, asked=None):
    questions = [
        {
            "question": f"who is it {asked or language} {n}?",
            "id": f"q{n}",
            "answers": [{"text": "It", "answer_start": 0}],
        }
        for n in range(2)
    ]
    text = "It is so. It was not."
    paragraph = {
        "context": text,
        "sentence_breaks": [[0, 9], [10, 21]],
        "sentences": ["It is so.", "It was not."],
        "qas": questions,
    }
    return {"data": [{"title": "T", "paragraphs": [paragraph]}], "version": "1"}


GROUPS = [
    {
        "group_id": str(n),
        "document_id": f"d{n}",
        "queries": {"en": f"who {n}"},
        "passages": {"en": f"I {n}", "de": f"ich {n}"},
    }
    for n in range(4)
]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t2\nq1\td3\t0\n"
DOCS = [{"_id": f"d{n}", "title": f"t{n}", "text": f"text {n}", "language": "en"} for n in range(1, 4)]
QUERIES = [{"_id": f"q{n}", "text": f"query {n}", "language": "de"} for n in (1, 2)]
LAYOUTS = {  # files by name: lists are JSON lines, a mapping is JSON, texts stay
    "native": {"a.jsonl": GROUPS[:2], "b.jsonl.gz": GROUPS[2:]},
    "xquad-r": {"en.json": article("en"), "de.json": article("de")},
    "mlqa": {f"test-context-{x}-question-{y}.json": article(x, y) for x in ("de", "en") for y in ("de", "en")},
    "beir": {"corpus.jsonl": DOCS, "queries.jsonl": QUERIES, "qrels/test.tsv": QRELS},
    "trec": {"corpus.jsonl.gz": DOCS, "queries.jsonl": QUERIES, "qrels/dev.tsv": "q1 0 d1 1\nq2 0 d2 2\nq1 0 d3 0\n"},
    "miracl": {
        "miracl/miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv": "0\tNani?\n2\tLini?\n",
        "miracl/miracl-v1.0-sw/qrels/qrels.miracl-v1.0-sw-dev.tsv": "0\tQ0\t7#1\t1\n2\tQ0\t7#0\t1\n0\tQ0\t7#0\t0\n",
        "miracl-corpus/miracl-corpus-v1.0-sw/docs-0.jsonl.gz": [
            {"docid": f"7#{n}", "title": "Jua", "text": f"Mwanga {n}"} for n in range(2)
        ],
    },
    "ciral": {
        "topics/topics.ciral-v1.0-ha-dev.tsv": "1\twho?\n2\twhat?\n",
        "qrels/qrels.ciral-v1.0-ha-dev.tsv": "1 Q0 h1 1\n2 Q0 h2 1\n1 Q0 h2 0\n",
        "hausa_passages.jsonl": [{"docid": f"h{n}", "title": "T", "text": f"Wata {n}", "url": "u"} for n in (1, 2)],
    },
    "neuclir": {
        "bench/news.eng.tsv": "7\tstrike\n8\tflood\n",
        "bench/news.rus.tsv": "7\tstrike in Russian\n8\tflood in Russian\n",
        "bench/qrels.mlir.gains.txt": "7 0 r1 3\n7 0 r2 1\n8 0 z1 1\n",
        "neuclir1/rus-00000-of-00001.jsonl.gz": news(("r1", "one"), ("r2", "two")),
        "neuclir1/zho-00000-of-00001.jsonl.gz": news(("z1", "three")),
    },
    "subsets": {
        "sw-corpus/test.jsonl": [{"_id": f"d{n}", "text": f"text {n}", "title": ""} for n in range(3)],
        "sw-queries/test.jsonl": [{"_id": f"q{n}", "text": f"query {n}"} for n in range(2)],
        "sw-qrels/test.jsonl": [{"query-id": f"q{n}", "corpus-id": f"d{n}", "score": 1} for n in range(2)],
    },
}
SMALL = ("--set", "encoder.query_length=16", "--set", "encoder.passage_length=16")


def packed(name, content):
    """The bytes of a file, by its name."""
    plain = (
        as_lines(content)
        if isinstance(content, list)
        else as_json(content)
        if isinstance(content, dict)
        else content.encode()
    )
    return gzip.compress(plain, mtime=0) if name.endswith(".gz") else plain


@st.composite
def changed_lines(draw, text):
    """A text of columns with one line that is something else."""
    lines = text.splitlines()
    at = draw(st.integers(0, len(lines) - 1))
    cells = lines[at].split("\t" if "\t" in text else " ")
    column = draw(st.integers(0, len(cells) - 1))
    way = draw(st.sampled_from(["cell", "cell", "gone", "more", "line", "twice", "blank"]))
    if way == "cell":
        cells[column] = draw(TEXTS | st.sampled_from(["1e400", "9" * 40, "-1", "nan", "0.5", "q1", "d9"]))
    elif way == "gone":
        del cells[column]
    elif way == "more":
        cells.insert(column, draw(TEXTS))
    joined = ("\t" if "\t" in text else " ").join(cells)
    lines[at : at + 1] = {"line": [], "twice": [joined, joined], "blank": [""]}.get(way, [joined])
    return "\n".join(lines)


@st.composite
def layouts(draw):
    """The files of a benchmark of which one or two are wrong, or gone."""
    files = dict(LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))])
    found = {name: packed(name, content) for name, content in files.items()}
    for name in draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=2, unique=True)):
        content = files[name]
        way = draw(st.sampled_from(["content"] * 6 + ["bytes", "bytes", "gone", "renamed", "folder"]))
        if way == "content" and isinstance(content, list):
            found[name] = packed(name, draw(changed_rows(content)))
        elif way == "content" and isinstance(content, dict):
            found[name] = as_json(draw(changed_trees(content) | JUNK))
        elif way == "content":
            found[name] = draw(changed_lines(content)).encode("utf-8", "replace")
        elif way == "bytes":
            found[name] = draw(damaged(found[name]))
        else:
            bytes_of = found.pop(name)
            if way == "renamed":
                found[f"x-{name}"] = bytes_of
            elif way == "folder":
                found[name] = None
    return {f"b/{name}": content for name, content in found.items()}


PAIRS = as_lines([{"question": f"where {n}", "answer": f"there {n}", "language": "en"} for n in range(8)])
STUDY = as_json(
    {
        "name": "x",
        "data": {"train": "pairs.jsonl"},
        "benchmarks": {"dev": {"path": "b"}},
        "encoder": TINY,
        "train": {"batch_size": 2, "max_steps": 2},
        "mix": {"mixing_ratio": 1},
        "search": {"space": {}, "arms": "none"},
    }
)
SETTINGS = st.sampled_from(
    [{}] * 6
    + [
        {"split": "dev"},
        {"split": "nothing"},
        {"language": "en"},
        {"languages": ["sw"]},
        {"languages": []},
        {"strict": True},
    ]
    + [
        {"documents": [0, 1]},
        {"documents": [1, 1]},
        {"documents": [5, 9]},
        {"ignore_identical_ids": True},
        {"reader": "nowhere:nothing"},
    ]
)


def benchmarks(model):
    """Commands that read a benchmark; ``model`` is a folder."""
    return st.builds(
        _reading,
        st.just(str(model)),
        st.sampled_from(["evaluate"] * 3 + ["run", "check", "inspect"]),
        layouts(),
        SETTINGS,
    )


def _reading(model, command, files, given):
    words = {
        "evaluate": (
            *("evaluate", model, "--benchmark", "b", "--dry-run", *SMALL),
            *(word for name, value in given.items() for word in ("--set", f"benchmark.{name}={json.dumps(value)}")),
        ),
        "run": (
            *("run", "s.yaml", "--dry-run"),
            *(
                word
                for name, value in given.items()
                for word in ("--set", f"benchmarks.dev.{name}={json.dumps(value)}")
            ),
        ),
        "check": ("data", "check", "pairs.jsonl", "--benchmark", "b"),
        "inspect": ("data", "inspect", "pairs.jsonl", "--benchmark", "b", "--html", "page.html"),
    }
    return Case(words[command], {**files, "pairs.jsonl": PAIRS, "s.yaml": STUDY})


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_benchmark_that_is_changed_is_a_good_one(world, model, name):
    files = {f"b/{file}": packed(file, content) for file, content in LAYOUTS[name].items()}
    assert world.answer(_reading(str(model), "evaluate", files, {})).code == 0


@pytest.mark.timeout(900)
def test_a_bad_benchmark_is_a_line_a_problem(world, model):
    world.refuses(benchmarks(model), 180)
