"""What `hybridtune translate` says to a newcomer's mistakes: one line, exit code 2, nothing written."""

import json

import pytest


@pytest.fixture
def pairs(tmp_path):
    rows = [{"group_id": "1", "queries": {"en": "Who?"}, "passages": {"en": "The mayor."}}]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--to", "sw"], "Missing option '--out'"),
        (["--out", "o.jsonl"], "give --to LANGUAGES"),
        (["--to", "sw", "--pairs", "en-sw", "--out", "o.jsonl"], "one of the two"),
        (["--to", "swahili", "--out", "o.jsonl"], "--to: 'swahili' is not a language code"),
        (["--to", "sw", "--out", "o.csv"], "--out o.csv: groups are written as .jsonl, .jsonl.gz, .parquet"),
        (["--to", "sw", "--out", "s3://b/o.jsonl"], "give a file of this machine"),
        (["--to", "sw", "--threshold", "x", "--out", "o.jsonl"], "--threshold x: 'x' is no number"),
        (["--to", "sw", "--encoder", "e", "--out", "o.jsonl"], "--encoder is of --check similarity"),
        (["--to", "sw", "--model", "no/where/here", "--out", "o.jsonl"], "--model no/where/here: neither a folder nor"),
        (["--to", "sw", "--model", ".", "--out", "o.jsonl"], "its config.json names no model_type"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(call, pairs, tmp_path, monkeypatch, arguments, line):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, out, err = call("translate", pairs, *arguments)
    assert code == 2
    assert out == ""
    assert line in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not list((tmp_path / "here").iterdir())
    assert not (tmp_path / "cache").exists()


def test_the_file_that_is_read_is_not_written(call, pairs):
    code, _, err = call("translate", pairs, "--to", "sw", "--out", pairs)
    assert code == 2
    assert "is the file that is read" in err
