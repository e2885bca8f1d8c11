"""A running mean of the weights, which is scored and exported in their place (`train.ema`)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hybridtune.train.sharding import local

_WARM_UP = 9


class Average:
    """The exponential moving average of a model's trained weights, in float32 and sharded as they are.

    After the step number t = 0, 1, ... the mean becomes ``d * mean + (1 - d) * weights`` with
    ``d = min(decay, t / (t + 9))``: the first step replaces the start altogether, the mean then covers about the last
    tenth of the steps, until that is as long as ``decay`` asks for. It needs no state but the mean itself.

    Args:
        model: after ``distribute``; the mean starts as its weights.
        decay: in (0, 1); the mean reaches about 1 / (1 - decay) steps back.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._means = {name: p.detach().clone() for name, p in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights as step number ``step`` (from 0) left them."""
        decay = min(self._decay, step / (step + _WARM_UP))
        means = [local(mean) for mean in self._means.values()]
        torch._foreach_lerp_(means, [local(p.detach()) for p in self._weights.values()], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While it lasts, the model has the mean's weights; afterwards its own again, bit for bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state(self) -> dict[str, Tensor]:
        """The means, by the name of the weight; sharded where that is."""
        return dict(self._means)

    def restart(self) -> None:
        """Let the mean be the weights that the model has now."""
        for name, parameter in self._weights.items():
            local(self._means[name]).copy_(local(parameter.detach()))

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self._weights.items():  # one by one: never a third copy of the model
            weight, mean = local(parameter.detach()), local(self._means[name])
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)
