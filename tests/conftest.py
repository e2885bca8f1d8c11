"""Small input that several tests build on."""

import gzip
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import settings

from hybridtune.config.fields import Encoder, Tiny
from hybridtune.data.newsroom import generate
from hybridtune.model.tokenizer import train_tokenizer

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: on models this small, threads only wait for each other
# Examples have no deadline, since a busy machine is no failure. `--hypothesis-profile=fast` is what test-fast asks for.
settings.register_profile("full", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=20)
settings.load_profile("full")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Token stores and fetched files of the tests are nobody else's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYBRIDTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def starts_no_ray(request):
    """A test without the mark starts no Ray: one that it leaves behind ends the whole process when it is lost."""
    yield
    marked = any(request.node.get_closest_marker(name) for name in ("ray", "cluster"))
    started = "ray" in sys.modules and not marked and sys.modules["ray"].is_initialized()
    if started:
        sys.modules["ray"].shutdown()
    assert not started, "this test started Ray and is not marked: ray"


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs the command line in an empty folder `here` and returns (exit code, stdout, stderr)."""
    from cli_calls import caller

    return caller(tmp_path, monkeypatch, capsys)


def _groups_file(path, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.name.endswith(".gz") else text.encode())
    return path


@pytest.fixture
def groups_file(tmp_path):
    """Writes groups as JSON lines (gzipped by suffix) and returns the path."""
    return lambda rows, name="groups.jsonl": _groups_file(tmp_path / name, rows)


@pytest.fixture
def study_file(tmp_path):
    """Writes a study of the embedded corpus, sections replaced by keyword, and returns its path."""

    def write(name="study.yaml", **sections):
        tree = {
            "name": "small",
            "data": {"train": "newsroom:train"},
            "benchmarks": {"dev": {"path": "newsroom:dev"}},
            "train": {"batch_size": 8, "max_steps": 4},
        }
        path = tmp_path / name
        path.write_text(yaml.safe_dump(tree | sections, sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A `tiny` encoder: its folder, its settings and its tokenizer."""
    from hybridtune.model.folder import build_tiny

    encoder = Encoder(query_length=16, passage_length=24, tiny=Tiny(vocab_size=300, hidden_size=16, heads=2, layers=2))
    texts = (text for row in list(generate("dev"))[:60] for text in row["passages"].values())
    tokenizer = train_tokenizer(texts, encoder.tiny.vocab_size)
    folder: Path = tmp_path_factory.mktemp("tiny")
    build_tiny(tokenizer.definition, encoder, 0, folder)
    return folder, encoder.model_copy(update={"name": str(folder)}), tokenizer


@pytest.fixture(scope="session")
def dense(tiny, tmp_path_factory):
    """The `tiny` encoder with a Dense layer of 12 numbers behind its pooling: folder, settings, tokenizer."""
    import torch
    from safetensors.torch import save_file

    folder, encoder, tokenizer = tiny
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("dense") / "encoder")
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (copy / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (copy / "2_Dense").mkdir()
    settings = {"in_features": 16, "out_features": 12, "activation_function": "torch.nn.modules.activation.Tanh"}
    (copy / "2_Dense" / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    draw = torch.Generator().manual_seed(3)
    weights = {"linear.weight": torch.randn(12, 16, generator=draw), "linear.bias": torch.randn(12, generator=draw)}
    save_file(weights, copy / "2_Dense" / "model.safetensors")
    return copy, encoder.model_copy(update={"name": str(copy)}), tokenizer
