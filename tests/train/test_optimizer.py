import numpy as np
import pytest
import torch
from torch import nn

from hybridtune.config.training import Train
from hybridtune.errors import InputError
from hybridtune.model.encoder import load_encoder, prepare_for_training
from hybridtune.model.packing import TokenRows
from hybridtune.train.optimizer import Optimizer, clip, learning_rate_share

WORDS = "backbone.embeddings.word_embeddings.weight"


def fresh(tiny, **settings):
    folder, encoder, tokenizer = tiny
    train = Train(**{"learning_rate": 1e-2, "max_grad_norm": 0.5, **settings})
    model = load_encoder(str(folder), encoder, tokenizer.pad_id, 0.0).train()
    prepare_for_training(model, train)
    extra = nn.Parameter(torch.zeros(()))
    return model, Optimizer(model, train, {"temperature": extra}), extra


def give_gradient(model, extra, step, highest=40):
    draw = np.random.default_rng((3, step))
    rows = [draw.integers(5, highest, draw.integers(3, 9)).astype(np.int32) for _ in range(6)]
    vectors = model(TokenRows.of(rows))
    loss = ((vectors[:3] @ vectors[3:].T) * (20 * extra.exp())).logsumexp(1).mean() * 3
    loss.backward()
    return loss


def train(model, optimizer, extra, start, stop):
    for step in range(start, stop):
        give_gradient(model, extra, step)
        optimizer.step(learning_rate_share(step, 8, 0.2))


def values(model, extra):
    return {name: p.detach().clone() for name, p in [*model.named_parameters(), ("temperature", extra)]}


def test_an_update_is_torchs_clipping_and_adamw(tiny):
    model, optimizer, extra = fresh(tiny, weight_decay=0.3)
    twin, _, other = fresh(tiny)
    named = dict(twin.named_parameters())
    matrices = [p for p in named.values() if p.dim() > 1]
    vectors = [p for p in named.values() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.3}, {"params": [*vectors, other], "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=1e-2)
    norms = []
    for step in range(6):
        give_gradient(model, extra, step)
        give_gradient(twin, other, step)
        norms.append(optimizer.step(0.5))
        expected = nn.utils.clip_grad_norm_([*twin.parameters(), other], 0.5)
        torch.testing.assert_close(norms[-1], expected, rtol=1e-4, atol=0)
        for group in adamw.param_groups:
            group["lr"] = 1e-2 * 0.5
        adamw.step()
        adamw.zero_grad()
        assert all(p.grad is None for p in [*model.parameters(), extra])
    assert max(norms) > 0.5
    for name, value in values(twin, other).items():
        torch.testing.assert_close(values(model, extra)[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("embeddings", ["dense", "frozen"])
def test_a_restored_update_goes_on_to_the_last_bit(tiny, embeddings):
    straight, optimizer, extra = fresh(tiny, embeddings=embeddings, layer_decay=0.7)
    train(straight, optimizer, extra, 0, 8)
    for stopped in (1, 5):
        model, optimizer, other = fresh(tiny, embeddings=embeddings, layer_decay=0.7)
        train(model, optimizer, other, 0, stopped)
        state = {name: value.clone() for name, value in optimizer.state().items()}
        copy, again, third = fresh(tiny, embeddings=embeddings, layer_decay=0.7)
        copy.load_state_dict(model.state_dict())
        third.data.copy_(other.data)
        again.load(state)
        assert {name: value.tolist() for name, value in again.state().items()} == {
            name: value.tolist() for name, value in state.items()
        }
        train(copy, again, third, stopped, 8)
        final = values(straight, extra)
        assert all(torch.equal(value, final[name]) for name, value in values(copy, third).items())
        forgetful, anew, fourth = fresh(tiny, embeddings=embeddings, layer_decay=0.7)  # the twin that must differ
        forgetful.load_state_dict(model.state_dict())
        fourth.data.copy_(other.data)
        train(forgetful, anew, fourth, stopped, 8)
        assert not all(torch.equal(value, final[name]) for name, value in values(forgetful, fourth).items())


def test_layers_learn_slower_the_lower_they_are(tiny):
    model, optimizer, extra = fresh(tiny, layer_decay=0.5)
    give_gradient(model, extra, 0)
    optimizer.step(0.5)
    rates = optimizer.rates()
    assert set(rates) == {"temperature", *dict(model.named_parameters())}
    full = 1e-2 * 0.5
    for name, rate in rates.items():
        if "embeddings" in name:
            assert rate == full / 4
        elif ".layer.0." in name:
            assert rate == full / 2
        else:
            assert ".layer.1." in name or name == "temperature"
            assert rate == full


def test_a_state_of_other_parameters_is_refused(tiny):
    model, optimizer, extra = fresh(tiny)
    train(model, optimizer, extra, 0, 1)
    state = optimizer.state()
    with pytest.raises(InputError, match=r"elsewhere\.weight\.exp_avg \[2\] belongs to no parameter"):
        optimizer.load({**state, "elsewhere.weight.exp_avg": torch.zeros(2)})
    with pytest.raises(InputError, match=r"word_embeddings\.weight\.exp_avg \[3, 16\] belongs to no parameter"):
        optimizer.load({**state, f"{WORDS}.exp_avg": torch.zeros(3, 16)})
    _, frozen, _ = fresh(tiny, embeddings="frozen")
    with pytest.raises(InputError, match="belongs to no parameter that is trained now"):
        frozen.load(state)


def test_clipping_takes_all_gradients_as_one_vector():
    first, second = torch.tensor([4.0]), torch.tensor([[3.0], [0.0]])
    assert float(clip([first, second], 10.0)) == 5.0
    assert (float(first), float(second[0])) == (4.0, 3.0)  # short enough: untouched
    clip([first, second], 1.0)
    torch.testing.assert_close(torch.tensor([float(first), float(second[0])]), torch.tensor([0.8, 0.6]))
