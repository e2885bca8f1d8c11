"""Data in formats that are known and not read: the error names the format, and the documentation's code converts it."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybridtune.config.fields import BenchmarkSource
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.errors import InputError

DOCS = Path(__file__).parents[2] / "docs" / "data.md"
PAIRS = [(f"where is bridge {n}?", f"Bridge {n} is beside the school.") for n in range(4)]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(rows):
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


SQUAD = {
    "version": "1.1",
    "data": [
        {"title": "t", "paragraphs": [{"context": text, "qas": [{"id": f"g{n}", "question": query, "answers": []}]}]}
        for n, (query, text) in enumerate(PAIRS)
    ],
}
# Files by what the error calls the format; a single file is given itself, several are given as their folder.
SHAPES = {
    "SQuAD's layout": {"squad.json": json.dumps(SQUAD)},
    "SQuAD's layout (data": {"xquad.en.json": json.dumps(SQUAD), "xquad.de.json": json.dumps(SQUAD)},
    "a corpus of Mr. TyDi or Pyserini": {
        "docs.jsonl": lines({"id": f"d{n}", "contents": p} for n, (_, p) in enumerate(PAIRS)),
        "topic.dev.tsv": table((n, q) for n, (q, _) in enumerate(PAIRS)),
        "qrels.dev.txt": "".join(f"{n} Q0 d{n} 1\n" for n in range(4)),
    },
    "mMARCO or MS MARCO": {
        "german_collection.tsv": table((n, p) for n, (_, p) in enumerate(PAIRS)),
        "german_queries.dev.tsv": table((n, q) for n, (q, _) in enumerate(PAIRS)),
        "qrels.dev.small.tsv": table((n, 0, n, 1) for n in range(4)),
    },
    "CLIRMatrix": {
        "de.en.test1.base.jl": lines({"src_id": "0", "src_query": "bridge", "tgt_results": [["0", 6]]} for _ in PAIRS),
        "en.tsv": table((n, p) for n, (_, p) in enumerate(PAIRS)),
    },
    "a Hugging Face datasets folder": {
        "state.json": "{}",
        "dataset_info.json": "{}",
        "data-00000-of-00001.arrow": "ARROW1",
    },
}


def made(folder, content):
    for name, rows in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(rows, str):
            (folder / name).write_text(rows, encoding="utf-8")
        else:
            pq.write_table(pa.Table.from_pylist(rows), folder / name)
    return folder / next(iter(content)) if len(content) == 1 else folder


def trained_on(path):
    return [group for source in find_sources([str(path)]) for group in read_groups(source)]


@pytest.mark.parametrize("name", SHAPES)
def test_a_known_format_that_is_not_read_is_named(tmp_path, name):
    path = made(tmp_path / "data", SHAPES[name])
    with pytest.raises(InputError) as caught:
        read_benchmark(BenchmarkSource(path=str(path)))
    line = str(caught.value)
    assert line.startswith(str(path))
    assert f"this is {name}" in line
    assert line.endswith("docs/data.md#data-in-other-formats has the code")
    assert "\n" not in line


def test_what_is_nearly_a_group_is_told_as_such(tmp_path):
    file = made(tmp_path, {"x.jsonl": lines([{"queries": {"en": "who?"}, "passages": {"en": "me"}}])})
    with pytest.raises(InputError, match=r"x.jsonl:1: group_id must be a text that is not empty"):
        trained_on(file)


def recipes():
    """The code of the documentation, by the file that it reads."""
    section = DOCS.read_text(encoding="utf-8").split("### Data in other formats")[1].split("\n## ")[0]
    return {re.search(r'open\("([^"]+)"', code)[1]: code for code in re.findall(r"```python\n(.*?)```", section, re.S)}


@pytest.mark.parametrize("name", ["squad.json"])
def test_the_documented_code_makes_training_data(tmp_path, monkeypatch, name):
    made(tmp_path, next(content for content in SHAPES.values() if name in content))
    monkeypatch.chdir(tmp_path)
    exec(compile(recipes()[name], "docs/data.md", "exec"), {})
    groups = trained_on(tmp_path / "train.jsonl")
    found = [(group.queries["en"], group.passages["en"]) for group in groups]
    assert found == PAIRS


def test_the_documented_code_makes_a_benchmark(tmp_path, monkeypatch):
    made(tmp_path, SHAPES["mMARCO or MS MARCO"])
    monkeypatch.chdir(tmp_path)
    exec(compile(recipes()["german_collection.tsv"], "docs/data.md", "exec"), {})
    rows = read_benchmark(BenchmarkSource(path=str(tmp_path), language="de"))
    assert [text.text for text in rows.queries] == [query for query, _ in PAIRS]
    assert [text.text for part in rows.corpus for text in part.read()] == [passage for _, passage in PAIRS]
    assert [tuple(judgement) for judgement in rows.judged] == [(n, str(n), 1) for n in range(4)]
