"""The loss scale of float16: it changes no digit of a good step, and a step that overflows changes nothing else."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from test_optimizer import fresh, give_gradient, values

from hybridtune.config.training import Train
from hybridtune.errors import InputError
from hybridtune.model.precision import half_of, native_half
from hybridtune.train import scaling
from hybridtune.train.optimizer import Optimizer
from hybridtune.train.scaling import LossScale

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def scaled(tiny):
    """The model, optimizer and extra parameter of `fresh`, with a loss scale."""
    model, _, extra = fresh(tiny)
    scale = LossScale(CPU)
    train = Train(learning_rate=1e-2, max_grad_norm=0.5)
    return model, Optimizer(model, train, {"temperature": extra}, scale), extra, scale


def multiply_gradients(model, extra, factor):
    for parameter in (*model.parameters(), extra):
        if parameter.grad is not None:
            parameter.grad *= factor


def plain(tensors):
    return {name: value.tolist() for name, value in tensors.items()}


def test_a_training_with_it_is_the_same_to_the_last_bit(tiny):
    model, optimizer, extra, scale = scaled(tiny)
    twin, expected, other = fresh(tiny)
    for step in range(4):
        give_gradient(twin, other, step)
        give_gradient(model, extra, step)
        multiply_gradients(model, extra, scale.factor)
        assert float(optimizer.step(0.5)) == float(expected.step(0.5)) > 0
    assert plain(values(model, extra)) == plain(values(twin, other))
    assert scale.state.tolist() == [2.0**16, 4.0]


@pytest.mark.parametrize("wrong", [float("inf"), float("nan")])
def test_a_step_that_overflows_changes_nothing_but_the_scale(tiny, wrong):
    model, optimizer, extra, _ = scaled(tiny)
    for step in range(3):
        give_gradient(model, extra, step)
        before = plain(values(model, extra)) | plain(optimizer.state())
        if step == 1:
            extra.grad.fill_(wrong)
        optimizer.step(0.5)
        after = plain(values(model, extra)) | plain(optimizer.state())
        assert after.pop("loss.scale") == [[2.0**16, 1.0], [2.0**15, 0.0], [2.0**15, 1.0]][step]
        before.pop("loss.scale")
        assert (after == before) == (step == 1)
    assert {value for name, value in plain(optimizer.state()).items() if name.endswith(".step")} == {2.0}


def test_it_is_doubled_after_good_steps_in_a_row_and_stays_in_its_range(monkeypatch):
    monkeypatch.setattr(scaling, "_GOOD_STEPS", 3)
    scale, good, bad = LossScale(CPU), torch.tensor(0.0), torch.tensor(1.0)
    seen = []
    for overflowed in (good, good, bad, good, good, good, good):
        scale.update(overflowed)
        seen.append(scale.state.tolist())
    factors = [2.0**16, 2.0**16, 2.0**15, 2.0**15, 2.0**15, 2.0**16, 2.0**16]
    assert seen == [[factor, count] for factor, count in zip(factors, [1, 2, 0, 1, 2, 0, 1], strict=True)]
    for _ in range(40):
        scale.update(bad)
    assert float(scale.factor) == 1.0
    for _ in range(100):
        scale.update(good)
    assert float(scale.factor) == 2.0**24


def test_a_checkpoint_holds_it_and_may_go_on_without(tiny):
    model, optimizer, extra, scale = scaled(tiny)
    give_gradient(model, extra, 0)
    extra.grad.fill_(torch.inf)
    optimizer.step(0.5)
    give_gradient(model, extra, 1)
    optimizer.step(0.5)
    state = {name: value.clone() for name, value in optimizer.state().items()}
    _, again, _, restored = scaled(tiny)
    again.load(state)
    assert restored.state.tolist() == scale.state.tolist() == [2.0**15, 1.0]
    _, without, _ = fresh(tiny)
    without.load(state)
    assert without.state().keys() == state.keys() - {"loss.scale"}


@pytest.fixture
def card(monkeypatch):
    """A GPU of a compute capability, whose torch says that it takes bf16 where it would emulate it."""
    now = SimpleNamespace(capability=(8, 0))

    def takes_bf16(including_emulation=True):
        return including_emulation or now.capability >= (8, 0)

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: now.capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", takes_bf16)
    return now


def test_half_precision_is_what_the_card_multiplies(card):
    assert native_half(GPU, True) == half_of("auto", GPU, False) == half_of("bf16", GPU, True) == torch.bfloat16
    card.capability = (7, 5)
    assert native_half(GPU, True) == half_of("auto", GPU, True) == torch.float16
    assert half_of("auto", GPU, False) is None  # T5 overflows
    assert half_of("fp16", GPU, False) == torch.float16
    with pytest.raises(InputError, match=r"Tesla T4 does not multiply bf16 .* set auto, fp16 or float32"):
        half_of("bf16", GPU, True)
    card.capability = (6, 1)
    assert native_half(GPU, True) is None
    assert half_of("float32", GPU, True) is None
    assert half_of("tf32", GPU, True) is None


def test_half_precision_of_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "amx_bf16": True})
    assert half_of("auto", CPU, True) == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})
    assert half_of("auto", CPU, True) is None
    assert half_of("bf16", CPU, True) == torch.bfloat16
