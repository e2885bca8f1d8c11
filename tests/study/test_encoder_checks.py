"""An encoder that cannot be trained as asked is refused before anything starts."""

import importlib.util
import json
import shutil

import pytest

from hybridtune.config.fields import Tiny
from hybridtune.config.study import Study
from hybridtune.data.store import recipe
from hybridtune.errors import InputError
from hybridtune.model.folder import build_tiny
from hybridtune.model.tokenizer import train_tokenizer
from hybridtune.study.preflight import check_encoder


def check(encoder, space=None, mix=None, **train):
    study = Study.model_validate(
        {
            "name": "x",
            "data": {"train": "newsroom:train"},
            "benchmarks": {"dev": {"path": "newsroom:dev"}},
            "encoder": encoder,
            "mix": mix or {},
            "train": train,
            "search": {"space": space} if space else {},
        }
    )
    check_encoder(study, recipe(study.data, study.encoder))


@pytest.fixture
def folder(tiny):
    return {"name": str(tiny[0]), "query_length": 16, "passage_length": 24}


def test_what_fits_is_let_pass(folder):
    check(folder, matryoshka=[4, 8], freeze_layers=1, mix={"align_share": 0.1}, teacher=folder["name"])
    check({"name": "tiny"}, matryoshka=[64], freeze_layers=1)


@pytest.mark.parametrize(
    ("space", "train", "message"),
    [
        (None, {"matryoshka": [8, 16]}, r"train\.matryoshka 16: is not below the width 16 of"),
        (None, {"freeze_layers": 2}, r"train\.freeze_layers 2: .* has 2 layers, and one at least .* give at most 1"),
        ({"freeze_layers": {"int": [0, 5]}}, {}, r"train\.freeze_layers 5: .* has 2 layers"),
        (None, {"teacher": "./nowhere"}, r"nowhere"),
    ],
)
def test_what_does_not_fit_is_named(folder, space, train, message):
    with pytest.raises(InputError, match=message):
        check(folder, space, {"align_share": 0.1}, **train)


def test_a_teacher_of_another_tokenizer_or_width_is_refused(folder, tiny, tmp_path):
    _, encoder, tokenizer = tiny
    other = train_tokenizer(["one two three", "four five six"], 100)
    build_tiny(other.definition, encoder, 0, tmp_path / "tokenizer")
    build_tiny(tokenizer.definition, encoder.model_copy(update={"tiny": Tiny(hidden_size=32)}), 0, tmp_path / "width")
    with pytest.raises(InputError, match="its tokenizer is not the one of"):
        check(folder, mix={"align_share": 0.1}, teacher=str(tmp_path / "tokenizer"))
    with pytest.raises(InputError, match="its vectors have 32 numbers, those of the encoder 16"):
        check(folder, mix={"align_share": 0.1}, teacher=str(tmp_path / "width"))
    check(folder, teacher=str(tmp_path / "width"))  # no align batches: nobody asks it


def test_a_teacher_that_pools_otherwise_is_refused(folder, tiny, tmp_path):
    shutil.copytree(tiny[0], tmp_path / "cls")
    (tmp_path / "cls" / "1_Pooling").mkdir()
    (tmp_path / "cls" / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (tmp_path / "cls" / "modules.json").write_text(json.dumps(modules))
    teacher, mix = str(tmp_path / "cls"), {"align_share": 0.1}
    with pytest.raises(InputError, match=r"pools by cls, the encoder by mean; .* or set encoder\.pooling=cls"):
        check(folder, mix=mix, teacher=teacher)
    check({**folder, "pooling": "cls"}, mix=mix, teacher=teacher)


@pytest.mark.parametrize("name", [None, "tiny"])
def test_adapters_of_layers_that_are_not_there_are_refused(folder, name):
    encoder = {**folder, "name": name or folder["name"]}
    check(encoder, lora_rank=2, lora_targets=["query", "output.dense"])
    check(encoder, lora_targets=["nowhere"])  # no adapters: nobody asks
    with pytest.raises(InputError, match=r"train\.lora_targets nowhere: no linear layer .*; it has dense, key, query"):
        check(encoder, {"lora_rank": {"choice": [0, 2]}}, lora_targets=["query", "nowhere"])


def test_adapters_without_their_package_are_refused(folder, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'hybridtune\[lora\]'"):
        check(folder, lora_rank=4)
