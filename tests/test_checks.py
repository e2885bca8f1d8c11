"""An encoder that cannot be trained as asked is refused before anything starts."""

import importlib.util

import pytest

from hybridtune.commands.checks import check_encoder
from hybridtune.config import Study, Tiny
from hybridtune.data.store import recipe
from hybridtune.data.tokenizer import train_tokenizer
from hybridtune.errors import InputError
from hybridtune.model.folder import build_tiny


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
    check(folder, matryoshka=[4, 8], freeze_layers=2, mix={"align_share": 0.1}, teacher=folder["name"])
    check({"name": "tiny"}, matryoshka=[64], freeze_layers=1)


@pytest.mark.parametrize(
    ("space", "train", "message"),
    [
        (None, {"matryoshka": [8, 16]}, r"train\.matryoshka 16: is not below the width 16 of"),
        (None, {"freeze_layers": 3}, r"train\.freeze_layers 3: .* has 2 layers; give at most that"),
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


def test_adapters_without_their_package_are_refused(folder, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'hybridtune\[lora\]'"):
        check(folder, lora_rank=4)
