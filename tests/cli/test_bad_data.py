"""Training files and benchmarks that are wrong in any way: a line a problem, and no file half written."""

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_calls import Case
from bad_inputs import DEPTH, JUNK, TEXTS, TINY, as_json, as_lines, changed_rows, changed_trees, damaged, encoded_wrong
from hypothesis import strategies as st

GROUPS = [
    {
        "group_id": str(n),
        "document_id": f"d{n // 2}",
        "queries": {"en": f"who {n}", "de": f"wer {n}"},
        "passages": {"en": f"I am {n}", "de": f"ich bin {n}"},
        "negatives": {"de": ["du", "er"]},
        "margins": {"de": [5.25, None]},
        "translated": {"queries": {"de": "en"}, "passages": {"de": "en"}},
        "translation": {"engine": "ctranslate2", "model": "m", "licence": "Apache-2.0"},
    }
    for n in range(6)
]
PAIRS = [
    {
        "id": f"p{n // 2}",
        "language": "en" if n % 2 else "de",
        "question": f"who {n}?",
        "answer": f"it is {n}",
        "score": 1,
    }
    for n in range(8)
]
SCORED = [
    {
        "query": f"who {n}",
        "pos": [f"I am {n}"],
        "neg": [f"he {n}", f"she {n}"],
        "pos_scores": [0.9],
        "neg_scores": [0.2, 0.1],
    }
    for n in range(4)
]
SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "T",
            "paragraphs": [
                {
                    "context": f"The bridge {n} was opened. It was red.",
                    "qas": [
                        {
                            "id": f"q{n}",
                            "question": f"What {n}?",
                            "answers": [{"text": "The bridge", "answer_start": 0}],
                        }
                    ],
                }
                for n in range(3)
            ],
        }
    ],
}


def table(rows, separator):
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def parquet(rows, file_format="parquet"):
    sink = pa.BufferOutputStream()
    try:
        made = pa.Table.from_pylist(rows)
    except (pa.ArrowException, OverflowError, AttributeError, TypeError, ValueError):
        made = pa.table({"x": [json.dumps(row) for row in rows]})
    if file_format == "arrow":
        with pa.ipc.new_stream(sink, made.schema) as writer:
            writer.write_table(made)
    else:
        pq.write_table(made, sink)
    return sink.getvalue().to_pybytes()


@st.composite
def changed_tables(draw, rows, separator):
    """A table with a changed cell, row, column or header."""
    lines = table(rows, separator).decode().splitlines()
    cells = [line.split(separator) for line in lines]
    at, column = draw(st.integers(0, len(cells) - 1)), draw(st.integers(0, len(cells[0]) - 1))
    way = draw(st.sampled_from(["cell", "quote", "gone", "more", "twice", "header", "column", "long", "blank"]))
    if way == "cell":
        cells[at][column] = draw(TEXTS)
    elif way == "quote":
        cells[at][column] = '"' + cells[at][column]
    elif way == "gone":
        del cells[at][column]
    elif way == "more":
        cells[at].append(draw(TEXTS))
    elif way == "twice":
        cells[0][column] = cells[0][0]
    elif way == "header":
        del cells[0]
    elif way == "column":
        cells = [[*row[:column], *row[column + 1 :]] for row in cells]
    elif way == "long":
        cells[at][column] = "x" * 200_000
    else:
        cells[at] = [""] * len(cells[at])
    return "\n".join(separator.join(row) for row in cells).encode("utf-8", "replace")


def deep(depth):
    return b'{"group_id": "1", "queries": ' + b'{"a":' * depth + b"1" + b"}" * depth + b', "passages": {}}\n'


native = changed_rows(GROUPS)
pairs = changed_rows(PAIRS)
scored = changed_rows(SCORED)
rows_of_any_kind = native | pairs | scored
lines = rows_of_any_kind.map(as_lines) | damaged(as_lines(GROUPS)) | damaged(as_lines(PAIRS)) | DEPTH.map(deep)
lines |= encoded_wrong(as_lines(PAIRS).decode().replace("who", "wö")) | JUNK.map(as_json)
packed = lines.map(lambda content: gzip.compress(content, mtime=0))
WHOLE = gzip.compress(as_lines(GROUPS), mtime=0)
contents = {
    "d.jsonl": lines,
    "d.jsonl.gz": packed | damaged(WHOLE) | lines,
    "d.json": changed_trees(SQUAD).map(as_json)
    | rows_of_any_kind.map(as_json)
    | damaged(as_json(SQUAD))
    | JUNK.map(as_json),
    "d.csv": changed_tables(PAIRS, ",")
    | damaged(table(PAIRS, ","))
    | encoded_wrong(table(PAIRS, ",").decode().replace("w", "ö")),
    "d.tsv": changed_tables(PAIRS, "\t") | damaged(table(PAIRS, "\t")),
    "d.parquet": rows_of_any_kind.map(parquet) | damaged(parquet(GROUPS)) | damaged(parquet(PAIRS)),
    "d.arrow": rows_of_any_kind.map(lambda rows: parquet(rows, "arrow")) | damaged(parquet(PAIRS, "arrow")),
    "d.txt": lines,
    "d/a.jsonl": lines,
    "d": st.sampled_from([None, Path("d"), Path("nowhere"), b"x"]),
}
files = st.sampled_from(sorted(contents)).flatmap(lambda name: st.tuples(st.just(name), contents[name]))
COMMANDS = st.sampled_from(
    [
        ("data", "inspect", "{}"),
        ("data", "inspect", "{}", "--html", "page.html"),
        ("data", "group", "{}"),
        ("data", "group", "{}", "--by", "id", "--out", "out.jsonl"),
        ("data", "group", "{}", "--by", "text", "--out", "out.parquet"),
        ("data", "group", "good.jsonl", "--by", "alignment", "--alignment", "{}", "--out", "out.jsonl.gz"),
        ("data", "convert", "{}", "--out", "out.jsonl"),
        ("data", "convert", "{}", "--out", "new/out.parquet"),
        ("data", "clean", "{}", "--out", "out.jsonl"),
        ("data", "check", "{}", "--benchmark", "newsroom:dev"),
        ("data", "split", "{}", "--documents", "0.3", "--out", "parts"),
        ("data", "split", "{}", "--groups", "0.3", "--out", "new/parts"),
        ("init", "{}"),
        ("init", "{}", "--out", "new/study.yaml"),
        ("run", "s.yaml", "--dry-run"),
    ]
)
OPTIONS = st.sampled_from(
    [()] * 8
    + [("--format", "groups"), ("--format", "pairs"), ("--format", "squad"), ("--format", "beir"), ("--language", "en")]
    + [
        ("--language", "xx"),
        ("--language", "en-de"),
        ("--split", "dev"),
        ("--columns", "query=question,passage=answer"),
    ]
    + [
        ("--columns", "query=a"),
        ("--columns", "x"),
        ("--columns", "query=question,passage=answer,language=language,id=id"),
    ]
)
STUDY = as_json(
    {
        "name": "x",
        "data": {"train": "{}"},
        "benchmarks": {"dev": {"path": "newsroom:dev"}},
        "encoder": TINY,
        "train": {"batch_size": 2, "max_steps": 2},
    }
)


def reading(words, given, options):
    name, content = given
    whole = tuple(word.replace("{}", name.split("/")[0]) for word in words)
    study = {"s.yaml": STUDY.replace(b"{}", name.split("/")[0].encode())} if words[0] == "run" else {}
    return Case(
        (*whole, *(options if words[0] != "run" else ())), {"good.jsonl": as_lines(PAIRS), name: content, **study}
    )


training_files = st.builds(reading, COMMANDS, files, OPTIONS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.jsonl", as_lines(GROUPS)),
        ("d.csv", table(PAIRS, ",")),
        ("d.tsv", table(PAIRS, "\t")),
        ("d.parquet", parquet(GROUPS)),
        ("d.arrow", parquet(PAIRS, "arrow")),
        ("d.jsonl.gz", WHOLE),
    ],
)
def test_the_file_that_is_changed_is_a_good_one(world, name, content):
    assert world.answer(Case(("data", "inspect", name), {name: content})).code == 0


@pytest.mark.timeout(900)
def test_a_bad_training_file_is_a_line_a_problem(world):
    world.refuses(training_files, 260)
