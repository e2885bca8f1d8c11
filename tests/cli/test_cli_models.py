import json
import shutil

import pytest
from cli_calls import files

WRONG_EVALUATION = {
    "model folder": (
        ["{here}/none", "--benchmark", "newsroom:dev"],
        "encoder {here}/none: no model there: it is neither a model folder nor a name that could be fetched; give "
        "the path of a folder with config.json, tokenizer.json and model.safetensors (no such folder)",
    ),
    "benchmark": (["{here}", "--benchmark", "{here}/none.jsonl"], "{here}/none.jsonl: does not exist"),
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
    "few training pairs": (
        ["{here}", "--benchmark", "newsroom:dev", "--set", "low_resource={{fewer_than: 9}}"],
        "low_resource: fewer_than 9 needs training pairs, which are not known here; name the languages, like [sw, ha]",
    ),
    "low-resource languages of a benchmark": (
        ["{here}", "--benchmark", "newsroom:dev", "--set", "benchmark.low_resource=[sw]"],
        "--set: benchmark: low_resource: is one for the whole study; write low_resource: [sw] at the top of its file "
        "(hybridtune evaluate: --set low_resource=[...])",
    ),
    "options of lists": (
        ["{here}", "--benchmark", "newsroom:dev", "--depth", "100", "--index-above", "9"],
        "--depth, --index-above: of the lists that --run-file writes; give it too",
    ),
    "leaks of a run": (
        ["--run", "{here}/none.trec", "--benchmark", "newsroom:dev", "--on-leak", "warn"],
        "--on-leak is about what a MODEL was trained on; of a --run that is not known",
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


@pytest.mark.slow
def test_dry_run_of_an_evaluation(call, tiny, tmp_path):
    short = ("--set", "encoder.query_length=16", "--set", "encoder.passage_length=24")
    code, out, _ = call("evaluate", tiny[0], "--benchmark", "newsroom:dev", "--dry-run", "--json", *short)
    assert code == 0
    sizes = json.loads(out)
    found = [sizes[name] for name in ("model", "benchmark", "settings")]
    assert found == [str(tiny[0]), "newsroom:dev", "mono, cross, multi"]
    assert sizes["passages"] > 100
    assert files(tmp_path) == [str(tmp_path / "here")]


@pytest.mark.parametrize("command", ["evaluate", "mine", "run", "train", "export"])
def test_a_model_with_a_module_that_is_not_done_is_one_line_with_its_name(call, tiny, tmp_path, study_file, command):
    folder = shutil.copytree(tiny[0], tmp_path / "model")
    kinds = {"": "sentence_transformers.models.Transformer", "1_Dense": "pylate.models.Dense.Dense"}
    modules = [{"path": path, "type": kind} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    study = study_file(encoder={"name": str(folder)})
    before = files(tmp_path)
    arguments = {
        "evaluate": (folder, "--benchmark", "newsroom:dev", "--out", tmp_path / "out"),
        "mine": (folder, "--data", "newsroom:train", "--to", tmp_path / "mined.jsonl"),
        "run": (study, "--out", tmp_path / "out"),
        "train": (study, "--out", tmp_path / "out"),
        "export": (folder, "--onnx"),
    }[command]
    code, out, err = call(command, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"hybridtune: encoder {folder}: has a module pylate.models.Dense.Dense, which is not ")
    assert err.count("\n") == 1
    assert files(tmp_path) == before
