import json

import pytest
from cli_calls import caller, files


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    return caller(tmp_path, monkeypatch, capsys)


WRONG_EVALUATION = {
    "model folder": (
        ["{here}/none", "--benchmark", "newsroom:dev"],
        "encoder {here}/none: no tokenizer there: it is neither a model folder nor a name that could be fetched; give "
        "the path of a folder with config.json, tokenizer.json and model.safetensors (no such folder)",
    ),
    "benchmark": (
        ["{here}", "--benchmark", "{here}/none.jsonl"],
        "{here}/none.jsonl: does not exist",
    ),
    "part of the newsroom": (
        ["{here}", "--benchmark", "newsroom:all"],
        "newsroom:all: the embedded corpus has newsroom:train, newsroom:dev and newsroom:test",
    ),
    "tiny": (
        ["tiny", "--benchmark", "newsroom:dev"],
        "tiny is built by a study; evaluate takes a model folder, a name or a study folder",
    ),
    "key": (
        ["{here}", "--benchmark", "newsroom:dev", "--set", "encoder.poling=cls"],
        "--set: encoder.poling: unknown key; did you mean 'pooling'?",
    ),
    "longer code": (
        ["{here}", "--benchmark", "newsroom:dev", "--set", "benchmark.language=deu"],
        "--set: benchmark.language: 'deu' is written de (ISO 639-1)",
    ),
    "language": (
        ["{here}", "--benchmark", "newsroom:dev", "--set", "benchmark.languages=[fi]"],
        "newsroom:dev languages fi: no query has a relevant passage",
    ),
}


@pytest.mark.parametrize("name", WRONG_EVALUATION)
def test_a_wrong_evaluation_is_one_line_and_writes_nothing(call, tmp_path, name):
    arguments, line = WRONG_EVALUATION[name]
    before = files(tmp_path)
    found = call("evaluate", *(part.format(here=tmp_path) for part in arguments), "--out", tmp_path / "out")
    assert found == (2, "", f"hybridtune: {line.format(here=tmp_path)}\n")
    assert files(tmp_path) == before


def test_dry_run_of_an_evaluation(call, tiny, tmp_path):
    short = ("--set", "encoder.query_length=16", "--set", "encoder.passage_length=24")
    code, out, _ = call("evaluate", tiny[0], "--benchmark", "newsroom:dev", "--dry-run", "--json", *short)
    assert code == 0
    told = json.loads(out)
    assert (told["model"], told["benchmark"], told["settings"]) == (str(tiny[0]), "newsroom:dev", "mono, cross, multi")
    assert told["passages"] > 100
    assert files(tmp_path) == [str(tmp_path / "here")]
