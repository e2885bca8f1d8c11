import math

import pytest
import torch
from torch import nn

from hybridtune.train.checkpoint import Average

STEPS = 40


def moved(model, step):
    draw = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=draw) + step)


def network():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    model[1].requires_grad_(False)
    return model


def naive(starts, decay):
    mean = starts[0].double()
    for step, weights in enumerate(starts[1:]):
        d = min(decay, step / (step + 9))
        mean = d * mean + (1 - d) * weights.double()
    return mean


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.9999])
def test_the_mean_is_the_recurrence_written_down(decay):
    model = network()
    average = Average(model, decay)
    seen = [model[0].weight.detach().clone()]
    for step in range(STEPS):
        moved(model, step)
        average.update(step)
        seen.append(model[0].weight.detach().clone())
        torch.testing.assert_close(average.state()["0.weight"].double(), naive(seen, decay), rtol=1e-5, atol=1e-4)


def test_the_start_never_enters_and_early_steps_fade():
    for step in range(STEPS):
        model = network()
        average = Average(model, 0.9999)
        for number in range(step + 1):
            with torch.no_grad():
                model[0].weight.fill_(1.0 if number == 0 else 0.0)
            average.update(number)
        share_of_first = float(average.state()["0.weight"][0, 0])
        assert share_of_first == pytest.approx(1 / math.comb(step + 9, 9), rel=1e-4)


def test_the_mean_stands_in_for_the_weights_and_gives_them_back_to_the_last_bit():
    model = network()
    average = Average(model, 0.9)
    for step in range(5):
        moved(model, step)
        average.update(step)
    raw = {name: value.clone() for name, value in model.state_dict().items()}
    means = {name: value.clone() for name, value in average.state().items()}
    assert set(means) == {"0.weight", "0.bias"}  # what is frozen needs no mean
    with average.applied():
        inside = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="scoring failed"), average.applied():
        raise ValueError("scoring failed")
    assert not torch.equal(inside["0.weight"], raw["0.weight"])
    for name, value in {**raw, **means}.items():
        assert torch.equal(inside[name], value)
    assert all(torch.equal(value, raw[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, means[name]) for name, value in average.state().items())


def test_a_mean_starts_anew_from_the_weights():
    model = network()
    average = Average(model, 0.9)
    moved(model, 3)
    average.restart()
    assert torch.equal(average.state()["0.weight"], model[0].weight)
    assert average.state()["0.weight"].data_ptr() != model[0].weight.data_ptr()
