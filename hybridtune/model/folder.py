"""Model folders: what a study takes from one, and the folder that is written of a trained encoder.

`published` reads what a folder says. This module fills a study's settings from it, checks that texts fit the model,
and writes the layout of sentence-transformers again with all that was read; and it builds the `tiny` encoder. Only what
writes weights imports torch: a folder's settings are read where there is none.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hybridtune.config.fields import Encoder
from hybridtune.errors import InputError
from hybridtune.model.backbone import load_config, structure
from hybridtune.model.language_vectors import FILE as LANGUAGE_VECTORS
from hybridtune.model.language_vectors import LanguageVectors, load_language_vectors
from hybridtune.model.published import (
    POOLINGS,
    POSITIONS_FROM_PADDING,
    Dense,
    Normalize,
    Published,
    Repository,
    read_published,
)
from hybridtune.model.tokenizer import load_tokenizer

_OURS = "hybridtune.json"  # what sentence-transformers has no file for: a length a side, and the training data

# What transformers 4 and 5 both read; all else is in tokenizer.json. Version 5 writes class names and keys of its own,
# at which version 4 stops.
_TOKENIZER_KEYS = {f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")}
_TOKENIZER_KEYS |= {"model_max_length", "padding_side", "truncation_side", "clean_up_tokenization_spaces"}
_NO_LIMIT = 1_000_000  # tokens; of models that cut no text
_ASSUMED = ("pooling", "query_prefix", "passage_prefix", "query_length", "passage_length")


def save_folder(
    model: Any,
    source: str,
    encoder: Encoder,
    folder: Path,
    card: str | None = None,
    training_pairs: Mapping[str, int] | None = None,
    matryoshka: Sequence[int] = (),
    published: Published | None = None,
) -> None:
    """Write a folder that sentence-transformers (3 to 6) and, without Dense layers, plain transformers (4, 5) open.

    Args:
        model: a `DualEncoder`; adapters are merged.
        source: the folder or name that it started from; what that says of itself is written again.
        encoder: pooling, prefixes and lengths to write down.
        folder: new or empty.
        card: the README.md; None: none is written.
        training_pairs: "en-de" (query language first) -> distinct pairs that it was trained on; None: not known.
        matryoshka: widths at which its embeddings were trained to be cut off.
        published: what is written in place of what the source says of itself.
    """
    from hybridtune.model.heads import HEADS

    published = published or read_published(source)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor for name, tensor in model.plain_state().items() if not name.startswith(HEADS)}
    model.backbone.save_pretrained(folder, state_dict=state)
    longest = max(encoder.query_length, encoder.passage_length)
    length = longest if longest < _NO_LIMIT else None  # the one length that sentence-transformers has for both sides
    _save_tokenizer(published, encoder, length, folder)
    _save_modules(model, published, encoder.pooling, length, folder)
    prompts = {"query": encoder.query_prefix, "document": encoder.passage_prefix, "passage": encoder.passage_prefix}
    settings: dict[str, Any] = {
        "prompts": {**published.prompts, **prompts},
        "default_prompt_name": published.default_prompt_name,
        "similarity_fn_name": published.similarity or "cosine",
    }
    if published.truncate_dim is not None:
        settings["truncate_dim"] = published.truncate_dim
    _write(folder / "config_sentence_transformers.json", settings)
    ours: dict[str, Any] = {"query_length": encoder.query_length, "passage_length": encoder.passage_length}
    if training_pairs is not None:
        ours["training_pairs"] = dict(training_pairs)
    if matryoshka:
        ours["matryoshka"] = list(matryoshka)
    _write(folder / _OURS, ours)
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")


def _save_modules(model: Any, published: Published, pooling: str, length: int | None, folder: Path) -> None:
    """Write the list of modules, and the files of each but the transformer's weights."""
    from hybridtune.model.heads import save_head

    heads = (*published.heads, Normalize()) if published.unit else published.heads
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules += [(f"{index}_{type(head).__name__}", type(head).__name__) for index, head in enumerate(heads, 2)]
    types = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    _write(folder / "modules.json", types)
    transformer = {"max_seq_length": length, "do_lower_case": published.lower_case}
    sides = {"query_length": published.query_length, "document_length": published.passage_length}
    transformer |= {key: tokens for key, tokens in sides.items() if tokens is not None}
    _write(folder / "sentence_bert_config.json", transformer)
    config: dict[str, Any] = {"word_embedding_dimension": model.backbone.config.hidden_size}
    config |= {old: name == pooling for name, old in POOLINGS.items()}
    if not published.include_prompt:
        config["include_prompt"] = False
    _write(folder / "1_Pooling" / "config.json", config)
    for (path, _), said, head in zip(modules[2:], heads, [*model.heads, None], strict=False):
        (folder / path).mkdir(exist_ok=True)
        if isinstance(said, Dense):
            save_head(head, folder / path)
            owner = "linear" if said.activation == "Identity" else "activation"
            config = {
                "in_features": said.in_features,
                "out_features": said.out_features,
                "bias": said.bias,
                "activation_function": f"torch.nn.modules.{owner}.{said.activation}",
            }
            _write(folder / path / "config.json", config | ({"use_residual": True} if said.residual else {}))


def _save_tokenizer(published: Published, encoder: Encoder, length: int | None, folder: Path) -> None:
    """Write tokenizer.json as it was trained with, under the one class name that loads it unchanged everywhere."""
    tokenizer = load_tokenizer(published, encoder.trust_remote_code)
    if length is not None:
        tokenizer.model_max_length = length  # plain transformers then cuts where sentence-transformers does
    # Padding on the left moves the positions of models that count them from the row's start. Models whose positions
    # are relative keep it where their last token is the vector, since programs read that at the end of a row.
    config = load_config(published, encoder.trust_remote_code)
    relative = getattr(config, "rope_parameters", None) is not None
    if not (relative and encoder.pooling == "lasttoken"):
        tokenizer.padding_side = "right"
    # Token types stay out where they are zeros, which is what models that have them take by themselves.
    inputs = ["input_ids", "attention_mask"]
    if any(tokenizer("a").get("token_type_ids", [])):
        inputs.insert(1, "token_type_ids")
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    saved = {key: value for key, value in json.loads(file.read_text("utf-8")).items() if key in _TOKENIZER_KEYS}
    _write(file, {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs, **saved})


def with_folder_settings(encoder: Encoder) -> Encoder:
    """Fill pooling, prefixes and lengths that were not given from what the model publishes, where it does.

    Raises:
        InputError: there is no such model, or it has a setting that is not supported.
    """
    if encoder.name == "tiny":
        return encoder
    published = read_published(encoder.name)
    found: dict[str, Any] = {} if published.pooling is None else {"pooling": published.pooling}
    if published.modules:
        found["query_prefix"], found["passage_prefix"] = published.query_prompt, published.passage_prompt
        length = published.length
        if not length:  # then sentence-transformers cuts where the tokenizer does, within the positions
            tokenizer = load_tokenizer(published, encoder.trust_remote_code)
            positions = longest_text(load_config(published, encoder.trust_remote_code))
            length = int(min(tokenizer.model_max_length, positions or _NO_LIMIT, _NO_LIMIT))
        found["query_length"] = published.query_length or length
        found["passage_length"] = published.passage_length or length
        ours = Repository(encoder.name).json(_OURS)
        found |= {key: ours[key] for key in ("query_length", "passage_length") if key in ours}
    return Encoder.model_validate({**found, **encoder.model_dump(include=encoder.model_fields_set)})


def teacher_settings(name: str | None, encoder: Encoder) -> Encoder:
    """Return how a teacher is used: as it publishes; what it does not say, as the ``encoder`` that it teaches is used.

    Without a name the encoder teaches itself, as it was at the start. Errors are those of `with_folder_settings`.
    """
    if name is None:
        return encoder
    own = with_folder_settings(Encoder(name=name, trust_remote_code=encoder.trust_remote_code))
    unsaid = {field: getattr(encoder, field) for field in _ASSUMED if field not in own.model_fields_set}
    return own.model_copy(update=unsaid)


def encoder_notices(encoder: Encoder) -> list[str]:
    """Return what a user should know of how an encoder from `with_folder_settings` is used, one line each."""
    if encoder.name == "tiny":
        return []
    published, lines = read_published(encoder.name), []
    assumed = [name for name in _ASSUMED if name not in encoder.model_fields_set]
    if not published.modules and assumed:
        values = ", ".join(f"{name} {getattr(encoder, name)!r}" for name in assumed)
        none = "no modules.json" + ("" if published.online else " in the cache, and the hub could not be reached")
        lines.append(f"encoder {encoder.name} has no settings of its own ({none}); assumed: {values}")
    if published.modules and not published.prompts and not (encoder.query_prefix or encoder.passage_prefix):
        lines.append(
            f"encoder {encoder.name} names no prompts, so texts go in bare; if its card asks for prefixes, set "
            "encoder.query_prefix and encoder.passage_prefix"
        )
    used = {published.query_prompt, published.passage_prompt}
    idle = [name for name, prompt in published.prompts.items() if prompt not in used]
    if idle:
        lines.append(
            f"encoder {encoder.name} has prompts that are not used: {', '.join(idle)}; "
            "encoder.query_prefix and encoder.passage_prefix choose others"
        )
    if published.truncate_dim is not None:
        lines.append(f"encoder {encoder.name}: vectors are cut to {published.truncate_dim} numbers, as it says")
    if max(encoder.query_length, encoder.passage_length) >= _NO_LIMIT:
        lines.append(f"encoder {encoder.name} names no length: texts are not cut; encoder.passage_length cuts them")
    return lines


def check_fit(encoder: Encoder, largest_id: int) -> None:
    """Check that the encoder has an embedding and a position for every token; else it fails deep inside, much later.

    Raises:
        InputError: one is missing, or there is no such model.
    """
    if encoder.name == "tiny":
        return
    config = model_config(encoder)
    rows = getattr(config, "vocab_size", None)
    if rows is not None and largest_id >= rows:
        raise InputError(
            f"encoder {encoder.name}: its tokenizer gives ids up to {largest_id}, and its embedding has {rows} rows; "
            "the two are not of one model: give the folder of one that was saved whole"
        )
    most = longest_text(config)
    for side in ("query", "passage"):
        length = getattr(encoder, f"{side}_length")
        if most is not None and length > most:
            raise InputError(
                f"encoder.{side}_length {length} is over the {most} tokens that {encoder.name} takes; "
                f"set encoder.{side}_length={most} or less"
            )


def longest_text(config: Any) -> int | None:
    """Return the tokens of a text that a model has positions for; None: any number."""
    most = getattr(config, "max_position_embeddings", None)
    if most is None or most < 1:
        return None
    return int(most) - (int(config.pad_token_id or 0) + 1 if config.model_type in POSITIONS_FROM_PADDING else 0)


def training_pairs_of(name: str) -> dict[str, int] | None:
    """Return the distinct pairs a model was trained on, by "query language-passage language"; None: not known."""
    pairs = Repository(name).json(_OURS).get("training_pairs")
    return None if pairs is None else {str(key): int(value) for key, value in pairs.items()}


def matryoshka_of(name: str) -> list[int]:
    """Return the widths at which a model was trained to be cut off; none where it does not say."""
    return [int(width) for width in Repository(name).json(_OURS).get("matryoshka", [])]


def model_digest(encoder: Encoder) -> str:
    """Return a digest, equal for equal weights: of a folder's weights, settings and code, or of a hub name's commit."""
    digest, folder = hashlib.sha256(), Path(encoder.name)
    base = read_published(encoder.name).adapter_of
    if base is not None:
        digest.update(model_digest(encoder.model_copy(update={"name": base})).encode())
    if folder.is_dir():
        for file in sorted(folder.rglob("*")):
            # The only weights that are read are safetensors.
            if file.suffix in (".safetensors", ".json", ".py") and file.name != LANGUAGE_VECTORS:
                digest.update(f"{file.relative_to(folder)}\n".encode())
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
    else:
        digest.update(f"{encoder.name} {getattr(model_config(encoder), '_commit_hash', None)}".encode())
    return digest.hexdigest()


def vectors_digest(encoder: Encoder) -> str:
    """Return a digest, equal for encoders that give equal vectors: of the weights, the pooling and the prefixes."""
    digest, folder = hashlib.sha256(), Path(encoder.name)
    digest.update(repr((encoder.pooling, encoder.query_prefix, encoder.passage_prefix)).encode())
    base = read_published(encoder.name).adapter_of
    if base is not None:
        digest.update(vectors_digest(encoder.model_copy(update={"name": base})).encode())
    if not folder.is_dir():
        digest.update(model_digest(encoder).encode())
    for file in sorted(folder.rglob("*.safetensors")):
        if file.name != LANGUAGE_VECTORS:
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def language_vectors_for(path: Path, encoder: Encoder) -> LanguageVectors:
    """Read language vectors, of a file or a folder, to be applied to an encoder's vectors.

    Raises:
        InputError: there are none, or they were fitted on another encoder.
    """
    fitted, width = load_language_vectors(path), vector_width(encoder)
    anew = f"fit them anew with: hybridtune debias {encoder.name} --data PATHS --out FOLDER"
    if None not in (fitted.width, width) and fitted.width != width:
        raise InputError(
            f"{path}: language vectors of width {fitted.width}; {encoder.name} gives vectors of width {width}; {anew}"
        )
    if fitted.encoder and fitted.encoder != vectors_digest(encoder):
        raise InputError(
            f"{path}: language vectors of another encoder: the weights, the pooling or the prefixes of {encoder.name} "
            f"are not those that they were fitted on; {anew}"
        )
    return fitted


def save_language_vectors(folder: Path, fitted: LanguageVectors | None) -> None:
    """Write what was fitted on the vectors of a model folder's encoder into it; None: remove what is there."""
    if fitted is None:
        (folder / LANGUAGE_VECTORS).unlink(missing_ok=True)
        return
    own = vectors_digest(with_folder_settings(Encoder(name=str(folder))))
    (folder / LANGUAGE_VECTORS).write_bytes(replace(fitted, encoder=own).to_bytes())


def model_config(encoder: Encoder) -> Any:
    """Return the settings of a model's transformer, as transformers reads them; see `load_config`."""
    return load_config(read_published(encoder.name), encoder.trust_remote_code)


def has_dense(encoder: Encoder) -> bool:
    """Return whether Dense layers follow the encoder's pooling."""
    return encoder.name != "tiny" and any(isinstance(head, Dense) for head in read_published(encoder.name).heads)


def vector_width(encoder: Encoder) -> int | None:
    """Return the numbers of a vector, after Dense layers and cut as the model says; None: it does not say."""
    published = read_published(encoder.name)
    full = next((head.out_features for head in reversed(published.heads) if isinstance(head, Dense)), None)
    full = full or getattr(model_config(encoder), "hidden_size", None)
    return full if published.truncate_dim is None or full is None else min(full, published.truncate_dim)


def parameter_count(encoder: Encoder) -> int:
    """Return how many numbers the transformer and the Dense layers have; no weights are read."""
    import torch

    with torch.device("meta"):
        backbone = structure(model_config(encoder), encoder.trust_remote_code)
    heads = [head for head in read_published(encoder.name).heads if isinstance(head, Dense)]
    own: int = sum(parameter.numel() for parameter in backbone.parameters())
    for head in heads:
        own += head.out_features * (head.in_features + head.bias)
        own += head.out_features * head.in_features * (head.residual and head.in_features != head.out_features)
    return own


def build_tiny(tokenizer_definition: str, encoder: Encoder, seed: int, folder: Path) -> None:
    """Write a small BERT with random weights and the study's own tokenizer, as an ordinary model folder."""
    import tokenizers
    import torch
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
    with torch.random.fork_rng(devices=[]):  # leaves the caller's random state alone
        torch.manual_seed(seed)
        backbone = transformers.BertModel(config, add_pooling_layer=False)
    backbone.save_pretrained(folder)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(folder)


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")
