"""PURE. A soup: the weights of several trainings of one encoder, averaged. It costs no step of training.

`check_alike` refuses models whose average would be none, by the first thing in which they differ; `average_states`
averages. The states are those of ``DualEncoder.plain_state`` as numpy arrays: adapters merged in, heads among them.

Source: averaging a mono-lingual and a cross-lingual training of one retriever is of arXiv 2507.08480, as its abstract
is cited; the paper was not read here.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from hybridtune.config.fields import Encoder
from hybridtune.errors import InputError
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.published import Dense
from hybridtune.model.tokenizer import Tokenizer

State = Mapping[str, npt.NDArray[Any]]

_USED = ("pooling", "query_prefix", "passage_prefix", "query_length", "passage_length")
_IDLE = {  # of a transformer's settings: what changes no vector of a model that is served
    *("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache", "auto_map"),
    *("id2label", "label2id", "problem_type", "attn_implementation", "gradient_checkpointing", "return_dict"),
}


def scale_weights(weights: Sequence[float]) -> list[float]:
    """Return the weights of a soup scaled to add up to 1.

    Raises:
        InputError: none is given, or one is not a number above 0.

    Example:
        >>> scale_weights([1, 3])
        [0.25, 0.75]
    """
    wrong = next((weight for weight in weights if not (math.isfinite(weight) and weight > 0)), None)
    if wrong is not None or not weights:
        raise InputError(f"weights {', '.join(f'{one:g}' for one in weights)}: give a number above 0 for each model")
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def average_states(states: Mapping[str, State], weights: Sequence[float]) -> dict[str, npt.NDArray[Any]]:
    """Return the weighted mean of the weights of several models, each number summed in float64.

    Of two models the result does not depend on their order, bit for bit; of more the order of the sums can change the
    last bit of a number. One model, or copies of one, give its very weights.

    Args:
        states: the weights by the name of each model, which messages use; of equal names and shapes.
        weights: of the models, in their order; see `scale_weights`.

    Returns:
        The mean, of the types of the first model: float32 of what this project trains. What is no floating-point
        number, such as a table of positions, must be the same in all models and is kept.

    Raises:
        InputError: a weight is missing or has another shape in one of them, or they differ in whole numbers.
        ValueError: another number of weights than of models.

    Example:
        >>> states = {"a": {"w": np.zeros(2, np.float32)}, "b": {"w": np.array([1, 2], np.float32)}}
        >>> average_states(states, [1, 3])["w"].tolist()
        [0.75, 1.5]
    """
    shares = scale_weights(weights)
    if len(shares) != len(states):
        raise ValueError(f"{len(states)} models, but {len(shares)} weights: give one a model")
    for one, other in pairwise(states):
        _check_shapes(one, states[one], other, states[other])
    first = next(iter(states.values()))
    return {name: _mean(name, {model: state[name] for model, state in states.items()}, shares) for name in first}


def _check_shapes(one: str, a: State, other: str, b: State) -> None:
    for name in sorted({*a, *b}):
        there, here = (list(state[name].shape) if name in state else "missing" for state in (a, b))
        if there != here:
            raise InputError(
                f"{other}: its weight {name} is {here}, and that of {one} {there}; only trainings of one architecture "
                "can be averaged"
            )


def _mean(name: str, arrays: Mapping[str, npt.NDArray[Any]], shares: Sequence[float]) -> npt.NDArray[Any]:
    (first, kept), *others = arrays.items()
    if not np.issubdtype(kept.dtype, np.floating):
        for other, values in others:
            if not np.array_equal(kept, values):
                raise InputError(f"{other}: its {name}, whole numbers, is another than that of {first}")
        return kept
    total: npt.NDArray[Any] | None = None  # from the first product on: a zero to begin with would lose the sign of -0
    for share, values in zip(shares, arrays.values(), strict=True):
        product = values.astype(np.float64) * share
        total = product if total is None else total + product
    assert total is not None
    return total.astype(kept.dtype)


def weights_cosine(one: State, other: State) -> float:
    """Return the cosine of the matrices of two models of one architecture, in [-1, 1].

    Trainings that began with the same weights keep it near 1; of two that began apart it is about 0. Vectors, such as
    the scales of norms, are left out: they begin alike in every model.
    """
    products = np.zeros(3)  # one with the other, one with itself, the other with itself
    for name, values in one.items():
        if values.ndim > 1 and np.issubdtype(values.dtype, np.floating):
            a, b = values.astype(np.float64).ravel(), other[name].astype(np.float64).ravel()
            products += [a @ b, a @ a, b @ b]
    both, own, theirs = products.tolist()
    return float(both / math.sqrt(own * theirs)) if own and theirs else 0.0


def model_facts(model: DualEncoder, encoder: Encoder, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return all that models must have in common to be averaged, by its name in messages.

    ``encoder`` says how the model is used, ``tokenizer`` is its own.
    """
    settings = model.backbone.config.to_dict()
    facts: dict[str, Any] = {"architecture": type(model.backbone).__name__, "tokenizer": tokenizer.digest}
    facts |= {name: getattr(encoder, name) for name in _USED}
    published = model.published
    heads = (replace(head, path="") if isinstance(head, Dense) else head for head in published.heads)
    facts["modules after the pooling"] = [*map(repr, heads), *(["Normalize()"] if published.unit else [])]
    facts |= {name: getattr(published, name) for name in ("truncate_dim", "include_prompt")}
    inner = {key: value for key, value in settings.items() if key not in _IDLE and "dropout" not in key}
    return facts | {f"configuration's {key}": value for key, value in inner.items()}


def check_alike(facts: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that models have all of their facts in common.

    Args:
        facts: of `model_facts`, by the name of each model, which the message uses.

    Raises:
        InputError: the first fact in which one differs from the one before it.
    """
    for one, other in pairwise(facts):
        for key in dict.fromkeys([*facts[one], *facts[other]]):
            before, after = facts[one].get(key), facts[other].get(key)
            if before != after:
                apart = "is another" if key == "tokenizer" else f"is {after!r}, that of {one} {before!r}"
                raise InputError(
                    f"{other}: its {key} {apart}; only trainings of one encoder, used in one way, can be averaged"
                )


def weights_digest(state: State) -> str:
    """Return a digest, equal for equal weights, by which a soup names what it was made of."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name} {state[name].dtype} {state[name].shape}".encode())
        digest.update(np.ascontiguousarray(state[name]).data)
    return digest.hexdigest()
