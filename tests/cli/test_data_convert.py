"""`hybridtune data convert` writes what it read as groups, and says what that was."""

import json

import pytest

from hybridtune.config.fields import DataSet
from hybridtune.data.readers.sources import find_sources, read_groups

CSV = 'id,question,answer,lang\n1,"who, then?",me,en\n2,wer?,ich,de\n2b,wer?,du,de\n'


def groups(path, **fields):
    return [group for source in find_sources([DataSet(path=str(path), **fields)]) for group in read_groups(source)]


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet"])
def test_pairs_become_groups(call, tmp_path, name):
    (tmp_path / "pairs.csv").write_text(CSV)
    code, out, error = call("data", "convert", tmp_path / "pairs.csv", "--out", tmp_path / name)
    assert (code, error) == (0, "")
    assert "pairs by columns, query=question, passage=answer, language=lang, id=id" in " ".join(out.split())
    assert "3 rows, 3 groups" in out
    assert groups(tmp_path / name) == groups(tmp_path / "pairs.csv")
    again = tmp_path / f"again-{name}"
    assert call("data", "convert", tmp_path / name, "--out", again)[0] == 0
    assert again.read_bytes() == (tmp_path / name).read_bytes()


def test_json_has_the_counts(call, tmp_path):
    rows = [{"query": "q", "pos": ["a", "b"], "neg": ["a"]}, {"query": "r", "pos": [], "neg": []}]
    (tmp_path / "flag.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ("--language", "en-sw", "--out", tmp_path / "out.jsonl", "--json")
    code, out, _ = call("data", "convert", tmp_path / "flag.jsonl", *options)
    assert code == 0
    assert json.loads(out) == {
        "file": str(tmp_path / "out.jsonl"),
        "formats": [f"{tmp_path / 'flag.jsonl'}: pairs by columns, query=query, passage=pos, negatives=neg"],
        "rows": 1,
        "groups": 2,
        "queries": {"en": 2},
        "passages": {"sw": 2},
        "left_out": {"negatives that are a passage of their own row": 1, "rows without a text in pos": 1},
    }


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--columns", "query"], "--columns query: 'query' is not of the form query=NAME"),
        (["--columns", "query=a,query=b"], "--columns query=a,query=b: 'query' is given twice, the second time as 'b'"),
        (["--columns", "question=a"], "columns.question: input should be 'query'"),
        (["--language", "xx"], "language: 'xx' is no language code of ISO 639"),
        (["--format", "excel"], "format: input should be 'groups'"),
        (["--split", "dev"], "nothing says the language"),
    ],
)
def test_wrong_options_and_wrong_data_write_nothing(call, tmp_path, options, line):
    (tmp_path / "pairs.csv").write_text("question,answer\nq,a\n")
    code, out, error = call("data", "convert", tmp_path / "pairs.csv", *options, "--out", tmp_path / "out.jsonl")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert line in error
    assert not (tmp_path / "out.jsonl").exists()
