"""A temperature that is trained with the encoder."""

import math

import torch
from torch import Tensor, nn

from hybridtune.model.gather import average


class LearnedTemperature(nn.Module):
    """One parameter: the logarithm of the temperature over its start. It belongs to no DDP wrapper and has no decay.

    A step is: ``average_gradient()`` after the backward, the optimiser's update, then ``project()``. A bound inside
    ``value()`` would cut the gradient off for good once it is passed; projected after the update, a temperature at
    its bound comes back as soon as the gradient asks for it.

    Args:
        start: the temperature of the first step, exactly.
        low: lower bound; > 0.
        high: upper bound.

    Raises:
        ValueError: start is outside [low, high], or low is not positive.
    """

    def __init__(self, start: float, low: float, high: float) -> None:
        super().__init__()
        if not 0 < low <= start <= high:
            raise ValueError(f"temperature {start} is outside [{low}, {high}]")
        self.start, self._bounds = start, (math.log(low / start), math.log(high / start))
        self.log_ratio = nn.Parameter(torch.zeros(()))

    def value(self) -> Tensor:
        """The temperature: a scalar with gradient."""
        return self.start * self.log_ratio.exp()

    def average_gradient(self) -> None:
        """Make the gradient the mean over the workers; nothing to do after a step that did not use it."""
        if self.log_ratio.grad is not None:
            average(self.log_ratio.grad)

    @torch.no_grad()
    def project(self) -> None:
        """Move the temperature to the nearest bound if an update carried it over."""
        self.log_ratio.clamp_(*self._bounds)
