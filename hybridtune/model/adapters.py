"""Choose what of an encoder is trained: frozen layers and embeddings, low-rank adapters beside frozen weights."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from hybridtune.errors import InputError

_ADAPTER = "default"
_WRAPPED = ".base_layer."  # what peft puts into the name of a weight that has an adapter


def transformer_layers(backbone: Any) -> nn.ModuleList:
    """Return the transformer layers of a backbone, lowest first.

    Raises:
        InputError: they are not in a list of their own.
    """
    count = getattr(backbone.config, "num_hidden_layers", None)
    for module in backbone.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise InputError(
        f"{type(backbone).__name__}: its layers are not in a list of their own; leave train.freeze_layers, "
        f"train.layer_decay and search.screening at their defaults"
    )


def embedding_modules(backbone: Any) -> list[nn.Module]:
    """Return all that is below the lowest layer: the embeddings of tokens, positions and types, and their norm."""
    words = backbone.get_input_embeddings()
    for module in backbone.children():
        if words in module.modules() and not any(isinstance(part, nn.ModuleList) for part in module.modules()):
            return [module]
    return [words]


def freeze(backbone: Any, layers: int, embeddings: Literal["dense", "frozen"]) -> None:
    """Fix so many of the lowest layers and all below them, or the embeddings alone, where they are ``frozen``.

    Raises:
        InputError: there are not so many layers, or nothing remains to be trained.
    """
    if layers:
        found = transformer_layers(backbone)
        if layers > len(found):
            raise InputError(
                f"train.freeze_layers {layers} is over the {len(found)} layers of the encoder; set {len(found)} or less"
            )
        for layer in found[:layers]:
            layer.requires_grad_(False)
    if layers or embeddings == "frozen":
        for module in embedding_modules(backbone):
            module.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in backbone.parameters()):
            raise InputError(
                f"train.freeze_layers {layers} leaves nothing of the encoder to train; set {layers - 1} or less"
            )


def add_adapters(backbone: Any, rank: int, alpha: float, targets: list[str] | None, seed: int) -> None:
    """Put low-rank adapters beside linear layers and fix everything else.

    A layer with weight W then computes x (W + alpha / rank * B A)^T; B starts at zero.

    Args:
        backbone: changed in place.
        rank: rows of A and columns of B, > 0.
        alpha: > 0.
        targets: names of linear layers, or the last parts of their names; None: all.
        seed: of A's first values.

    Raises:
        InputError: no layer is named so, or peft is not installed.

    Source: arXiv 2106.09685.
    """
    try:
        import peft
    except ImportError:
        raise InputError(
            f"train.lora_rank {rank} needs the package peft, which is not installed: "
            f"pip install 'hybridtune[lora]', or set train.lora_rank=0"
        ) from None
    linear = [name for name, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    chosen = linear
    if targets is not None:
        chosen = [name for name in linear if f".{name}".endswith(tuple(f".{target}" for target in targets))]
        for target in targets:
            if not any(f".{name}".endswith(f".{target}") for name in chosen):
                known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in linear}))
                raise InputError(
                    f"train.lora_targets {target}: no linear layer of the encoder is named so; it has {known}"
                )
    scale: Any = alpha  # any number will do, whatever peft declares
    config = peft.LoraConfig(r=rank, lora_alpha=scale, target_modules=chosen, lora_dropout=0.0, bias="none")
    with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it was
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, backbone, _ADAPTER)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(".lora_" in name)


def recompute_layers(backbone: Any) -> None:
    """Keep only the input of each layer for the gradient, and compute the rest once more: memory against time.

    Raises:
        InputError: the model has no such layers.
    """
    enable = getattr(backbone, "activation_checkpointing_enable", None) or backbone.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False})
    except ValueError:
        raise InputError(
            f"train.gradient_checkpointing true: {type(backbone).__name__} cannot recompute its layers; "
            f"set train.gradient_checkpointing=false, and train.chunk_size to save memory"
        ) from None
    backbone.disable_input_require_grads()  # else frozen layers would be given a gradient to pass on, for nothing


def merged_state(backbone: Any) -> dict[str, Tensor]:
    """Return the weights without adapters, under their plain names; an adapted weight is W + scale * B A.

    The backbone is only read: adapters that are merged and taken out again would leave a trace in W.
    """
    state = {key: value.detach() for key, value in backbone.state_dict().items() if ".lora_" not in key}
    with torch.no_grad():
        for name, module in backbone.named_modules():
            if is_adapted(module):
                key = f"{name}{_WRAPPED}weight"
                state[key] = state[key] + module.get_delta_weight(_ADAPTER).to(state[key].dtype)  # [out, in]
    return {key.replace(_WRAPPED, "."): value for key, value in state.items()}


def is_adapted(module: Any) -> bool:
    """Return whether a layer has an adapter, from `add_adapters`."""
    return hasattr(module, "base_layer") and hasattr(module, "lora_A")
