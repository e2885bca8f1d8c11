"""`hybridtune translate`: a newcomer's mistakes are one line each, and what it prints at its end."""

import json
import zlib

import pytest
import translation_pools
import translators

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import DataSet
from hybridtune.translate.run import TranslateOptions, translate
from hybridtune.translate.wanted import parse_wanted


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
        (["--to", "sw", "--encoder", "e", "--out", "o.jsonl"], "--encoder and --set are of --check similarity"),
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


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return translators.nllb(tmp_path_factory.mktemp("model") / "nllb-200")


def filled(model, pairs, cache, pool):
    """Have the cache of a command with ``--engine transformers`` filled without a model: then it starts no Ray."""
    wanted = parse_wanted("both", "sw", "en", None)
    out = str(cache.parent / "first.jsonl")
    options = TranslateOptions(str(model), wanted, out, engine="transformers", cache=cache)
    translate([DataSet(path=str(pairs))], options, StudyCallback(), pool)


def answer(text, target):
    """A sentence of Swahili, with a number that stands for the text; nothing for texts with a 2."""
    return "" if "2" in text else f"Daraja la mji huo lilifunguliwa na meya {zlib.crc32(text.encode())}"


def test_a_run_prints_what_was_added_and_left_out_and_the_licence(call, pairs, model, tiny, tmp_path):
    rows = [
        {
            "group_id": f"g{n}",
            "queries": {"en": f"Who opened bridge {n}?"},
            "passages": {"en": f"The mayor of town {n}."},
        }
        for n in range(4)
    ]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    filled(model, pairs, tmp_path / "kept", translation_pools.of(answer))
    given = ("translate", pairs, "--model", model, "--engine", "transformers", "--to", "sw", "--from", "en")
    similar = ("--check", "similarity", "--encoder", tiny[0], "--threshold", "-1")
    similar += ("--set", "encoder.query_length=16", "--set", "encoder.passage_length=24")
    code, out, err = call(*given, "--cache", tmp_path / "kept", "--out", "out.jsonl", *similar)
    assert code == 0, err
    assert "4 groups, 3 queries, 3 passages added by nllb-200 (cc-by-nc-4.0)" in out
    assert "8 distinct texts: 0 translated now, 8 from the cache" in out
    assert "empty" in out
    assert "agreement with the source (similarity)" in out
    assert "not for commercial use" in out
    code, out, err = call(*given, "--cache", tmp_path / "kept", "--out", "out.jsonl", "--json")
    assert json.loads(out)["added"] == {"queries": 3, "passages": 3}
    code, out, err = call(*given, "--cache", tmp_path / "kept", "--out", "other.jsonl", "--estimate")
    assert "8 texts, 8 distinct; 8 in the cache, 0 left" in out
    short = ("--max-tokens", "16", "--beam", "1")
    code, out, err = call(*given, *short, "--cache", tmp_path / "empty", "--out", "other.jsonl", "--estimate")
    assert "8 left: 8 en-sw" in out
    assert "measured on" in out
    assert "nothing was kept of the sample" in out
    assert not (tmp_path / "here" / "other.jsonl").exists()
