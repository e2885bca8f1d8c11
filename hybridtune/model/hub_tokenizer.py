"""Load a model's tokenizer with transformers, set up as its folder says; without torch."""

from typing import Any

from hybridtune.errors import InputError, model_not_loaded
from hybridtune.model.published import Published


def load_tokenizer(published: Published, trust_remote_code: bool) -> Any:
    """Return the fast tokenizer of a model, lowering texts and cutting them on the side that the model says.

    Args:
        published: what the model says of itself.
        trust_remote_code: whether it may bring code of its own.

    Raises:
        InputError: it cannot be found or fetched, or it has no fast version.
    """
    import transformers

    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    sides = {"padding_side": published.padding_side, "truncation_side": published.truncation_side}
    options |= {key: side for key, side in sides.items() if side is not None}
    if published.subfolder:
        options["subfolder"] = published.subfolder
    try:
        loaded = transformers.AutoTokenizer.from_pretrained(published.name, **options)
    except (OSError, ValueError, KeyError) as error:
        if published.adapter_of is None:
            raise model_not_loaded("tokenizer", published.name, error) from None
        return load_tokenizer(Published(published.adapter_of), trust_remote_code)  # adapters alone have none
    if not loaded.is_fast:
        raise InputError(
            f"encoder.name {published.name}: its tokenizer has no tokenizer.json (a fast version), which is needed"
        )
    if published.lower_case:
        _lower(loaded.backend_tokenizer)
    return loaded


def _lower(backend: Any) -> None:
    """Lower texts before all else that the tokenizer does to them, unless it does so already."""
    from tokenizers import normalizers

    known: Any = backend.normalizer
    parts: list[Any] = [known] * (known is not None)
    if isinstance(known, normalizers.Sequence):
        parts = [known[place] for place in range(len(known))]
    if not any(isinstance(part, normalizers.Lowercase) for part in parts):
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *parts])
