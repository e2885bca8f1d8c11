"""Model folders: the layout of sentence-transformers, written and read; and the `tiny` encoder, built on the spot."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hybridtune.config import Encoder
from hybridtune.errors import InputError, model_not_loaded
from hybridtune.model.encoder import DualEncoder

_OURS = "hybridtune.json"  # sentence-transformers has one length for both sides; ours stand here, and what was trained

_PADDED_POSITIONS = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"}  # count from pad_token_id + 1

# What transformers 4 and 5 both read; all else is in tokenizer.json. Version 5 writes class names and keys of its own,
# at which version 4 stops.
_TOKENIZER_KEYS = {f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")} | {
    "model_max_length",
    "padding_side",
    "truncation_side",
    "clean_up_tokenization_spaces",
}
_NO_LENGTH = 10**6  # tokenizers that know no length say 1e30


def save_folder(
    model: DualEncoder,
    source: str,
    encoder: Encoder,
    folder: Path,
    card: str,
    training_pairs: Mapping[str, int],
    matryoshka: Sequence[int] = (),
) -> None:
    """Write a folder that sentence-transformers (3 to 6) and plain transformers (4, 5) open.

    Args:
        model: the trained encoder.
        source: the folder or name whose tokenizer goes along.
        encoder: pooling, prefixes and lengths to write down.
        folder: new or empty.
        card: the README.md, a model card.
        training_pairs: "en-de" (query language first) -> distinct pairs that it was trained on.
        matryoshka: widths at which its embeddings were trained to be cut off.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.backbone.save_pretrained(folder, state_dict=model.plain_state())
    length = max(encoder.query_length, encoder.passage_length)
    _save_tokenizer(source, encoder, length, folder)
    width = model.backbone.config.hidden_size
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    _write(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(modules)
        ],
    )
    _write(folder / "sentence_bert_config.json", {"max_seq_length": length, "do_lower_case": False})
    pooling = {
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": encoder.pooling == "cls",
        "pooling_mode_mean_tokens": encoder.pooling == "mean",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    _write(folder / "1_Pooling" / "config.json", pooling)
    (folder / "2_Normalize").mkdir(exist_ok=True)
    prompts = {
        "query": encoder.query_prefix,
        "document": encoder.passage_prefix,
        "passage": encoder.passage_prefix,
    }
    settings = {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    _write(folder / "config_sentence_transformers.json", settings)
    lengths = {"query_length": encoder.query_length, "passage_length": encoder.passage_length}
    widths = {"matryoshka": list(matryoshka)} if matryoshka else {}
    _write(folder / _OURS, {**lengths, "training_pairs": dict(training_pairs), **widths})
    (folder / "README.md").write_text(card, encoding="utf-8")


def _save_tokenizer(source: str, encoder: Encoder, length: int, folder: Path) -> None:
    """tokenizer.json as it was trained with, under the one class name that loads it as it stands everywhere."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=encoder.trust_remote_code)
    tokenizer.model_max_length = length  # plain transformers then cuts where sentence-transformers does
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    kept = {key: value for key, value in _read(file).items() if key in _TOKENIZER_KEYS}
    # token_type_ids stay out: they are zeros, which is what models that have them take by themselves
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"]}
    _write(file, {**names, **kept})


def with_folder_settings(encoder: Encoder) -> Encoder:
    """Fill pooling, prefixes and lengths that were not given from the model's own folder, where it tells them.

    Raises:
        InputError: a sentence-transformers folder that pools in a way not known here.
    """
    folder = Path(encoder.name)
    if not (folder / "modules.json").is_file():
        return encoder
    found: dict[str, Any] = {}
    for file in folder.glob("*_Pooling/config.json"):
        found["pooling"] = _pooling(_read(file), file)
    prompts = _read(folder / "config_sentence_transformers.json").get("prompts") or {}
    found["query_prefix"] = prompts.get("query", "")
    found["passage_prefix"] = prompts.get("passage", prompts.get("document", ""))
    lengths = _read(folder / "sentence_bert_config.json")
    length = lengths.get("max_seq_length") or _read(folder / "tokenizer_config.json").get("model_max_length")
    for side, task in (("query", "query"), ("passage", "document")):  # version 6 knows a length a side
        most = lengths.get(f"{task}_length") or length
        if most and most < _NO_LENGTH:
            found[f"{side}_length"] = most
    ours = _read(folder / _OURS)
    found |= {key: ours[key] for key in ("query_length", "passage_length") if key in ours}
    return Encoder.model_validate({**found, **encoder.model_dump(include=encoder.model_fields_set)})


def check_lengths(encoder: Encoder) -> None:
    """See that the encoder has a position for every token it will be given; else it fails deep inside, much later.

    Raises:
        InputError: a length is over what the model takes, or there is no such model.
    """
    if encoder.name == "tiny":
        return
    config = model_config(encoder)
    most = getattr(config, "max_position_embeddings", None)
    if most is None:
        return
    if config.model_type in _PADDED_POSITIONS:
        most -= (config.pad_token_id or 0) + 1
    for side in ("query", "passage"):
        length = getattr(encoder, f"{side}_length")
        if length > most:
            raise InputError(
                f"encoder.{side}_length {length} is over the {most} tokens that {encoder.name} takes; "
                f"set encoder.{side}_length={most} or less"
            )


def training_pairs_of(name: str) -> dict[str, int] | None:
    """Distinct pairs a model was trained on, by "query language-passage language"; None where it does not tell."""
    pairs = _read(Path(name) / _OURS).get("training_pairs")
    return None if pairs is None else {str(key): int(value) for key, value in pairs.items()}


def model_digest(encoder: Encoder) -> str:
    """Equal for equal weights: of a folder's weights, settings and code, or of a hub name's commit.

    Raises:
        InputError: a hub name that is not there.
    """
    digest, folder = hashlib.sha256(), Path(encoder.name)
    if folder.is_dir():
        for file in sorted(folder.rglob("*")):
            if file.suffix in (".safetensors", ".json", ".py"):  # the only weights that are read are safetensors
                digest.update(f"{file.relative_to(folder)}\n".encode())
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
    else:
        digest.update(f"{encoder.name} {getattr(model_config(encoder), '_commit_hash', None)}".encode())
    return digest.hexdigest()


def model_config(encoder: Encoder) -> Any:
    """The settings of a model folder or hub name, as transformers reads them.

    Raises:
        InputError: it cannot be found or fetched.
    """
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(encoder.name, trust_remote_code=encoder.trust_remote_code)
    except (OSError, ValueError) as error:
        raise model_not_loaded("encoder", encoder.name, error) from None


def build_tiny(tokenizer_definition: str, encoder: Encoder, seed: int, folder: Path) -> None:
    """Write a small BERT with random weights and the study's own tokenizer, as an ordinary model folder."""
    import tokenizers
    import transformers

    backend = tokenizers.Tokenizer.from_str(tokenizer_definition)
    size = encoder.tiny
    config = transformers.BertConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=size.hidden_size,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.hidden_size,
        max_position_embeddings=max(encoder.query_length, encoder.passage_length),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=backend.token_to_id("[PAD]"),
    )
    with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it was
        torch.manual_seed(seed)
        backbone = transformers.BertModel(config, add_pooling_layer=False)
    backbone.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)


def _pooling(config: dict[str, Any], file: Path) -> str:
    mode = config.get("pooling_mode")
    if mode is None:
        on = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
        mode = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}.get(on[0]) if len(on) == 1 else on
    if mode not in ("cls", "mean"):
        raise InputError(f"{file}: pools by {mode}; known here: mean, cls")
    return str(mode)


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file}: not a readable JSON object: {error}") from None


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")
