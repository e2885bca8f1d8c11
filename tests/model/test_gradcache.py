import contextlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hybridtune.config.training import Train
from hybridtune.model.encoder import load_encoder, prepare_for_training
from hybridtune.model.gradcache import backward
from hybridtune.model.loss import LearnedTemperature, info_nce
from hybridtune.model.packing import TokenRows

PAIRS, ANSWER_SETS = 5, torch.tensor([0, 1, 0, 2, 3])


class Toy(nn.Module):
    """Texts are rows of 6 numbers; counts how often it runs."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 4)).double()
        self.runs = 0

    def forward(self, texts):
        self.runs += 1
        return F.normalize(self.layers(texts), dim=1)


def toy(dropout=0.0):
    torch.manual_seed(0)
    return Toy(dropout)


TEXTS = torch.randn(12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def loss_of(vectors, temperature=0.1):
    negatives = vectors[2 * PAIRS :]
    hard = (negatives, torch.tensor([-1, 1])[: len(negatives)])
    return info_nce(vectors[:PAIRS], vectors[PAIRS : 2 * PAIRS], ANSWER_SETS, temperature, True, *hard)


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def plain(model, chunks):
    """Every chunk once, all graphs kept."""
    output = loss_of(torch.cat([model(chunk) for chunk in chunks]))
    output.loss.backward()
    return output


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("size", [1, 3, 5, 11, 12])
def test_chunks_give_the_plain_gradient_and_dropout(size, dropout):
    chunks = TEXTS.split(size)
    expected, model = toy(dropout), toy(dropout)
    torch.manual_seed(7)
    before = plain(expected, chunks)
    left = torch.rand(3)
    torch.manual_seed(7)
    output = backward(model, chunks, loss_of)
    assert torch.equal(torch.rand(3), left)  # as if every chunk had been encoded once
    torch.testing.assert_close(gradients(model), gradients(expected), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(output.loss, before.loss.detach())
    assert (output.accuracy, output.spread) == (before.accuracy, before.spread)
    assert model.runs == 2 * len(chunks) - 1
    assert not output.loss.requires_grad


def test_dropout_differs_between_chunks():
    model = toy(0.5)
    seen = []

    def remember(vectors):
        seen.append(vectors)
        return loss_of(vectors)

    backward(model, TEXTS[:1].expand(12, 6).split(1), remember)
    assert len(seen) == 1  # the loss is taken once
    assert len(seen[0].unique(dim=0)) > 6


def test_gradients_add_to_what_is_there():
    model = toy()
    backward(model, TEXTS.split(4), loss_of)
    once = {name: gradient.clone() for name, gradient in gradients(model).items()}
    backward(model, TEXTS.split(4), loss_of)
    torch.testing.assert_close(gradients(model), {name: 2 * gradient for name, gradient in once.items()})


@pytest.mark.parametrize("size", [4, 12])
def test_a_learned_temperature_gets_its_gradient_though_all_else_is_frozen(size):
    temperatures = [LearnedTemperature(0.1, 0.01, 1.0).double() for _ in range(2)]
    backward(toy().requires_grad_(False), TEXTS.split(size), lambda v: loss_of(v, temperatures[0].value()))
    loss_of(toy()(TEXTS), temperatures[1].value()).loss.backward()
    torch.testing.assert_close(temperatures[0].log_ratio.grad, temperatures[1].log_ratio.grad)


@pytest.mark.parametrize("size", [4, 12])
def test_a_loss_that_asks_nothing_of_the_vectors(size):
    model = toy()
    backward(model, TEXTS.split(size), lambda vectors: loss_of(vectors.detach()))
    assert not any(gradient.any() for gradient in gradients(model).values())


def test_the_model_runs_in_a_fresh_scope_and_the_loss_outside():
    inside, opened = [False], []

    @contextlib.contextmanager
    def scope():
        opened.append(object())
        inside[0] = True
        yield
        inside[0] = False

    class Watched(Toy):
        def forward(self, texts):
            assert inside[0]
            return super().forward(texts)

    def outside(vectors):
        assert not inside[0]
        return loss_of(vectors)

    backward(Watched(), TEXTS.split(4), outside, scope)
    assert len(opened) == 5


def encoder(tiny, checkpointing=False, dropout=0.2):
    folder, encoder, tokenizer = tiny
    model = load_encoder(str(folder), encoder, tokenizer.pad_id, dropout).train()
    prepare_for_training(model, Train(gradient_checkpointing=checkpointing))
    return model


def token_rows():
    """12 texts of 2 to 20 tokens."""
    draw = np.random.default_rng(0)
    return TokenRows.of([draw.integers(5, 300, draw.integers(2, 21), np.int32) for _ in range(12)])


def check_same_gradients(model, expected):
    largest = max(float(gradient.abs().max()) for gradient in gradients(expected).values() if gradient is not None)
    torch.testing.assert_close(gradients(model), gradients(expected), rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("size", [1, 5, None])
def test_an_encoder_in_chunks(tiny, size, checkpointing):
    expected, model = encoder(tiny), encoder(tiny, checkpointing)
    torch.manual_seed(7)
    plain(expected, token_rows().split(size))
    torch.manual_seed(7)
    backward(model, token_rows().split(size), loss_of)
    check_same_gradients(model, expected)


def test_an_encoder_without_dropout_does_not_see_its_chunks(tiny):
    expected, model = encoder(tiny, dropout=0.0), encoder(tiny, dropout=0.0)
    plain(expected, [token_rows()])
    backward(model, token_rows().split(3), loss_of)
    check_same_gradients(model, expected)


def test_an_encoder_in_chunks_under_autocast(tiny):
    """bf16 weights cast without a graph must not be used where a graph is needed."""
    expected, model = encoder(tiny), encoder(tiny)
    chunks = token_rows().split(4)

    def scope():
        return torch.autocast("cpu", torch.bfloat16)

    torch.manual_seed(7)
    with scope():
        vectors = torch.cat([expected(chunk) for chunk in chunks])
    loss_of(vectors).loss.backward()
    torch.manual_seed(7)
    backward(model, chunks, loss_of, scope)
    for name, gradient in gradients(expected).items():
        if gradient is not None:
            torch.testing.assert_close(dict(model.named_parameters())[name].grad, gradient, rtol=0.05, atol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the random state of a GPU needs a GPU")
@pytest.mark.parametrize("size", [1, 5, 12])
def test_dropout_of_a_gpu(size):
    chunks = TEXTS.cuda().split(size)
    expected, model = toy(0.3).cuda(), toy(0.3).cuda()
    torch.manual_seed(7)
    loss = loss_of(torch.cat([expected(chunk) for chunk in chunks]).cpu())
    loss.loss.backward()
    left = torch.rand(3, device="cuda")
    torch.manual_seed(7)
    backward(model, chunks, lambda vectors: loss_of(vectors.cpu()))
    assert torch.equal(torch.rand(3, device="cuda"), left)
    torch.testing.assert_close(gradients(model), gradients(expected), rtol=1e-10, atol=1e-12)
