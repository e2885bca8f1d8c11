"""Load the transformer of an encoder, as its published settings say: whole weights, or adapters merged into a base."""

from posixpath import join
from typing import Any

from hybridtune.errors import InputError, model_not_loaded
from hybridtune.model.published import Published, Repository, pretrained
from hybridtune.model.tokenizer import load_tokenizer

_ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}  # of encoder-decoders
_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_LARGEST_SIZE = 10_000_000
_OWN_WIDTHS = ("head_dim", "d_kv", "d_head", "embedding_size")  # of models whose heads need no equal part
_DROPOUTS = ("dropout", "dropout_prob", "dropout_rate")


def load_config(published: Published, trust_remote_code: bool) -> Any:
    """Return the transformer's configuration, as transformers reads it.

    Raises:
        InputError: it cannot be found or fetched, or its encoder cannot be used alone.
    """
    import transformers

    source = _whole_weights(published)
    try:
        if not trust_remote_code:
            _refuse_kernels(transformers.PretrainedConfig.get_config_dict(**source)[0], published.name)
        config = transformers.AutoConfig.from_pretrained(**source, trust_remote_code=trust_remote_code)  # nosec B615
    except InputError:
        raise
    except Exception as error:  # of whatever its reader came upon in the files
        raise _not_loaded(published, error) from None
    if getattr(config, "is_encoder_decoder", False) and config.model_type not in _ENCODERS:
        raise InputError(
            f"encoder {published.name}: is an encoder-decoder of type {config.model_type}; of such models the encoders "
            f"of {', '.join(_ENCODERS)} are used"
        )
    _check_sizes(config, published.name)
    return config


def _check_sizes(config: Any, name: str) -> None:
    """Refuse sizes that no transformer has; building one would fail much later, or take all memory."""
    sizes = {key: getattr(config, key, None) for key in _SIZES}
    for key, size in sizes.items():
        if size is None or isinstance(size, list):  # some models have a size for each layer
            continue
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= _LARGEST_SIZE:
            raise InputError(
                f"encoder {name}: config.json: {key} must be a whole number from 1 to {_LARGEST_SIZE} (got {size!r})"
            )
    width, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    own = any(getattr(config, key, None) is not None for key in _OWN_WIDTHS)
    if isinstance(width, int) and isinstance(heads, int) and width % heads and not own:
        raise InputError(
            f"encoder {name}: config.json: hidden_size {width} is not a multiple of num_attention_heads {heads}: every "
            "head takes an equal part of the vector"
        )


def _refuse_kernels(said: Any, name: str) -> None:
    """Refuse a config.json that has attention computed by code from the hub, which transformers would fetch and run."""
    parts = said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, list) else ()
    for key, value in parts:
        if str(key).endswith("attn_implementation") and "/" in str(value):
            raise model_not_loaded("attention", name, f"trust_remote_code: {value}")
        _refuse_kernels(value, name)


def structure(config: Any, trust_remote_code: bool) -> Any:
    """Return the transformer with random weights on the current device."""
    import transformers

    if config.model_type in _ENCODERS:
        return getattr(transformers, _ENCODERS[config.model_type])(config)
    return transformers.AutoModel.from_config(config, trust_remote_code=trust_remote_code)


def load_backbone(published: Published, trust_remote_code: bool, dropout: float | None = None) -> Any:
    """Return the transformer with its weights, in float32; adapters are merged into them.

    ``dropout``, in [0, 1), replaces every dropout probability of the model; None keeps them.

    Raises:
        InputError: it cannot be found or fetched; weights are read from safetensors alone.
    """
    import torch
    import transformers

    config = load_config(published, trust_remote_code)
    if dropout is not None:
        for key in list(config.to_dict()):
            if key.endswith(_DROPOUTS):
                setattr(config, key, dropout)
    source = _whole_weights(published)
    kind = getattr(transformers, _ENCODERS.get(config.model_type, "AutoModel"))
    options: dict[str, Any] = {"config": config, "dtype": torch.float32, "use_safetensors": True}
    if config.model_type not in _ENCODERS:
        options["trust_remote_code"] = trust_remote_code
    try:
        backbone = kind.from_pretrained(**source, **options)
    except Exception as error:  # of safetensors too, which are of no kind of Python's
        raise _not_loaded(published, error) from None
    if hasattr(backbone, "mask_emb"):
        backbone.mask_emb.requires_grad_(False)  # XLNet's, of its pretraining: no text uses it, and DDP refuses that
    return backbone if published.adapter_of is None else _merged(backbone, published)


def token_types(published: Published, config: Any, trust_remote_code: bool) -> dict[int, int]:
    """Return the token types that are not 0 of a single text, by token id."""
    if config.model_type != "xlnet":  # only its last token, by which it is pooled, is of a segment of its own
        return {}
    tokenizer = load_tokenizer(published, trust_remote_code)
    if "token_type_ids" not in tokenizer.model_input_names:
        return {}
    text = tokenizer("a")
    return {token: kind for token, kind in zip(text["input_ids"], text["token_type_ids"], strict=True) if kind}


def _whole_weights(published: Published) -> dict[str, Any]:
    """Return the arguments of ``from_pretrained`` for the whole weights."""
    return published.source if published.adapter_of is None else pretrained(published.adapter_of)


def _not_loaded(published: Published, error: Exception) -> InputError:
    if published.adapter_of is None:
        return model_not_loaded("encoder", published.name, error)
    reason = " ".join(str(error).split())[:160]
    return InputError(
        f"encoder {published.name}: is an adapter of {published.adapter_of}, which is neither a folder nor a name "
        "that could be fetched; get that model, or merge the two by peft's merge_and_unload and give the merged folder "
        f"({reason})"
    )


def _merged(backbone: Any, published: Published) -> Any:
    """Merge a folder's adapters into the model that they belong to."""
    try:
        import peft
    except ImportError:
        raise InputError(
            f"encoder {published.name}: holds adapters of {published.adapter_of}, which need the package peft: "
            "pip install 'hybridtune[lora]'"
        ) from None
    path = join(published.subfolder, "adapter_model.safetensors")
    if Repository(published.name).file(path) is None:
        raise InputError(f"encoder {published.name}: has no {path}, the only format of adapters that is read")
    source = published.source
    options = {"subfolder": published.subfolder} if published.subfolder else {}
    name, revision = source["pretrained_model_name_or_path"], source["revision"]
    try:
        merged: Any = peft.PeftModel.from_pretrained(backbone, name, revision=revision, **options).merge_and_unload()
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"encoder {published.name}: its adapters do not fit {published.adapter_of}: {reason}"
        ) from None
    return merged.float().requires_grad_()  # peft had frozen the base
