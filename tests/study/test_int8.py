"""A graph in int8 comes with the AP that it loses, of both graphs on one benchmark, in the result and in the card."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
from study_trials import Lines, made_trials

from hybridtune.callbacks import StudyCallback
from hybridtune.config.study import dump_study, load_study
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import load_benchmark, score_vectors
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.tokenizer import pretrained_tokenizer
from hybridtune.storage.manifests import damage
from hybridtune.study.export import ExportOptions, export
from hybridtune.study.int8 import Loss, dev_benchmark, write_section

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript or onnxruntime is not installed",
)
SETTINGS = ("mono", "cross", "multi")


@pytest.fixture(scope="module")
def ended(tiny, tmp_path_factory):
    """A study folder with best/: the second trial's."""
    folder = made_trials(tiny, tmp_path_factory.mktemp("int8") / "study")
    export(folder, ExportOptions(onnx=False, trial="0001", out=folder / "best"), StudyCallback())
    return folder


@pytest.fixture(scope="module")
def exported(ended):
    """The card before, the result of an export in int8, and what it said."""
    before, said = (ended / "best" / "README.md").read_text(), Lines()
    return before, export(ended, ExportOptions(onnx=True, int8=True), said), said.lines


def graph_scores(folder, name):
    """AP of a graph on newsroom:dev, text by text."""
    import onnxruntime

    benchmark, tokenizer = load_benchmark("newsroom:dev"), pretrained_tokenizer(str(folder))
    session = onnxruntime.InferenceSession(str(folder / "onnx" / name), providers=["CPUExecutionProvider"])
    sides = []
    for texts, prefix, length in ((benchmark.queries, "query: ", 16), (benchmark.passages, "passage: ", 24)):
        rows = tokenizer.encode(texts.texts, prefix, length)
        inputs = [{"input_ids": [row], "attention_mask": [[1] * len(row)]} for row in rows]
        sides.append(np.concatenate([session.run(["sentence_embedding"], one)[0] for one in inputs]))
    return score_vectors(benchmark, *sides, ["AP"]).metrics


@pytest.mark.slow
@needs_onnx
def test_both_graphs_are_ranked_on_the_studys_dev(ended, exported):
    _, result, lines = exported
    found, benchmark = result["int8"], load_benchmark("newsroom:dev")
    assert (found["benchmark"], found["onnx"]) == ("newsroom:dev", "onnx/model_int8.onnx")
    assert (found["queries"], found["passages"]) == (len(benchmark.queries), len(benchmark.passages))
    model = DualEncoder.load(str(ended / "best"))
    vectors = model.encode_queries(benchmark.queries.texts), model.encode_passages(benchmark.passages.texts)
    exact = score_vectors(benchmark, *vectors, ["AP"]).metrics
    assert {*found["exact"]} == {*found["int8"]} == {*SETTINGS}
    for setting in SETTINGS:  # texts that are alike once they are cut tie, and rounding orders them
        assert found["exact"][setting] == pytest.approx(exact[f"{setting}/AP"], abs=0.01)
    # Alone, a text's activations have a scale of their own, so the figures are near and not the same.
    alone = graph_scores(ended / "best", "model_int8.onnx")
    for setting in SETTINGS:
        assert found["int8"][setting] == pytest.approx(alone[f"{setting}/AP"], abs=0.02)
    assert found["largest_loss"] == max(found["exact"][name] - found["int8"][name] for name in SETTINGS)
    assert any(line.startswith("int8: onnx/model_int8.onnx (") and "on newsroom:dev, in int8" in line for line in lines)


@pytest.mark.slow
@needs_onnx
def test_its_products_are_of_int8(ended, exported):
    import onnx

    graph = onnx.load(ended / "best" / "onnx" / "model_int8.onnx").graph
    kinds = {node.op_type for node in graph.node}
    assert {"DynamicQuantizeLinear", "MatMulInteger"} <= kinds
    float_weights = [one for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT and len(one.dims) == 2]
    assert not [one.name for one in float_weights if min(one.dims) >= 16]


@pytest.mark.slow
@needs_onnx
def test_the_card_says_it_until_the_graph_is_written_without_it(ended, exported):
    before, result, _ = exported
    card = (ended / "best" / "README.md").read_text()
    section = card[card.index("## ONNX in int8") : card.index("## Scores")]
    for name, figures in (("model.onnx", result["int8"]["exact"]), ("model_int8.onnx", result["int8"]["int8"])):
        row = [f"`onnx/{name}`", *(f"{figures[setting]:.4f}" for setting in SETTINGS)]
        assert f"| {' | '.join(row)} |" in section
    assert "AP on newsroom:dev, " in section
    assert damage(ended / "best") is None
    assert damage(ended / "best" / "onnx") is None
    copy = shutil.copytree(ended, ended.parent / "again")
    export(copy, ExportOptions(onnx=True), StudyCallback())
    assert (copy / "best" / "README.md").read_text() == before
    assert not (copy / "best" / "onnx" / "model_int8.onnx").exists()
    assert damage(copy / "best") is None


@pytest.mark.slow
@needs_onnx
def test_a_model_folder_is_measured_on_a_benchmark_of_ones_own(ended, call, tmp_path):
    model = shutil.copytree(ended / "best", tmp_path / "model", ignore=shutil.ignore_patterns("onnx", "*manifest*"))
    before = (model / "README.md").read_bytes()
    code, out, err = call("export", model, "--onnx", "--int8", "--out", tmp_path / "new")
    assert (code, out) == (2, "")
    assert err == (
        f"hybridtune: {model}: --int8 measures what it loses, and a model folder has no dev: give --benchmark PATH\n"
    )
    rows = [
        {"group_id": str(n), "queries": {"de": f"frage {n}"}, "passages": {"de": f"antwort {n}", "en": f"answer {n}"}}
        for n in range(9)
    ]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--onnx", "--int8", "--benchmark", tmp_path / "own.jsonl", "--out", tmp_path / "new", "--json"]
    code, out, err = call("export", model, *options)
    assert code == 0, err
    assert json.loads(out)["int8"]["passages"] == 18
    card = (tmp_path / "new" / "README.md").read_text()
    assert "AP on own.jsonl, 9 queries and 18 passages" in card
    assert str(tmp_path) not in card
    assert damage(tmp_path / "new") is None
    assert card.count("## ONNX in int8") == 1
    assert (model / "README.md").read_bytes() == before


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (0.0049, "in int8 it loses at most 0.0049 AP (cross)"),
        (0.0051, "in int8 it loses 0.0051 AP (cross), more than 0.005: where ranking matters, use onnx/model.onnx or"),
        (-0.01, "in int8 it loses at most 0.0000 AP (mono)"),
    ],
)
def test_a_loss_over_half_a_point_is_said_plainly(lost, words):
    loss = Loss("b", 9, 9, {"mono": 0.5, "cross": 0.4}, {"mono": 0.501, "cross": 0.4 - lost}, 10)
    assert loss.words().startswith(words)


def test_a_section_goes_in_and_out_of_any_card(tmp_path):
    loss = Loss("b", 9, 9, {"mono": 0.5}, {"mono": 0.25}, 10)
    for card in ("# A\n\n## Scores\n| x |\n\n## Z\n", "# A\n\ntext\n", "# A\n\n## Use\n\ntext\n"):
        (tmp_path / "README.md").write_text(card)
        write_section(tmp_path, loss)
        once = (tmp_path / "README.md").read_text()
        assert once.count("## ONNX in int8") == 1
        assert "| `onnx/model_int8.onnx` | 0.2500 |" in once
        write_section(tmp_path, loss)
        assert (tmp_path / "README.md").read_text() == once
        write_section(tmp_path, None)
        assert (tmp_path / "README.md").read_text().rstrip() == card.rstrip()
    (tmp_path / "README.md").unlink()
    write_section(tmp_path, loss)
    assert not (tmp_path / "README.md").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"reader": "own:read"}, "is read by own:read, code that is not run"), ({"path": "s3://b/x"}, "reads s3://b/x")],
)
def test_a_strangers_dev_runs_nothing_and_asks_nobody(ended, tmp_path, change, reason):
    folder = tmp_path / "study"
    shutil.copytree(ended, folder, ignore=shutil.ignore_patterns("trials", "best"))
    study = load_study(folder / "study.yaml")
    dev = study.benchmarks.dev.model_copy(update=change)
    changed = study.model_copy(update={"benchmarks": study.benchmarks.model_copy(update={"dev": dev})})
    (folder / "study.yaml").write_text(dump_study(changed))
    with pytest.raises(InputError, match=reason):
        dev_benchmark(folder, trust_remote_code=False)


def test_a_dev_that_was_held_out_of_the_training_data_is_cut_out_again(tiny, tmp_path):
    folder = made_trials(tiny, tmp_path / "study")
    study = load_study(folder / "study.yaml")
    tree = study.model_dump(mode="json", exclude_unset=True)
    tree["data"]["holdout"] = {"groups": 0.25}
    del tree["benchmarks"]
    (folder / "study.yaml").write_text(json.dumps(tree))
    name, benchmark = dev_benchmark(folder, trust_remote_code=False)
    assert name == "holdout:dev"
    assert 5 < len(benchmark.passages) < 15  # about a quarter of 40
    assert {text.split()[0] for text in benchmark.passages.texts} == {"antwort"}
