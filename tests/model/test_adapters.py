import importlib.util
import sys

import numpy as np
import pytest
import torch

from hybridtune.config.training import Train
from hybridtune.errors import InputError
from hybridtune.model.adapters import embedding_modules, transformer_layers
from hybridtune.model.encoder import load_encoder, prepare_for_training

needs_peft = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is not installed")


@pytest.fixture
def load(tiny):
    folder, encoder, tokenizer = tiny  # 2 layers of 16
    return lambda dropout=0.0: load_encoder(str(folder), encoder, tokenizer.pad_id, dropout)


def prepared(load, seed=0, **fields):
    model = load()
    prepare_for_training(model, Train(**fields), seed)
    return model.train()


def rows(lengths=(5, 9, 3, 9), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 250, length).astype(np.int32) for length in lengths]


def trained_weights(model):
    return {name: p.detach() for name, p in model.backbone.named_parameters() if p.requires_grad}


def backward(model, seed=0):
    model.zero_grad()
    model.embed(rows(seed=seed))[:, :8].square().sum().backward()
    return {name: p.grad for name, p in model.backbone.named_parameters() if p.grad is not None}


def step(model, seed=0):
    backward(model, seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.5 * parameter.grad
    return model


def test_everything_is_trained_by_default(load):
    model = prepared(load)
    assert set(backward(model)) == set(dict(model.backbone.named_parameters()))
    assert not model.has_adapters


def test_frozen_layers_and_the_embeddings_below_them_do_not_move(load):
    model = prepared(load, freeze_layers=1)
    fixed = {"embeddings", "encoder.layer.0"}
    trained = {name for name, p in model.backbone.named_parameters() if p.requires_grad}
    assert all(name.startswith(tuple(fixed)) != (name in trained) for name, _ in model.backbone.named_parameters())
    assert set(backward(model)) == trained


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        (2, r"train\.freeze_layers 2 leaves nothing of the encoder to train; set 1 or"),
        (3, r"train\.freeze_layers 3 is over the 2 layers of the encoder; set 2 or less"),
    ],
)
def test_freezing_everything_or_more_is_refused(load, layers, reason):
    with pytest.raises(InputError, match=reason):
        prepared(load, freeze_layers=layers)


def test_frozen_embeddings(load):
    model = prepared(load, embeddings="frozen")
    trained = set(backward(model))
    assert trained
    assert not any("embeddings" in name for name in trained)


def test_gradient_checkpointing_changes_memory_and_not_gradients(load):
    plain, model = prepared(load), prepared(load, gradient_checkpointing=True)
    calls = []
    transformer_layers(model.backbone)[0].intermediate.register_forward_hook(lambda *args: calls.append(1))
    expected, found = backward(plain), backward(model)
    assert len(calls) == 2  # once forward, once more for the gradient
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7)


def test_frozen_layers_are_not_recomputed_for_a_gradient_that_nobody_takes(load):
    model = prepared(load, gradient_checkpointing=True, freeze_layers=1)
    calls = []
    for i, layer in enumerate(transformer_layers(model.backbone)):
        layer.intermediate.register_forward_hook(lambda *args, i=i: calls.append(i))
    backward(model)
    assert calls == [0, 1, 1]


def test_a_model_that_cannot_recompute_its_layers(load, monkeypatch):
    model = load()
    monkeypatch.setattr(type(model.backbone), "supports_gradient_checkpointing", False)
    with pytest.raises(InputError, match=r"train\.gradient_checkpointing true: BertModel cannot"):
        prepare_for_training(model, Train(gradient_checkpointing=True))


def test_layers_and_what_lies_below_them(load):
    backbone = load().backbone
    assert len(transformer_layers(backbone)) == 2
    assert embedding_modules(backbone) == [backbone.embeddings]
    backbone.config.num_hidden_layers = 7
    with pytest.raises(InputError, match="BertModel: its layers are not in a list"):
        transformer_layers(backbone)


@needs_peft
def test_adapters_alone_are_trained_and_start_as_nothing(load):
    model, plain = prepared(load, lora_rank=2), load()
    torch.testing.assert_close(model.embed(rows()), plain.embed(rows()), rtol=0, atol=1e-6)
    trained = trained_weights(model)
    assert model.has_adapters
    assert set(backward(model)) == set(trained)
    assert all(".lora_" in name for name in trained)
    assert len(trained) == 2 * 6 * 2  # layers, linear layers of each, A and B
    assert {min(value.shape) for value in trained.values()} == {2}


@needs_peft
def test_plain_state_is_that_of_the_plain_model_with_the_adapters_merged_in(load):
    model, plain = prepared(load, lora_rank=3, lora_alpha=5.0), load()
    names, weights = list(plain.backbone.state_dict()), plain.backbone.state_dict()
    for seed in range(3):
        step(model, seed)
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    state = model.plain_state()
    assert sorted(state) == sorted(names)
    assert not any(value.requires_grad for value in state.values())
    moved = [key for key in names if not torch.equal(state[key], weights[key])]
    assert len(moved) == 12
    assert all(torch.equal(value, before[key]) for key, value in model.backbone.state_dict().items())
    query, key = model.backbone.encoder.layer[0].attention.self.query, "encoder.layer.0.attention.self.query.weight"
    a, b = query.lora_A["default"].weight, query.lora_B["default"].weight
    torch.testing.assert_close(state[key], weights[key] + 5 / 3 * b @ a, rtol=0, atol=1e-6)
    plain.backbone.load_state_dict(state)
    torch.testing.assert_close(plain.embed(rows()), model.embed(rows()), rtol=0, atol=1e-5)
    assert not torch.allclose(plain.embed(rows()), load().embed(rows()), atol=1e-4)


@needs_peft
def test_adapters_are_a_function_of_their_seed_and_leave_the_random_state_alone(load):
    models = [load() for _ in range(3)]
    before = torch.get_rng_state()
    for model, seed in zip(models, (3, 3, 4), strict=True):
        prepare_for_training(model, Train(lora_rank=2), seed)
    assert torch.equal(torch.get_rng_state(), before)
    first, same, other = (trained_weights(model) for model in models)
    assert all(torch.equal(value, same[key]) for key, value in first.items())
    assert any(not torch.equal(value, other[key]) for key, value in first.items())


@needs_peft
def test_adapters_of_named_layers(load):
    model = prepared(load, lora_rank=2, lora_targets=["query", "attention.output.dense"])
    layers = {name.split(".lora_")[0].split("layer.")[1][2:] for name in trained_weights(model)}
    assert layers == {"attention.self.query", "attention.output.dense"}
    with pytest.raises(InputError) as caught:
        prepared(load, lora_rank=2, lora_targets=["query", "uery"])
    assert str(caught.value) == (
        "train.lora_targets uery: no linear layer of the encoder is named so; it has dense, key, query, value"
    )


@needs_peft
def test_adapters_with_checkpointed_layers(load):
    expected = backward(prepared(load, lora_rank=2))
    found = backward(prepared(load, lora_rank=2, gradient_checkpointing=True))
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-8)


def test_adapters_without_peft(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(
        InputError, match=r"train\.lora_rank 4 needs the package peft.*pip install 'hybridtune\[lora\]'"
    ):
        prepared(load, lora_rank=4)


def test_compile_keeps_the_names_of_the_weights(load, monkeypatch):
    options_used = []
    monkeypatch.setattr(torch, "compile", lambda call, **options: options_used.append(options) or call)
    model = prepared(load, compile=True)
    assert options_used == [{"dynamic": True}]
    assert model.backbone.state_dict().keys() == load().backbone.state_dict().keys()
    assert model.embed(rows()).shape == (4, 16)
