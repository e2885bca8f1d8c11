"""The loss scale of a training in float16: small gradients would vanish in it, large ones overflow."""

import torch
from torch import Tensor

_START, _LARGEST = 2.0**16, 2.0**24
_GOOD_STEPS = 2000  # in a row, after which it is doubled


class LossScale:
    """The factor of the loss: halved by a step that overflows, which is left out; doubled after 2,000 good ones.

    It is always a power of two, so that it changes no digit of a gradient that fits. All of it stays on the device, so
    that nobody waits to know whether a step counts.

    Attributes:
        state: [2] the factor, and the good steps since it changed; a checkpoint holds it.

    Source: arXiv 1710.03740 (mixed precision), with PyTorch's own numbers.
    """

    def __init__(self, device: torch.device) -> None:
        self.state = torch.tensor([_START, 0.0], device=device)

    @property
    def factor(self) -> Tensor:
        """Return the factor now, a scalar."""
        return self.state[0]

    @torch.no_grad()
    def update(self, overflowed: Tensor) -> None:
        """Take note of a step: ``overflowed`` is a scalar, 1 where its gradient was not finite, else 0."""
        factor, good = self.state.unbind()
        good = (good + 1) * (1 - overflowed)
        doubled = good >= _GOOD_STEPS
        factor = torch.where(overflowed > 0, factor / 2, torch.where(doubled, factor * 2, factor))
        self.state = torch.stack([factor.clamp(1.0, _LARGEST), torch.where(doubled, 0.0, good)])
