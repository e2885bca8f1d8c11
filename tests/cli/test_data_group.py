"""`hybridtune data group` through the command line."""

import json

import pytest
from cli_calls import files

ROWS = [
    {"group_id": "1", "queries": {"en": "Who?"}, "passages": {"en": "He."}},
    {"group_id": "2", "queries": {"de": "Wer?"}, "passages": {"en": "He."}},
    {"group_id": "1", "queries": {"sw": "Nani?"}, "passages": {"sw": "Yeye."}},
]


def test_without_a_way_it_shows_what_each_gives_and_writes_nothing(call, groups_file, tmp_path):
    file = groups_file(ROWS)
    before = files(tmp_path)
    code, out, _ = call("data", "group", file)
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["as", "read", "3", "2", "1"] in lines
    assert ["by", "id", "2", "2", "3"] in lines
    assert ["by", "text", "2", "2", "1"] in lines
    assert f"next:  hybridtune data group {file} --by id --out groups.jsonl" in out
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet"])
def test_by_id_writes_groups_that_a_second_run_finds_again_byte_for_byte(call, groups_file, tmp_path, name):
    arguments = ("data", "group", groups_file(ROWS), "--by", "id", "--json", "--out", tmp_path / name)
    code, out, _ = call(*arguments)
    assert code == 0
    found = json.loads(out)
    assert found["as read"] == {"groups": 3, "mono": 2, "cross": 1}
    assert {key: found["grouped"][key] for key in found["as read"]} == {"groups": 2, "mono": 2, "cross": 3}
    first = (tmp_path / name).read_bytes()
    assert call(*arguments)[0] == 0
    assert (tmp_path / name).read_bytes() == first
    again = json.loads(call("data", "group", tmp_path / name, "--json")[1])
    assert again["as read"] == {"groups": 2, "mono": 2, "cross": 3}


def test_an_alignment_joins_ids(call, groups_file, tmp_path):
    (tmp_path / "a.csv").write_text("1,2\n", encoding="utf-8")
    arguments = ("--by", "alignment", "--alignment", tmp_path / "a.csv", "--out", tmp_path / "out.jsonl")
    assert call("data", "group", groups_file(ROWS), *arguments)[0] == 0
    (line,) = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {
        "group_id": "1",
        "queries": {"de": "Wer?", "en": "Who?", "sw": "Nani?"},
        "passages": {"en": "He.", "sw": "Yeye."},
    }


WRONG = {
    "no file": (["--by", "id"], "give --by and --out together; without both, what each way would give is shown"),
    "no way": (["--out", "o.jsonl"], "give --by and --out together; without both, what each way would give is shown"),
    "no alignment": (
        ["--by", "alignment", "--out", "o.jsonl"],
        "--by alignment and --alignment FILE go together",
    ),
    "no encoder": (["--by", "mining", "--out", "o.jsonl"], "--by mining and --encoder MODEL go together"),
    "an encoder for nothing": (
        ["--by", "id", "--encoder", "{file}", "--out", "o.jsonl"],
        "--by mining and --encoder MODEL go together",
    ),
    "a threshold for nothing": (["--threshold", "1.1"], "--threshold and --set are of mining: give --encoder too"),
    "a threshold that is none": (
        ["--encoder", "{model}", "--threshold", "de-en=high"],
        "--threshold de-en=high: write 1.05 for all language pairs, or de-en=1.05",
    ),
    "a threshold of a pair that is not there": (
        ["--encoder", "{model}", "--threshold", "en-de=1.1"],
        "--threshold en-de=...: the pairs here are en-sw",
    ),
    "an encoder that is none": (
        ["--encoder", "{file}"],
        "encoder {file}: no model there: it is neither a model folder nor a name that could be fetched; give the path "
        "of a folder with config.json, tokenizer.json and model.safetensors (no such folder)",
    ),
    "the file itself": (["--by", "id", "--out", "{file}"], "--out {file}: is the file that is read; give another name"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_one_line_and_writes_nothing(call, groups_file, tiny, tmp_path, name):
    arguments, line = WRONG[name]
    file = groups_file(ROWS)
    before = files(tmp_path)
    code, _, err = call("data", "group", file, *(part.format(file=file, model=tiny[0]) for part in arguments))
    assert (code, err) == (2, f"hybridtune: {line.format(file=file)}\n")
    assert files(tmp_path) == before
