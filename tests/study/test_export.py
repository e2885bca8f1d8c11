import importlib.util
import json
import re
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from study_trials import checkpoint, made_trials

from hybridtune.callbacks import StudyCallback
from hybridtune.cli.main import cli
from hybridtune.config.fields import Encoder
from hybridtune.config.study import dump_study, load_study
from hybridtune.data.corpus import CorpusBuilder, read_texts
from hybridtune.data.store import recipe, store_root
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.model.encoder import load_encoder
from hybridtune.model.folder import language_vectors_for, training_pairs_of, with_folder_settings
from hybridtune.model.language_vectors import FILE, fit_language_vectors, load_language_vectors
from hybridtune.model.soup import weights_digest
from hybridtune.model.tokenizer import pretrained_tokenizer
from hybridtune.storage.manifests import MANIFEST, seal
from hybridtune.study import export as command
from hybridtune.study.export import ExportOptions, export
from hybridtune.study.trial_model import find_trial, load_trial, trial_corpus

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript or onnxruntime is not installed",
)
SILENT = StudyCallback()


class Phases(StudyCallback):
    def __init__(self):
        self.progress = []

    def on_phase_progress(self, phase, done, total):
        self.progress.append((phase, done, total))


@pytest.fixture(scope="module")
def started(tiny, tmp_path_factory):
    return made_trials(tiny, tmp_path_factory.mktemp("exports") / "study")


@pytest.fixture(scope="module")
def ended(started, tmp_path_factory):
    """The same with best/: the second trial's."""
    folder = tmp_path_factory.mktemp("ended") / "study"
    export(started, ExportOptions(onnx=False, trial="0001", out=folder / "best"), SILENT)
    for name in ("study.yaml", "environment.json", "trials.jsonl"):
        (folder / name).write_bytes((started / name).read_bytes())
    return folder


@pytest.mark.parametrize(
    ("trial", "checkpoint", "step"), [("0000", None, 12), ("1", None, 6), ("0001", 12, 12), ("0000", 6, 6)]
)
def test_a_trials_best_checkpoint_or_a_named_one_becomes_a_model_folder(started, tmp_path, trial, checkpoint, step):
    out = tmp_path / "new" / "model"
    result = export(started, ExportOptions(onnx=False, trial=trial, checkpoint=checkpoint, out=out), SILENT)
    name = trial.zfill(4)
    assert result == {"model": str(out), "trial": name, "step": step}
    source = started / "trials" / name / "fit" / f"checkpoint_{step:07d}"
    written, expected = load_file(out / "model.safetensors"), load_file(source / "model.safetensors")
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[key], expected[key]) for key in expected)
    found = with_folder_settings(Encoder(name=str(out)))
    assert (found.query_length, found.passage_length, found.pooling) == (16, 24, "mean")
    assert pretrained_tokenizer(str(out)) == pretrained_tokenizer(str(started / "encoder"))
    card = (out / "README.md").read_text()
    assert f"This model is of trial {name}." in card
    assert "temperature 0.125." in card
    assert str(started.parent) not in card
    pairs = training_pairs_of(str(out))
    assert pairs == ({"de-de": min(40, 4 * step)} if name == "0001" else {"en-de": min(40, 4 * step)})
    scores = json.loads((out / "scores.json").read_text())
    assert scores["test"] is None
    assert scores["dev"]["metrics"] == json.loads((source / "scores.json").read_text())["metrics"]
    assert scores["dev"]["training_pairs"] == pairs
    assert (out / "per_query.parquet").read_bytes() == b"figures"
    assert [path.name for path in out.parent.iterdir()] == ["model"]


def test_a_single_trainings_checkpoint_is_chosen_by_its_step(started, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(started, folder, ignore=shutil.ignore_patterns("trials*"))
    checkpoint(folder / "fit" / "checkpoint_0000006", 6, load_file(started / "encoder" / "model.safetensors"))
    result = export(folder, ExportOptions(onnx=False, checkpoint=6, out=tmp_path / "model"), SILENT)
    assert (result["trial"], result["step"]) == (None, 6)
    assert "## Trials" not in (tmp_path / "model" / "README.md").read_text()


def embedded(folder, texts, prefix, length):
    import onnxruntime

    rows = pretrained_tokenizer(str(folder)).encode(texts, prefix, length)
    session = onnxruntime.InferenceSession(str(folder / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"])
    inputs = [{"input_ids": [row], "attention_mask": [[1] * len(row)]} for row in rows]
    return np.concatenate([session.run(["sentence_embedding"], one)[0] for one in inputs])


@pytest.fixture(scope="module")
def exported(ended):
    """The names in best/ before its graph was written, and the result of the export."""
    (ended / "best" / "onnx").mkdir()
    (ended / "best" / "onnx" / "older.onnx").write_bytes(b"older")
    before = {path.name for path in (ended / "best").iterdir()}
    return before, export(ended, ExportOptions(onnx=True), SILENT)


@pytest.mark.slow
@needs_onnx
def test_a_studys_best_gets_a_graph_beside_its_weights(ended, exported):
    before, result = exported
    assert {path.name for path in (ended / "best").iterdir()} == before
    graph = {path.name for path in (ended / "best" / "onnx").iterdir()}  # in place of the older one
    assert graph == {"model.onnx", MANIFEST}
    assert (result["model"], result["onnx"]) == (str(ended / "best"), "onnx/model.onnx")
    assert result["largest_difference"] < 1e-5
    assert result["texts"] > 200
    encoder = with_folder_settings(Encoder(name=str(ended / "best")))
    model = load_encoder(encoder.name, encoder, 0).eval()
    rows = pretrained_tokenizer(encoder.name).encode(["antwort 3", "antwort 3 " * 30], "passage: ", 24)
    with torch.no_grad():
        expected = model.embed([np.array(row, np.int32) for row in rows]).numpy()
    found = embedded(ended / "best", ["antwort 3", "antwort 3 " * 30], "passage: ", 24)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@needs_onnx
def test_a_graph_in_a_folder_of_its_own_needs_no_weights(ended, tmp_path):
    done = CliRunner().invoke(
        cli, ["export", str(ended / "best"), "--onnx", "--out", str(tmp_path / "served"), "--json"]
    )
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["model"] == str(tmp_path / "served")
    assert [path.name for path in (tmp_path / "served").rglob("*.safetensors")] == [FILE]  # of the index, not weights
    assert embedded(tmp_path / "served", ["frage 3"], "query: ", 16).shape == (1, 16)


@pytest.mark.slow
def test_a_graphs_folder_inside_the_models_holds_no_part_of_itself(ended, monkeypatch):
    monkeypatch.setattr(command.onnx, "check_onnx", lambda: None)
    monkeypatch.setattr(
        command,
        "_write_onnx",
        lambda *_: ({"onnx": "x", "opset": 20, "bytes": 1, "texts": 1, "largest_difference": 0}, None),
    )
    out = ended / "best" / "served"
    export(ended, ExportOptions(onnx=True, out=out), SILENT)
    try:
        assert (out / "config.json").is_file()
        assert not [path for path in out.iterdir() if path.name.startswith(".")]
    finally:
        shutil.rmtree(out)


@pytest.mark.slow
@needs_onnx
@pytest.mark.usefixtures("exported")
def test_the_cards_programs_run(ended):
    """Those for transformers and for ONNX Runtime give the same embeddings."""
    programs = re.findall(r"```python\n(.*?)```", (ended / "best" / "README.md").read_text(), re.DOTALL)
    found = []
    for program in programs[1:-1]:
        names: dict = {}
        exec(program.replace("this folder", str(ended / "best")), names)
        found.append(np.asarray(names["queries"]))
    assert [vectors.shape for vectors in found] == [(1, 16), (1, 16)]
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-5)
    exec(programs[-1].replace(FILE, str(ended / "best" / FILE)), names)
    moved = names["move"]("queries", found[0], ["de"])
    np.testing.assert_allclose(moved, load_language_vectors(ended).move("queries", found[0], ["de"]), atol=1e-6)


@pytest.mark.slow
@needs_onnx
def test_a_graph_that_differs_leaves_nothing_behind(ended, tmp_path, monkeypatch):
    monkeypatch.setattr(
        command.onnx, "write_onnx", lambda model, source, trust, file, opset: file.write_bytes(b"") or 20
    )
    monkeypatch.setattr(command.onnx, "largest_difference", lambda model, file, rows: float("nan"))
    before = sorted(path for path in (ended / "best").rglob("*"))
    for out in (None, tmp_path / "out"):
        with pytest.raises(HybridtuneError, match="embeds otherwise than torch") as caught:
            export(ended, ExportOptions(onnx=True, out=out), SILENT)
        assert not isinstance(caught.value, InputError)  # exit code 1
    assert sorted(path for path in (ended / "best").rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


def texts_by_side():
    """Those of `made_trials`, with their languages: fewer than would be drawn of each."""
    queries = [(f"{word} {n}", code) for code, word in (("de", "frage"), ("en", "question")) for n in range(40)]
    return {"queries": queries, "passages": [(f"antwort {n}", "de") for n in range(40)]}


@pytest.fixture
def store(started, tmp_path):
    """The token store of the study's texts, while a test runs."""
    study = load_study(started / "study.yaml")
    made_of = recipe(study.data, study.encoder)
    folder = store_root(study.data) / made_of.address
    (folder / "groups").mkdir(parents=True)
    builder = CorpusBuilder({}, tmp_path)
    made_of.fill(builder).save(folder / "groups")
    tokenizer = pretrained_tokenizer(str(started / "encoder"))
    sides = {True: ("query: ", 16), False: ("passage: ", 24)}
    rows = [tokenizer.encode([text], *sides[is_query])[0] for is_query, text in read_texts(builder.parts)]
    np.save(folder / "tokens.npy", np.concatenate(rows).astype(np.int32))
    np.save(folder / "offsets.npy", np.cumsum([0, *map(len, rows)]))
    (folder / "store.json").write_text("{}")
    seal(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("built", [False, True])
def test_a_trial_gets_the_language_vectors_of_its_training_texts(started, tmp_path, request, monkeypatch, built):
    """Fitted on what the model folder itself gives for these texts, and of that folder's encoder."""
    if built:
        request.getfixturevalue("store")
        monkeypatch.delattr("hybridtune.study.trial_vectors.read_texts")  # the store has their tokens
    seen = Phases()
    export(started, ExportOptions(onnx=False, trial="0001", out=tmp_path / "model"), seen)
    assert seen.progress == [("encoding texts of each language", done, 120) for done in (0, 40, 80, 120)]
    settings = with_folder_settings(Encoder(name=str(tmp_path / "model")))
    model = load_encoder(settings.name, settings, 0).eval()
    tokenizer = pretrained_tokenizer(settings.name)
    vectors = {}
    for side, texts in texts_by_side().items():
        prefix, length = ("query: ", 16) if side == "queries" else ("passage: ", 24)
        rows = tokenizer.encode([text for text, _ in texts], prefix, length)
        vectors[side] = model.embed_by_length(rows), [language for _, language in texts]
    expected = fit_language_vectors("apart", vectors)
    found = language_vectors_for(tmp_path / "model", settings)
    assert (found.texts, found.method) == (expected.texts, "apart")
    for side, offsets in expected.offsets.items():
        assert found.offsets[side].keys() == offsets.keys()
        for language, offset in offsets.items():
            np.testing.assert_allclose(found.offsets[side][language], offset, rtol=0, atol=1e-6)
    assert FILE in (tmp_path / "model" / "README.md").read_text()


def test_what_the_study_has_fitted_is_not_fitted_again(started, tmp_path):
    folder, weights = tmp_path / "study", load_file(started / "trials/0000/fit/checkpoint_0000012/model.safetensors")
    shutil.copytree(started, folder)
    fitted = fit_language_vectors("apart", {"queries": (np.eye(2, 16, dtype=np.float32), ["de", "en"])})
    home = folder / "contestants" / "tuned-centred"
    home.mkdir(parents=True)
    (home / FILE).write_bytes(fitted.to_bytes())
    state = {name: value.numpy() for name, value in weights.items()}
    said = {"weights": f"{weights_digest(state)}, pooled by mean, centred by 256 texts", "benchmark": "d"}
    scores = json.loads((started / "trials/0000/fit/checkpoint_0000012/scores.json").read_text())
    (home / "scores.json").write_text(json.dumps(said | scores))
    seal(home)
    for step, kept in ((None, True), (6, False)):
        seen, out = Phases(), tmp_path / f"model-{step}"
        export(folder, ExportOptions(onnx=False, trial="0000", checkpoint=step, out=out), seen)
        assert (not seen.progress) == kept
        assert (load_language_vectors(out).texts == fitted.texts) == kept


def test_a_model_that_gives_way_takes_its_graph_along(started, tmp_path):
    (tmp_path / "best" / "onnx").mkdir(parents=True)
    found = find_trial(started, "0000", None, trust_remote_code=False)
    trained = command.describe_trained(found.study, trial_corpus(started, found.study), found.checkpoint)
    command.write_model(load_trial(found), found.source, trained, tmp_path / "best")
    assert not (tmp_path / "best" / "onnx").exists()
    assert (tmp_path / "best" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to export: give --onnx, or --trial"),
        ({"trial": "0000", "opset": 20}, "--opset is of the ONNX graph"),
        ({"trial": "0007", "out": "x"}, "trial 0007: none of that name has ended in STUDY; there are: 0000, 0001"),
        ({"trial": "0000", "checkpoint": 7, "out": "x"}, "0000 has none of that step; there are: 6, 12"),
        ({"checkpoint": 6, "out": "x"}, "--checkpoint 6: of which trial? give --trial too"),
        ({"trial": "0000"}, "--out is missing: a new folder for the model of "),
        ({"trial": "0000", "out": "full"}, "is there and not empty"),
    ],
)
def test_options_that_cannot_be_met_are_one_clear_line(started, tmp_path, options, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    out = tmp_path / options["out"] if "out" in options else None
    with pytest.raises(InputError) as caught:
        export(started, ExportOptions(**{"onnx": False, **options, "out": out}), SILENT)
    assert message.replace("STUDY", str(started)) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@needs_onnx
def test_folders_without_a_model_are_one_clear_line(started, tiny, tmp_path):
    with pytest.raises(InputError, match=r"its study has no best/ yet; .*trials that have ended: 0000, 0001$"):
        export(started, ExportOptions(onnx=True), SILENT)
    for folder in (tmp_path / "none", tiny[0]):
        with pytest.raises(InputError, match="is neither a study folder nor a model folder"):
            export(folder, ExportOptions(onnx=True), SILENT)
    with pytest.raises(InputError, match=r"is no study folder \(no study.yaml\)"):
        export(tmp_path, ExportOptions(onnx=False, trial="0000"), SILENT)
    types = [f"sentence_transformers.models.{kind}" for kind in ("Transformer", "Pooling", "LSTM")]
    (tmp_path / "modules.json").write_text(json.dumps([{"type": kind} for kind in types]))
    with pytest.raises(InputError, match=r"has a module sentence_transformers\.models\.LSTM, which is not supported"):
        export(tmp_path, ExportOptions(onnx=True), SILENT)


@pytest.fixture
def own_code(started, tmp_path, monkeypatch):
    """A study folder that allows its encoder code of its own, which leaves a marker where it runs; and the marker."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder, marker = tmp_path / "study", tmp_path / "ran"
    shutil.copytree(started, folder)
    encoder = folder / "encoder"
    (encoder / "own.py").write_text(
        "from transformers import BertConfig, BertModel\n"
        f"open({str(marker)!r}, 'w').close()\n"
        "class OwnConfig(BertConfig):\n    model_type = 'own'\n"
        "class OwnModel(BertModel):\n    config_class = OwnConfig\n"
    )
    config = json.loads((encoder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
    (encoder / "config.json").write_text(json.dumps(config))
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (encoder / "modules.json").write_text(json.dumps(modules))
    study = load_study(folder / "study.yaml")
    trusting = study.encoder.model_copy(update={"name": str(encoder), "trust_remote_code": True})
    (folder / "study.yaml").write_text(dump_study(study.model_copy(update={"encoder": trusting})))
    shutil.copytree(encoder, folder / "best")
    seal(folder / "best")
    return folder, marker


@pytest.mark.parametrize("options", [{"onnx": True}, {"onnx": False, "trial": "0000"}])
def test_a_folders_own_word_does_not_let_its_code_run(own_code, tmp_path, monkeypatch, options):
    monkeypatch.setattr(command.onnx, "check_onnx", lambda: None)
    folder, marker = own_code
    with pytest.raises(InputError, match=r"needs code of its own.*--trust-remote-code") as caught:
        export(folder, ExportOptions(**options, out=tmp_path / "out"), SILENT)
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_the_command_lines_word_lets_it_run(own_code, tmp_path):
    folder, marker = own_code
    command_line = ["export", str(folder), "--trial", "0000", "--out", str(tmp_path / "out"), "--trust-remote-code"]
    done = CliRunner().invoke(cli, command_line)
    assert done.exit_code == 0, done.exception
    assert marker.exists()
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["evaluate", "mine"])
def test_a_study_folder_as_the_model_does_not_let_its_code_run(own_code, name, groups_file):
    folder, marker = own_code
    options = {
        "evaluate": ["--benchmark", "newsroom:dev", "--dry-run"],
        "mine": ["--data", str(folder.parent / "groups.jsonl"), "--to", str(folder / "mined.jsonl")],
    }[name]
    groups_file([{"group_id": "1", "queries": {"en": "a"}, "passages": {"en": "b"}}])
    result = CliRunner().invoke(cli, [name, str(folder), *options])
    assert isinstance(result.exception, InputError), result.exception
    assert "--set encoder.trust_remote_code=true" in str(result.exception)
    assert not marker.exists()
