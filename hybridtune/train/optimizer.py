"""The update of the weights by their gradients: AdamW, a lazy Adam for sparse embeddings, and what bounds them."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from hybridtune.config.study import Train
from hybridtune.errors import InputError
from hybridtune.model.adapters import transformer_layers
from hybridtune.model.encoder import DualEncoder
from hybridtune.train.parallel import average_rows, local, put, sparse_parameters

_EPSILON = 1e-6  # in the denominator of the clipping, as in torch


class Update:
    """The optimiser of one training.

    Matrices decay, vectors (biases, normalisation weights) and ``extras`` do not (AdamW, arXiv 1711.05101). Layer l of
    n learns at ``layer_decay ** (n - l)`` of the learning rate, l = 0 for what lies below the layers, and 1 for what
    lies above. Token embeddings with sparse gradients have a lazy Adam: a row's weights and moments change only in
    steps whose batch holds its token, and do not decay, so that a step costs the batch's tokens and not the vocabulary.

    Args:
        model: the bare encoder, after ``prepare_for_training`` and ``distribute``; its trained parameters are updated.
        train: learning rate, weight decay, layer decay and the bound of the gradient's norm.
        extras: trained parameters outside the encoder, by names that no parameter of the encoder has (a learned
            temperature).
    """

    def __init__(self, model: DualEncoder, train: Train, extras: Mapping[str, nn.Parameter] | None = None) -> None:
        self.extras = dict(extras or {})
        self._bound, self._rate = train.max_grad_norm, train.learning_rate
        self._sparse = sparse_parameters(model)
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in (trained | self.extras).items()}
        shares = _layer_shares(model, train.layer_decay)
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in trained.items():
            if name not in self._sparse:
                decay = train.weight_decay if parameter.dim() > 1 else 0.0
                groups.setdefault((shares[name], decay), []).append(parameter)
        parts = [{"params": ps, "share": share, "weight_decay": decay} for (share, decay), ps in groups.items()]
        if self.extras:  # apart from the encoder's: one group takes no mixture of sharded and whole tensors
            parts.append({"params": list(self.extras.values()), "share": 1.0, "weight_decay": 0.0})
        self._optimizers: list[torch.optim.Optimizer] = []
        if parts:
            self._optimizers.append(torch.optim.AdamW(parts, lr=train.learning_rate, fused=True))
        if self._sparse:
            rows = [{"params": [p], "share": shares[name]} for name, p in self._sparse.items()]
            self._optimizers.append(torch.optim.SparseAdam(rows, lr=train.learning_rate))

    def step(self, share: float) -> Tensor:
        """Clip the gradients together, update the weights, drop the gradients.

        Args:
            share: of the peak learning rate, > 0.

        Returns:
            Scalar: norm of the whole gradient before it was clipped.
        """
        for parameter in self._sparse.values():
            if parameter.grad is None:  # this worker's batch had no gradient here; the other workers' may have
                parameter.grad = _no_rows(parameter)
            parameter.grad = average_rows(parameter.grad)
        norm = clip([p.grad for p in self._names if p.grad is not None], self._bound)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._rate * group["share"] * share
            optimizer.step()
            optimizer.zero_grad()
        return norm

    def rates(self) -> dict[str, float]:
        """The learning rate of the last step, by parameter name."""
        groups = (group for optimizer in self._optimizers for group in optimizer.param_groups)
        return {self._names[parameter]: group["lr"] for group in groups for parameter in group["params"]}

    def state(self) -> dict[str, Tensor]:
        """The moments and step counts as ``parameter name.state name``; sharded where the parameter is."""
        return {
            f"{self._names[parameter]}.{key}": torch.as_tensor(value)
            for optimizer in self._optimizers
            for parameter, values in optimizer.state.items()
            for key, value in values.items()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up the whole tensors of a ``state``; the next steps are those that would have followed it, bit for bit.

        Raises:
            InputError: it belongs to other parameters or to parameters of other shapes.
        """
        parameters = {name: parameter for parameter, name in self._names.items()}
        owners: dict[Tensor, torch.optim.Optimizer] = {
            parameter: optimizer
            for optimizer in self._optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        for key, value in state.items():
            name, entry = key.rsplit(".", 1)
            parameter = parameters.get(name)
            if parameter is None or (entry != "step" and value.shape != parameter.shape):
                raise InputError(f"{key} {list(value.shape)} belongs to no parameter that is trained now")
            values = owners[parameter].state[parameter]
            if entry != "step":
                values[entry] = torch.zeros_like(parameter, requires_grad=False)
                put(values[entry], value)
            elif name in self._sparse:
                values[entry] = int(value)  # SparseAdam counts in Python, whose powers have other last bits
            else:
                values[entry] = value.to(parameter.device)


def learning_rate_share(step: int, steps: int, warmup_ratio: float) -> float:
    """Share of the peak learning rate at a step: linear from 0 to 1 over the warm-up, then linear to 0."""
    warmup = steps * warmup_ratio
    if step + 1 < warmup:
        return (step + 1) / warmup
    return (steps - step) / max(1.0, steps - warmup) if step >= warmup else 1.0


def clip(gradients: list[Tensor], bound: float) -> Tensor:
    """Scale gradients in place so that their norm, taken as one vector, is at most ``bound``; returns the norm before.

    Args:
        gradients: replicated (the same on every worker), sharded, or sparse and coalesced, in any mixture.
        bound: > 0.
    """
    sharded = [local(g) for g in gradients if isinstance(g, DTensor)]
    replicated = [g.values() if g.is_sparse else g for g in gradients if not isinstance(g, DTensor)]
    norm = torch.nn.utils.get_total_norm(replicated)
    if sharded:
        square = torch.nn.utils.get_total_norm(sharded) ** 2
        dist.all_reduce(square)
        norm = (square + norm.to(square.device) ** 2).sqrt()
    factor = (bound / (norm + _EPSILON)).clamp(max=1.0)
    if factor.device.type != "cpu" or factor < 1:  # elsewhere, asking would wait for the device
        torch._foreach_mul_([*sharded, *replicated], factor)
    return norm


def _layer_shares(model: DualEncoder, decay: float) -> dict[str, float]:
    """Of the learning rate, by parameter name; what is registered before the first layer lies below it."""
    names = [name for name, _ in model.named_parameters()]
    if decay == 1:
        return dict.fromkeys(names, 1.0)
    layers = transformer_layers(model.backbone)
    above = {id(p): len(layers) - number for number, layer in enumerate(layers, 1) for p in layer.parameters()}
    shares, distance = {}, len(layers)  # layers above a parameter
    for name, parameter in model.named_parameters():
        if id(parameter) in above:
            distance = 0  # from here on, of what is in no layer
        shares[name] = decay ** above.get(id(parameter), distance)
    return shares


def _no_rows(parameter: nn.Parameter) -> Tensor:
    rows = torch.zeros(1, 0, dtype=torch.int64, device=parameter.device)
    return torch.sparse_coo_tensor(
        rows, parameter.new_zeros(0, parameter.shape[1]), parameter.shape, is_coalesced=True, check_invariants=False
    )
