"""An encoder that cannot be trained as asked is refused before anything starts."""

import importlib.util

import pytest

from hybridtune.config.fields import Tiny
from hybridtune.config.study import Study
from hybridtune.data.store import recipe
from hybridtune.errors import InputError
from hybridtune.model.folder import build_tiny
from hybridtune.model.tokenizer import train_tokenizer
from hybridtune.study.preflight import check_encoder


def check(encoder, space=None, mix=None, screening=None, **train):
    study = Study.model_validate(
        {
            "name": "x",
            "data": {"train": "newsroom:train"},
            "benchmarks": {"dev": {"path": "newsroom:dev"}},
            "encoder": encoder,
            "mix": mix or {},
            "train": train,
            "search": ({"space": space} if space else {}) | {"screening": screening},
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
        (
            None,
            {"distil": "kl"},
            r"train\.distil kl: needs an encoder that scores the batches: name one by train\.teacher",
        ),
        ({"distil": {"choice": [None, "margin_mse"]}}, {}, r"train\.distil margin_mse: needs an encoder"),
    ],
)
def test_what_does_not_fit_is_named(folder, space, train, message):
    with pytest.raises(InputError, match=message):
        check(folder, space, {"align_share": 0.1}, **train)


def wide(tiny, folder, size=32):
    """An encoder of another tokenizer and width."""
    tokenizer = train_tokenizer(["one two three", "four five six"], 100)
    build_tiny(tokenizer.definition, tiny[1].model_copy(update={"tiny": Tiny(hidden_size=size)}), 0, folder)
    return str(folder)


def test_a_teacher_of_another_tokenizer_and_width_is_let_pass(folder, tiny, tmp_path):
    teacher = wide(tiny, tmp_path / "teacher")
    for kept in ("discarded", "kept"):
        check(folder, mix={"align_share": 0.1}, teacher=teacher, teacher_projection=kept)
    check(folder, mix={"align_share": 0.1}, teacher=teacher, lora_rank=2)
    check(folder, mix={"align_share": 0.1}, teacher=teacher, teacher_projection="kept", matryoshka=[16])


@pytest.mark.parametrize(
    ("train", "space", "message"),
    [
        ({"lora_rank": 2}, {}, "kept: is trained with the model's Dense layers, and train.lora_rank leaves"),
        ({}, {"freeze_dense": {"choice": [False, True]}}, "train.freeze_dense leaves these as they are"),
        ({"matryoshka": [32]}, {}, "train.matryoshka 32: is not below the width 32"),
        ({}, {"teacher": {"choice": ["{}/wide", "{}/wider"]}}, "the width of its teacher, .*wide 32, .*wider 48; give"),
    ],
)
def test_a_projection_that_cannot_be_kept_is_refused(folder, tiny, tmp_path, train, space, message):
    wide(tiny, tmp_path / "wider", 48)
    train = {"teacher": wide(tiny, tmp_path / "wide"), "teacher_projection": "kept", **train}
    if "teacher" in space:
        space = {"teacher": {"choice": [name.format(tmp_path) for name in space["teacher"]["choice"]]}}
    with pytest.raises(InputError, match=message):
        check(folder, space, {"align_share": 0.1}, **train)


def test_a_projection_is_not_searched(folder):
    with pytest.raises(ValueError, match=r"teacher_projection: .*all trials train one"):
        check(folder, {"teacher_projection": {"choice": ["kept", "discarded"]}})


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


@pytest.mark.parametrize("name", [None, "tiny"])
def test_a_screening_has_fewer_layers_than_the_encoder(folder, name):
    encoder = {**folder, "name": name or folder["name"], "tiny": {"layers": 2}}
    check(encoder, screening={"layers": 1})
    for layers in (2, 5):
        with pytest.raises(InputError, match=rf"search\.screening\.layers {layers}: .* has 2 layers, .* at most 1"):
            check(encoder, screening={"layers": layers})


def test_an_encoder_of_one_layer_is_not_screened(folder):
    with pytest.raises(InputError, match=r"layers 1: tiny has 1 layer, .*; leave search\.screening out"):
        check({**folder, "name": "tiny", "tiny": {"layers": 1}}, screening={"layers": 1})


def test_adapters_of_the_layers_that_a_screening_lacks_are_refused(folder):
    of_both = {"lora_rank": 2, "lora_targets": ["query"]}
    check(folder, screening={"layers": 1}, **of_both)
    of_the_last = {"lora_rank": 2, "lora_targets": ["layer.1.attention.self.query"]}
    check(folder, **of_the_last)
    with pytest.raises(
        InputError, match=r"search\.screening\.layers 1: with these alone, train\.lora_targets layer\.1"
    ):
        check(folder, screening={"layers": 1}, **of_the_last)
