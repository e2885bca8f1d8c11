import pytest
import torch

from hybridtune.model.loss import LearnedTemperature


def test_a_temperature_starts_where_it_is_told():
    for start in (0.05, 0.02, 0.37, 0.005, 1.0):
        value = LearnedTemperature(start, 0.005, 1.0).value()
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert value.item() == float(torch.tensor(start))


def test_a_temperature_keeps_its_bounds_and_comes_back_from_them():
    temperature = LearnedTemperature(0.05, 0.02, 0.2)
    optimizer = torch.optim.SGD(temperature.parameters(), lr=1000.0)
    for sign, bound in ((1, 0.02), (-1, 0.2), (1, 0.02)):
        optimizer.zero_grad()
        (sign * temperature.value()).backward()
        assert float(temperature.log_ratio.grad) == pytest.approx(sign * temperature.value().item())  # also at a bound
        optimizer.step()
        temperature.project()
        assert temperature.value().item() == pytest.approx(bound, rel=1e-6)
    temperature.average_gradient()  # one worker: nothing changes
    assert float(temperature.log_ratio.grad) == pytest.approx(0.2, rel=1e-6)


@pytest.mark.parametrize("range_", [(0.1, 0.2), (0.01, 0.04), (0.0, 1.0)])
def test_a_temperature_outside_its_bounds(range_):
    with pytest.raises(ValueError, match="is outside"):
        LearnedTemperature(0.05, *range_)
