"""`hybridtune data clean` from the command line: what it prints, and the one line for what cannot be done."""

import json

import pytest
from cli_calls import caller, files

GOOD = {"group_id": "1", "queries": {"en": "Who  won the final?"}, "passages": {"en": "Spain won it in 2010."}}
WRONG = {"group_id": "2", "queries": {"en": "Who lost?"}, "passages": {"en": "Финал выиграла Испания в 2010 году."}}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    return caller(tmp_path, monkeypatch, capsys)


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_table_has_counts_and_examples(run, tmp_path):
    path = write(tmp_path / "in.jsonl", GOOD, WRONG, GOOD | {"group_id": "3"})
    code, out, err = run("data", "clean", path, "--out", tmp_path / "out.jsonl")
    assert (code, err) == (0, "")
    assert f"  wrong-script: {path}:2 (en, CYRILLIC): Финал выиграла Испания в 2010 году." in out
    assert f"  duplicate: {path}:3 (en): Spain won it in 2010." in out
    assert f"1 of 3 rows written: {tmp_path}/out.jsonl" in out
    (row,) = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(row) == GOOD | {"queries": {"en": "Who won the final?"}}


def test_json_is_the_report(run, tmp_path):
    path = write(tmp_path / "in.jsonl", GOOD, WRONG)
    code, out, _ = run("data", "clean", path, "--out", tmp_path / "out.jsonl", "--json")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "out.jsonl.report.json").read_text())
    assert json.loads(out)["dropped"]["wrong-script"]["rows"] == 1


MISTAKES = {
    "no file": (["none.jsonl", "--out", "o.jsonl"], "none.jsonl: does not exist"),
    "broken line": (["broken.jsonl", "--out", "o.jsonl"], "broken.jsonl:2: broken JSON"),
    "other suffix": (["in.jsonl", "--out", "o.csv"], "--out o.csv: groups are written as .jsonl, .jsonl.gz, .parquet"),
    "the same file": (["in.jsonl", "--out", "in.jsonl"], "--out in.jsonl: is the file that is read; give another name"),
    "no reason": (["in.jsonl", "--out", "o.jsonl", "--keep", "short"], "--keep short: is no reason for which texts"),
    "must go": (["in.jsonl", "--out", "o.jsonl", "--keep", "empty"], "--keep empty: such a text cannot be trained on"),
    "no encoder": (["in.jsonl", "--out", "o.jsonl", "--encoder", "none/here"], "none/here"),
    "no language": (["und.jsonl", "--out", "o.jsonl"], "und.jsonl:1: passages: 'und' names no language"),
    "nothing left": (["wrong.jsonl", "--out", "o.jsonl"], "none of the 1 rows is left (wrong-script 1)"),
    "no row": (["empty.jsonl", "--out", "o.jsonl"], "there is no pair in the data"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_written(run, tmp_path, mistake):
    here = tmp_path / "here"
    write(here / "in.jsonl", GOOD)
    write(here / "wrong.jsonl", WRONG)
    write(here / "empty.jsonl")
    write(here / "und.jsonl", GOOD | {"passages": {"und": "x"}})
    (here / "broken.jsonl").write_text(json.dumps(GOOD) + "\n{\n")
    before = files(here)
    arguments, expected = MISTAKES[mistake]
    code, _out, err = run("data", "clean", *arguments)
    assert code == 2
    assert err.startswith("hybridtune: ")
    assert err.count("\n") == 1
    assert expected in err
    assert files(here) == before
