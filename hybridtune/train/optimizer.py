"""The optimizer of a training: AdamW with a rate a layer, and the bound of the whole gradient's norm."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from hybridtune.config.training import Train
from hybridtune.errors import InputError
from hybridtune.model.adapters import transformer_layers
from hybridtune.model.encoder import DualEncoder
from hybridtune.runtime import ray_private
from hybridtune.train.parallel import local, put
from hybridtune.train.scaling import LossScale

_EPSILON = 1e-6  # in the denominator of the clipping, as in torch
_SCALE = "loss.scale"  # among the states; no parameter is named so


class Optimizer:
    """The AdamW of one training (arXiv 1711.05101) over the encoder's trained parameters and ``extras``.

    Matrices decay, vectors (biases, normalization weights) and ``extras`` do not. Layer l of n learns at
    ``layer_decay ** (n - l)`` of the learning rate, l = 0 for what lies below the layers, and 1 for what lies above.

    Args:
        model: the bare encoder, after ``prepare_for_training`` and ``distribute``.
        train: learning rate, weight decay, layer decay and the bound of the gradient's norm.
        extras: trained parameters outside the encoder, by names that no parameter of the encoder has (a learned
            temperature).
        scale: by which all gradients come multiplied; a step whose gradient is not finite changes nothing but it.
    """

    def __init__(
        self,
        model: DualEncoder,
        train: Train,
        extras: Mapping[str, nn.Parameter] | None = None,
        scale: LossScale | None = None,
    ) -> None:
        self.extras, self._scale = dict(extras or {}), scale
        self._bound, self._rate = train.max_grad_norm, train.learning_rate
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._parameters: dict[str, nn.Parameter] = trained | self.extras
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in self._parameters.items()}
        shares = _layer_shares(model, train.layer_decay)
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in trained.items():
            decay = train.weight_decay if parameter.dim() > 1 else 0.0
            groups.setdefault((shares[name], decay), []).append(parameter)
        parts = [{"params": ps, "share": share, "weight_decay": decay} for (share, decay), ps in groups.items()]
        if self.extras:  # apart from the encoder's: one group takes no mixture of sharded and whole tensors
            parts.append({"params": list(self.extras.values()), "share": 1.0, "weight_decay": 0.0})
        self._adamw = torch.optim.AdamW(parts, lr=train.learning_rate, fused=True)

    def step(self, share: float) -> Tensor:
        """Clip the gradients together, update the weights at a ``share`` of the peak learning rate, drop the gradients.

        Returns:
            Scalar: norm of the whole gradient before it was clipped.
        """
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        norm = clip(gradients, self._bound, None if self._scale is None else self._scale.factor)
        if self._scale is not None:
            overflowed = (~norm.isfinite()).float()
            # AdamW leaves everything as it is where this is 1, and no host has to look at it.
            self._adamw.found_inf = overflowed  # type: ignore[attr-defined]
            self._scale.update(overflowed)
        for group in self._adamw.param_groups:
            group["lr"] = self._rate * group["share"] * share
        self._adamw.step()
        self._adamw.zero_grad()
        return norm

    def rates(self) -> dict[str, float]:
        """Return the learning rate of the last step, by parameter name."""
        return {self._names[p]: group["lr"] for group in self._adamw.param_groups for p in group["params"]}

    def state(self) -> dict[str, Tensor]:
        """Return the moments and step counts as ``parameter name.state name``; sharded where the parameter is.

        With them goes the loss scale, where there is one.
        """
        states = self._adamw.state.items()
        state = {f"{self._names[parameter]}.{key}": value for parameter, s in states for key, value in s.items()}
        return state if self._scale is None else {**state, _SCALE: self._scale.state}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up the whole tensors of a ``state``; the next steps are those that would have followed it, bit for bit.

        Raises:
            InputError: it belongs to other parameters or to parameters of other shapes.
        """
        for key, value in state.items():
            if key == _SCALE:  # a training that goes on elsewhere may need none
                if self._scale is not None:
                    self._scale.state = value.to(self._scale.state.device)
                continue
            name, entry = key.rsplit(".", 1)
            parameter = self._parameters.get(name)
            if parameter is None or (entry != "step" and value.shape != parameter.shape):
                raise InputError(f"{key} {list(value.shape)} belongs to no parameter that is trained now")
            values = self._adamw.state[parameter]
            if entry == "step":
                values[entry] = value.to(parameter.device)
            else:
                values[entry] = torch.zeros_like(parameter, requires_grad=False)
                put(values[entry], value)


def learning_rate_share(step: int, steps: int, warmup_ratio: float) -> float:
    """Return the share of the peak learning rate at a step: linear from 0 to 1 over the warm-up, then linear to 0."""
    warmup = steps * warmup_ratio
    if step + 1 < warmup:
        return (step + 1) / warmup
    return (steps - step) / max(1.0, steps - warmup) if step >= warmup else 1.0


def clip(gradients: list[Tensor], bound: float, scale: Tensor | None = None) -> Tensor:
    """Scale gradients in place so that their norm, taken as one vector, is at most ``bound``; returns the norm before.

    Where they come multiplied by a ``scale`` (a scalar), they are divided by it, and both norms are meant without it.
    They may be replicated (the same on every worker) or sharded, in any mixture.
    """
    sharded = [local(g) for g in gradients if isinstance(g, DTensor)]
    replicated = [g for g in gradients if not isinstance(g, DTensor)]
    norm = torch.nn.utils.get_total_norm(replicated)
    if sharded:
        square = torch.nn.utils.get_total_norm(sharded) ** 2
        dist.all_reduce(square)
        norm = (square + norm.to(square.device) ** 2).sqrt()
    if scale is not None:
        norm = norm / scale.to(norm.device)
    factor = (bound / (norm + _EPSILON)).clamp(max=1.0)
    if scale is not None:
        factor = factor / scale.to(norm.device)
    if factor.device.type != "cpu" or factor < 1:  # elsewhere, the comparison would wait for the device
        ray_private.scale_in_place([*sharded, *replicated], factor)
    return norm


def _layer_shares(model: DualEncoder, decay: float) -> dict[str, float]:
    """Return the shares of the learning rate by parameter; those registered before the first layer are below it."""
    names = [name for name, _ in model.named_parameters()]
    if decay == 1:
        return dict.fromkeys(names, 1.0)
    layers = transformer_layers(model.backbone)
    above = {id(p): len(layers) - number for number, layer in enumerate(layers, 1) for p in layer.parameters()}
    shares, distance = {}, len(layers)  # layers above a parameter
    for name, parameter in model.named_parameters():
        if id(parameter) in above:
            distance = 0  # from here on, of a parameter in no layer
        shares[name] = decay ** above.get(id(parameter), distance)
    return shares
