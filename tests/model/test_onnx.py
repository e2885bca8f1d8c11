import importlib.util
import sys

import layouts
import numpy as np
import pytest
import torch

from hybridtune.errors import HybridtuneError, InputError
from hybridtune.model import onnx
from hybridtune.model.encoder import DualEncoder, load_encoder
from hybridtune.model.folder import build_tiny
from hybridtune.model.onnx import TOLERANCE, check_onnx, largest_difference, sample_texts, write_onnx
from hybridtune.model.tokenizer import pretrained_tokenizer

MISSING = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def loaded(tiny, pooling):
    folder, encoder, tokenizer = tiny
    return load_encoder(str(folder), encoder.model_copy(update={"pooling": pooling}), tokenizer.pad_id).eval()


@pytest.fixture(scope="module")
def graph(tiny, tmp_path_factory):
    """A graph and its encoder."""
    model, file = loaded(tiny, "mean"), tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(model, str(tiny[0]), False, file)
    return file, model


def token_rows(tiny, length=24):
    return [np.array(ids, np.int32) for ids in tiny[2].encode(sample_texts(), "passage: ", length)]


def test_the_texts_of_the_check_are_of_many_lengths(tiny):
    lengths = {len(row) for row in token_rows(tiny, 10_000)}
    assert min(lengths) < 10
    assert max(lengths) > 600
    assert len(lengths) > 30


@pytest.mark.slow
@needs_onnx
def test_a_graph_embeds_as_torch_does(tiny, graph):
    file, model = graph
    assert largest_difference(model, file, token_rows(tiny)) < 1e-5
    assert [path.name for path in file.parent.iterdir()] == ["model.onnx"]


@pytest.mark.slow
@needs_onnx
def test_batches_and_lengths_are_free_and_the_outputs_have_their_usual_names(tiny, graph):
    import onnxruntime

    file, model = graph
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert [(part.name, part.shape) for part in session.get_inputs()] == [
        ("input_ids", ["batch", "tokens"]),
        ("attention_mask", ["batch", "tokens"]),
    ]
    assert [(part.name, part.shape) for part in session.get_outputs()] == [
        ("last_hidden_state", ["batch", "tokens", 16]),
        ("sentence_embedding", ["batch", 16]),
    ]
    for batch, length in ((1, 1), (1, 24), (5, 3)):
        ids = np.random.default_rng(0).integers(5, 300, (batch, length))
        hidden, embedded = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        mean = hidden.mean(1)
        np.testing.assert_allclose(embedded, mean / np.linalg.norm(mean, axis=1, keepdims=True), rtol=0, atol=1e-5)
        with torch.no_grad():
            np.testing.assert_allclose(embedded, model.embed(list(ids)).numpy(), rtol=0, atol=1e-5)


@pytest.mark.slow
@needs_onnx
def test_a_graph_of_another_model_or_pooling_is_found_out(tiny, graph, tmp_path):
    file, _ = graph
    rows = token_rows(tiny)
    assert largest_difference(loaded(tiny, "cls"), file, rows) > TOLERANCE
    build_tiny(tiny[2].definition, tiny[1], 5, tmp_path / "other")
    other = load_encoder(str(tmp_path / "other"), tiny[1], tiny[2].pad_id).eval()
    assert largest_difference(other, file, rows) > TOLERANCE


@pytest.mark.slow
@needs_onnx
def test_a_file_that_is_no_graph_is_refused(tiny, graph, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(HybridtuneError, match="ONNX Runtime cannot run"):
        largest_difference(graph[1], tmp_path / "model.onnx", token_rows(tiny)[:1])


@pytest.mark.slow
@needs_onnx
def test_cls_pooling_a_given_opset_and_weights_beside_the_graph(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "_PROTOBUF_LIMIT", 1000)  # bytes
    model = loaded(tiny, "cls")
    assert write_onnx(model, str(tiny[0]), False, tmp_path / "model.onnx", 18) == 18
    (tmp_path / "moved").mkdir()
    for name in ("model.onnx", "model.onnx.data"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    assert largest_difference(model, tmp_path / "moved" / "model.onnx", token_rows(tiny)) < 1e-5


@pytest.mark.slow
@needs_onnx
def test_what_torch_cannot_export_is_one_line(tiny, tmp_path, monkeypatch):
    model = loaded(tiny, "mean")

    def refuse(*args, **options):
        raise torch.onnx.OnnxExporterError("no such\noperator")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(HybridtuneError, match="cannot export BertModel to ONNX: no such operator"):
        write_onnx(model, str(tiny[0]), False, tmp_path / "model.onnx")


def test_a_package_that_is_missing_is_named(monkeypatch):
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, object())
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"onnxscript.*pip install 'hybridtune\[onnx\]'$"):
        check_onnx()


@pytest.mark.slow
@needs_onnx
@pytest.mark.parametrize("name", ["labse", "largest", "weighted_mean", "mean_sqrt_len", "truncate_dim", "distiluse"])
def test_other_poolings_and_dense_layers_are_in_the_graph(name, tmp_path):
    folder = str(getattr(layouts, name)(tmp_path / "model"))
    model = DualEncoder.load(folder)
    write_onnx(model, folder, False, tmp_path / "model.onnx")
    texts = pretrained_tokenizer(folder).encode(sample_texts()[:60], "", 32)
    rows = [np.array(ids, np.int32) for ids in texts if ids]
    assert largest_difference(model, tmp_path / "model.onnx", rows) < 1e-4


@needs_onnx
@pytest.mark.parametrize(
    ("name", "reason"), [("prompts_left_out", "leaves prompts out of the pooling"), ("xlnet", "needs token types")]
)
def test_what_a_graph_of_ids_and_mask_cannot_do_is_refused(name, reason, tmp_path):
    folder = str(getattr(layouts, name)(tmp_path / "model"))
    with pytest.raises(InputError, match=reason):
        write_onnx(DualEncoder.load(folder), folder, False, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
