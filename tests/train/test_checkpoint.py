import importlib.util
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hybridtune.config.training import Train
from hybridtune.errors import InputError
from hybridtune.model.encoder import load_encoder, prepare_for_training
from hybridtune.model.packing import TokenRows
from hybridtune.train.checkpoint import Average, load_checkpoint, load_weights, read_state, take_snapshot
from hybridtune.train.optimizer import Optimizer

STEPS = 6
PEFT = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is not installed")
KINDS = {
    "plain": {},
    "frozen": {"freeze_layers": 1},
    "embeddings frozen": {"embeddings": "frozen"},
    "learned": {"learn_temperature": True},
    "mean": {"ema": 0.8},
    "lora": {"lora_rank": 2},
    "lora and mean": {"lora_rank": 2, "ema": 0.8},
    "dense": {},
    "dense, frozen": {"freeze_dense": True},
    "dense and mean": {"ema": 0.8},
    "dense and lora": {"lora_rank": 2},
    "all": {"ema": 0.8, "learn_temperature": True, "layer_decay": 0.9},
}
PARAMS = [pytest.param(name, marks=[PEFT] if "lora" in name else []) for name in KINDS]


class Run:
    """A training as the loop holds one: encoder, learned temperature, optimiser, running mean."""

    def __init__(self, tiny, seed=0, **settings):
        folder, encoder, tokenizer = tiny
        train = Train(learning_rate=1e-2, **settings)
        self.model = load_encoder(str(folder), encoder, tokenizer.pad_id, 0.0).train()
        prepare_for_training(self.model, train, seed)
        self.extra = nn.Parameter(torch.zeros(()))
        extras = {"temperature": self.extra} if train.learn_temperature else {}
        self.optimizer = Optimizer(self.model, train, extras)
        self.average = Average(self.model, train.ema) if train.ema else None

    def train(self, start, stop):
        for step in range(start, stop):
            draw = np.random.default_rng((3, step))
            rows = [draw.integers(5, 40, draw.integers(3, 9)).astype(np.int32) for _ in range(6)]
            vectors = self.model(TokenRows.of(rows))
            ((vectors[:3] @ vectors[3:].T) * 20 * self.extra.exp()).logsumexp(1).mean().backward()
            self.optimizer.step(1 - step / STEPS)
            if self.average is not None:
                self.average.update(step)
        return self

    def snapshot(self):
        return take_snapshot(self.model, self.optimizer, self.average)

    def tensors(self):
        snapshot = self.snapshot()
        raw = {f"raw {name}": p.detach().clone() for name, p in self.model.named_parameters()}
        return {**raw, "extra": self.extra.detach(), **snapshot.weights, **snapshot.training, **snapshot.moments}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PARAMS)
def test_a_restored_training_is_the_same_and_ends_the_same_to_the_last_bit(tiny, dense, tmp_path, kind):
    settings, tiny = KINDS[kind], dense if "dense" in kind else tiny
    straight = Run(tiny, **settings).train(0, STEPS).tensors()
    run = Run(tiny, **settings)
    for stopped in (1, 4):
        run.train(0 if stopped == 1 else 1, stopped)
        folder = tmp_path / str(stopped)
        folder.mkdir()
        held = run.tensors()
        run.snapshot().save(folder, {"step": stopped, "metrics": {"loss": 0.5}})
        assert same(run.tensors(), held)  # writing it changed nothing
        again = Run(tiny, **settings)
        state = load_checkpoint(folder, again.model, again.optimizer, again.average)
        assert state == read_state(folder) == {"step": stopped, "metrics": {"loss": 0.5}}
        assert same(again.tensors(), held)
        again.train(stopped, STEPS)
        assert same(again.tensors(), straight)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PARAMS)
def test_a_plain_encoder_serves_a_checkpoint(tiny, dense, tmp_path, kind):
    settings, tiny = KINDS[kind], dense if "dense" in kind else tiny
    run = Run(tiny, **settings).train(0, 3)
    run.snapshot().save(tmp_path, {"step": 3})
    folder, encoder, tokenizer = tiny
    plain = load_encoder(str(folder), encoder, tokenizer.pad_id).eval()
    rows = [np.array([7, 8, 9], np.int32), np.array([12, 30], np.int32)]
    with torch.no_grad():
        start = plain.embed(rows)
        load_weights(tmp_path, plain)
        served = plain.embed(rows)
        raw = run.model.eval().embed(rows)
        if run.average is None:
            expected = raw
        else:
            with run.average.applied():
                expected = run.model.embed(rows)
            assert not torch.allclose(expected, raw, rtol=0, atol=1e-4)
    torch.testing.assert_close(served, expected, rtol=0, atol=1e-5)
    assert not torch.allclose(start, served, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", PARAMS)
def test_weights_stand_twice_only_where_they_differ(tiny, dense, tmp_path, kind):
    Run(dense if "dense" in kind else tiny, **KINDS[kind]).train(0, 2).snapshot().save(tmp_path, {"step": 2})
    names = {"model.safetensors", "optimizer.safetensors", "state.json"}
    files = {file.name for file in tmp_path.iterdir()}
    alone = ("plain", "frozen", "embeddings frozen", "dense", "dense, frozen")
    assert files == (names if kind in alone else names | {"training.safetensors"})
    if kind == "learned":
        assert set(load_file(tmp_path / "training.safetensors")) == {"temperature"}
    if kind in ("lora", "dense and lora"):
        assert all(".lora_" in name for name in load_file(tmp_path / "training.safetensors"))


@pytest.mark.parametrize(
    ("settings", "moves"), [({}, True), ({"freeze_dense": True}, False), ({"lora_rank": 2}, False)]
)
def test_dense_layers_are_trained_or_left_as_asked(dense, settings, moves):
    if "lora_rank" in settings:
        pytest.importorskip("peft")
    run = Run(dense, **settings)
    before = {name: value.clone() for name, value in run.model.plain_state().items()}
    after = run.train(0, 3).model.plain_state()
    heads = [name for name in before if name.startswith("heads.")]
    assert heads == ["heads.0.linear.weight", "heads.0.linear.bias"]
    assert [not torch.equal(before[name], after[name]) for name in heads] == [moves, moves]
    name = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(before[name], after[name])
    plain = load_encoder(str(dense[0]), dense[1], 0).eval()
    plain.load_plain_state(after)
    rows = [np.array([7, 8, 9], np.int32)]
    with torch.no_grad():
        torch.testing.assert_close(plain.embed(rows), run.model.eval().embed(rows), rtol=0, atol=1e-6)
    assert plain.embed(rows).shape == (1, 12)
    assert plain.width == 12


def test_a_snapshot_is_a_copy(tiny):
    run = Run(tiny, ema=0.8).train(0, 2)
    snapshot = run.snapshot()
    kept = {name: value.clone() for name, value in {**snapshot.weights, **snapshot.moments}.items()}
    run.train(2, 4)
    assert same({**snapshot.weights, **snapshot.moments}, kept)


@pytest.mark.parametrize(
    ("written", "read", "told"),
    [
        pytest.param({"lora_rank": 2}, {"lora_rank": 3}, r"is \[2, \d+\] there and \[3, \d+\] here", marks=PEFT),
        pytest.param({"lora_rank": 2}, {}, r"is \[2, \d+\] there and missing here", marks=PEFT),
        pytest.param({}, {"lora_rank": 2}, r"is missing there and \[2, \d+\] here", marks=PEFT),
        ({}, {"learn_temperature": True}, r"temperature is missing there and \[\] here"),
        ({"ema": 0.8}, {}, "here"),
        ({}, {"ema": 0.8}, "is missing there"),
        ({}, {"freeze_layers": 1}, "belongs to no parameter that is trained now"),
    ],
)
def test_a_checkpoint_of_other_settings_is_one_clear_line(tiny, tmp_path, written, read, told):
    Run(tiny, **written).train(0, 1).snapshot().save(tmp_path, {"step": 1})
    other = Run(tiny, **read)
    with pytest.raises(InputError, match=told) as caught:
        load_checkpoint(tmp_path, other.model, other.optimizer, other.average)
    assert str(caught.value).startswith(f"checkpoint {tmp_path} does not fit this training (")
    assert str(caught.value).endswith("or start anew")
    assert "\n" not in str(caught.value)


def test_weights_of_another_encoder_are_one_clear_line(tiny, tmp_path):
    from safetensors.torch import save_file

    run = Run(tiny)
    run.snapshot().save(tmp_path, {"step": 0})
    weights = load_file(tmp_path / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    weights[name] = weights[name][:10].clone()
    save_file(weights, tmp_path / "model.safetensors")
    before = {key: value.clone() for key, value in run.model.plain_state().items()}
    with pytest.raises(InputError, match=rf"is of another encoder: backbone\.{name} is \[10, 16\] there and") as caught:
        load_weights(tmp_path, run.model)
    assert str(caught.value).startswith(f"checkpoint {tmp_path} ")
    assert same(run.model.plain_state(), before)  # none of it was taken
    assert json.loads((tmp_path / "state.json").read_text()) == {"step": 0}
